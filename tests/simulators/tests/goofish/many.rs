//! Load: hundreds of accounts log in, and each hears what is said to it; a stream of messages through one conversation.

use crate::client::{A, B, CID, Provider, items};
use futures_util::future::join_all;
use im_bridge_test_harness::eventually;
use serde_json::{Value, json};
use std::time::Instant;

/// Below the 1 024 descriptors that many machines allow a process.
const ACCOUNTS: usize = 500;
const MESSAGES: usize = 20_000;

fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix("kB"));
    number.map_or(0, |number| number.trim().parse().unwrap())
}

#[tokio::test]
async fn five_hundred_accounts_log_in_and_each_hears_its_own() {
    let provider = Provider::start();
    let (start, before_kb) = (Instant::now(), resident_kb(provider.pid()));
    let uids: Vec<String> = (0..ACCOUNTS).map(|n| format!("30000{n:05}")).collect();
    let mut clients = join_all(uids.iter().map(|uid| provider.online(uid))).await;
    let online = start.elapsed();
    let kb = resident_kb(provider.pid()).saturating_sub(before_kb) / ACCOUNTS as u64;
    println!("{ACCOUNTS} accounts online in {online:?}, {kb} KiB each");
    for uid in &uids {
        let said = json!({ "from": A, "to": uid, "text": format!("to {uid}") });
        provider.act("say", said).await;
    }
    let heard = clients.iter_mut().map(|client| async {
        let push = client.push("/s/sync").await;
        client.acknowledge(&push).await;
    });
    join_all(heard).await;
    eventually("every acknowledgement", async || {
        let acks = provider.control.record(&["ack"]).await;
        (acks.len() == ACCOUNTS && acks.iter().all(|it| it["known"] == true)).then_some(())
    })
    .await;
    let state = provider.control.get("state").await;
    assert_eq!(state["sessions"].as_array().unwrap().len(), ACCOUNTS);
}

#[tokio::test]
async fn a_stream_of_messages_comes_in_order() {
    let provider = Provider::start();
    let mut a = provider.online(A).await;
    a.push("/s/vulcan").await;
    let start = Instant::now();
    let say = async {
        for _ in 0..MESSAGES / 500 {
            let many = json!({ "from": B, "cid": CID, "text": "m", "times": 500 });
            provider.act("say", many).await;
        }
    };
    let hear = async {
        let mut last: Option<Value> = None;
        for _ in 0..MESSAGES {
            let push = a.push("/s/sync").await;
            let package = &push["body"]["syncPushPackage"];
            let after = last
                .as_ref()
                .map_or(1, |last| last["endSeq"].as_u64().unwrap() + 1);
            // The hint was the first.
            assert_eq!(package["startSeq"].as_u64().unwrap(), after.max(2));
            assert_eq!(items(&push).len(), 1);
            last = Some(package.clone());
            a.acknowledge(&push).await;
        }
    };
    tokio::join!(say, hear);
    let took = start.elapsed();
    println!("{MESSAGES} messages in {took:?}");
}
