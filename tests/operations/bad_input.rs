//! What nobody should send: told with a code, a text and a remedy, or kept for a person; nothing is lost, and the next good
//! command works.

use crate::world::{ANSWER_WITHIN, World, message, open, stored, text};
use async_nats::HeaderMap;
use async_nats::jetstream;
use im_bridge_test_harness::{eventually, eventually_within};
use serde_json::{Value, json};
use std::time::Duration;

/// A command, and the code of its refusal.
struct Bad {
    what: &'static str,
    command: &'static str,
    body: Vec<u8>,
    headers: Vec<(&'static str, String)>,
    code: &'static str,
}

impl Bad {
    fn new(what: &'static str, body: impl Into<Vec<u8>>, code: &'static str) -> Self {
        Self {
            what,
            command: "message.send",
            body: body.into(),
            headers: Vec::new(),
            code,
        }
    }

    fn of(self, command: &'static str) -> Self {
        Self { command, ..self }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Malformed, so a person gets to see it.
    fn is_kept(&self) -> bool {
        matches!(self.code, "bad_request" | "bad_param")
    }

    fn lines(&self, id: &str) -> HeaderMap {
        let mut lines = HeaderMap::new();
        lines.insert("Nats-Msg-Id", id);
        for (name, value) in &self.headers {
            lines.append(*name, value.as_str());
        }
        lines
    }
}

fn good() -> Value {
    message("never", "must not be sent")
}

/// With this member in place of what stands there.
fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut data = good();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    data.pointer_mut(parent).unwrap()[name] = value;
    data.to_string().into()
}

/// With this text in place of what stands there.
fn replaced(from: &str, to: &str) -> String {
    let data = good().to_string();
    assert!(data.contains(from), "{data}");
    data.replace(from, to)
}

fn structured(attributes: Value) -> String {
    let mut event = json!({
        "specversion": "1.0", "id": "an-id", "source": "/app/x", "type": "im-bridge.cmd.message.send.v1", "data": good(),
    });
    for (name, value) in attributes.as_object().unwrap() {
        event[name] = value.clone();
    }
    event.to_string()
}

fn all() -> Vec<Bad> {
    let invalid = "bad_request";
    let param = "bad_param";
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let ext = |value: &str| {
        replaced(
            r#""message":{"#,
            &format!(r#""ext":{{"sim":{value}}},"message":{{"#),
        )
    };
    let mut bytes = good().to_string().into_bytes();
    bytes.splice(2..3, [0xff, 0xfe]);
    vec![
        Bad::new("nothing", "", invalid),
        Bad::new("no JSON", "not json", invalid),
        Bad::new("cut off", &good().to_string()[..40], invalid),
        Bad::new("a list", "[]", invalid),
        Bad::new("null", "null", invalid),
        Bad::new("no UTF-8", bytes, invalid),
        Bad::new("half a character", replaced("must not", "\\ud800"), invalid),
        Bad::new("a number that is none", ext("1e999"), invalid),
        Bad::new("deep lists", ext(&deep(100_000)), invalid),
        Bad::new("deep objects", r#"{"params":"#.repeat(50_000), invalid),
        Bad::new(
            "a key twice",
            replaced(
                r#""idempotency_key":"#,
                r#""idempotency_key":"k2","idempotency_key":"#,
            ),
            invalid,
        ),
        Bad::new(
            "a channel twice",
            replaced(
                r#""channel_id":"#,
                r#""channel_id":"kitchen","channel_id":"#,
            ),
            invalid,
        ),
        Bad::new("no params", r#"{"idempotency_key":"k"}"#, param),
        Bad::new("params of another type", r#"{"params":[1]}"#, param),
        Bad::new("an unknown member", with("/parms", json!({})), param),
        Bad::new(
            "an unknown parameter",
            with("/params/mesage", json!({})),
            param,
        ),
        Bad::new(
            "a target of another type",
            with("/params/to", json!("lobby")),
            param,
        ),
        Bad::new(
            "a channel of another type",
            with("/params/to/channel_id", json!(7)),
            param,
        ),
        Bad::new(
            "no segments",
            with("/params/message/segments", json!([])),
            param,
        ),
        Bad::new(
            "a key of another type",
            with("/idempotency_key", json!(7)),
            param,
        ),
        Bad::new("an empty key", with("/idempotency_key", json!("")), param),
        Bad::new(
            "a long key",
            with("/idempotency_key", json!("k".repeat(129))),
            param,
        ),
        Bad::new(
            "an unknown option",
            with("/options", json!({ "retry": 3 })),
            param,
        ),
        Bad::new(
            "a page without end",
            r#"{"params":{"channel_id":"lobby","limit":1e30}}"#,
            param,
        )
        .of("message.list"),
        Bad::new(
            "a page backwards",
            r#"{"params":{"channel_id":"lobby","limit":-1}}"#,
            param,
        )
        .of("message.list"),
        Bad::new(
            "a long text",
            with(
                "/params/message/segments/0/data/text",
                json!("x".repeat(70_000)),
            ),
            "bad_segment",
        ),
        Bad::new("no command", good().to_string(), "unsupported_command").of("message.explode"),
        Bad::new("another type", good().to_string(), invalid)
            .header("ce-type", "im-bridge.cmd.message.recall.v1"),
        Bad::new("another type in capitals", good().to_string(), invalid)
            .header("CE-TYPE", "x\u{7}"),
        Bad::new("a deadline that is no time", good().to_string(), invalid)
            .header("ce-expirytime", "soon"),
        Bad::new("a deadline before all time", good().to_string(), invalid)
            .header("ce-expirytime", "-99999-01-01T00:00:00Z"),
        Bad::new(
            "a deadline that passed",
            good().to_string(),
            "deadline_exceeded",
        )
        .header("Ce-ExpiryTime", "2020-01-01T00:00:00.000Z"),
        Bad::new(
            "deadlines that differ",
            good().to_string(),
            "deadline_exceeded",
        )
        .header("ce-expirytime", "2020-01-01T00:00:00.000Z")
        .header("ce-expirytime", "2120-01-01T00:00:00.000Z"),
        Bad::new(
            "an event without id",
            structured(json!({ "id": null })),
            invalid,
        ),
        Bad::new(
            "an event of a later version",
            structured(json!({ "id": "an-id-1", "specversion": "2.0" })),
            invalid,
        ),
        Bad::new(
            "a version that is a number",
            structured(json!({ "id": "an-id-2", "specversion": 1 })),
            invalid,
        ),
        Bad::new(
            "an event without data",
            structured(json!({ "id": "an-id-3", "data": null })),
            invalid,
        ),
        Bad::new("declared and none", "[]", invalid)
            .header("content-type", "application/cloudevents+json"),
    ]
}

/// The document with its headers.
async fn asked(
    world: &World,
    subject: String,
    lines: HeaderMap,
    body: Vec<u8>,
) -> (Value, HeaderMap) {
    let asked = world
        .client
        .request_with_headers(subject.clone(), lines, body.into());
    let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await;
    let answer = answer
        .unwrap_or_else(|_| panic!("{subject}: no answer in time"))
        .unwrap();
    let document = serde_json::from_slice(&answer.payload).unwrap();
    (document, answer.headers.unwrap_or_default())
}

async fn publish(world: &World, subject: &str, lines: HeaderMap, body: Vec<u8>) {
    let context = jetstream::new(world.client.clone());
    let published = context.publish_with_headers(subject.to_owned(), lines, body.into());
    published
        .await
        .unwrap()
        .await
        .unwrap_or_else(|error| panic!("{subject}: {error}"));
}

async fn messages(world: &World, stream: &str) -> u64 {
    let context = jetstream::new(world.client.clone());
    let stream = context.get_stream(stream).await.unwrap();
    stream.get_info().await.unwrap().state.messages
}

/// The next good command works, both ways, and nothing of a bad one reached the provider.
async fn works(world: &World, so_far: &mut Vec<String>) {
    let keys = [so_far.len(), so_far.len() + 1].map(|number| format!("good-{number}"));
    let answer = world
        .request("demo", "message.send", message(&keys[0], "good"))
        .await;
    assert_eq!(answer["data"]["status"], "ok", "{answer}");
    world.send("demo", &message(&keys[1], "good"), &[]).await;
    let result = world.result(&keys[1]).await;
    assert_eq!(result["data"]["status"], "ok", "{result}");
    so_far.extend(keys);
    assert_eq!(world.sent_by_provider("demo", "demo").await, *so_far);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_is_refused_with_its_reason_and_the_next_good_command_works() {
    let world = World::new(json!({ "demo": open(json!({})) })).await;
    let mut sent = Vec::new();
    refused(&world).await;
    works(&world, &mut sent).await;
    ids_that_are_none(&world).await;
    works(&world, &mut sent).await;
    answers_that_belong_to_others(&world).await;
    works(&world, &mut sent).await;
    subjects_that_are_none(&world).await;
    works(&world, &mut sent).await;
    acknowledged(&world).await;
    // Counted after the acknowledgement.
    eventually("no command waits", || async {
        let account = world.bridge.account("sim/demo").unwrap();
        (account["commands_waiting"] == 0).then_some(())
    })
    .await;
    assert_eq!(world.bridge.state("sim/demo").as_deref(), Some("online"));
}

/// By then the results and the dead letters of all commands are stored.
async fn acknowledged(world: &World) {
    eventually("every command is acknowledged", || async {
        (messages(world, "IM_CMD").await == 0).then_some(())
    })
    .await;
}

async fn refused(world: &World) {
    let all = all();
    for (number, bad) in all.iter().enumerate() {
        let subject = format!("im.v1.req.sim.demo.{}", bad.command);
        let id = format!("req-{number}");
        let (answer, headers) = asked(world, subject, bad.lines(&id), bad.body.clone()).await;
        let (what, error) = (bad.what, &answer["data"]["error"]);
        assert_eq!(answer["data"]["status"], "error", "{what}: {answer}");
        assert_eq!(error["code"], bad.code, "{what}: {answer}");
        assert_eq!(error["certain"], true, "{what}: {answer}");
        let told = error["message"].as_str().unwrap();
        assert!(
            told.len() > 8 && !told.contains(char::is_control),
            "{what}: {told}"
        );
        assert!(told.len() < 600, "{what}: {} bytes", told.len());
        assert_eq!(
            headers.get("Nats-Service-Error").unwrap().as_str(),
            bad.code,
            "{what}"
        );
    }
    for (number, bad) in all.iter().enumerate() {
        let subject = format!("im.v1.cmd.sim.demo.{}", bad.command);
        publish(
            world,
            &subject,
            bad.lines(&format!("cmd-{number}")),
            bad.body.clone(),
        )
        .await;
    }
    let results = eventually_within(Duration::from_secs(30), "each has its result", || async {
        let mut results = stored(&world.client, "IM_RES").await;
        results.retain(|result| {
            let id = result["data"]["command_id"].as_str().unwrap_or_default();
            id.starts_with("cmd-") || id.starts_with("an-id") || id.starts_with("seq-")
        });
        (results.len() >= all.len()).then_some(results)
    })
    .await;
    assert_eq!(results.len(), all.len());
    let mut wanted: Vec<&str> = all.iter().map(|bad| bad.code).collect();
    let mut told: Vec<&str> = results
        .iter()
        .map(|result| result["data"]["error"]["code"].as_str().unwrap())
        .collect();
    wanted.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, wanted);
    acknowledged(world).await;
    let kept = all.iter().filter(|bad| bad.is_kept()).count();
    assert_eq!(
        messages(world, "IM_DLQ").await,
        u64::try_from(kept).unwrap()
    );
    // Word for word, so that a person can mend and send it again.
    let context = jetstream::new(world.client.clone());
    let letters = context.get_stream("IM_DLQ").await.unwrap();
    let mut codes = Vec::new();
    for place in 1..=u64::try_from(kept).unwrap() {
        // In any order: commands that are answered only are answered side by side.
        let letter = letters.get_raw_message(place).await.unwrap();
        if &*letter.payload == b"not json" {
            codes.push(letter.headers.get("Im-Dlq-Code").unwrap().to_string());
        }
    }
    assert_eq!(codes, ["bad_request"]);
}

async fn ids_that_are_none(world: &World) {
    let before = messages(world, "IM_DLQ").await;
    let line_ends = "x\r\nIm-Dlq-Subject: im.v1.cmd.sim.other.message.send\r\n\r\n";
    let bad = [
        structured(json!({ "id": line_ends })),
        structured(json!({ "id": "" })),
        structured(json!({ "id": "i".repeat(100_000) })),
        structured(json!({ "correlationid": line_ends })),
        structured(json!({ "correlationid": "c".repeat(100_000) })),
        json!({ "idempotency_key": line_ends, "params": {} }).to_string(),
    ];
    for body in &bad {
        let shown: String = body.chars().take(200).collect();
        let subject = "im.v1.req.sim.demo.message.send".to_owned();
        let (answer, _) = asked(world, subject, HeaderMap::new(), body.clone().into()).await;
        let code = answer["data"]["error"]["code"].as_str().unwrap_or_default();
        assert!(code.starts_with("bad_"), "{shown}: {answer}");
        publish(
            world,
            "im.v1.cmd.sim.demo.message.send",
            HeaderMap::new(),
            body.clone().into(),
        )
        .await;
    }
    let wanted = before + bad.len() as u64;
    eventually("they are dead letters", || async {
        (messages(world, "IM_DLQ").await == wanted).then_some(())
    })
    .await;
    let context = jetstream::new(world.client.clone());
    let letters = context.get_stream("IM_DLQ").await.unwrap();
    for sequence in before + 1..=wanted {
        let letter = letters.get_raw_message(sequence).await.unwrap();
        let subjects: Vec<_> = letter.headers.get_all("Im-Dlq-Subject").collect();
        assert_eq!(subjects.len(), 1, "{:?}", letter.headers);
        assert_eq!(subjects[0].as_str(), "im.v1.cmd.sim.demo.message.send");
    }
}

/// The bridge may publish where its callers may not: no answer goes there.
async fn answers_that_belong_to_others(world: &World) {
    let before = (
        messages(world, "IM_EVT").await,
        messages(world, "IM_RES").await,
    );
    for reply in [
        "im.v1.evt.sim.demo.message.created.lobby",
        "im.v1.cmd.sim.demo.message.send",
        "im.v1.res.sim.demo.message.send.other",
        "$KV.IM_STATE.sim.demo",
        "$JS.API.STREAM.DELETE.IM_EVT",
    ] {
        for subject in [
            "im.v1.req.sim.demo.channel.list",
            "im.v1.ctl.sim.demo.health",
            "im.v1.ctl.sim._adapter.info",
        ] {
            let data = json!({ "params": {} }).to_string();
            let asked = world.client.publish_with_reply(subject, reply, data.into());
            asked.await.unwrap();
        }
    }
    world.client.flush().await.unwrap();
    // In order behind them.
    let health = world.control("demo", "health", json!({})).await;
    assert_eq!(health["data"]["status"], "ok", "{health}");
    let list = world
        .request("demo", "channel.list", json!({ "params": {} }))
        .await;
    assert_eq!(list["data"]["status"], "ok", "{list}");
    let after = (
        messages(world, "IM_EVT").await,
        messages(world, "IM_RES").await,
    );
    assert_eq!(after, before);
    assert_eq!(world.bridge.state("sim/demo").as_deref(), Some("online"));
    assert!(world.bridge.said("only the bridge publishes") > 0);
}

async fn subjects_that_are_none(world: &World) {
    for rest in [
        "sim.demo.Message.Send",
        "sim.demo.message.send=",
        "sim.demo.7.8",
    ] {
        let subject = format!("im.v1.req.{rest}");
        let (answer, _) = asked(world, subject, HeaderMap::new(), good().to_string().into()).await;
        assert_eq!(
            answer["data"]["error"]["code"], "bad_request",
            "{rest}: {answer}"
        );
    }
    let (answer, _) = asked(
        world,
        "im.v1.ctl.sim.demo.explode".into(),
        HeaderMap::new(),
        b"{}".to_vec(),
    )
    .await;
    assert_eq!(answer["data"]["status"], "error", "{answer}");
    let nobody = world
        .client
        .request("im.v1.req.sim.nobody.message.send", "{}".into());
    let nobody = tokio::time::timeout(ANSWER_WITHIN, nobody)
        .await
        .unwrap()
        .unwrap_err();
    assert!(nobody.to_string().contains("no responders"), "{nobody}");
    let context = jetstream::new(world.client.clone());
    let mut large = good();
    large["params"]["ext"] = json!({ "sim": "x".repeat(961 * 1024) });
    let large = context.publish("im.v1.cmd.sim.demo.message.send", large.to_string().into());
    let refused = large.await.unwrap().await.unwrap_err().to_string();
    assert!(refused.contains("message size exceeds"), "{refused}");
    let short = context.publish("im.v1.cmd.sim.demo.message", "{}".into());
    assert!(short.await.unwrap().await.is_err(), "no stream takes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_may_have_any_name_and_none_meets_another() {
    let world = World::new(json!({ "demo": open(json!({})) })).await;
    let long = "x".repeat(512);
    let ids = [
        "a.b",
        "a b",
        "*",
        ">",
        "..",
        "_",
        "=5F",
        "群聊 1",
        "🦆🦆🦆",
        "../../etc",
        "lobby.>",
        "\"\\",
        &long,
    ];
    for (number, id) in ids.into_iter().enumerate() {
        let chat = json!({ "by": "alice", "kind": 2, "chat": id, "people": ["demo"] });
        world.order("demo", "open_chat", chat).await;
        let words = format!("to {number}");
        let say = json!({ "chat": id, "by": "alice", "text": words });
        world.order("demo", "say", say).await;
        let mut data = message(&format!("k{number}"), "back");
        data["params"]["to"]["channel_id"] = id.into();
        world.send("demo", &data, &[]).await;
    }
    let mut seen = std::collections::BTreeSet::new();
    for (number, id) in ids.into_iter().enumerate() {
        let result = world.result(&format!("k{number}")).await;
        assert_eq!(result["data"]["status"], "ok", "{id}: {result}");
        assert_eq!(result["data"]["result"]["message"]["channel_id"], id);
        let words = format!("to {number}");
        let event = eventually("what was said there is stored", || async {
            let events = world.events().await;
            events.into_iter().find(|event| text(event) == words)
        })
        .await;
        assert_eq!(event["subject"], id, "{event}");
        seen.insert(event["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen.len(), ids.len());
    let sent = world.sent_by_provider("demo", "demo").await;
    let wanted: Vec<String> = (0..ids.len()).map(|number| format!("k{number}")).collect();
    let mut sorted = sent.clone();
    sorted.sort_by_key(|key| key[1..].parse::<usize>().unwrap());
    assert_eq!(sorted, wanted);

    // What no id can be: the provider's event is kept for a person, a command is refused, and the session goes on.
    let beyond = "y".repeat(4_096);
    let chat = json!({ "by": "alice", "kind": 2, "chat": beyond, "people": ["demo"] });
    world.order("demo", "open_chat", chat).await;
    world
        .order(
            "demo",
            "say",
            json!({ "chat": beyond, "by": "alice", "text": "beyond" }),
        )
        .await;
    eventually("it is a dead letter", || async {
        (messages(&world, "IM_DLQ").await > 0).then_some(())
    })
    .await;
    for id in [beyond.as_str(), "a\0b", "a\nb"] {
        let mut data = message("never", "beyond");
        data["params"]["to"]["channel_id"] = id.into();
        let answer = world.request("demo", "message.send", data).await;
        let shown: String = id.chars().take(10).collect();
        println!("{shown:?}: {}", answer["data"]["error"]);
        assert_eq!(answer["data"]["status"], "error", "{shown:?}: {answer}");
        assert_eq!(
            answer["data"]["error"]["class"], "invalid",
            "{shown:?}: {answer}"
        );
    }
    let answer = world
        .request("demo", "message.send", message("good", "good"))
        .await;
    assert_eq!(answer["data"]["status"], "ok", "{answer}");
}
