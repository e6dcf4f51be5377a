//! `--break`: each fault strikes, is seen, and costs nothing.

use super::home::{Home, Ran, number, server};
use rustix::process::Signal;

/// Runs it; the last two lines are the finding and the verdict.
fn broken(what: &str, more: &[&str]) -> Option<Ran> {
    server(&format!("break {what}"))?;
    let home = Home::new();
    let ran = home
        .run(&[&["demo", "--once", "--break", what], more].concat())
        .ended(0);
    let verdict = ran.last();
    assert!(verdict.contains("; 0 lost, 0 doubled; "), "{ran:?}");
    assert!(verdict.contains(", in order in "), "{ran:?}");
    assert!(home.leavings().is_empty(), "{:?}", home.leavings());
    Some(ran)
}

fn finding(ran: &Ran) -> &str {
    ran.said.lines().nth_back(1).unwrap()
}

#[test]
fn a_killed_server_stops_the_reading_and_costs_nothing() {
    let Some(ran) = broken("nats", &[]) else {
        return;
    };
    for (way, what) in [
        ("do   nats ", "killed"),
        ("is   nats ", "lost"),
        ("is   sim/demo ", "reads no more (credit 0 of 64)"),
        ("is   nats ", "back"),
    ] {
        let lines = ran.said.lines();
        let told = lines.filter(|line| line.contains(way) && line.contains(what));
        assert_eq!(told.count(), 1, "{way} {what}: {ran:?}");
    }
    let finding = finding(&ran);
    assert!(
        finding.starts_with("nats: ") && finding.contains(" (at most 8)"),
        "{ran:?}"
    );
    assert!(number(ran.last(), " events stored") > 64, "{ran:?}");
}

#[test]
fn a_cut_provider_is_caught_up_with() {
    let Some(ran) = broken("provider", &[]) else {
        return;
    };
    assert!(
        ran.lines("  is   sim/demo   backoff (network)") > 0,
        "{ran:?}"
    );
    assert!(ran.lines("  is   sim/demo   online") > 0, "{ran:?}");
    let finding = finding(&ran);
    let said = number(finding, " messages said meanwhile");
    assert!(
        number(finding, " events marked backfill") >= said && said > 0,
        "{ran:?}"
    );
}

#[test]
fn a_panic_in_the_plugin_stays_with_its_account() {
    // Slow enough that two intervals outlast what a busy machine does.
    let Some(ran) = broken("plugin", &["--rate", "1"]) else {
        return;
    };
    assert_eq!(ran.lines("scripted panic at Read"), 1, "{ran:?}");
    assert_eq!(ran.lines("the adapter's instance is lost"), 1, "{ran:?}");
    assert!(ran.lines("  in   sim/other  ") > 0, "{ran:?}");
    assert!(
        finding(&ran).starts_with("plugin: 1 panic, back after "),
        "{ran:?}"
    );
    assert!(ran.last().contains(" in 4 channels; "), "{ran:?}");
}

#[test]
fn a_slow_provider_gets_each_command_once_and_one_stays_unknown() {
    let Some(ran) = broken("slow", &[]) else {
        return;
    };
    let finding = finding(&ran);
    assert!(
        finding.starts_with("slow: 200 commands, 200 results, 1 unknown; credit used "),
        "{ran:?}"
    );
    assert!(number(finding, " of 64") <= 64, "{ran:?}");
    assert!(
        ran.last().contains("; 199 commands ok, 1 unknown; "),
        "{ran:?}"
    );
    assert!(number(ran.last(), " events stored") > 20_000, "{ran:?}");
}

#[test]
fn it_goes_on_after_the_break_until_it_is_ended() {
    if server("break").is_none() {
        return;
    }
    let home = Home::new();
    let mut demo = home.start(&["--break", "provider", "--rate", "4"]);
    demo.until(&["is   sim/demo ", "backoff"]);
    demo.until(&["in   sim/demo ", "backfill"]);
    for _ in 0..5 {
        demo.until(&["in   sim/demo "]);
    }
    demo.signal(Signal::INT);
    demo.until(&["provider: ", " events marked backfill"]);
    demo.until(&["demo: ", "; 0 lost, 0 doubled; "]);
    assert!(demo.ended().success());
}
