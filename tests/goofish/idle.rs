//! What an idle account costs: memory of the process with few accounts and with many, all of them online.
//!
//! `IM_BRIDGE_IDLE_ACCOUNTS=500 cargo test -p im-bridge --test goofish idle -- --nocapture` prints it.

use crate::whole::{account, config, plugin, simulator};
use im_bridge_test_harness::{Bridge, Files, Nats, eventually_within};
use serde_json::{Value, json};
use std::time::Duration;

/// Accounts unless the environment says otherwise: enough to see a kibibyte each, few enough for every run.
const ACCOUNTS: usize = 60;
/// Accounts that are there before: what the first ones cost is the process.
const BEFORE: usize = 10;
const ONLINE_WITHIN: Duration = Duration::from_secs(240);
/// Of a build that is not optimised, without its kernel's part. A leak or a buffer per account is far above it.
const KIB_PER_ACCOUNT_MAX: f64 = 64.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_accounts_cost_little() {
    let count = std::env::var("IM_BRIDGE_IDLE_ACCOUNTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(ACCOUNTS);
    let (nats, simulator) = (Nats::start(), simulator());
    let accounts = |count: usize| -> Value {
        (0..count)
            .map(|n| {
                let mut one = account(&simulator, "0");
                one["cookies"] = json!({ "env": format!("COOKIES_{n}") });
                one["heartbeat_interval_ms"] = json!(10_000);
                (format!("a{n}"), one)
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let files = Files::new(
        env!("CARGO_BIN_EXE_im-bridge"),
        &config(&nats, &accounts(BEFORE)),
    );
    std::fs::copy(plugin(), files.plugins().join("libgoofish.so")).unwrap();
    let mut variables = vec![(
        "SEAL".to_owned(),
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned(),
    )];
    variables.extend((0..count + BEFORE).map(|n| {
        (
            format!("COOKIES_{n}"),
            format!("unb={}; cookie2=x", 3_000_000_000_u64 + n as u64),
        )
    }));
    let lent: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let bridge = Bridge::start_with(&files, "a", &lent);
    online(&bridge, BEFORE).await;
    let before = bridge.memory_kib();
    files.configure(&config(&nats, &accounts(count + BEFORE)));
    bridge.hang_up();
    online(&bridge, count + BEFORE).await;
    let after = bridge.memory_kib();
    let each = after.saturating_sub(before) as f64 / count as f64;
    println!("{count} idle accounts: {before} KiB before, {after} KiB after, {each:.1} KiB each");
    assert!(each < KIB_PER_ACCOUNT_MAX, "{each} KiB");
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
