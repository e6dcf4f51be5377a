//! Faults of the provider, of a bridge and of the bus: nothing lost, nothing twice, nothing sent twice.

use crate::whole::{CHAT, ME, PEER, Whole, message, start, texts};
use im_bridge_test_harness::eventually;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_at_the_provider_costs_nothing() {
    let whole = Whole::new().await;
    let mut wanted = Vec::new();
    let mut said = async |text: &str| {
        whole.say(text).await;
        wanted.push(text.to_owned());
    };
    let fault = async |fault: Value| {
        whole.control.act("fault", fault).await;
    };
    said("quiet").await;
    fault(json!({ "on": "push", "do": "cut", "of": "/s/sync", "uid": ME })).await;
    said("cut in the middle of its push").await;
    fault(json!({ "on": "request", "do": "cut", "of": "/reg", "uid": ME })).await;
    said("while the registration is cut").await;
    whole.state("ours", "online").await;
    fault(json!({ "on": "push", "do": "again", "of": "/s/sync", "uid": ME, "times": 3 })).await;
    said("pushed twice").await;
    whole
        .control
        .act("kick", json!({ "uid": ME, "how": "half_open" }))
        .await;
    said("into a half-open socket").await;
    whole
        .control
        .act("expire", json!({ "what": "access", "uid": ME }))
        .await;
    whole
        .control
        .act("kick", json!({ "uid": ME, "how": "unauthorized" }))
        .await;
    said("while the token is over").await;
    whole
        .control
        .act("push", json!({ "to": ME, "text": "{ this is no JSON" }))
        .await;
    whole
        .control
        .act(
            "push",
            json!({ "to": ME, "items": [{ "data": "%%%%" }, { "data": "wQ==" }] }),
        )
        .await;
    said("behind what is none").await;
    let long = format!("{}!", "x".repeat(1_000_000));
    whole
        .control
        .act(
            "say",
            json!({ "from": PEER, "cid": CHAT, "text": long, "summary": "long" }),
        )
        .await;
    eventually("the long one", || async {
        let messages = whole.events("ours", "message.created").await;
        messages
            .into_iter()
            .find(|event| event["dataref"].is_string())
    })
    .await;
    whole.say("end").await;
    eventually("the end", || async {
        let messages = whole.events("ours", "message.created").await;
        messages
            .last()
            .filter(|event| event["data"]["message"]["alt_text"] == "end")
            .map(|_| ())
    })
    .await;
    let all = whole.events("ours", "message.created").await;
    let short: Vec<Value> = all
        .iter()
        .filter(|event| event["dataref"].is_null())
        .cloned()
        .collect();
    wanted.push("end".to_owned());
    assert_eq!(texts(&short), wanted);
    assert_eq!(all.len(), wanted.len() + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_verified_and_the_message_sent_once() {
    let whole = Whole::new().await;
    for (number, what) in ["withhold", "ignore", "cut", "drop"]
        .into_iter()
        .enumerate()
    {
        let key = format!("lost-{number}");
        let fault = json!({ "on": "request", "do": what, "of": "/r/MessageSend/sendByReceiverScope", "uid": ME });
        whole.control.act("fault", fault).await;
        whole
            .command(
                "ours",
                "message.send",
                &message(&key, &format!("by {what}")),
            )
            .await;
        let result = whole.result(&key).await;
        let sent = whole.control.record(&["sent"]).await;
        assert_eq!(result["data"]["status"], "ok", "{what}: {result}");
        assert_eq!(sent.len(), number + 1, "{what}: {sent:?}");
        assert_eq!(
            result["data"]["result"]["message"]["id"], sent[number]["id"],
            "{what}"
        );
    }
    let echoes = whole.wait_events("ours", "message.created", 4).await;
    let references: Vec<&str> = echoes
        .iter()
        .filter_map(|echo| echo["clientref"].as_str())
        .collect();
    assert_eq!(references, ["lost-0", "lost-1", "lost-2", "lost-3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_bridge_goes_on_where_it_was() {
    let mut whole = Whole::new().await;
    whole
        .control
        .act("settings", json!({ "replay": false }))
        .await;
    let mut wanted: Vec<String> = (0..20).map(|n| format!("before {n}")).collect();
    for text in &wanted {
        whole.say(text).await;
    }
    whole.wait_texts(&wanted).await;
    whole.bridge.kill();
    for n in 0..60 {
        let text = format!("missed {n}");
        whole.say(&text).await;
        wanted.push(text);
    }
    let calls = whole.control.record(&["mtop"]).await.len();
    whole.bridge = start(&whole.files, "a");
    whole.state("ours", "online").await;
    whole.say("after").await;
    wanted.push("after".to_owned());
    whole.wait_texts(&wanted).await;
    // Token and cookies were kept sealed: nobody logged in again.
    assert_eq!(whole.control.record(&["mtop"]).await.len(), calls);
    let last = whole.events("ours", "message.created").await;
    assert_eq!(last[20]["delivery"], "backfill");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_goes_away_loses_nothing() {
    let mut whole = Whole::new().await;
    let mut wanted = Vec::new();
    for round in 0..2 {
        for n in 0..10 {
            let text = format!("{round} up {n}");
            whole.say(&text).await;
            wanted.push(text);
        }
        whole.nats.kill();
        for n in 0..10 {
            let text = format!("{round} down {n}");
            whole.say(&text).await;
            wanted.push(text);
        }
        whole.nats.restart();
        whole.client = async_nats::connect(whole.nats.url()).await.unwrap();
        eventually("everything so far", || async {
            let seen = whole.events("ours", "message.created").await;
            (seen.len() >= wanted.len()).then_some(())
        })
        .await;
    }
    let mut seen = texts(&whole.events("ours", "message.created").await);
    assert_eq!(seen.len(), wanted.len(), "nothing twice");
    seen.sort();
    wanted.sort();
    assert_eq!(seen, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_takes_over() {
    let mut whole = Whole::new().await;
    whole.say("first").await;
    whole.wait_texts(&["first".to_owned()]).await;
    let second = start(&whole.files, "b");
    whole.bridge.terminate();
    whole.say("between").await;
    assert!(whole.bridge.ended(Duration::from_secs(30)).is_some());
    whole.bridge = second;
    whole.state("ours", "online").await;
    whole.say("second").await;
    whole
        .wait_texts(&[
            "first".to_owned(),
            "between".to_owned(),
            "second".to_owned(),
        ])
        .await;
}
