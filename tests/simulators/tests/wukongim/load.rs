//! Load: the simulator says more than an adapter must bear, loses nothing, and many connections are cheap.

use crate::peer::{Peer, connect, group, started};
use im_bridge_test_harness::{Control, eventually};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Instant;

const MESSAGES: usize = 20_000;
/// Below the 1 024 descriptors that many machines allow a process.
const CONNECTIONS: usize = 400;

async fn all_acknowledged(control: &Control, count: usize) {
    eventually("all acknowledged", || async {
        let summary = control.get("summary").await;
        let is_done = summary["recvacks"] == count && summary["unacked"] == 0;
        is_done.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_arrives_once_in_order_and_is_acknowledged() {
    for encryption in [false, true] {
        let simulator = started(&json!({ "encryption": encryption }));
        let control = simulator.control();
        group(&simulator, "team", &["a", "b", "bot"]).await;
        let mut bot = Peer::login(&simulator, "tcp", &connect("bot", 5)).await;
        let begun = Instant::now();
        let flood = json!({
            "from": ["a", "b"], "channels": [{ "channel_id": "team", "channel_type": 2 }],
            "count": MESSAGES, "rate_per_s": 1e6,
        });
        control.act("flood", flood).await;
        let mut ids = BTreeSet::new();
        for seq in 1..=u64::try_from(MESSAGES).unwrap() {
            let heard = bot.next().await;
            let Some(crate::codec::packets::Packet::Recv(heard)) = heard else {
                panic!("{heard:?}");
            };
            assert_eq!(heard.message_seq, seq);
            assert!(ids.insert(heard.message_id));
            bot.ack(&heard).await;
        }
        all_acknowledged(&control, MESSAGES).await;
        let per_s = f64::from(u32::try_from(MESSAGES).unwrap()) / begun.elapsed().as_secs_f64();
        println!("encryption {encryption}: {per_s:.0} messages/s acknowledged");
        let floods = control.get("flood").await;
        assert_eq!(floods["floods"][0]["sent"], MESSAGES);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_hear_of_a_group() {
    let simulator = started(&json!({ "encryption": false }));
    let control = simulator.control();
    let names: Vec<String> = (0..CONNECTIONS).map(|it| format!("u{it}")).collect();
    let members: Vec<&str> = names.iter().map(String::as_str).collect();
    group(&simulator, "all", &members).await;
    let peers = names.iter().enumerate().map(|(it, name)| {
        let transport = if it % 2 == 0 { "tcp" } else { "ws" };
        let simulator = &simulator;
        async move { Peer::login(simulator, transport, &connect(name, 5)).await }
    });
    let peers = futures_util::future::join_all(peers).await;
    let said = json!({
        "from": "u0", "channel_id": "all", "channel_type": 2, "text": "a", "times": 5,
    });
    control.act("send", said).await;
    let heard = peers.into_iter().map(|mut peer| async move {
        for seq in 1..=5 {
            let heard = peer.recv().await;
            assert_eq!(heard.message_seq, seq);
            peer.ack(&heard).await;
        }
        peer
    });
    let _peers = futures_util::future::join_all(heard).await;
    all_acknowledged(&control, 5 * CONNECTIONS).await;
}
