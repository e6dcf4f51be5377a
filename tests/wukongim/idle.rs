//! Memory of idle accounts, printed: `IM_BRIDGE_ACCOUNTS=500 cargo test -p im-bridge --test wukongim idle -- --nocapture`.

use crate::world::{Way, World, account};
use im_bridge_test_harness::eventually_within;
use serde_json::{Value, json};
use std::time::Duration;

const ACCOUNTS: usize = 20;
const ONLINE_WITHIN: Duration = Duration::from_secs(120);

/// Without the API there is no HTTP client, so that what that costs is told apart.
async fn memory_kib(accounts: usize, way: Way, has_api: bool) -> u64 {
    let world = World::starting(json!({}), |simulator| {
        let all = (0..accounts).map(|number| {
            let uid = format!("bot-{number}");
            let mut account = account(simulator, &uid, way);
            if !has_api {
                account.as_object_mut().unwrap().remove("native");
            }
            (format!("bot{number}"), account)
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
    for (way, has_api) in [
        (Way::WebSocket, true),
        (Way::WebSocket, false),
        (Way::Tcp, false),
    ] {
        let one = memory_kib(1, way, has_api).await;
        let all = memory_kib(accounts, way, has_api).await;
        let each = all.saturating_sub(one) / (accounts as u64 - 1);
        let with = if has_api { "with" } else { "without" };
        println!(
            "IDLE {way:?} {with} the API: {one} KiB with one account, {each} KiB for each further one of {accounts}"
        );
    }
}
