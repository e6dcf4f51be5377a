//! Apart from `gate`, which the loom model includes as it is.

use super::gate::{Gate, Pass};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::atomic::{AtomicBool, AtomicU64};

#[test]
fn a_new_gate_lets_in_only_what_create_needs() {
    let gate = Gate::new();
    assert!(gate.enter(Pass::Early).is_some());
    assert!(gate.enter(Pass::Full).is_none());
    gate.open();
    assert!(gate.enter(Pass::Full).is_some());
    gate.narrow();
    assert!(gate.enter(Pass::Full).is_none());
}

#[test]
fn a_closed_gate_refuses_everything_for_ever() {
    let gate = Gate::new();
    gate.open();
    assert!(gate.close(|| false));
    gate.open();
    assert!(gate.is_closed());
    assert!(gate.enter(Pass::Early).is_none());
    assert!(gate.enter(Pass::Full).is_none());
}

#[test]
fn close_gives_up_when_told_to() {
    let gate = Gate::new();
    let _inside = gate.enter(Pass::Early).unwrap();
    let mut asked = 0;
    assert!(!gate.close(|| {
        asked += 1;
        asked < 3
    }));
    assert!(gate.enter(Pass::Early).is_none());
}

#[test]
fn no_call_is_inside_after_close_returned() {
    for round in 0..50_u64 {
        let gate = Arc::new(Gate::new());
        gate.open();
        let is_closed = Arc::new(AtomicBool::new(false));
        let entered = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..16)
            .map(|_| {
                let (gate, is_closed, entered) = (gate.clone(), is_closed.clone(), entered.clone());
                std::thread::spawn(move || {
                    while let Some(_inside) = gate.enter(Pass::Full) {
                        entered.fetch_add(1, Ordering::Relaxed);
                        assert!(!is_closed.load(Ordering::SeqCst), "inside a closed gate");
                    }
                })
            })
            .collect();
        while entered.load(Ordering::Relaxed) < round * 20 {
            std::thread::yield_now();
        }
        assert!(gate.close(|| true));
        is_closed.store(true, Ordering::SeqCst);
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
