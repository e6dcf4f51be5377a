//! A thousand accounts whose provider makes up names: what a scraper has to keep stays as small as it is documented.

use crate::world::{config, files};
use im_bridge::telemetry::metrics::{ACCOUNTS_MAX, Metric, Type};
use im_bridge_test_harness::{Bridge, Nats, eventually_within};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// More than have series of their own.
const ACCOUNTS: usize = ACCOUNTS_MAX + 10;
/// Operations, kinds and channels of each account that no other has.
const NAMES: usize = 4;
/// A thousand accounts begin, on a busy machine.
const WITHIN: Duration = Duration::from_secs(240);

/// Series by metric, those of a histogram once for each of its buckets.
fn series(text: &str) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(rest) = line.strip_prefix("im_bridge_") else {
            continue;
        };
        let name = rest.split(['{', ' ']).next().unwrap();
        let base = |info: &im_bridge::telemetry::metrics::Info| {
            name == info.name
                || (info.kind == Type::Histogram
                    && ["_bucket", "_sum", "_count"]
                        .iter()
                        .any(|end| name.strip_suffix(end) == Some(info.name)))
        };
        let mut all = Metric::ALL.iter().map(|metric| metric.info());
        let info = all.find(base).unwrap_or_else(|| panic!("{line}"));
        *counts.entry(info.name).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_accounts_with_odd_names_stay_below_the_documented_bound() {
    let nats = Nats::start();
    let accounts: Map<String, Value> = (0..ACCOUNTS)
        .map(|number| {
            let script = format!("strange|{NAMES}");
            (format!("shop{number:04}"), json!({ "script": script }))
        })
        .collect();
    let mut config = config(&nats, "", &json!({ "c-poller": accounts }));
    config["plugins"]["providers"]["c-poller"] =
        json!({ "start_per_s": 1000, "logins_per_minute": 10_000 });
    let room = json!({ "max_mib": 64 });
    config["nats"]["events"] = room.clone();
    config["nats"]["dead_letters"] = room;
    let bridge = Bridge::start(&files(&config), "a");
    let all = u32::try_from(ACCOUNTS * NAMES).unwrap();
    let operations = r#"im_bridge_operations_total{provider="c-poller",operation="other",noise="aux",outcome="ok"}"#;
    let rejected = r#"im_bridge_events_total{provider="c-poller",kind="other",outcome="rejected"}"#;
    eventually_within(WITHIN, "everything was reported", || async {
        let is_all = |series| bridge.metric(series).is_some_and(|it| it >= f64::from(all));
        (is_all(operations) && is_all(rejected)).then_some(())
    })
    .await;

    let text = bridge.get("/metrics").1;
    assert!(!text.contains("evil"), "what a provider says is no label");
    assert!(text.contains("account=\"other\""));
    let overflow = r#"im_bridge_metrics_overflow_total{metric="account_state"}"#;
    assert!(bridge.metric(overflow).is_some_and(|count| count >= 10.0));
    let (mut of_accounts, mut others) = (0, 0);
    for (name, count) in series(&text) {
        let metric = Metric::ALL.iter().find(|it| it.info().name == name);
        let info = metric.unwrap().info();
        let is_of_accounts = info.labels.contains(&"account");
        let each = match info.kind {
            // Buckets, the one beyond, sum and count.
            Type::Histogram => im_bridge::telemetry::histogram::LATENCY_S.len() + 3,
            Type::Counter | Type::Gauge => 1,
        };
        let accounts = if is_of_accounts { ACCOUNTS_MAX + 1 } else { 1 };
        let most = info.series_max() * each * accounts;
        assert!(count <= most, "{name}: {count} series, {most} at most");
        *if is_of_accounts {
            &mut of_accounts
        } else {
            &mut others
        } += count;
    }
    // As the documents have it for operators: 12,000 and 60 for each account beyond a hundred.
    assert!(others < 12_000, "{others}");
    assert!(of_accounts < 60 * (ACCOUNTS_MAX + 1), "{of_accounts}");
    let told = format!(
        "{} series, {of_accounts} of them of accounts",
        others + of_accounts
    );
    println!("{told}");
    // A scrape of a thousand accounts.
    assert!(text.len() < 4 << 20, "{} bytes", text.len());
}
