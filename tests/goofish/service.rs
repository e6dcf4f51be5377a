//! What services see of an account: a conversation, every command, a challenge, raw frames; and the example that operators
//! begin with.

use crate::whole::{CHAT, ME, PEER, Whole, message, plugin, simulator, texts, to};
use async_nats::jetstream;
use im_bridge_test_harness::{Files, Nats, WITHIN, eventually};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_accounts_talk_over_nats() {
    let whole = Whole::new().await;
    whole
        .command("ours", "message.send", &message("talk-1", "你好, theirs"))
        .await;
    let result = whole.result("talk-1").await;
    assert_eq!(result["data"]["status"], "ok", "{result}");
    let id = result["data"]["result"]["message"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let heard = &whole.wait_events("theirs", "message.created", 1).await[0];
    assert_eq!(
        (&heard["data"]["message"]["id"], &heard["origin"]),
        (&json!(id), &json!("remote"))
    );
    assert_eq!(heard["orderscope"], "channel");
    assert!(
        heard["orderkey"]
            .as_str()
            .unwrap()
            .ends_with(&format!(".{id}")),
        "{heard}"
    );
    assert_eq!(
        (heard["delivery"].as_str(), heard["timesource"].as_str()),
        (Some("live"), Some("provider"))
    );
    let echo = &whole.wait_events("ours", "message.created", 1).await[0];
    assert_eq!(
        (echo["origin"].as_str(), echo["clientref"].as_str()),
        (Some("bridge"), Some("talk-1"))
    );
    // Back, addressed by the user: the conversation is found.
    whole
        .done(
            "theirs",
            "message.send",
            to("talk-2", json!({ "user_id": ME }), "hello"),
        )
        .await;
    let back = &whole.wait_events("ours", "message.created", 2).await[1];
    assert_eq!(
        (
            back["subject"].as_str(),
            back["data"]["actor"]["id"].as_str()
        ),
        (Some(CHAT), Some(PEER))
    );
    // Read, and seen to be read.
    let read = json!({ "idempotency_key": "talk-3", "params": { "channel_id": CHAT, "message_ids": [id] } });
    whole.done("theirs", "receipt.read", read).await;
    let receipt = &whole.wait_events("ours", "receipt.read", 1).await[0];
    assert_eq!(receipt["data"]["receipt"]["message_ids"], json!([id]));
    // The other kinds.
    whole
        .control
        .act("typing", json!({ "from": PEER, "cid": CHAT }))
        .await;
    whole
        .control
        .act(
            "order",
            json!({ "to": ME, "cid": CHAT, "reminder": "等待卖家发货" }),
        )
        .await;
    whole.wait_events("ours", "typing.started", 1).await;
    eventually("the order's notice", || async {
        let notices = whole.events("ours", "notice.received").await;
        notices
            .into_iter()
            .find(|notice| notice["data"]["notice"]["text"] == "等待卖家发货")
    })
    .await;
    // The same command again does nothing.
    let again = whole
        .request("ours", "message.send", message("talk-1", "你好, theirs"))
        .await;
    assert_eq!(
        (
            &again["data"]["duplicate"],
            &again["data"]["result"]["message"]["id"]
        ),
        (&json!(true), &json!(id))
    );
    assert_eq!(whole.control.record(&["sent"]).await.len(), 2);
    // No secret is told anywhere.
    let log: Vec<String> = whole.bridge.log().iter().map(Value::to_string).collect();
    assert!(
        !log.iter()
            .any(|line| line.contains("a-secret-cookie") || line.contains("oauth_k1")),
        "{log:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_goes_over_nats() {
    let whole = Whole::new().await;
    let sent = whole
        .done("ours", "message.send", message("all-1", "one"))
        .await;
    let id = sent["message"]["id"].clone();
    let batch = json!({ "idempotency_key": "all-2", "params": { "items": [
        message("", "two")["params"], message("", "three")["params"] ] } });
    let batch = whole.done("ours", "message.send_batch", batch).await;
    assert_eq!(batch["items"][1]["status"], "ok", "{batch}");
    let listed = whole
        .done(
            "ours",
            "message.list",
            json!({ "params": { "channel_id": CHAT } }),
        )
        .await;
    let texts: Vec<&str> = listed["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["alt_text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["one", "two", "three"]);
    assert_eq!(listed["messages"][0]["origin"], "bridge");
    let channels = whole
        .done("ours", "channel.list", json!({ "params": {} }))
        .await;
    assert_eq!(channels["channels"][0]["id"], CHAT);
    let channel = whole
        .done(
            "ours",
            "channel.get",
            json!({ "params": { "channel_id": CHAT } }),
        )
        .await;
    assert_eq!(channel["channel"]["kind"], "dm");
    let members = whole
        .done(
            "ours",
            "member.list",
            json!({ "params": { "channel_id": CHAT } }),
        )
        .await;
    assert_eq!(members["members"].as_array().unwrap().len(), 2);
    let user = whole
        .done(
            "ours",
            "user.get",
            json!({ "params": { "channel_id": CHAT, "user_id": PEER } }),
        )
        .await;
    assert_eq!(user["user"]["name"], format!("nick-{PEER}"));
    let unread = whole
        .done("theirs", "unread.get", json!({ "params": {} }))
        .await;
    assert_eq!(unread["total"], 3);
    let create = json!({ "kind": "dm", "member_ids": ["3000000003"], "ext": { "goofish": { "item_id": "500000000009" } } });
    let made = whole
        .done(
            "ours",
            "channel.create",
            json!({ "idempotency_key": "all-3", "params": create }),
        )
        .await;
    assert_eq!(made["created"], true);
    let recall = json!({ "channel_id": CHAT, "message_id": id });
    whole
        .request(
            "ours",
            "message.recall",
            json!({ "idempotency_key": "all-4", "params": recall }),
        )
        .await;
    assert_eq!(whole.control.record(&["recalled"]).await[0]["id"], id);
    let native = json!({ "method": "/r/Conversation/listNewestPagination", "body": [9_007_199_254_740_991_i64, 20] });
    let native = whole
        .done(
            "ours",
            "native.call",
            json!({ "idempotency_key": "all-5", "params": native }),
        )
        .await;
    assert!(native["native"]["userConvs"].is_array());
    // What the operator did not allow is refused before the adapter hears of it.
    let forbidden = json!({ "method": "/r/MessageManager/recallMessage", "body": ["1.PNM"] });
    let forbidden = whole
        .request(
            "ours",
            "native.call",
            json!({ "idempotency_key": "all-6", "params": forbidden }),
        )
        .await;
    assert_eq!(
        forbidden["data"]["error"]["code"], "permission_denied",
        "{forbidden}"
    );
    // Control.
    for (verb, params) in [
        ("refresh_token", json!({})),
        ("sync", json!({})),
        ("health", json!({})),
        ("info", json!({})),
    ] {
        let answer = whole.control_verb("ours", verb, params).await;
        assert_eq!(answer["data"]["status"], "ok", "{verb}: {answer}");
    }
    assert_eq!(
        whole.control_verb("ours", "logout", json!({})).await["data"]["status"],
        "ok"
    );
    whole.state("ours", "logged_out").await;
    let login = whole.control_verb("ours", "login", json!({})).await;
    assert_eq!(login["data"]["result"]["self"]["user_id"], ME, "{login}");
    whole.state("ours", "online").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_is_answered_over_nats() {
    let whole = Whole::new().await;
    whole
        .control
        .act(
            "fault",
            json!({ "on": "mtop", "do": "ret", "code": "FAIL_SYS_USER_VALIDATE", "uid": ME }),
        )
        .await;
    whole
        .control
        .act("expire", json!({ "what": "access", "uid": ME }))
        .await;
    whole
        .control
        .act("kick", json!({ "uid": ME, "how": "drop" }))
        .await;
    whole.state("ours", "challenge_required").await;
    let state = whole.bridge.account("goofish/ours").unwrap()["state"].clone();
    assert_eq!(state["action"], "answer_challenge", "{state}");
    assert!(
        state["challenge"]["url"]
            .as_str()
            .unwrap()
            .contains("punish"),
        "{state}"
    );
    // Kept until somebody answered.
    whole
        .command("ours", "message.send", &message("challenge-1", "waits"))
        .await;
    whole.say("meanwhile").await;
    whole
        .control
        .act(
            "account",
            json!({ "uid": ME, "cookies": { "x5sec": "solved" } }),
        )
        .await;
    let answer = json!({ "kind": "captcha", "answer": "x5sec=solved" });
    let answered = whole.control_verb("ours", "answer_challenge", answer).await;
    assert_eq!(answered["data"]["status"], "ok", "{answered}");
    whole.state("ours", "online").await;
    assert_eq!(whole.result("challenge-1").await["data"]["status"], "ok");
    let mut seen = texts(&whole.wait_events("ours", "message.created", 2).await);
    seen.sort();
    assert_eq!(seen, ["meanwhile", "waits"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raw_frames_are_heard_by_whoever_listens() {
    use futures_util::StreamExt;
    let whole = Whole::with(json!({ "raw_frames": true })).await;
    let mut raw = whole
        .client
        .subscribe("im.v1.raw.goofish.ours")
        .await
        .unwrap();
    whole.client.flush().await.unwrap();
    let mut heard = None;
    // What is said while the account connects anew is fetched, not pushed.
    while heard.is_none() {
        whole.say("raw").await;
        let push = async {
            loop {
                let message = raw.next().await.unwrap();
                let event: Value = serde_json::from_slice(&message.payload).unwrap();
                if event["data"]["raw"]["native_type"] == "/s/sync" {
                    return event["data"]["raw"].to_string();
                }
            }
        };
        heard = tokio::time::timeout(WITHIN / 6, push).await.ok();
    }
    let push = heard.unwrap();
    assert!(push.contains("raw") && !push.contains("clientIp"), "{push}");
}

/// The complete configuration beside the adapter, with the simulator's addresses put in from outside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_works_against_the_simulator() {
    let (nats, simulator) = (Nats::start(), simulator());
    let files = Files::new(env!("CARGO_BIN_EXE_im-bridge"), &json!({}));
    std::fs::copy(plugin(), files.plugins().join("libgoofish.so")).unwrap();
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../adapters/goofish/example.toml"
    );
    let mut bridge = std::process::Command::new(env!("CARGO_BIN_EXE_im-bridge"))
        .args(["--config", example])
        .args([
            "--set",
            &format!("nats.url={}", nats.url()),
            "--set",
            "admin.listen=127.0.0.1:0",
        ])
        .args([
            "--set",
            &format!(
                "accounts.goofish.shop1.mtop_url={}",
                simulator.address("http")
            ),
        ])
        .args([
            "--set",
            &format!("accounts.goofish.shop1.ws_url={}", simulator.address("ws")),
        ])
        .args(["run", "--plugin-dir"])
        .arg(files.plugins())
        .env("GOOFISH_SHOP1_COOKIES", format!("unb={ME}; cookie2=x"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let client = async_nats::connect(nats.url()).await.unwrap();
    let context = jetstream::new(client);
    let online = eventually_state(&context);
    online.await;
    bridge.kill().unwrap();
    bridge.wait().unwrap();
}

/// Waits until the account's published state is online.
async fn eventually_state(context: &jetstream::Context) {
    eventually("shop1 is online", || async {
        let stream = context.get_stream("KV_IM_STATE").await.ok()?;
        let message = stream
            .get_last_raw_message_by_subject("$KV.IM_STATE.goofish.shop1")
            .await
            .ok()?;
        let state: Value = serde_json::from_slice(&message.payload).ok()?;
        (state["data"]["state"] == "online").then_some(())
    })
    .await;
}
