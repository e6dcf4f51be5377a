//! The demo as a newcomer starts it: what it prints, how it ends, and what it leaves behind.
//!
//! Not here: how its NATS server is found (unit tests beside that).
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

use im_bridge::cli::demo::nats_server::{FindError, Sources, find};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A server to start, fetched at most once; `None` after saying loudly why nothing is tested.
fn has_server(test: &str) -> bool {
    let mut sources = Sources::of_this_process(None);
    sources.url = None;
    match find(&sources) {
        Ok(_) => true,
        Err(error @ (FindError::None { .. } | FindError::Download { .. })) => {
            let required = std::env::var("IM_BRIDGE_REQUIRE").unwrap_or_default();
            let is_required = required.split(',').any(|name| name == test);
            assert!(!is_required, "{test} is required: {error}");
            let help = error.help().unwrap_or_default();
            // Not by a macro: the test runner hides what those print when a test passes.
            let line = format!("SKIP {test}: no NATS server ({}); {help}\n", error.code());
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            false
        }
        Err(error) => panic!("{error}"),
    }
}

fn demo(temporary: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_im-bridge"));
    command
        .arg("demo")
        .args(args)
        .env("TMPDIR", temporary)
        .env_remove("IM_BRIDGE__NATS__URL")
        .stdin(Stdio::null());
    command.output().unwrap()
}

/// The numbers before these words, in the verdict.
fn number(verdict: &str, words: &str) -> usize {
    let before = verdict
        .split_once(words)
        .unwrap_or_else(|| panic!("no `{words}` in {verdict}"))
        .0;
    let digits = before.rsplit([' ', ';', ',']).next().unwrap();
    digits.parse().unwrap_or_else(|_| panic!("{verdict}"))
}

#[test]
fn once_ends_with_the_verdict_and_leaves_nothing() {
    if !has_server("demo") {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let ran = demo(temporary.path(), &["--once"]);
    let (said, aside) = (
        String::from_utf8(ran.stdout).unwrap(),
        String::from_utf8(ran.stderr).unwrap(),
    );
    let all = format!("{said}\n{aside}");
    assert_eq!(ran.status.code(), Some(0), "{all}");

    let verdict = said.lines().last().unwrap();
    // On a busy machine another message may be said before the provider falls silent.
    let stored = number(verdict, " events stored");
    assert!(stored >= 20, "{all}");
    assert_eq!(number(verdict, " distinct"), stored, "{all}");
    assert!(verdict.contains(", in order in 2 channels; "), "{all}");
    assert_eq!(number(verdict, " commands ok"), stored / 5, "{all}");
    assert!(verdict.contains("; 0 lost, 0 doubled; "), "{all}");

    let lines = |part: &str| said.lines().filter(|line| line.contains(part)).count();
    assert_eq!(lines("  in   sim/demo  "), stored, "{all}");
    assert_eq!(lines("  out  sim/demo  "), stored / 5, "{all}");
    for fact in ["  nats ", "  plugin ", "  account "] {
        assert_eq!(lines(fact), 1, "{all}");
    }
    let left = std::fs::read_dir(temporary.path()).unwrap().count();
    assert_eq!(left, 0, "the temporary folder holds something");
}

#[test]
fn a_server_that_cannot_be_used_is_refused_with_its_reason() {
    let temporary = tempfile::tempdir().unwrap();
    let ran = demo(
        temporary.path(),
        &["--once", "--nats-server", "/nowhere/nats-server"],
    );
    let aside = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(2), "{aside}");
    assert!(
        aside.contains("error[demo_no_nats]: ") && aside.contains("/nowhere/nats-server"),
        "{aside}"
    );
}
