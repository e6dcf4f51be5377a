//! Memory of idle accounts, printed: `IM_BRIDGE_ACCOUNTS=500 cargo test -p im-bridge --test wukongim idle -- --nocapture`.

use crate::world::{Way, World, account};
use im_bridge_test_harness::eventually_within;
use serde_json::{Value, json};
use std::time::Duration;

const ACCOUNTS: usize = 20;
const ONLINE_WITHIN: Duration = Duration::from_secs(120);

async fn memory_kib(accounts: usize, way: Way) -> u64 {
    let world = World::starting(json!({}), |simulator| {
        let all = (0..accounts).map(|number| {
            let uid = format!("bot-{number}");
            (format!("bot{number}"), account(simulator, &uid, way))
        });
        Value::Object(all.collect())
    })
    .await;
    eventually_within(ONLINE_WITHIN, "all are online", || async {
        let status = world.bridge.status();
        let all = status["accounts"].as_array()?;
        let online = all.iter().filter(|it| it["state"]["state"] == "online");
        (online.count() == accounts).then_some(())
    })
    .await;
    world.bridge.memory_kib()
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_accounts_are_online_and_their_memory_is_told() {
    let accounts = std::env::var("IM_BRIDGE_ACCOUNTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(ACCOUNTS);
    for way in [Way::WebSocket, Way::Tcp] {
        let one = memory_kib(1, way).await;
        let all = memory_kib(accounts, way).await;
        let each = all.saturating_sub(one) / (accounts as u64 - 1);
        println!(
            "IDLE {way:?}: {one} KiB with one account, {each} KiB for each further one of {accounts}"
        );
    }
}
