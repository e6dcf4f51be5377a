//! Every fault, as a client sees it, and what had an effect in spite of it.

use crate::client::{A, B, Client, Next, Provider, SEND, items, message, says};
use im_bridge_test_harness::{eventually, within};
use serde_json::{Value, json};

fn request(of: &str, what: &str) -> Value {
    json!({ "on": "request", "of": of, "do": what })
}

fn push(what: &str) -> Value {
    json!({ "on": "push", "of": "/s/sync", "do": what })
}

fn with(mut fault: Value, key: &str, value: Value) -> Value {
    fault[key] = value;
    fault
}

#[tokio::test]
async fn answers_are_withheld_late_twice_swapped_or_wrong() {
    let provider = Provider::start();
    provider.act("settings", json!({ "echo": "none" })).await;
    let mut a = provider.online(A).await;
    a.heard().await;

    provider.fault(request(SEND, "withhold")).await;
    a.send_text("withheld").await;
    assert!(a.heard().await.is_empty());

    provider.fault(request(SEND, "ignore")).await;
    a.send_text("ignored").await;
    assert!(a.heard().await.is_empty());

    // Answered after a request that came later.
    provider
        .fault(with(request(SEND, "delay"), "ms", 100.into()))
        .await;
    let late = a.send_text("late").await;
    assert!(a.heard().await.is_empty());
    assert_eq!(a.answer(&late).await["code"], 200);

    provider.fault(request(SEND, "duplicate")).await;
    let twice = a.send_text("twice").await;
    for _ in 0..2 {
        assert_eq!(a.answer(&twice).await["code"], 200);
    }

    provider.fault(request(SEND, "swap")).await;
    let first = a.send_text("swapped").await;
    let second = a.send_text("swapping").await;
    let mids = [a.next().await, a.next().await].map(|next| match next {
        Next::Frame(frame) => frame["headers"]["mid"].as_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    });
    assert_eq!(mids, [second, first]);

    provider.fault(request(SEND, "wrong_mid")).await;
    a.send_text("wrong").await;
    let heard = a.heard().await;
    assert_eq!(heard[0]["headers"]["mid"], "9991700000000000 0");

    provider
        .fault(with(request(SEND, "text"), "text", "{no json".into()))
        .await;
    a.send_text("garbage").await;
    assert_eq!(a.next().await, Next::Raw("{no json".to_owned()));

    let refusal = with(request(SEND, "refuse"), "code", 200.into());
    let body = json!({ "reason": "blocked", "moreInfo": "CSI_FORBID||blocked" });
    provider.fault(with(refusal, "body", body.clone())).await;
    assert_eq!(a.ask(SEND, message("refused")).await["body"], body);

    provider
        .fault(with(request(SEND, "answer"), "code", 500.into()))
        .await;
    assert_eq!(a.ask(SEND, message("effected")).await["code"], 500);

    let expected = [
        "withheld", "late", "twice", "swapped", "swapping", "wrong", "garbage", "effected",
    ];
    assert_eq!(provider.sent().await, expected);
    let told = provider.control.record(&["request"]).await;
    let told: Vec<_> = told.iter().filter(|it| it["lwp"] == SEND).collect();
    assert_eq!(told[0]["code"], Value::Null);
    assert_eq!(
        (&told[0]["fault"], &told[7]["code"]),
        (&json!("withhold"), &Value::Null)
    );
    assert_eq!(
        (&told[8]["fault"], &told[8]["code"]),
        (&json!("refuse"), &json!(200))
    );
}

/// How the connection ends, whatever else is heard before.
async fn end(client: &mut Client) -> Next {
    loop {
        match client.next().await {
            Next::Frame(_) => {}
            other => return other,
        }
    }
}

