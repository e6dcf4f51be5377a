//! What a demo leaves when it cannot clean up, and who removes it.

use super::home::{Home, server, until};
use rustix::process::{Pid, Signal, test_kill_process};
use std::fs;
use std::path::Path;

/// Process of the server that keeps its store below this folder.
fn server_of(folder: &Path) -> Pid {
    let entries = fs::read_dir(folder.join("nats")).unwrap();
    let id = entries.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".ports")?
            .rsplit('_')
            .next()?
            .parse()
            .ok()
    });
    Pid::from_raw(id.expect("its ports file names it")).unwrap()
}

#[test]
fn killed_demo_leaves_nothing() {
    if server("killed_demo_leaves_nothing").is_none() {
        return;
    }
    let home = Home::new();
    let mut demo = home.start(&[]);
    demo.until(&["in   sim/demo "]);
    let [folder] = &home.leavings()[..] else {
        panic!("a demo has one folder: {:?}", home.leavings());
    };
    let server = server_of(folder);
    test_kill_process(server).expect("it runs");
    demo.signal(Signal::KILL);
    demo.ended();
    // Nobody waits for it but the system's first process, which may take its time.
    let is_gone = || {
        let stat = fs::read_to_string(format!("/proc/{server}/stat")).unwrap_or_default();
        test_kill_process(server).is_err() || stat.contains(") Z ")
    };
    until("the end of the server", || is_gone().then_some(()));
    assert!(folder.exists(), "nobody could remove it");

    // The next one does, and clients do not find the dead one.
    let status = home.run(&["status"]);
    assert!(!status.aside.contains("using the demo"), "{status:?}");
    home.run(&["demo", "--once"]).ended(0);
    assert!(home.leavings().is_empty(), "{:?}", home.leavings());
}
