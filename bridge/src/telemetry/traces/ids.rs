//! Ids of traces and spans: random, and drawn without a lock or a call of the system.
//!
//! Each thread has two generators with a seed of the system's each, so that a trace's id is as unlikely to be another's as
//! its sixteen bytes promise, whatever number of threads and processes draw. They hide nothing from anybody who looks.

use ring::rand::{SecureRandom as _, SystemRandom};
use std::cell::RefCell;

thread_local! {
    static OWN: RefCell<[fastrand::Rng; 2]> = RefCell::new([seeded(), seeded()]);
}

fn seeded() -> fastrand::Rng {
    let mut seed = [0; 8];
    match SystemRandom::new().fill(&mut seed) {
        Ok(()) => fastrand::Rng::with_seed(u64::from_ne_bytes(seed)),
        // It seeds itself by time and thread then: worse, and better than no trace.
        Err(_) => fastrand::Rng::new(),
    }
}

pub(super) fn new_trace() -> [u8; 16] {
    OWN.with_borrow_mut(|[high, low]| {
        // All zero is no id.
        let id = u128::from(high.u64(..)) << 64 | u128::from(low.u64(1..));
        id.to_be_bytes()
    })
}

pub(super) fn new_span() -> [u8; 8] {
    OWN.with_borrow_mut(|[_, low]| low.u64(1..).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_differ_within_and_between_threads() {
        let drawn = || -> Vec<([u8; 16], [u8; 8])> {
            let pairs = (0..10_000).map(|_| (new_trace(), new_span()));
            pairs.collect()
        };
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(drawn)).collect();
        let all = threads.into_iter().flat_map(|it| it.join().unwrap());
        let (traces, spans): (HashSet<_>, HashSet<_>) = all.unzip();
        assert_eq!((traces.len(), spans.len()), (40_000, 40_000));
        assert!(!traces.contains(&[0; 16]) && !spans.contains(&[0; 8]));
    }
}
