//! What an idle account costs: memory of the process with few accounts and with many, all of them online, beside the same
//! of sim's, whose share is the bridge's own.
//!
//! `IM_BRIDGE_IDLE_ACCOUNTS=500 cargo test -p im-bridge --test goofish idle -- --nocapture` prints it.

use crate::whole::{account, config, plugin, simulator};
use im_bridge_test_harness::{Bridge, Files, Nats, Simulator, eventually_within};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Accounts unless the environment says otherwise: enough to see a kibibyte each, few enough for every run.
const ACCOUNTS: usize = 60;
/// Accounts that are there before: what the first ones cost is the process.
const BEFORE: usize = 10;
const ONLINE_WITHIN: Duration = Duration::from_secs(240);
/// Above what an account of sim costs, in a build that is not optimised. Wide: what the allocator keeps differs by run.
const KIB_MORE_MAX: f64 = 100.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_accounts_cost_little() {
    let count = std::env::var("IM_BRIDGE_IDLE_ACCOUNTS").ok();
    let count = count.and_then(|text| text.parse().ok()).unwrap_or(ACCOUNTS);
    let sim = Simulator::start();
    let of_sim = |_| json!({ "url": sim.url(), "world": "idle" });
    let floor = measured("sim", count, of_sim).await;
    let goofish = simulator();
    let of_goofish = |n: usize| {
        let mut one = account(&goofish, &uid(n));
        one["heartbeat_interval_ms"] = json!(10_000);
        one
    };
    let each = measured("goofish", count, of_goofish).await;
    assert!(each < floor + KIB_MORE_MAX, "{each} KiB, sim's {floor} KiB");
}

fn uid(n: usize) -> String {
    format!("3{n:09}")
}

/// KiB of each account beyond the first ones.
async fn measured(provider: &str, count: usize, account: impl Fn(usize) -> Value) -> f64 {
    let nats = Nats::start();
    let configured = |count: usize| -> Value {
        let accounts: Map<String, Value> =
            (0..count).map(|n| (format!("a{n}"), account(n))).collect();
        let mut config = config(&nats, &Value::Null);
        let pace = json!({ "start_per_s": 1_000, "logins_per_minute": 10_000 });
        config["plugins"]["providers"] = json!({ provider: pace });
        config["accounts"] = json!({ provider: accounts });
        config
    };
    let files = Files::new(env!("CARGO_BIN_EXE_im-bridge"), &configured(BEFORE));
    std::fs::copy(plugin(), files.plugins().join("libgoofish.so")).unwrap();
    let cookies = (0..count + BEFORE).map(|n| {
        (
            format!("COOKIES_{}", uid(n)),
            format!("unb={}; cookie2=x", uid(n)),
        )
    });
    let variables: Vec<(String, String)> = cookies
        .chain([("SEAL".to_owned(), crate::whole::SEAL.to_owned())])
        .collect();
    let lent: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let bridge = Bridge::start_with(&files, "a", &lent);
    online(&bridge, BEFORE).await;
    let before = bridge.memory_kib();
    files.configure(&configured(count + BEFORE));
    bridge.hang_up();
    online(&bridge, count + BEFORE).await;
    let after = bridge.memory_kib();
    let more = u32::try_from(after.saturating_sub(before)).unwrap();
    let each = f64::from(more) / f64::from(u32::try_from(count).unwrap());
    println!(
        "{count} idle accounts of {provider}: {before} KiB before, {after} KiB after, {each:.1} KiB each"
    );
    each
}

async fn online(bridge: &Bridge, wanted: usize) {
    eventually_within(
        ONLINE_WITHIN,
        &format!("{wanted} accounts are online"),
        || async {
            let status = bridge.status();
            let accounts = status["accounts"].as_array()?;
            let is_online = |account: &&Value| account["state"]["state"] == "online";
            (accounts.iter().filter(is_online).count() == wanted).then_some(())
        },
    )
    .await;
}
