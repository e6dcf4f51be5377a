//! Registration and requests: what is refused, and what a good one does.

use crate::client::{A, B, CID, Client, Next, Provider, SEND, items, message, message_of, says};
use im_bridge_test_harness::eventually;
use serde_json::{Value, json};

fn reason(answer: &Value) -> (u64, &str) {
    (
        answer["code"].as_u64().unwrap(),
        answer["body"]["reason"].as_str().unwrap_or_default(),
    )
}

#[tokio::test]
async fn a_token_registers_only_what_it_was_asked_for() {
    let provider = Provider::start();
    let token = provider.token(A, "device-1").await;
    let mut client = Client::connect(&provider.ws).await;
    let no = client.register(&token, "device-2").await;
    assert_eq!(reason(&no), (401, "device id or appkey is not equal"));
    assert_eq!(
        reason(&client.register("nobody’s", "device-1").await),
        (401, "invalid token")
    );
    assert_eq!(client.ask(SEND, message("early")).await["code"], 401);
    assert_eq!(client.register(&token, "device-1").await["code"], 200);
    // Also on another connection, until it is too old.
    let mut other = Client::connect(&provider.ws).await;
    assert_eq!(other.register(&token, "device-1").await["code"], 200);
    provider.act("expire", json!({ "what": "access" })).await;
    assert_eq!(
        reason(&client.register(&token, "device-1").await),
        (401, "token is expired")
    );
}

#[tokio::test]
async fn sessions_of_an_account_are_limited_or_replaced() {
    let provider = Provider::start();
    provider
        .act("settings", json!({ "connections_per_account": 1 }))
        .await;
    let mut first = provider.online(A).await;
    let token = provider.token(A, "device-1000000001").await;
    let mut second = Client::connect(&provider.ws).await;
    let no = second.register(&token, "device-1000000001").await;
    assert!(reason(&no).1.starts_with("connect limit"), "{no}");
    provider
        .act("settings", json!({ "same_device": "replace" }))
        .await;
    assert_eq!(
        second.register(&token, "device-1000000001").await["code"],
        200
    );
    loop {
        match first.next().await {
            Next::Frame(_) => {}
            other => break assert_eq!(other, Next::Closed(1000)),
        }
    }
    let ended = eventually("its end", async || provider.ended().await.pop()).await;
    assert_eq!(ended, "replaced");
}

#[tokio::test]
async fn frames_that_are_none_are_refused_and_the_session_lives() {
    let provider = Provider::start();
    let mut client = provider.online(A).await;
    client.heard().await;
    for frame in [
        "{",
        "[]",
        "\u{0}",
        "{\"headers\":{}}",
        "{\"lwp\":\"/r/Conversation/x\"}",
    ] {
        client.raw(frame).await;
        let Next::Frame(answer) = client.next().await else {
            panic!("{frame}");
        };
        assert_eq!(answer["code"], 400, "{frame}: {answer}");
    }
    let no = client.ask("/r/Nothing/here", json!([])).await;
    assert_eq!(no["code"], 404);
    assert_eq!(client.ask("/!", Value::Null).await["code"], 200);
    assert_eq!(provider.control.record(&["refused"]).await.len(), 6);
}

