//! The page's vectors: items come out byte for byte, recorded requests are taken as they are, answers have the recorded form.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::http;
use super::items::{Chat, json_item, order_state, receipt, receipts, typing};
use super::mtop::{Grant, Reply, Signing};
use super::sessions::{Out, Registered, Session};
use super::wire::{Item, Push, PushHeaders, from_base64, push_body};
use super::world::{Shared, Spoken, World};

const CONN: u64 = 1;
const CID: u64 = 30_000_000_001;

struct Vectors(Vec<Value>);

impl Vectors {
    fn read() -> Self {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../vectors/goofish/frames.json"
        );
        let mut all: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        Self(serde_json::from_value(all["frames"].take()).unwrap())
    }

    fn named(&self, name: &str) -> &Value {
        self.0.iter().find(|frame| frame["name"] == name).unwrap()
    }

    /// The only item of a push, and what the provider's own client makes of it.
    fn item(&self, name: &str) -> (String, Value) {
        let item = self.named(name)["items"]
            .as_array()
            .unwrap()
            .last()
            .unwrap();
        let data = item["data"].as_str().unwrap().to_owned();
        (data, item["client_decoded"]["decoded"].clone())
    }
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}

/// What stands between this name and the next `&` of the link.
fn in_link<'a>(link: &'a str, name: &str) -> &'a str {
    let (_, rest) = link.split_once(name).unwrap();
    rest.split('&').next().unwrap()
}

#[test]
fn messages_come_out_byte_for_byte() {
    let vectors = Vectors::read();
    for name in [
        "push text",
        "push image",
        "push voice",
        "push itemCard",
        "push tradeCard",
        "push selfEcho",
        "push several",
    ] {
        let (data, decoded) = vectors.item(name);
        let m = &decoded["1"];
        let (extras, content) = (&m["10"], &m["6"]["3"]);
        let link = text(&extras["reminderUrl"]);
        let sender = text(&extras["senderUserId"]);
        let chat = Chat {
            id: text(&m["3"]),
            cid: CID,
            sender,
            peer: in_link(link, "peerUserId="),
            item_id: in_link(link, "itemId="),
            at_ms: m["5"].as_u64().unwrap(),
            nick: text(&extras["reminderTitle"]),
            notice: text(&extras["reminderNotice"]),
            related_id: in_link(link, "messageId="),
            platform: text(&extras["_platform"]),
            is_echo: sender == "1000000001",
            need_push: decoded["3"]["needPush"] == "true",
            content: text(&content["5"]),
            content_type: content["4"].as_u64().unwrap(),
            summary: text(&content["2"]),
        };
        assert_eq!(chat.item().data, data, "{name}");
    }
}

#[test]
fn other_items_come_out_byte_for_byte() {
    let vectors = Vectors::read();
    let at = |value: &Value| value.as_u64().unwrap();
    let (data, decoded) = vectors.item("push readReceipt");
    let made = receipt(text(&decoded["1"]), CID, at(&decoded["6"]));
    assert_eq!((made.data, made.object_type), (data, 40_103));
    let (data, decoded) = vectors.item("push readReceiptBatch");
    let ids: Vec<String> = serde_json::from_value(decoded["1"].clone()).unwrap();
    assert_eq!(receipts(&ids, CID, 0).data, data);
    let (data, decoded) = vectors.item("push orderState");
    let made = order_state(CID, text(&decoded["3"]["redReminder"]), at(&decoded["4"]));
    assert_eq!(made.data, data);
    let (data, _) = vectors.item("push typingOnSync");
    assert_eq!(typing(CID, "2000000002", 0).data, data);
}

#[test]
fn a_session_hint_says_what_was_captured() {
    let vectors = Vectors::read();
    let frame = &vectors.named("push session hint on /s/vulcan")["json"];
    let package = &frame["body"]["syncPushPackage"];
    let captured = from_base64(text(&package["data"][0]["data"])).unwrap();
    let captured: Value = serde_json::from_slice(&captured).unwrap();
    let world = Shared::new();
    let mut hint = world.lock().hint(CID, "1000000001").unwrap();
    let made: Value = serde_json::from_slice(&from_base64(&hint.data).unwrap()).unwrap();
    assert_eq!(form(&made), form(&captured));
    // The same content in the frame around it.
    hint = Item {
        at_ms: 1_700_000_000_000,
        ..json_item(&captured, 0)
    };
    let hints = [Arc::new(hint)];
    let made = push_body("/s/vulcan", &hints, 1, 1_700_000_000_000_000, Some(3));
    let mut made = serde_json::to_value(made).unwrap();
    made["syncPushPackage"]["data"] = package["data"].clone();
    assert_eq!(made, frame["body"]);
}

