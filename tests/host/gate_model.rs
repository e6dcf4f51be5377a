//! The gate under loom: every interleaving of calls and of closing, not only those that a machine happens to choose.

#[allow(
    dead_code,
    reason = "the model needs a part of it; the rest is tested beside the code"
)]
#[path = "../../bridge/src/loader/host/gate.rs"]
mod gate;

/// What the gate is made of, in loom's form.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicU32, Ordering};

    pub(super) fn pause(_round: u32) {
        loom::thread::yield_now();
    }
}

use gate::{Gate, Pass};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

#[test]
fn no_interleaving_leaves_a_call_inside_a_closed_gate() {
    let mut model = loom::model::Builder::new();
    // All that matters here happens within three forced switches; without a bound the waiting loop makes it minutes.
    model.preemption_bound = Some(3);
    model.check(|| {
        let gate = Arc::new(Gate::new());
        gate.open();
        let is_freed = Arc::new(AtomicBool::new(false));
        let calls: Vec<_> = (0..2)
            .map(|_| {
                let (gate, is_freed) = (gate.clone(), is_freed.clone());
                thread::spawn(move || {
                    if let Some(_inside) = gate.enter(Pass::Full) {
                        assert!(!is_freed.load(Ordering::Relaxed), "inside a closed gate");
                    }
                })
            })
            .collect();
        assert!(gate.close(|| true));
        // Relaxed on purpose: closing alone must order this after everything that was inside.
        is_freed.store(true, Ordering::Relaxed);
        for call in calls {
            call.join().unwrap();
        }
        assert!(gate.enter(Pass::Early).is_none());
    });
}

#[test]
fn no_interleaving_lets_a_call_in_before_the_gate_is_open() {
    loom::model(|| {
        let gate = Arc::new(Gate::new());
        let is_started = Arc::new(AtomicBool::new(false));
        let call = {
            let (gate, is_started) = (gate.clone(), is_started.clone());
            thread::spawn(move || {
                if let Some(_inside) = gate.enter(Pass::Full) {
                    assert!(is_started.load(Ordering::Relaxed), "inside before start");
                }
            })
        };
        is_started.store(true, Ordering::Relaxed);
        gate.open();
        call.join().unwrap();
    });
}
