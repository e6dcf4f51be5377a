//! Signals to processes of ours, by their id.

use rustix::process::{Pid, Signal, kill_process};
use std::process::Child;
use std::time::{Duration, Instant};

/// A thread stops when it next enters or leaves the kernel; a busy machine lets it run until then.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

pub(crate) fn signal_child(child: &Child, signal: Signal) {
    signal_id(child.id(), signal);
}

/// Of our own child, not yet waited for: its id is nobody else's. After SIGSTOP it runs no more when this returns.
pub(crate) fn signal_id(id: u32, signal: Signal) {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    let _ = kill_process(pid.expect("a child has an id"), signal);
    if signal == Signal::STOP {
        let start = Instant::now();
        while !is_stopped(id) {
            assert!(start.elapsed() < STOPS_WITHIN, "{id} does not stop");
            std::thread::yield_now();
        }
    }
}

/// Whether each of its threads is stopped, or it is gone.
fn is_stopped(id: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{id}/task")) else {
        return true;
    };
    threads.filter_map(Result::ok).all(|thread| {
        let Ok(stat) = std::fs::read_to_string(thread.path().join("stat")) else {
            return true;
        };
        // Behind the name, which may hold anything but ends with the last parenthesis.
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        matches!(state, Some('T' | 't' | 'Z' | 'X'))
    })
}