#[test]
fn pushes_come_out_byte_for_byte() {
    let vectors = Vectors::read();
    for name in [
        "push text",
        "push readReceipt",
        "push several",
        "push typing on /s/para",
    ] {
        let frame = vectors.named(name);
        let package = &frame["json"]["body"]["syncPushPackage"];
        let items: Vec<_> = package["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                Arc::new(Item {
                    biz_type: 40,
                    object_type: u32::try_from(item["objectType"].as_u64().unwrap()).unwrap(),
                    data: text(&item["data"]).to_owned(),
                    id: None,
                    at_ms: package["timestamp"].as_u64().unwrap(),
                })
            })
            .collect();
        let headers = &frame["json"]["headers"];
        let lwp = text(&frame["json"]["lwp"]);
        let push = Push {
            headers: PushHeaders {
                app_key: text(&headers["app-key"]),
                mid: text(&headers["mid"]),
                ua: text(&headers["ua"]),
                sid: text(&headers["sid"]),
            },
            lwp,
            body: push_body(lwp, &items, 1, package["maxPts"].as_u64().unwrap(), None),
        };
        // The page says that this is absent on /s/para; the vector has it as 0.
        let expected = text(&frame["text"]);
        let expected = if lwp == "/s/para" {
            expected.replace(r#""minCreateTime":0,"#, "")
        } else {
            expected.to_owned()
        };
        let made = serde_json::to_string(&push).unwrap();
        // Values in the extension model have no order of their own in this program.
        let model = |text: &str| {
            text.split(r#","syncExtensionModel""#)
                .next()
                .unwrap()
                .to_owned()
        };
        assert_eq!(model(&made), model(&expected), "{name}");
        let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(parsed(&made), parsed(&expected), "{name}");
    }
}

/// Names and types, without values.
fn form(value: &Value) -> Value {
    match value {
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), form(value)))
            .collect(),
        Value::Array(values) => values.iter().map(form).collect(),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) => json!("bool"),
        Value::Null => Value::Null,
    }
}

/// A world with one connection, and what is queued for it.
struct Desk {
    world: Shared,
    queued: mpsc::Receiver<Out>,
}

impl Desk {
    fn new() -> Self {
        let (queue, queued) = mpsc::channel(100);
        let world = Shared::new();
        world
            .lock()
            .sessions
            .insert(CONN, Session::new(CONN, queue));
        Self { world, queued }
    }

    fn registered() -> Self {
        let desk = Self::new();
        {
            let mut world = desk.world.lock();
            world.person("1000000001").unwrap().sessions.push(CONN);
            let session = world.sessions.get_mut(&CONN).unwrap();
            session.registered = Some(Registered::new("1000000001", "d", "k", "ua"));
        }
        desk
    }

    /// The answer to a frame: the first thing that is said.
    fn ask(&mut self, frame: &str) -> Value {
        while self.queued.try_recv().is_ok() {}
        self.world.lock().heard(CONN, frame, "127.0.0.1");
        let Out::Text(answer) = self.queued.try_recv().unwrap() else {
            panic!("no text");
        };
        serde_json::from_str(&answer).unwrap()
    }

    fn say(&self, by: &str, said: &str) -> String {
        let content = json!({ "contentType": 1, "text": { "text": said } });
        let platform = "ios".to_owned();
        let spoken = Spoken {
            content,
            platform,
            data: None,
            custom_type: 1,
            summary: None,
            title: None,
            need_push: None,
        };
        let kept = self.world.lock().keep(CID, by, spoken).unwrap();
        super::wire::pnm(kept.number)
    }
}

