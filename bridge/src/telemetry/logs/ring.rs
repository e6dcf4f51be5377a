//! Lines on their way to standard output: a bounded queue, and one thread that writes.
//!
//! It promises that saying a line never waits for whoever reads it: a stalled pipe costs lines, which are counted, and
//! nothing else.

use super::Sink;
use std::collections::VecDeque;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines that may wait: some seconds of a bridge that says as much as it may.
const LINES_MAX: usize = 8_192;

/// Bytes that may wait, whatever the lines are.
const BYTES_MAX: usize = 8 << 20;

/// Of both, so much is kept for errors: an eighth.
const KEPT_FOR_ERRORS: usize = 8;

/// Between two looks for repeats that fell silent.
const TICK: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Ring {
    state: Mutex<State>,
    /// For the writer: there is something.
    wake: Condvar,
    /// For whoever flushes: everything is out.
    out: Condvar,
    pub dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    lines: VecDeque<String>,
    bytes: usize,
    is_writing: bool,
}

impl Ring {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues one, or drops it.
    pub fn push(&self, line: String, is_error: bool) {
        let mut state = self.lock();
        let (lines, bytes) = if is_error {
            (LINES_MAX, BYTES_MAX)
        } else {
            let of = KEPT_FOR_ERRORS;
            (LINES_MAX - LINES_MAX / of, BYTES_MAX - BYTES_MAX / of)
        };
        if state.lines.len() >= lines || state.bytes + line.len() > bytes {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        if state.lines.len() == 1 && !state.is_writing {
            self.wake.notify_one();
        }
    }

    pub fn waiting(&self) -> usize {
        self.lock().lines.len()
    }

    /// Until everything is out, or not within this time.
    pub fn flush(&self, within: Duration) {
        let state = self.lock();
        let is_busy = |state: &mut State| state.is_writing || !state.lines.is_empty();
        // Who cannot get rid of a line within this time will not be read in the next.
        let _ = self.out.wait_timeout_while(state, within, is_busy);
    }

    /// Waits for lines; nothing after a tick, if there is something to look for in between.
    fn take(&self, ticks: bool) -> VecDeque<String> {
        let mut state = self.lock();
        state.is_writing = false;
        if state.lines.is_empty() {
            self.out.notify_all();
        }
        let is_empty = |state: &mut State| state.lines.is_empty();
        state = if ticks {
            let waited = self.wake.wait_timeout_while(state, TICK, is_empty);
            waited.unwrap_or_else(PoisonError::into_inner).0
        } else {
            let waited = self.wake.wait_while(state, is_empty);
            waited.unwrap_or_else(PoisonError::into_inner)
        };
        state.is_writing = true;
        state.bytes = 0;
        std::mem::take(&mut state.lines)
    }
}

#[cfg(test)]
impl Ring {
    pub fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().lines).into()
    }
}

/// Writes until the process ends.
pub(super) fn write(sink: &Arc<Sink>, mut to: impl Write) {
    let mut buffer = Vec::with_capacity(16 << 10);
    loop {
        for line in sink.ring.take(sink.owes()) {
            buffer.extend_from_slice(line.as_bytes());
        }
        // A closed pipe is no reason to end: whoever read the log is gone, the messages are not.
        let _ = to.write_all(&buffer).and_then(|()| to.flush());
        buffer.clear();
        buffer.shrink_to(64 << 10);
        sink.summarise(Instant::now(), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_drops_and_counts_and_has_room_for_errors() {
        let ring = Ring::default();
        for _ in 0..LINES_MAX {
            ring.push("x\n".to_owned(), false);
        }
        assert_eq!(ring.waiting(), LINES_MAX - LINES_MAX / KEPT_FOR_ERRORS);
        assert_eq!(ring.dropped.load(Ordering::Relaxed), 1_024);
        ring.push("y\n".to_owned(), true);
        assert_eq!(ring.dropped.load(Ordering::Relaxed), 1_024);
        let lines = ring.take(false);
        assert_eq!(lines.back().map(String::as_str), Some("y\n"));
        let large = "z".repeat(BYTES_MAX);
        ring.push(large, false);
        assert_eq!(ring.dropped.load(Ordering::Relaxed), 1_025);
    }

    #[test]
    fn flushing_waits_for_the_writer_and_not_for_ever() {
        let ring = Arc::new(Ring::default());
        ring.push("x\n".to_owned(), false);
        ring.flush(Duration::from_millis(1));
        let of = Arc::clone(&ring);
        let writer = std::thread::spawn(move || {
            let taken = of.take(true).len();
            of.take(true);
            taken
        });
        ring.flush(Duration::from_secs(60));
        assert_eq!(ring.waiting(), 0);
        assert_eq!(writer.join().unwrap(), 1);
    }
}
