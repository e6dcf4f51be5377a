//! Plugin files that come, change and go while the bridge runs.

use crate::world::{World, config, control_plugin, files, open, state, stored, text};
use im_bridge_test_harness::{Bridge, Nats, Simulator, eventually, sim_with, stays};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

/// Several looks of the bridge at its folders.
const SOME_LOOKS: Duration = Duration::from_secs(4);

const OWN: &str = env!("CARGO_PKG_VERSION");

/// The sim adapter as another version of itself.
fn sim(version: &str) -> Vec<u8> {
    sim_with(&[(OWN, version)])
}

fn used(bridge: &Bridge) -> Value {
    bridge.status()["plugins"]["used"][0]["version"].clone()
}

async fn uses(bridge: &Bridge, version: &str) {
    eventually(&format!("version {version} is in use"), || async {
        (used(bridge) == version).then_some(())
    })
    .await;
}

/// The account is online in this version of the file.
async fn serves(bridge: &Bridge, alias: &str, version: &str) {
    let name = format!("sim/{alias}");
    eventually(&format!("{name} is online in {version}"), || async {
        let state = bridge.account(&name)?["state"].clone();
        (state["state"] == "online" && state["adapter"]["version"] == version).then_some(())
    })
    .await;
}

fn connected_at(bridge: &Bridge, alias: &str) -> Value {
    let account = bridge.account(&format!("sim/{alias}")).unwrap_or_default();
    account["state"]["connection"]["connected_at"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_file_alone_starts_the_accounts_of_its_provider() {
    let nats = Nats::start();
    let files = files(&config(&nats, &json!({ "demo": {} })));
    std::fs::remove_file(files.plugins().join("libsim.so")).unwrap();
    let bridge = Bridge::start(&files, "a");
    state(&bridge, "demo", "failed").await;
    let account = bridge.account("sim/demo").unwrap();
    assert_eq!(account["state"]["reason"], "no_adapter");
    files.drop_plugin("libsim.so", &sim(OWN));
    state(&bridge, "demo", "online").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_under_load_loses_nothing_doubles_nothing_and_keeps_the_order() {
    let simulator = Simulator::start();
    let account = json!({ "url": simulator.url(), "rate_per_s": 50.0, "world": "upgrade" });
    let world = World::new(json!({ "demo": open(account), "other": {} })).await;
    let client = world.client.clone();
    let mut states = client.subscribe("im.v1.state.sim._adapter").await.unwrap();
    client.flush().await.unwrap();
    for version in ["0.1.1", "0.1.2", "0.1.3"] {
        let before = world.events().await.len();
        world.bridge.files().drop_plugin("libsim.so", &sim(version));
        serves(&world.bridge, "demo", version).await;
        serves(&world.bridge, "other", version).await;
        eventually("events go on", || async {
            (world.events().await.len() > before + 30).then_some(())
        })
        .await;
    }
    assert_eq!(
        world
            .bridge
            .metric(r#"im_bridge_plugin_retired_images{provider="sim"}"#),
        Some(3.0)
    );
    let mut told = BTreeSet::new();
    while told.len() < 6 {
        let state = im_bridge_test_harness::within("plugin states", async {
            futures_util::StreamExt::next(&mut states).await.unwrap()
        })
        .await;
        let state: Value = serde_json::from_slice(&state.payload).unwrap();
        assert_eq!(state["type"], "im-bridge.adapter.v1", "{state}");
        let of = |key: &str| state["data"][key].as_str().unwrap_or_default().to_owned();
        told.insert((of("version"), of("state")));
    }
    assert!(
        told.contains(&("0.1.1".to_owned(), "retired".to_owned())),
        "{told:?}"
    );
    assert!(
        told.contains(&("0.1.3".to_owned(), "loaded".to_owned())),
        "{told:?}"
    );

    world.order("demo", "rate", json!({ "per_s": 0 })).await;
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in world.record("demo", "said").await {
        let of = |key: &str| entry[key].as_str().unwrap().to_owned();
        said.entry(of("chat")).or_default().push(of("post"));
    }
    let count: usize = said.values().map(Vec::len).sum();
    let came = eventually("everything is stored", || async {
        let mut came: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for event in stored(&world.client, "IM_EVT").await {
            let is_it =
                event["account"] == "demo" && event["type"] == "im-bridge.evt.message.created.v1";
            if is_it {
                let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let channel = came.entry(of(&event["subject"])).or_default();
                channel.push(of(&event["data"]["message"]["id"]));
            }
        }
        let stored: usize = came.values().map(Vec::len).sum();
        (stored >= count).then_some(came)
    })
    .await;
    assert!(count > 90, "the provider said {count}");
    // Not one twice, none missing, and each channel in its order.
    assert_eq!(came, said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_is_refused_once_and_what_runs_goes_on() {
    let world = World::new(json!({ "demo": {} })).await;
    let before = connected_at(&world.bridge, "demo");
    let half = &sim(OWN)[..10_000];
    world.bridge.files().drop_plugin("libsim.so", half);
    let metric = r#"im_bridge_plugin_refused_total{code="plugin_truncated"}"#;
    eventually("it is refused", || async { world.bridge.metric(metric) }).await;
    let refused = world.bridge.status()["plugins"]["refused"][0].clone();
    assert_eq!(refused["code"], "plugin_truncated", "{refused}");
    world.bridge.hang_up();
    let unchanged = r#"im_bridge_config_reloads_total{outcome="unchanged"}"#;
    eventually("it is looked at again", || async {
        world.bridge.metric(unchanged).filter(|count| *count >= 1.0)
    })
    .await;
    assert_eq!(world.bridge.said("\"plugin_truncated\""), 1);
    assert_eq!(world.bridge.metric(metric), Some(1.0));
    stays("the account's connection", before, SOME_LOOKS, || async {
        connected_at(&world.bridge, "demo")
    })
    .await;
    let verbose = world.bridge.get("/readyz?verbose");
    assert_eq!(verbose.0, 200);
    assert!(verbose.1.contains("cannot load"), "{}", verbose.1);
    // Mended, it is used.
    world.bridge.files().drop_plugin("libsim.so", &sim("0.1.1"));
    serves(&world.bridge, "demo", "0.1.1").await;
    assert_eq!(world.bridge.status()["plugins"]["refused"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_still_written_is_waited_for() {
    let world = World::new(json!({ "demo": {} })).await;
    let content = sim("0.1.1");
    let place = world.bridge.files().plugins().join("libslow.so");
    let mut file = std::fs::File::create(place).unwrap();
    // It grows at every look that the test takes, and the bridge looks once a second.
    let piece = content.len() / 800;
    let mut rest = content.chunks(piece.max(1));
    stays("what runs", json!(OWN), SOME_LOOKS, || {
        if let Some(piece) = rest.next() {
            file.write_all(piece).unwrap();
        }
        let version = used(&world.bridge);
        async { version }
    })
    .await;
    assert_eq!(world.bridge.said("cannot load"), 0);
    for piece in rest {
        file.write_all(piece).unwrap();
    }
    drop(file);
    serves(&world.bridge, "demo", "0.1.1").await;
    assert_eq!(world.bridge.said("cannot load"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_goes_on_when_its_file_is_removed() {
    let world = World::new(json!({ "demo": {} })).await;
    let before = connected_at(&world.bridge, "demo");
    std::fs::remove_file(world.bridge.files().plugins().join("libsim.so")).unwrap();
    world.bridge.hang_up();
    stays("the account's connection", before, SOME_LOOKS, || async {
        connected_at(&world.bridge, "demo")
    })
    .await;
    assert_eq!(used(&world.bridge), OWN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_no_account_could_use_is_held_back() {
    let world = World::new(json!({ "demo": { "device": "desk" } })).await;
    let before = connected_at(&world.bridge, "demo");
    let other = sim_with(&[(OWN, "0.1.1"), ("device", "devise")]);
    world.bridge.files().drop_plugin("libsim.so", &other);
    let held = eventually("it is held", || async {
        let held = world.bridge.status()["plugins"]["held"][0].clone();
        held.is_object().then_some(held)
    })
    .await;
    assert_eq!(held["code"], "upgrade_incompatible", "{held}");
    let text = held["text"].as_str().unwrap();
    assert!(
        text.starts_with(&format!("cannot upgrade sim {OWN} to 0.1.1: ")),
        "{text}"
    );
    eventually("a line about it", || async {
        (world.bridge.said("upgrade_incompatible") == 1).then_some(())
    })
    .await;
    assert_eq!(connected_at(&world.bridge, "demo"), before);
    // With a configuration that fits, it takes over.
    let accounts = json!({ "demo": { "devise": "desk" } });
    world
        .bridge
        .files()
        .configure(&config(&world.nats, &accounts));
    serves(&world.bridge, "demo", "0.1.1").await;
    assert_eq!(world.bridge.status()["plugins"]["held"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_rolls_back_clears_and_holds() {
    let world = World::new(json!({ "demo": {} })).await;
    let nothing = control_plugin(&world.client, "rollback", json!({})).await;
    assert_eq!(nothing["data"]["error"]["code"], "bad_param", "{nothing}");
    world.bridge.files().drop_plugin("libsim.so", &sim("0.1.1"));
    serves(&world.bridge, "demo", "0.1.1").await;
    let sha256 = world.bridge.status()["plugins"]["used"][0]["sha256"].clone();
    let short = &sha256.as_str().unwrap()[..8];

    let back = control_plugin(&world.client, "rollback", json!({})).await;
    assert_eq!(back["data"]["status"], "ok", "{back}");
    assert_eq!(back["type"], "im-bridge.res.adapter.rollback.v1");
    // The file before is mapped still, although it lies in no folder any more.
    serves(&world.bridge, "demo", OWN).await;
    let out = world.bridge.status()["plugins"]["out_of_use"][0].clone();
    assert_eq!(out["code"], "plugin_rolled_back", "{out}");
    world.bridge.hang_up();
    stays("the version before", json!(OWN), SOME_LOOKS, || async {
        used(&world.bridge)
    })
    .await;

    let clear = control_plugin(&world.client, "clear", json!({ "sha256": short })).await;
    assert_eq!(clear["data"]["result"]["state"], "loaded", "{clear}");
    serves(&world.bridge, "demo", "0.1.1").await;

    let mut config = config(&world.nats, &json!({ "demo": {} }));
    config["plugins"]["providers"]["sim"]["hold"] = json!(OWN);
    world.bridge.files().configure(&config);
    serves(&world.bridge, "demo", OWN).await;
    let info = control_plugin(&world.client, "info", json!({})).await;
    assert_eq!(info["data"]["result"]["version"], OWN, "{info}");
    assert_eq!(info["data"]["result"]["instances"], json!(["demo"]));
    assert_eq!(info["data"]["result"]["retired"][0]["version"], "0.1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_auto_a_newer_version_waits_for_a_person() {
    let nats = Nats::start();
    let mut config = config(&nats, &json!({ "demo": {} }));
    config["plugins"]["upgrade"]["auto"] = json!(false);
    let files = files(&config);
    let bridge = Bridge::start(&files, "a");
    let client = async_nats::connect(nats.url()).await.unwrap();
    serves(&bridge, "demo", OWN).await;
    files.drop_plugin("libsim.so", &sim("0.1.1"));
    eventually("it waits", || async {
        let held = bridge.status()["plugins"]["held"][0].clone();
        (held["code"] == "upgrade_waits").then_some(())
    })
    .await;
    assert_eq!(used(&bridge), OWN);
    let upgrade = control_plugin(&client, "upgrade", json!({})).await;
    assert_eq!(upgrade["data"]["result"]["version"], "0.1.1", "{upgrade}");
    serves(&bridge, "demo", "0.1.1").await;
}

const ACCOUNTS: [&str; 3] = ["one", "two", "three"];

/// Each account panics once.
async fn panic_everywhere(world: &World) {
    for alias in ACCOUNTS {
        let panic = json!({ "at": "read", "panic": { "after": 0, "times": 1 } });
        world.order(alias, "panic", panic).await;
    }
    for alias in ACCOUNTS {
        let words = json!({ "chat": "lobby", "by": "alice", "text": "into the panic" });
        world.order_at_risk(alias, "say", words).await;
    }
}

/// The provider lives outside: it outlives the file.
fn three(simulator: &Simulator) -> Value {
    let accounts = ACCOUNTS.iter().map(|alias| {
        let account = json!({ "url": simulator.url() });
        ((*alias).to_owned(), open(account))
    });
    accounts.collect::<serde_json::Map<String, Value>>().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_to_blame_gives_way_to_the_version_before() {
    let simulator = Simulator::start();
    let world = World::new(three(&simulator)).await;
    world.bridge.files().drop_plugin("libsim.so", &sim("0.1.1"));
    for alias in ACCOUNTS {
        serves(&world.bridge, alias, "0.1.1").await;
    }
    panic_everywhere(&world).await;
    uses(&world.bridge, OWN).await;
    for alias in ACCOUNTS {
        serves(&world.bridge, alias, OWN).await;
    }
    let out = world.bridge.status()["plugins"]["out_of_use"][0].clone();
    assert_eq!(out["code"], "plugin_quarantined", "{out}");
    assert_eq!(out["version"], "0.1.1");
    // What was said into the panic was not acknowledged, so it came again.
    eventually("what was said is stored", || async {
        let events = world.events().await;
        let said = events
            .iter()
            .filter(|event| text(event) == "into the panic");
        (said.count() == ACCOUNTS.len()).then_some(())
    })
    .await;
    world.bridge.hang_up();
    stays("the version before", json!(OWN), SOME_LOOKS, || async {
        used(&world.bridge)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_to_blame_without_another_fails_its_accounts_until_it_is_cleared() {
    let simulator = Simulator::start();
    let world = World::new(three(&simulator)).await;
    // Even while the configuration has a mistake.
    let mut bad = config(&world.nats, &json!({}));
    bad["nonsense"] = json!(1);
    world.bridge.files().configure(&bad);
    panic_everywhere(&world).await;
    for alias in ACCOUNTS {
        state(&world.bridge, alias, "failed").await;
        let account = world.bridge.account(&format!("sim/{alias}")).unwrap();
        assert_eq!(account["state"]["reason"], "adapter_faulty", "{account}");
        let error = account["state"]["error"]["message"].as_str().unwrap();
        assert!(error.contains("is quarantined since"), "{error}");
    }
    let out = world.bridge.status()["plugins"]["out_of_use"][0].clone();
    let sha256 = out["sha256"].as_str().unwrap();
    let metric = format!(
        r#"im_bridge_plugin_out_of_use{{provider="sim",version="{OWN}",sha256="{}",code="plugin_quarantined"}}"#,
        &sha256[..8]
    );
    assert_eq!(world.bridge.metric(&metric), Some(1.0));
    let good = config(&world.nats, &three(&simulator));
    world.bridge.files().configure(&good);
    world.bridge.hang_up();
    stays("nothing in use", Value::Null, SOME_LOOKS, || async {
        used(&world.bridge)
    })
    .await;
    let clear = control_plugin(&world.client, "clear", json!({ "sha256": &sha256[..8] })).await;
    assert_eq!(clear["data"]["status"], "ok", "{clear}");
    for alias in ACCOUNTS {
        serves(&world.bridge, alias, OWN).await;
    }
}