#[test]
fn recorded_requests_get_answers_of_the_recorded_form() {
    let vectors = Vectors::read();
    let requests = vectors
        .0
        .iter()
        .filter(|frame| frame["direction"] == "c2s" && text(&frame["name"]).ends_with(" request"));
    let mut asked = 0;
    for frame in requests {
        let name = text(&frame["name"]);
        let mut desk = Desk::registered();
        // A message of the peer for those that read, one of one's own for the one that takes it back.
        let peers = name.contains("Status/read") || name.contains("Red") || name.contains("list");
        let id = desk.say(if peers { "2000000002" } else { "1000000001" }, "hello");
        let request = text(&frame["text"]).replace("4000000000001.PNM", &id);
        if name == "/reg request" {
            let headers = &frame["json"]["headers"];
            let grant = Grant {
                uid: "1000000001".to_owned(),
                app_key: text(&headers["app-key"]).to_owned(),
                device: text(&headers["did"]).to_owned(),
                expires_ms: u64::MAX,
            };
            desk.world
                .lock()
                .grants
                .add(text(&headers["token"]).to_owned(), grant);
        }
        let answer = desk.ask(&request);
        let like = name
            .replace("image request", "text request")
            .replace("request", "answer");
        let mut expected = form(&vectors.named(&like)["json"]);
        if name == "/! request" {
            expected["headers"]["sid"] = json!("text"); // it was recorded before `/reg`
        }
        assert_eq!(
            answer["headers"]["mid"], frame["json"]["headers"]["mid"],
            "{name}"
        );
        assert_eq!(answer["code"], 200, "{name}: {answer}");
        assert_eq!(form(&answer), expected, "{name}");
        asked += 1;
    }
    assert_eq!(asked, 12);
}

#[test]
fn before_registration_only_a_heartbeat_is_served() {
    let vectors = Vectors::read();
    let heartbeat = text(&vectors.named("/! request")["text"]);
    let expected = &vectors.named("/! answer")["json"];
    assert_eq!(&Desk::new().ask(heartbeat), expected);
    let flushed = &vectors.named("request flushed from the offline queue (no mid)");
    let answer = Desk::new().ask(text(&flushed["text"]));
    assert_eq!(
        (&answer["code"], &answer["headers"]),
        (&json!(401), &json!({}))
    );
    let list = text(&vectors.named("/r/Conversation/listNewestPagination request")["text"]);
    assert_eq!(Desk::new().ask(list)["code"], 401);
    let register = text(&vectors.named("/reg request")["text"]);
    let answer = Desk::new().ask(register);
    let refused = &vectors.named("/reg refused")["json"];
    assert_eq!(
        (&answer["code"], &answer["body"]),
        (&refused["code"], &refused["body"])
    );
}

/// The recorded call, with this in place of its signature.
fn call(vectors: &Vectors, sign: Option<&str>) -> super::mtop::Call {
    let vector = vectors.named("mtop login token request");
    let line = text(&vector["request_line"]);
    let (path, query) = line.split(' ').nth(1).unwrap().split_once('?').unwrap();
    let mut query = http::fields(query.as_bytes());
    if let Some(sign) = sign {
        query.insert("sign".to_owned(), sign.to_owned());
    }
    let mut headers = hyper::HeaderMap::new();
    for pair in vector["headers"].as_array().unwrap() {
        let name: hyper::header::HeaderName = text(&pair[0]).parse().unwrap();
        headers.insert(name, text(&pair[1]).parse().unwrap());
    }
    let path: Vec<&str> = path.trim_matches('/').split('/').collect();
    http::call(
        path[1],
        path[2],
        query,
        &headers,
        text(&vector["body"]).as_bytes(),
    )
}

fn answered(world: &mut World, call: &super::mtop::Call) -> (Value, usize) {
    match world.mtop(call) {
        (Reply::Json(body, cookies), 0) => (body, cookies.len()),
        _ => panic!("no answer"),
    }
}