#[tokio::test]
async fn sends_are_checked_whole() {
    let provider = Provider::start();
    let mut client = provider.online(A).await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = message("x");
        change(&mut body);
        body
    };
    for (body, expected) in [
        (
            with(&|it| it[0]["cid"] = "30000000001".into()),
            "is no conversation id",
        ),
        (
            with(&|it| it[0]["cid"] = "39999999999@goofish".into()),
            "no conversation",
        ),
        (
            with(&|it| it[0]["conversationType"] = 2.into()),
            "`conversationType`",
        ),
        (
            with(&|it| it[0]["content"]["contentType"] = 1.into()),
            "`content.contentType`",
        ),
        (
            with(&|it| it[0]["content"]["custom"]["type"] = 3.into()),
            "`custom.type`",
        ),
        (
            with(&|it| it[0]["content"]["custom"]["data"] = "e30".into()),
            "padded base64",
        ),
        (with(&|it| it[0]["uuid"] = Value::Null), "`uuid`"),
        (with(&|it| it[1] = json!({})), "`actualReceivers`"),
        (
            with(&|it| it[1]["actualReceivers"][0] = "1000000001".into()),
            "`actualReceivers`",
        ),
        (
            with(&|it| it[1]["actualReceivers"][0] = "1000000009@goofish".into()),
            "is no member",
        ),
        (json!([message("x")[0]]), "two objects"),
        (json!({ "message": 1 }), "two objects"),
        (message_of("{}"), "padded base64 of JSON with `contentType`"),
        (
            message_of("{\"contentType\":1,\"text\":{\"text\":\"\"}}"),
            "`text.text`",
        ),
        (
            message_of("{\"contentType\":2,\"image\":{\"pics\":[]}}"),
            "`image.pics`",
        ),
    ] {
        let no = client.ask(SEND, body.clone()).await;
        let (code, why) = reason(&no);
        assert!(
            code == 400 && why.contains(expected),
            "{expected}: {no} for {body}"
        );
    }
    assert_eq!(provider.sent().await, [] as [String; 0]);
    // A third person's conversation is none of this one's.
    provider
        .act("conversation", json!({ "a": B, "b": "1000000003" }))
        .await;
    let mut stranger = provider.online("1000000003").await;
    assert!(
        reason(&stranger.ask(SEND, message("x")).await)
            .1
            .contains("no conversation")
    );
}

#[tokio::test]
async fn a_send_is_answered_then_echoed_and_told_to_the_peer() {
    let provider = Provider::start();
    let (mut a, mut b) = (provider.online(A).await, provider.online(B).await);
    let mid = a.send_text("你好").await;
    let answer = a.answer(&mid).await;
    let echo = a.push("/s/sync").await;
    let told = b.push("/s/sync").await;
    for push in [&echo, &told] {
        let id = answer["body"]["messageId"].as_str().unwrap();
        assert!(says(push, "你好") && says(push, id) && says(push, "1000000001@goofish"));
        assert!(
            push["body"]["syncPushPackage"]["startSeq"]
                .as_u64()
                .unwrap()
                >= 1
        );
    }
    // As MessagePack has them: the length of a short text is in the byte before it.
    assert!(says(&echo, b"needPush\xa5false") && says(&told, b"needPush\xa4true"));
    provider.act("settings", json!({ "echo": "before" })).await;
    a.heard().await;
    a.send_text("second").await;
    let Next::Frame(first) = a.next().await else {
        panic!("nothing");
    };
    assert!(says(&first, "second"));
    provider.act("settings", json!({ "echo": "none" })).await;
    a.heard().await;
    let mid = a.send_text("third").await;
    a.answer(&mid).await;
    assert!(a.heard().await.is_empty());
}

#[tokio::test]
async fn dedupe_by_uuid_is_a_setting() {
    let provider = Provider::start();
    let mut a = provider.online(A).await;
    let first = a.ask(SEND, message("once")).await;
    let second = a.ask(SEND, message("once")).await;
    assert_ne!(first["body"]["messageId"], second["body"]["messageId"]);
    provider
        .act("settings", json!({ "dedupe_uuid": true }))
        .await;
    let third = a.ask(SEND, message("once")).await;
    assert_eq!(second["body"]["messageId"], third["body"]["messageId"]);
    assert_eq!(provider.sent().await.len(), 2);
}

