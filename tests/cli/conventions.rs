//! What holds for every command: exit codes, streams, colour.

use super::{Place, Ran};
use std::process::Stdio;

#[test]
fn nothing_starts_by_accident() {
    let bare = Place::new().run(&[]);
    assert_eq!((bare.code, bare.data.as_str()), (2, ""));
    assert!(bare.aside.contains("Usage: im-bridge"), "{bare:?}");
}

#[test]
fn a_wrong_word_names_the_nearest() {
    let place = Place::new();
    for (args, near) in [
        (&["chekc"][..], "check"),
        (&["check", "--onlin"], "--online"),
        (&["account", "lst"], "list"),
    ] {
        let wrong = place.run(args);
        assert_eq!(wrong.code, 2, "{wrong:?}");
        assert!(wrong.aside.contains(near), "{wrong:?}");
    }
}

#[test]
fn nobody_at_the_address_is_exit_three() {
    let place = Place::new();
    // Port 1 of the loopback is nobody's.
    let nowhere = ["--set", "nats.url=nats://127.0.0.1:1"];
    for command in [
        &["status"][..],
        &["account", "list"],
        &["tap"],
        &["dlq", "list"],
        &["streams", "plan"],
        &["send", "sim/demo", "--channel", "lobby", "hi"],
    ] {
        let ran = place.run(&[command, &nowhere].concat());
        ran.failed(3, "nats_unreachable");
        assert!(ran.aside.contains("nats://127.0.0.1:1"), "{ran:?}");
        assert_eq!(ran.data, "");
    }
    let probe = place.run(&["probe", "--live", "--set", "admin.listen=127.0.0.1:1"]);
    probe.failed(3, "bridge_silent");
}

#[test]
fn errors_are_json_where_data_is() {
    let place = Place::new();
    let ran = place.run(&["status", "--json", "--set", "nats.url=nats://127.0.0.1:1"]);
    let told: serde_json::Value = serde_json::from_str(&ran.aside).unwrap();
    assert_eq!(told["code"], "nats_unreachable");
    assert_eq!(told["help"], "im-bridge explain nats_unreachable");

    place.file(
        "bridge.toml",
        "[nats]\nurll = \"x\"\n[admin]\nlistenn = 1\n",
    );
    let ran = place.run(&["config", "show", "--json"]);
    assert_eq!(ran.code, 2);
    let lines: Vec<serde_json::Value> = ran
        .aside
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "all mistakes are told");
    assert_eq!(
        (&lines[0]["path"], &lines[0]["line"]),
        (&"nats.urll".into(), &2.into())
    );
}

#[test]
fn a_closed_pipe_is_the_readers_choice() {
    let place = Place::new();
    for args in [
        &["config", "schema"][..],
        &["completions", "zsh"],
        &["man"],
        &["explain", "nats_auth"],
    ] {
        let mut child = place
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ran = Ran::new(child.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.aside.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn colour_is_for_terminals_and_those_who_ask() {
    let place = Place::new();
    let args = ["config", "explain", "nats.urll"];
    let plain = place.run(&args);
    assert!(
        plain.aside.starts_with("error[config_unknown_key]: "),
        "{plain:?}"
    );
    let asked = place.run(&[&args[..], &["--color", "always"]].concat());
    assert!(
        asked
            .aside
            .starts_with("\x1b[1;31merror[config_unknown_key]\x1b[0m: "),
        "{asked:?}"
    );
    let never = place.command(&args).env("NO_COLOR", "1").output().unwrap();
    assert!(!Ran::new(never).aside.contains('\x1b'));
}

#[test]
fn quiet_leaves_data_and_errors() {
    let place = Place::new();
    let said = place.run(&["init"]).done();
    assert!(said.aside.contains("next:"), "{said:?}");
    let other = Place::new();
    let quiet = other.run(&["init", "-q"]).done();
    assert_eq!(
        (quiet.data.as_str(), quiet.aside.as_str()),
        ("bridge.toml\nim-bridge.schema.json\n", "")
    );
}
