//! What reaches whom: replay by place in time, acknowledgements, redelivery, the other kinds of items.

use crate::client::{A, B, CID, Client, Provider, SEND, items, message, says};
use im_bridge_test_harness::eventually;
use serde_json::{Value, json};

async fn ack_diff(client: &mut Client, pts: u64) {
    let body = json!([{
        "pipeline": "sync", "tooLong2Tag": "PNM,1", "channel": "sync", "topic": "sync",
        "highPts": 0, "pts": pts, "seq": 0, "timestamp": pts / 1000,
    }]);
    assert_eq!(client.ask("/r/SyncStatus/ackDiff", body).await["code"], 200);
}

async fn registered(provider: &Provider, uid: &str) -> Client {
    let token = provider.token(uid, "d").await;
    let mut client = Client::connect(&provider.ws).await;
    assert_eq!(client.register(&token, "d").await["code"], 200);
    client
}

fn count(heard: &[Value]) -> usize {
    heard.iter().map(|push| items(push).len()).sum()
}

#[tokio::test]
async fn pushes_flow_only_after_ack_diff_and_from_the_place_it_names() {
    let provider = Provider::start();
    provider.act("settings", json!({ "hints": false })).await;
    provider.say(B, "before").await;
    let mut a = registered(&provider, A).await;
    let state = a
        .ask("/r/SyncStatus/getState", json!([{ "topic": "sync" }]))
        .await;
    let pts = state["body"]["pts"].as_u64().unwrap();
    provider.say(B, "between").await;
    assert!(a.heard().await.is_empty());
    ack_diff(&mut a, pts).await;
    let heard = a.heard().await;
    assert_eq!(count(&heard), 1);
    assert!(says(&heard[0], "between"));
    let seen = heard[0]["body"]["syncPushPackage"]["maxPts"]
        .as_u64()
        .unwrap();

    // The last one seen brings what came after it; zero brings everything; now brings nothing.
    drop(a);
    let many = json!({ "from": B, "cid": CID, "text": "away", "times": 45 });
    provider.act("say", many).await;
    for (pts, expected) in [(seen, 45), (0, 47), (u64::MAX >> 12, 0)] {
        let mut a = registered(&provider, A).await;
        ack_diff(&mut a, pts).await;
        let heard = a.heard().await;
        assert_eq!(count(&heard), expected, "{pts}");
        assert!(heard.iter().all(|push| items(push).len() <= 20));
    }
    // Also from the middle of what was missed: a push's place is that of its last item.
    let mut a = registered(&provider, A).await;
    ack_diff(&mut a, seen).await;
    let first = a.push("/s/sync").await;
    let mut a = registered(&provider, A).await;
    let place = first["body"]["syncPushPackage"]["maxPts"].as_u64().unwrap();
    ack_diff(&mut a, place).await;
    assert_eq!(count(&a.heard().await), 45 - items(&first).len());
    provider.act("settings", json!({ "replay": false })).await;
    let mut a = registered(&provider, A).await;
    ack_diff(&mut a, 0).await;
    assert!(a.heard().await.is_empty());
}

#[tokio::test]
async fn who_asks_for_everything_is_told_a_place_before_it() {
    let provider = Provider::start();
    provider.say(B, "first").await;
    let mut a = registered(&provider, A).await;
    ack_diff(&mut a, 0).await;
    let place = |push: &Value| {
        let package = &push["body"]["syncPushPackage"];
        package["maxPts"].as_u64().unwrap()
    };
    let hints = place(&a.push("/s/vulcan").await);
    assert!(hints > 0 && hints < place(&a.push("/s/sync").await));
    // Kept as the place to go on from, it loses nothing.
    let mut a = registered(&provider, A).await;
    ack_diff(&mut a, hints).await;
    a.push("/s/vulcan").await;
    assert!(says(&a.push("/s/sync").await, "first"));
}

#[tokio::test]
async fn people_have_ids_of_any_length_and_the_smaller_number_stands_first() {
    let provider = Provider::start();
    let (short, long) = ("999", "2200000000001");
    let mut a = provider.online(short).await;
    let mut b = provider.online(long).await;
    let pair = json!([{
        "pairFirst": format!("{short}@goofish"), "pairSecond": format!("{long}@goofish"), "bizType": "1",
        "extension": { "itemId": "5", "orderId": "", "source": "" },
        "ctx": { "appVersion": "1.0", "platform": "web" },
    }]);
    let made = a.ask("/r/SingleChatConversation/create", pair).await;
    let one = &made["body"]["singleChatConversation"];
    assert_eq!(one["pairFirst"], format!("{short}@goofish"), "{made}");
    let said = json!({ "from": short, "to": long, "item": "5", "text": "hi" });
    provider.act("say", said).await;
    assert!(says(&b.push("/s/sync").await, "hi"));
}