#[tokio::test]
async fn lists_and_histories_page_without_a_loss() {
    let provider = Provider::start();
    for n in 0..7 {
        let peer = format!("20000001{n:02}");
        provider
            .act("conversation", json!({ "a": A, "b": peer }))
            .await;
        provider
            .act(
                "say",
                json!({ "from": peer, "to": A, "text": "hi", "forget": true }),
            )
            .await;
    }
    let said = json!({ "from": B, "cid": CID, "text": "m", "times": 30 });
    let ids = provider.act("say", said).await["message_ids"].clone();
    let mut a = provider.online(A).await;
    let (mut cids, mut cursor) = (Vec::new(), json!(9_007_199_254_740_991_u64));
    loop {
        let page = a
            .ask("/r/Conversation/listNewestPagination", json!([cursor, 3]))
            .await;
        for conversation in page["body"]["userConvs"].as_array().unwrap() {
            let inner = &conversation["singleChatUserConversation"];
            assert!(inner["redPoint"].as_u64().unwrap() > 0);
            cids.push(
                inner["singleChatConversation"]["cid"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            );
        }
        cursor = page["body"]["nextCursor"].clone();
        if page["body"]["hasMore"] == 0 {
            break;
        }
    }
    assert_eq!(cids.len(), 8);
    assert_eq!(cids[0], CID, "the newest first");
    cids.sort();
    cids.dedup();
    assert_eq!(cids.len(), 8);
    let (mut found, mut cursor) = (Vec::new(), json!(9_007_199_254_740_991_u64));
    loop {
        let body = json!([CID, false, cursor, 4, false]);
        let page = a.ask("/r/MessageManager/listUserMessages", body).await;
        let models = page["body"]["userMessageModels"]
            .as_array()
            .unwrap()
            .clone();
        found.extend(
            models
                .into_iter()
                .map(|it| it["message"]["messageId"].clone()),
        );
        cursor = page["body"]["nextCursor"].clone();
        if page["body"]["hasMore"] == 0 {
            break;
        }
    }
    found.reverse();
    assert_eq!(Value::from(found), ids);
    for body in [
        json!([1]),
        json!([{ "startTimeStamp": 1, "limitNum": 2 }]),
        json!([1, 0]),
    ] {
        let no = a.ask("/r/Conversation/listNewestPagination", body).await;
        assert_eq!(no["code"], 400);
    }
}

#[tokio::test]
async fn read_state_and_recalls_reach_whom_they_concern() {
    let provider = Provider::start();
    let ids = [provider.say(B, "one").await, provider.say(B, "two").await];
    let (mut a, mut b) = (provider.online(A).await, provider.online(B).await);
    assert_eq!(
        a.ask("/r/MessageStatus/read", json!([ids])).await["code"],
        200
    );
    let receipts = b.push("/s/sync").await;
    assert_eq!(items(&receipts).len(), 2);
    assert!(
        items(&receipts)
            .iter()
            .all(|item| item["objectType"] == 40_103)
    );
    assert!(says(&receipts, &ids[0]) && says(&receipts, &ids[1]));
    provider
        .act("settings", json!({ "receipts": "batch" }))
        .await;
    a.ask("/r/MessageStatus/read", json!([ids])).await;
    assert_eq!(items(&b.push("/s/sync").await).len(), 1);
    assert_eq!(
        b.ask("/r/MessageStatus/read", json!([ids])).await["code"],
        400,
        "one's own"
    );
    let clear = "/r/Conversation/clearRedPoint";
    assert_eq!(a.ask(clear, json!([[CID]])).await["code"], 400, "a bare id");
    let mark = json!([[{ "cid": CID, "messageId": ids[0] }]]);
    assert_eq!(a.ask(clear, mark).await["code"], 200);
    let list = a
        .ask(
            "/r/Conversation/listNewestPagination",
            json!([1_u64 << 53, 9]),
        )
        .await;
    assert_eq!(
        list["body"]["userConvs"][0]["singleChatUserConversation"]["redPoint"],
        1
    );
    let recall = "/r/MessageManager/recallMessage";
    assert!(
        reason(&a.ask(recall, json!([ids[0]])).await)
            .1
            .contains("only who said it")
    );
    assert_eq!(b.ask(recall, json!([ids[0]])).await["code"], 200);
    assert!(
        reason(&b.ask(recall, json!([ids[0]])).await)
            .1
            .contains("no message")
    );
    provider
        .act("settings", json!({ "recall_within_ms": 0 }))
        .await;
    assert!(
        reason(&b.ask(recall, json!([ids[1]])).await)
            .1
            .contains("too late")
    );
}
