//! The permissions that `streams permissions` prints suffice, and what they forbid is told.

use super::world::{World, result};
use super::{Place, Ran};
use im_bridge::bus::connect::Auth;
use im_bridge_test_harness::{Jetstream, Nats};
use serde_json::json;

struct Roles {
    world: World,
}

impl Roles {
    async fn new() -> Self {
        let place = Place::new();
        let user = |name: &str, args: &[&str]| {
            let role = [&["streams", "permissions", "--role", name], args].concat();
            let permissions = place.run(&role).done().data;
            format!("{{ user: {name}, password: secret\n{permissions} }}\n")
        };
        let users = [
            "{ user: admin, password: secret }\n".to_owned(),
            user("operator", &[]),
            user("provision", &[]),
            user("runtime", &[]),
            user("app", &["--account", "sim/demo", "--consumer", "desk"]),
        ];
        let server = place.file(
            "server.conf",
            &format!("authorization: {{ users: [\n{}] }}\n", users.concat()),
        );
        let nats = Nats::start_with(Jetstream::On, &["-c", server.to_str().unwrap()]);
        let admin = Auth::UserPassword {
            user: "admin".to_owned(),
            password: "secret".to_owned(),
        };
        let options = vec!["--set".to_owned(), format!("nats.url={}", nats.url())];
        let world = World::on(nats, admin, options).await;
        world.demo().await;
        world.place.file("password", "secret");
        Self { world }
    }

    async fn run(&self, role: &str, args: &[&str]) -> Ran {
        self.world.place.file(role, role);
        let text = format!(
            "[nats]\nuser = {{ file = \"{role}\" }}\npassword = {{ file = \"password\" }}\n"
        );
        let config = format!("{role}.toml");
        self.world.place.file(&config, &text);
        self.world
            .run(&[args, &["--config", &config]].concat())
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_may_use_every_client_command() {
    let roles = Roles::new().await;
    let world = &roles.world;
    let sent = |subject: &str, command: &serde_json::Value| {
        let to = subject
            .contains(".cmd.")
            .then(|| subject.replacen("cmd", "res", 1) + ".im-bridge-cli");
        (
            to,
            result(
                command,
                json!({ "command": "message.send", "status": "ok", "result": {} }),
            ),
        )
    };
    for subject in [
        "im.v1.req.sim.demo.*.*",
        "im.v1.cmd.sim.demo.*.*",
        "im.v1.ctl.sim.demo.*",
    ] {
        world.answer(subject, sent).await;
    }
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Im-Dlq-Subject", "im.v1.evt.sim.demo.message.created.lobby");
    world
        .store("im.v1.dlq.evt.sim.demo", headers.clone(), "{}")
        .await;
    world.store("im.v1.dlq.evt.sim.demo", headers, "{}").await;
    for args in [
        &["send", "sim/demo", "--channel", "lobby", "hi"][..],
        &["send", "sim/demo", "--channel", "lobby", "hi", "--request"],
        &["account", "list"],
        &["account", "show", "sim/demo"],
        &["account", "health", "sim/demo"],
        &["status"],
        &["dlq", "list"],
        &["dlq", "show", "1"],
        &["dlq", "resend", "1"],
        &["dlq", "drop", "2", "--yes"],
        &["tap", "--since", "1h", "--max", "1"],
    ] {
        let ran = roles.run("operator", args).await;
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        assert!(!ran.aside.contains("forbids"), "{args:?}: {ran:?}");
    }
    let made = roles
        .run(
            "operator",
            &["streams", "apply", "--set", "nats.results.max_age_h=50"],
        )
        .await;
    assert_ne!(made.code, 0, "only provision makes objects: {made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_may_send_and_hear_results_of_its_account() {
    let roles = Roles::new().await;
    let world = &roles.world;
    world
        .answer("im.v1.req.sim.demo.*.*", |_, command| {
            (
                None,
                result(
                    command,
                    json!({ "command": "message.send", "status": "ok", "result": {} }),
                ),
            )
        })
        .await;
    let hello = ["send", "sim/demo", "--channel", "lobby", "hi"];
    roles
        .run("app", &[&hello[..], &["--request"]].concat())
        .await
        .done();
    roles
        .run("app", &[&hello[..], &["--wait", "0"]].concat())
        .await
        .done();
    let other = roles
        .run(
            "app",
            &["send", "sim/other", "--channel", "lobby", "hi", "--request"],
        )
        .await;
    other.failed(3, "nats_permission");
    assert!(
        other
            .aside
            .contains("forbids publishing to im.v1.req.sim.other.message.send"),
        "{other:?}"
    );
    roles
        .run("app", &["account", "list"])
        .await
        .failed(3, "nats_permission");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_provisions_may_plan_and_apply() {
    let roles = Roles::new().await;
    let wider = roles
        .run(
            "provision",
            &["streams", "apply", "--set", "nats.results.max_age_h=50"],
        )
        .await;
    assert_eq!(wider.code, 0, "{wider:?}");
}

#[test]
fn permissions_are_also_json() {
    let place = Place::new();
    let runtime = place
        .run(&["streams", "permissions", "--role", "runtime", "--json"])
        .done()
        .json();
    assert_eq!(
        runtime["allow_responses"],
        json!({ "max": 1, "expires": "2m" })
    );
    let without = place.run(&["streams", "permissions", "--role", "app"]);
    assert!(
        without.code == 2 && without.aside.contains("--account"),
        "{without:?}"
    );
    let app = place
        .run(&[
            "streams",
            "permissions",
            "--role",
            "app",
            "--account",
            "sim/demo",
        ])
        .done();
    assert!(
        app.data
            .contains("\"$JS.API.CONSUMER.CREATE.IM_EVT.app.im.v1.evt.sim.demo.>\""),
        "{app:?}"
    );
}