#[test]
fn the_recorded_call_is_answered_as_recorded() {
    let vectors = Vectors::read();
    let recorded = |name: &str| {
        let vector = vectors.named(name);
        (
            vector["json"].clone(),
            vector["set_cookie"].as_array().unwrap().len(),
        )
    };
    let world = Shared::new();
    let mut world = world.lock();
    let good = call(&vectors, None);
    // The token that the call is signed with is nobody's yet, then it is, then it is too old.
    let (body, cookies) = answered(&mut world, &good);
    assert_eq!(
        (body, cookies),
        recorded("mtop TOKEN_ILLEGAL with a new cookie")
    );
    let token = "556ca03de5ca25b9c4c2009603e04fb4".to_owned();
    world.signing.add(
        token.clone(),
        Signing {
            uid: None,
            expires_ms: u64::MAX,
        },
    );
    let (body, cookies) = answered(&mut world, &good);
    let (success, none) = recorded("mtop success");
    assert_eq!((form(&body), cookies), (form(&success), none));
    assert_eq!(body["ret"], success["ret"]);
    let wrong = call(&vectors, Some("00000000000000000000000000000000"));
    assert_eq!(
        answered(&mut world, &wrong),
        recorded("mtop ILLEGAL_ACCESS")
    );
    world.person("1000000001").unwrap().logged_in = false;
    assert_eq!(
        answered(&mut world, &good),
        recorded("mtop SESSION_EXPIRED without a cookie")
    );
    world.signing.add(
        token,
        Signing {
            uid: None,
            expires_ms: 0,
        },
    );
    assert_eq!(answered(&mut world, &good), recorded("mtop token expired"));
    let mut fresh = call(&vectors, None);
    fresh.cookies.retain(|(name, _)| name != "_m_h5_tk");
    assert_eq!(answered(&mut world, &fresh), recorded("mtop token empty"));
}

#[test]
fn the_risk_challenge_is_the_recorded_one() {
    let vectors = Vectors::read();
    let world = Shared::new();
    let mut world = world.lock();
    let token = "556ca03de5ca25b9c4c2009603e04fb4".to_owned();
    world.signing.add(
        token,
        Signing {
            uid: None,
            expires_ms: u64::MAX,
        },
    );
    let order = json!({ "on": "mtop", "do": "ret", "code": "FAIL_SYS_USER_VALIDATE" });
    world
        .faults
        .arm(serde_json::from_value(order).unwrap())
        .unwrap();
    let (body, cookies) = answered(&mut world, &call(&vectors, None));
    let vector = vectors.named("mtop USER_VALIDATE + RGV587");
    assert_eq!((body, cookies), (vector["json"].clone(), 0));
}

#[test]
fn the_page_s_signature_comes_out() {
    let signed = "0123456789abcdef0123456789abcdef&1700000000000&34839810&\
        {\"appKey\":\"444e9908a51d1cb236a27862abc769c9\",\"deviceId\":\"D-1\"}";
    let sign = super::wire::md5_hex(signed.as_bytes());
    assert_eq!(sign, "ddb6e9418bc726c5ef51798b3bdd2873");
}

/// Puts something odd in place of the node that the number leads to.
fn spoil(value: &mut Value, way: u64) {
    let odd = [
        Value::Null,
        json!(-1),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("@goofish"),
        json!("\u{0}💥".repeat(40)),
        json!([]),
        json!([[[]]]),
        json!({}),
        json!({ "contentType": 1 }),
        json!(true),
    ];
    let choice = usize::try_from(way % 7).unwrap();
    let inner = match value {
        _ if choice == 6 => None,
        Value::Object(entries) => {
            let number = choice % entries.len().max(1);
            entries.values_mut().nth(number)
        }
        Value::Array(values) => {
            let number = choice % values.len().max(1);
            values.get_mut(number)
        }
        _ => None,
    };
    if let Some(inner) = inner {
        return spoil(inner, way / 7);
    }
    let number = usize::try_from(way / 7).unwrap_or_default() % odd.len();
    *value = odd[number].clone();
}

#[test]
fn no_frame_of_a_client_breaks_it() {
    let vectors = Vectors::read();
    let frames = vectors.0.iter().filter(|frame| frame["direction"] == "c2s");
    let mut way = 1_u64;
    for frame in frames {
        let mut desk = Desk::registered();
        for _ in 0..2_000 {
            way = way.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut odd = frame["json"].clone();
            spoil(&mut odd, way >> 16);
            desk.world.lock().heard(CONN, &odd.to_string(), "127.0.0.1");
            while desk.queued.try_recv().is_ok() {}
        }
        let heartbeat = r#"{"lwp":"/!","headers":{"mid":"last"}}"#;
        let answer = desk.ask(heartbeat);
        assert_eq!(answer["headers"]["mid"], "last", "{}", frame["name"]);
    }
}
