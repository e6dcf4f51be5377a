//! A bridge with the plugin loaded from its file, a real NATS server, and the simulated provider.

use async_nats::jetstream;
use im_bridge_test_harness::{Bridge, Control, Files, Nats, Simulator, WITHIN, eventually};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub const ME: &str = "1000000001";
pub const PEER: &str = "2000000002";
pub const CHAT: &str = "30000000001";

/// A key that seals, 32 bytes.
pub const SEAL: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// The adapter's file, beside the test's own program.
pub fn plugin() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.with_file_name("libim_bridge_adapter_goofish.so")
}

pub fn simulator() -> Simulator {
    Simulator::of("goofish", &["--http", "127.0.0.1:0", "--ws", "127.0.0.1:0"])
}

/// An account of the simulated provider.
pub fn account(simulator: &Simulator, uid: &str) -> Value {
    json!({
        "cookies": { "env": format!("COOKIES_{uid}") },
        "mtop_url": simulator.address("http"), "ws_url": simulator.address("ws"),
        "heartbeat_interval_ms": 500, "reconnect_interval_ms": 100, "request_timeout_ms": 3_000, "send_per_s": 100.0,
        "send_burst": 100, "bridge": { "native_calls": { "/r/Conversation/*": true } },
    })
}

/// A configuration of these accounts, small enough for many servers on one disk.
pub fn config(nats: &Nats, accounts: &Value) -> Value {
    let room = json!({ "max_mib": 16 });
    json!({
        "nats": {
            "url": nats.url(), "seal": { "use": "k1", "keys": { "k1": { "env": "SEAL" } } },
            "events": { "max_mib": 64 }, "results": room, "commands": room, "dead_letters": room, "ledger": room, "kv": room,
            "lease": { "ttl_s": 7, "renew_s": 1, "stop_s": 4 },
        },
        "admin": { "listen": "127.0.0.1:0" },
        "plugins": { "providers": { "goofish": { "start_per_s": 1_000, "logins_per_minute": 10_000 } } },
        "accounts": { "goofish": accounts },
    })
}

/// One server, one provider, one bridge with two accounts that can talk, and a client.
pub struct Whole {
    pub nats: Nats,
    /// Ends with this value.
    _simulator: Simulator,
    pub control: Control,
    pub files: Arc<Files>,
    pub bridge: Bridge,
    pub client: async_nats::Client,
}

impl Whole {
    pub async fn new() -> Self {
        Self::with(json!({})).await
    }

    /// With this for the own account.
    pub async fn with(patch: Value) -> Self {
        let whole = Self::starting(patch, &[("ours", ME), ("theirs", PEER)]).await;
        whole.state("ours", "online").await;
        whole.state("theirs", "online").await;
        whole
    }

    pub async fn starting(patch: Value, accounts: &[(&str, &str)]) -> Self {
        let (nats, simulator) = (Nats::start(), simulator());
        let mut all = json!({});
        for (alias, uid) in accounts {
            all[alias] = account(&simulator, uid);
        }
        for (key, value) in patch.as_object().unwrap() {
            all["ours"][key] = value.clone();
        }
        let files = Files::new(env!("CARGO_BIN_EXE_im-bridge"), &config(&nats, &all));
        std::fs::copy(plugin(), files.plugins().join("libgoofish.so")).unwrap();
        let bridge = start(&files, "a");
        let client = async_nats::connect(nats.url()).await.unwrap();
        let control = simulator.control();
        Self {
            nats,
            _simulator: simulator,
            control,
            files,
            bridge,
            client,
        }
    }

    pub async fn state(&self, alias: &str, wanted: &str) {
        let name = format!("goofish/{alias}");
        eventually(&format!("{name} is {wanted}"), || async {
            self.bridge.state(&name).filter(|state| state == wanted)
        })
        .await;
    }

    pub async fn say(&self, text: &str) {
        let said = json!({ "from": PEER, "cid": CHAT, "text": text });
        self.control.act("say", said).await;
    }

    pub async fn request(&self, alias: &str, command: &str, data: Value) -> Value {
        let subject = format!("im.v1.req.goofish.{alias}.{command}");
        ask(&self.client, subject, &data).await
    }

    /// The result of a request that must go well.
    pub async fn done(&self, alias: &str, command: &str, data: Value) -> Value {
        let answer = self.request(alias, command, data).await;
        assert_eq!(answer["data"]["status"], "ok", "{command}: {answer}");
        answer["data"]["result"].clone()
    }