#[tokio::test]
async fn a_place_that_is_forgotten_is_told_as_a_gap() {
    let provider = Provider::start();
    let mut a = provider.online(A).await;
    provider.say(B, "seen").await;
    let seen = a.push("/s/sync").await["body"]["syncPushPackage"]["maxPts"]
        .as_u64()
        .unwrap();
    drop(a);
    let many = json!({ "from": B, "cid": CID, "text": "m", "times": 6000, "together": true });
    provider.act("say", many).await;
    let mut a = registered(&provider, A).await;
    ack_diff(&mut a, seen).await;
    let first = a.push("/s/sync").await;
    assert_eq!(first["body"]["syncExtraType"]["type"], 1);
    assert!(a.push("/s/sync").await["body"]["syncExtraType"].is_null());
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_when_told() {
    let provider = Provider::start();
    let mut a = provider.online(A).await;
    provider.say(B, "acknowledged").await;
    provider.say(B, "open").await;
    let push = a.push("/s/sync").await;
    a.acknowledge(&push).await;
    let few = json!({ "code": 200, "headers": { "mid": push["headers"]["mid"] } });
    a.raw(&few.to_string()).await;
    a.heard().await;
    let acks = provider.control.record(&["ack"]).await;
    assert_eq!(
        (&acks[0]["known"], &acks[0]["headers"]),
        (&json!(true), &json!("all"))
    );
    assert_eq!(
        (&acks[1]["known"], &acks[1]["headers"]),
        (&json!(false), &json!("some"))
    );
    provider.act("redeliver", json!({ "uid": A })).await;
    let heard = a.heard().await;
    let sync: Vec<_> = heard.iter().filter(|it| it["lwp"] == "/s/sync").collect();
    assert!(sync.iter().any(|it| says(it, "open")));
    assert!(!sync.iter().any(|it| says(it, "acknowledged")));
    // As a setting: in the next session, though it says that it is synchronised.
    provider.act("settings", json!({ "redeliver": true })).await;
    drop(a);
    let mut a = provider.online(A).await;
    let heard = a.heard().await;
    assert!(heard.iter().any(|it| says(it, "open")));
}

#[tokio::test]
async fn each_kind_comes_on_its_path() {
    let provider = Provider::start();
    let mut a = provider.online(A).await;
    let hints = a.push("/s/vulcan").await;
    assert_eq!(hints["body"]["syncExtraType"]["type"], 3);
    assert_eq!(hints["body"]["syncExtensionModel"]["reconnectType"], 1);
    assert_eq!(items(&hints)[0]["bizType"], 370);
    provider
        .act("typing", json!({ "from": B, "cid": CID }))
        .await;
    let typing = a.push("/s/para").await;
    assert_eq!(items(&typing)[0]["objectType"], 40_006);
    assert_eq!(items(&typing)[0]["syncId"], "");
    assert_eq!(typing["body"]["syncExtensionModel"], json!({}));
    assert_eq!(typing["body"]["syncPushPackage"]["startSeq"], 0);
    provider
        .act(
            "order",
            json!({ "to": A, "cid": CID, "reminder": "等待卖家发货" }),
        )
        .await;
    assert!(says(&a.push("/s/sync").await, "等待卖家发货"));
    provider.act("hint", json!({ "to": A, "cid": CID })).await;
    assert_eq!(items(&a.push("/s/sync").await)[0]["objectType"], 370_000);
    let card = json!({ "contentType": 26, "tradeCard": { "title": "t" } });
    let summary = "[我已付款，等待你发货]";
    let said =
        json!({ "from": B, "cid": CID, "content": card, "summary": summary, "title": "交易" });
    provider.act("say", said).await;
    let trade = a.push("/s/sync").await;
    assert!(says(&trade, summary) && says(&trade, "交易"));
    let id = provider.say(B, "gone").await;
    a.push("/s/sync").await;
    let raw = json!({ "pack": { "1": "recalled?" }, "object_type": 40_999 });
    provider
        .act("recall", json!({ "message_id": id, "item": raw }))
        .await;
    assert_eq!(items(&a.push("/s/sync").await)[0]["objectType"], 40_999);
    let read = json!({ "by": B, "message_ids": [] });
    provider.act("read", read).await;
    assert!(a.heard().await.is_empty());
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_off_and_can_catch_up() {
    let provider = Provider::start();
    let mut a = provider.online(A).await;
    a.heard().await;
    eventually(
        "more than the socket's buffers and the queue hold",
        async || {
            let many = json!({ "from": B, "cid": CID, "text": "unread", "times": 1000 });
            provider.act("say", many).await;
            (provider.ended().await == ["overflow"]).then_some(())
        },
    )
    .await;
    let mut a = provider.online(A).await;
    assert_eq!(a.ask("/!", Value::Null).await["code"], 200);
}

#[tokio::test]
async fn a_client_that_reads_nothing_can_be_dropped() {
    let provider = Provider::start();
    let mut a = provider.online(A).await;
    a.heard().await;
    // The socket takes the first of these, more than half of the queue stays.
    let many = json!({ "from": B, "cid": CID, "text": "unread", "times": 8000 });
    provider.act("say", many).await;
    provider
        .act("kick", json!({ "uid": A, "how": "drop" }))
        .await;
    eventually("its end", async || {
        (provider.ended().await == ["drop"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_sessions_of_an_account_hear_the_same() {
    let provider = Provider::start();
    let (mut one, mut two) = (provider.online(A).await, provider.online(A).await);
    let mid = one.send(SEND, message("from one")).await;
    one.answer(&mid).await;
    for session in [&mut one, &mut two] {
        assert!(says(&session.push("/s/sync").await, "from one"));
    }
    drop(two);
    eventually("one session", async || {
        let state = provider.control.get("state").await;
        (state["sessions"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
}
