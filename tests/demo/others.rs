//! Beside a running demo: client commands find it, and two demos do not meet.

use super::home::{Home, server};
use im_bridge::cli::demo::nats_server::{Launch, Server};
use rustix::process::Signal;

#[test]
fn tap_and_send_find_the_running_demo() {
    if server("tap and send").is_none() {
        return;
    }
    let home = Home::new();
    let mut demo = home.start(&["--rate", "10"]);
    demo.until(&["in   sim/demo "]);

    let tap = home.run(&["tap", "sim/demo", "--max", "3"]).ended(0);
    assert_eq!(tap.said.lines().count(), 3, "{tap:?}");
    assert!(
        tap.aside.contains("using the demo at nats://127.0.0.1:"),
        "{tap:?}"
    );

    let words = [
        "send",
        "sim/demo",
        "--channel",
        "lobby",
        "hi",
        "--wait",
        "60s",
    ];
    let send = home.run(&words).ended(0);
    assert!(send.said.starts_with("ok "), "{send:?}");

    let heard = home.run(&[
        "tap",
        "--since",
        "5m",
        "--kind",
        "message.send",
        "--max",
        "1",
    ]);
    assert!(heard.ended(0).said.contains("sim/demo"));

    let status = home.run(&["status"]).ended(0);
    assert!(status.said.contains("sim/demo"), "{status:?}");

    demo.signal(Signal::INT);
    demo.until(&["demo: ", "; 0 lost, 0 doubled; "]);
    assert!(demo.ended().success());

    let after = home.run(&["tap", "--max", "1"]);
    assert!(!after.aside.contains("using the demo"), "{after:?}");
}

#[test]
fn a_demo_on_somebodys_server_keeps_to_itself() {
    let Some(program) = server("somebody's server") else {
        return;
    };
    let home = Home::new();
    let mut launch = Launch::new(program, home.path().join("theirs"));
    let theirs = Server::start_to_return(&mut launch).unwrap();
    let mut demo = home.command(&["demo", "--once"]);
    let ran = demo
        .env("IM_BRIDGE__NATS__URL", theirs.url())
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("somebody's, with names of our own"), "{said}");
    assert!(said.contains("  events    demo-"), "{said}");
    let streams = home.path().join("theirs/store/jetstream/$G/streams");
    let left = std::fs::read_dir(&streams).map(Iterator::count);
    assert_eq!(left.unwrap_or(0), 0, "it leaves nothing there");

    let mut demo = home.command(&["demo", "--break", "nats"]);
    let ran = demo
        .env("IM_BRIDGE__NATS__URL", theirs.url())
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(2));
    theirs.kill();
}