    pub async fn control_verb(&self, alias: &str, verb: &str, params: Value) -> Value {
        let subject = format!("im.v1.ctl.goofish.{alias}.{verb}");
        ask(&self.client, subject, &json!({ "params": params })).await
    }

    /// Publishes a durable command.
    pub async fn command(&self, alias: &str, command: &str, data: &Value) {
        let subject = format!("im.v1.cmd.goofish.{alias}.{command}");
        let context = jetstream::new(self.client.clone());
        context
            .publish(subject, data.to_string().into())
            .await
            .unwrap()
            .await
            .unwrap();
    }

    /// Waits for the stored result of a key.
    pub async fn result(&self, key: &str) -> Value {
        eventually(&format!("the result of {key}"), || async {
            let results = self.stored("IM_RES").await;
            results
                .into_iter()
                .map(|(_, it)| it)
                .find(|it| it["data"]["idempotency_key"] == key)
        })
        .await
    }

    /// Everything in a stream, with subjects, in order.
    pub async fn stored(&self, name: &str) -> Vec<(String, Value)> {
        let context = jetstream::new(self.client.clone());
        let Ok(mut stream) = context.get_stream(name).await else {
            return Vec::new();
        };
        let last = stream
            .info()
            .await
            .map_or(0, |info| info.state.last_sequence);
        let mut all = Vec::new();
        for sequence in 1..=last {
            if let Ok(message) = stream.get_raw_message(sequence).await {
                let body = serde_json::from_slice(&message.payload).unwrap();
                all.push((message.subject.to_string(), body));
            }
        }
        all
    }

    /// Stored events of a kind and an account.
    pub async fn events(&self, alias: &str, kind: &str) -> Vec<Value> {
        let begin = format!("im.v1.evt.goofish.{alias}.{kind}.");
        let all = self.stored("IM_EVT").await;
        all.into_iter()
            .filter(|(subject, _)| subject.starts_with(&begin))
            .map(|(_, event)| event)
            .collect()
    }

    pub async fn wait_events(&self, alias: &str, kind: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} of {kind}"), || async {
            let events = self.events(alias, kind).await;
            (events.len() >= count).then_some(events)
        })
        .await
    }

    /// Waits until the own account's messages are these, in this order, each once.
    pub async fn wait_texts(&self, wanted: &[String]) {
        eventually(&format!("{} messages", wanted.len()), || async {
            let texts = texts(&self.events("ours", "message.created").await);
            (texts.len() >= wanted.len()).then_some(())
        })
        .await;
        assert_eq!(texts(&self.events("ours", "message.created").await), wanted);
    }
}

/// A replica, with everybody's cookies.
pub fn start(files: &Arc<Files>, name: &str) -> Bridge {
    let cookies: Vec<(String, String)> = [ME, PEER]
        .iter()
        .map(|uid| {
            (
                format!("COOKIES_{uid}"),
                format!("unb={uid}; cookie2=a-secret-cookie"),
            )
        })
        .chain([("SEAL".to_owned(), SEAL.to_owned())])
        .collect();
    let variables: Vec<(&str, &str)> = cookies
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    Bridge::start_with(files, name, &variables)
}

pub fn texts(events: &[Value]) -> Vec<String> {
    let text = |event: &Value| {
        event["data"]["message"]["alt_text"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    events.iter().map(text).collect()
}

pub fn message(key: &str, text: &str) -> Value {
    to(key, json!({ "channel_id": CHAT }), text)
}

pub fn to(key: &str, to: Value, text: &str) -> Value {
    let segments = json!([{ "type": "text", "data": { "text": text } }]);
    json!({ "idempotency_key": key, "params": { "to": to, "message": { "segments": segments } } })
}

pub async fn ask(client: &async_nats::Client, subject: String, data: &Value) -> Value {
    let asked = client.request(subject.clone(), data.to_string().into());
    let answer = tokio::time::timeout(WITHIN, asked).await;
    let answer = answer.unwrap_or_else(|_| panic!("{subject}: no answer in time"));
    let answer = answer.unwrap_or_else(|error| panic!("{subject}: {error}"));
    serde_json::from_slice(&answer.payload).unwrap()
}

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
    let push = tokio::time::timeout(WITHIN, push).await.unwrap();
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
