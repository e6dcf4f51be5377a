//! How much a bridge says while a provider is away.

use crate::world::World;
use im_bridge_test_harness::{Simulator, eventually, pause};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const ACCOUNTS: usize = 100;
/// Attempts at a session come closest together at first.
const OUTAGE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_once_for_each_account() {
    let simulator = Simulator::start();
    let accounts: Map<String, Value> = (0..ACCOUNTS)
        .map(|number| (format!("shop{number}"), json!({ "url": simulator.url() })))
        .collect();
    let mut world = World::new(json!({ "sim": accounts }), |config| {
        config["plugins"]["providers"]["sim"] =
            json!({ "start_per_s": 1000, "logins_per_minute": 10_000 });
    })
    .await;
    let before = world.bridge.log().len();
    drop(simulator);
    eventually("every account is off", || async {
        let states = world.bridge.status();
        let accounts = states["accounts"].as_array()?;
        let is_online = |it: &Value| it["state"]["state"] == "online";
        (!accounts.iter().any(is_online)).then_some(())
    })
    .await;
    pause(OUTAGE).await;
    let lines = world.bridge.log().split_off(before);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for line in &lines {
        let of = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let kind = format!("{} {} {}", of("target"), of("msg"), of("state"));
        *kinds.entry(kind).or_default() += 1;
        if of("msg") == "account" {
            let state = format!("{} {}", of("state"), of("reason"));
            let former = last.insert(of("account"), state.clone());
            assert_ne!(former, Some(state), "nothing changed: {line}");
        }
    }
    assert_eq!(last.len(), ACCOUNTS, "each outage is told: {kinds:#?}");
    // That it broke, and that it is tried again; attempts that fail as the one before did are counted elsewhere.
    assert!(
        lines.len() <= ACCOUNTS * 3,
        "{} lines: {kinds:#?}",
        lines.len()
    );
    let failures = r#"im_bridge_account_failures{provider="sim",account="shop0"}"#;
    assert!(world.metric(failures) >= 1.0);
    world.ended();
}