#[tokio::test]
async fn connections_end_before_or_after_the_effect() {
    let provider = Provider::start();
    for (what, at, expected) in [
        ("close", "before", Next::Closed(4001)),
        ("close", "after", Next::Closed(4001)),
        ("drop", "before", Next::Gone),
        ("drop", "after", Next::Gone),
        ("cut", "after", Next::Gone),
    ] {
        let mut a = provider.online(A).await;
        let fault = with(request(SEND, what), "at", at.into());
        provider.fault(with(fault, "code", 4001.into())).await;
        a.send_text(&format!("{what} {at}")).await;
        assert_eq!(end(&mut a).await, expected, "{what} {at}");
    }
    assert_eq!(
        provider.sent().await,
        ["close after", "drop after", "cut after"]
    );
    eventually("all ends", async || {
        let why = provider.ended().await;
        (why == ["close", "close", "drop", "drop", "cut"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn registration_can_be_cut_and_left_open() {
    let provider = Provider::start();
    for what in ["cut", "drop"] {
        provider
            .fault(with(request("/reg", what), "uid", A.into()))
            .await;
        let token = provider.token(A, "d").await;
        let mut a = Client::connect(&provider.ws).await;
        let frame = json!({ "lwp": "/reg", "headers": {
            "mid": "1", "token": token, "did": "d", "app-key": crate::client::APP_KEY,
        } });
        a.raw(&frame.to_string()).await;
        assert_eq!(end(&mut a).await, Next::Gone, "{what}");
    }
    for (what, is_told) in [("refuse", true), ("drop", false)] {
        provider
            .fault(json!({ "on": "handshake", "do": what }))
            .await;
        let refused = tokio_tungstenite::connect_async(&provider.ws)
            .await
            .unwrap_err();
        assert_eq!(refused.to_string().contains("403"), is_told, "{refused}");
    }
    let elsewhere = format!("{}/elsewhere", provider.ws);
    let refused = tokio_tungstenite::connect_async(elsewhere)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("404"), "{refused}");
}

#[tokio::test]
async fn a_half_open_connection_reads_and_writes_nothing() {
    let provider = Provider::start();
    let mut a = provider.online(A).await;
    a.heard().await;
    provider
        .act("kick", json!({ "uid": A, "how": "half_open" }))
        .await;
    let before = provider.control.record(&["request"]).await.len();
    a.send_text("into the void").await;
    provider.say(B, "unheard").await;
    // A second session of the account is served, so the first could have been.
    let mut second = provider.online(A).await;
    assert_eq!(second.ask("/!", Value::Null).await["code"], 200);
    let requests = provider.control.record(&["request"]).await;
    assert!(
        requests[before..].iter().all(|it| it["conn"] != 1),
        "{requests:?}"
    );
    assert_eq!(provider.sent().await, ["unheard"]);
    // It is still there, and can be ended.
    provider
        .act("kick", json!({ "uid": A, "how": "drop" }))
        .await;
    assert_eq!(end(&mut a).await, Next::Gone);
}

#[tokio::test]
async fn an_invalid_session_is_told_401_and_nothing_else() {
    let provider = Provider::start();
    let mut a = provider.online(A).await;
    a.heard().await;
    provider
        .act("kick", json!({ "uid": A, "how": "invalidate" }))
        .await;
    provider.say(B, "unheard").await;
    assert_eq!(a.ask(SEND, message("x")).await["code"], 401);
    assert_eq!(a.ask("/!", Value::Null).await["code"], 401);
    assert_eq!(a.next_of_kept(), None);
    // A registration makes it good again.
    let token = provider.token(A, "d").await;
    assert_eq!(a.register(&token, "d").await["code"], 200);
    assert_eq!(a.ask(SEND, message("x")).await["code"], 200);
    let mut b = provider.online(B).await;
    b.heard().await;
    provider
        .act("kick", json!({ "uid": B, "how": "unauthorized" }))
        .await;
    let Next::Frame(frame) = b.next().await else {
        panic!("nothing");
    };
    assert_eq!(
        (&frame["code"], frame["lwp"].is_null()),
        (&json!(401), true)
    );
}

#[tokio::test]
async fn pushes_are_lost_late_twice_swapped_or_odd() {
    let provider = Provider::start();
    let mut a = provider.online(A).await;
    a.heard().await;
    let texts = |heard: &[Value], text: &str| heard.iter().filter(|it| says(it, text)).count();

    provider.fault(push("withhold")).await;
    provider.say(B, "lost").await;
    assert!(a.heard().await.is_empty());

    provider.fault(push("duplicate")).await;
    provider.say(B, "twice").await;
    let heard = a.heard().await;
    assert_eq!((texts(&heard, "twice"), &heard[0]), (2, &heard[1]));

    provider.fault(push("again")).await;
    provider.say(B, "again").await;
    let heard = a.heard().await;
    assert_eq!(texts(&heard, "again"), 2);
    assert_ne!(heard[0]["headers"]["mid"], heard[1]["headers"]["mid"]);

    provider.fault(push("swap")).await;
    provider.say(B, "first").await;
    provider.say(B, "second").await;
    let heard = a.heard().await;
    assert!(says(&heard[0], "second") && says(&heard[1], "first"));

    provider.fault(with(push("delay"), "ms", 100.into())).await;
    provider.say(B, "late").await;
    assert!(a.heard().await.is_empty());
    assert!(says(&a.push("/s/sync").await, "late"));

    provider
        .fault(with(push("lwp"), "lwp", "/s/para".into()))
        .await;
    provider.say(B, "elsewhere").await;
    assert!(says(&a.push("/s/para").await, "elsewhere"));

    provider.fault(push("binary")).await;
    provider.say(B, "binary").await;
    assert!(says(&a.push("/s/sync").await, "binary"));

    provider.fault(with(push("extra"), "type", 2.into())).await;
    provider.say(B, "gap").await;
    assert_eq!(a.push("/s/sync").await["body"]["syncExtraType"]["type"], 2);

    provider.fault(push("spoil")).await;
    provider.say(B, "spoilt").await;
    let spoilt = a.push("/s/sync").await;
    assert_eq!(items(&spoilt).len(), 2);
    assert!(says(&spoilt, "spoilt"));

    provider.fault(request(SEND, "withhold")).await;
    provider.fault(push("mid_of_request")).await;
    let mid = a.send_text("pending").await;
    assert_eq!(a.push("/s/sync").await["headers"]["mid"], mid.as_str());

    provider.fault(push("cut")).await;
    provider.say(B, "cut").await;
    assert_eq!(end(&mut a).await, Next::Gone);
}

#[tokio::test]
async fn raw_items_frames_and_texts_reach_the_account_as_they_are() {
    let provider = Provider::start();
    let mut a = provider.online(A).await;
    a.heard().await;
    let pack = json!({ "1": { "9": "new kind" }, "2": 7 });
    let raw = json!([
        { "pack": pack, "object_type": 49_999 },
        { "json": { "sessionId": "1" } },
        { "data": "not base64 at all!", "biz_type": 41 },
    ]);
    let told = provider
        .act("push", json!({ "to": A, "items": raw, "extra": 1 }))
        .await;
    assert_eq!(told["sessions"], 1);
    let push = a.push("/s/sync").await;
    assert_eq!(push["body"]["syncExtraType"]["type"], 1);
    let kinds: Vec<_> = items(&push)
        .iter()
        .map(|it| (&it["bizType"], &it["objectType"]))
        .collect();
    let expected = json!([[40, 49_999], [370, 370_000], [41, 40_000]]);
    assert_eq!(json!(kinds), expected);
    assert_eq!(items(&push)[0]["data"], "ggGBCahuZXcga2luZAIH");
    let frame = json!({ "lwp": "/s/new", "body": { "x": 1 } });
    provider
        .act("push", json!({ "to": A, "frame": frame }))
        .await;
    let odd = a.push("/s/new").await;
    assert_eq!(odd["headers"].as_object().unwrap().len(), 4);
    a.acknowledge(&odd).await;
    provider
        .act("push", json!({ "to": A, "text": "{\"half" }))
        .await;
    assert_eq!(a.next().await, Next::Raw("{\"half".to_owned()));
    let acks = eventually("the acknowledgement", async || {
        let acks = provider.control.record(&["ack"]).await;
        (!acks.is_empty()).then_some(acks)
    });
    assert_eq!(acks.await[0]["known"], true);
    // The largest that a client must live with, there and back.
    let large = "x".repeat(1 << 20);
    a.send_text(&large).await;
    assert!(says(&a.push("/s/sync").await, &large));
}

#[tokio::test]
async fn it_ends_with_its_standard_input() {
    let provider = Provider::start();
    let ended = tokio::task::spawn_blocking(move || drop(provider));
    within("its end", ended).await.unwrap();
}
