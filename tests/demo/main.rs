//! The demo as a newcomer starts it: what it prints, how it ends, and what it leaves behind.
//!
//! Not here: the ways to a server one by one (unit tests beside them).
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod breaks;
#[allow(dead_code, reason = "the tests of documents use all of it")]
mod home;
mod leavings;
mod others;
mod provisioning;

use home::{Home, number, server};

#[test]
fn once_ends_with_the_verdict_and_leaves_nothing() {
    if server("demo").is_none() {
        return;
    }
    let home = Home::new();
    let ran = home.run(&["demo", "--once"]).ended(0);
    let verdict = ran.last();
    // On a busy machine more may be said before the provider falls silent.
    let stored = number(verdict, " events stored");
    assert!(stored >= 20, "{ran:?}");
    assert_eq!(number(verdict, " distinct"), stored, "{ran:?}");
    assert!(verdict.contains(", in order in 2 channels; "), "{ran:?}");
    let answered = number(verdict, " commands ok");
    assert!(answered >= 4, "{ran:?}");
    assert!(verdict.contains(" ok; 0 lost, 0 doubled; "), "{ran:?}");

    assert_eq!(ran.lines("  in   sim/demo  "), stored, "{ran:?}");
    assert_eq!(ran.lines("  out  sim/demo  "), answered, "{ran:?}");
    for fact in [
        "  nats ",
        "  plugin ",
        "  account ",
        "  events ",
        "  commands ",
    ] {
        assert_eq!(ran.lines(fact), 1, "{ran:?}");
    }
    assert!(!ran.said.contains('\u{1b}'), "no terminal, no colour");
    assert!(home.leavings().is_empty(), "{:?}", home.leavings());
    assert!(!home.path().join("im-bridge-demo").exists());
}

#[test]
fn the_rate_is_what_is_asked_for() {
    if server("rate").is_none() {
        return;
    }
    let home = Home::new();
    let ran = home.run(&["demo", "--once", "--rate", "50"]).ended(0);
    assert_eq!(ran.lines("2 rooms, 50 messages/s"), 1, "{ran:?}");
    for (args, words) in [
        (&["--rate", "0", "--once"][..], "more than 0"),
        (&["--rate", "0", "--break", "slow"], "more than 0"),
        (&["--rate", "1001"], "from 0 to 1000"),
        (&["--break", "nast"], "nats"),
    ] {
        let ran = home.run(&[&["demo"], args].concat()).ended(2);
        assert!(ran.aside.contains(words), "{ran:?}");
    }
}
