//! Random bytes, and real frames with random damage, through everything that reads what the provider says: nothing panics,
//! nothing takes long, and nothing private comes out.
//!
//! A short run by default; `IM_BRIDGE_FUZZ_S=600 cargo test -p im-bridge-adapter-goofish --test fuzz -- --nocapture` goes on
//! for ten minutes. Each failure prints its seed; `IM_BRIDGE_SEED=<seed>` begins with it. Corpus: the protocol's vectors.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use im_bridge_adapter_goofish::native::answers::{Conversation, Page, Sent};
use im_bridge_adapter_goofish::native::frame::{self, Down};
use im_bridge_adapter_goofish::native::item::{self, Item};
use im_bridge_adapter_goofish::native::{msgpack, mtop};
use im_bridge_adapter_goofish::testing;
use serde_json::{Map, Value, json};

const VECTORS: &str = include_str!("../../../tests/vectors/goofish/frames.json");

/// One input: what is read of it is bounded by its length, so it must not take longer.
const TAKES_MAX: Duration = Duration::from_secs(2);

struct Corpus {
    frames: Vec<String>,
    items: Vec<Vec<u8>>,
    bodies: Vec<Value>,
}

impl Corpus {
    fn new() -> Self {
        let all: Value = serde_json::from_str(VECTORS).unwrap();
        let mut corpus = Self {
            frames: vec![],
            items: vec![],
            bodies: vec![],
        };
        for vector in all["frames"].as_array().unwrap() {
            if let Some(text) = vector["text"].as_str() {
                corpus.frames.push(text.to_owned());
            }
            if let Some(body) = vector["json"].get("body") {
                corpus.bodies.push(body.clone());
            }
            if let Some(body) = vector["body"]
                .as_str()
                .and_then(|body| serde_json::from_str(body).ok())
            {
                corpus.bodies.push(body);
            }
            for item in vector["items"].as_array().into_iter().flatten() {
                corpus
                    .items
                    .extend(item::base64(item["data"].as_str().unwrap()));
            }
        }
        assert!(corpus.frames.len() > 50 && corpus.items.len() > 15 && corpus.bodies.len() > 40);
        corpus
    }
}

/// Everything that reads; an error is as good as an answer.
fn read_all(text: &str) {
    if let Ok(Down::Push(push)) = frame::read(text) {
        assert!(
            push.acknowledgement
                .starts_with(r#"{"code":200,"headers":"#)
        );
        for item in push.items.iter().flat_map(item::read) {
            told(&item);
        }
    } else if let Ok(Down::Answer(answer)) = frame::read(text) {
        let _ = answer.is_unauthorized();
        match answer.outcome() {
            Ok(reply) => body(&reply.body),
            Err(refusal) => {
                let _ = (
                    refusal.is_certain(),
                    refusal.is_content(),
                    refusal.native_text(),
                );
            }
        }
    }
    let raw: Value = serde_json::from_slice(&testing::raw_event("1000000001", text)).unwrap();
    assert!(!has(&raw, "clientIp") && !has(&raw, "umidToken"), "{raw}");
}

fn body(tree: &Value) {
    let _ = (
        Page::conversations(tree),
        Page::messages(tree),
        Conversation::read(tree),
        Sent::read(tree),
    );
    let _ = mtop::outcome(tree.clone()).map(|data| mtop::Token::read(&data));
}

/// What an item becomes: an event that the contract takes.
fn told(item: &Item) {
    if let Some(payload) = testing::event("1000000001", item) {
        let event: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(event["self"]["user_id"], "1000000001");
        assert!(payload.len() <= 1024 * 1024, "{} bytes", payload.len());
        assert!(
            !has(&event, "clientIp") && !has(&event, "umidToken"),
            "{event}"
        );
    }
}

fn has(tree: &Value, name: &str) -> bool {
    match tree {
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| key == name || has(value, name)),
        Value::Array(all) => all.iter().any(|one| has(one, name)),
        _ => false,
    }
}

fn bytes(random: &mut fastrand::Rng, most: usize) -> Vec<u8> {
    (0..random.usize(0..=most)).map(|_| random.u8(..)).collect()
}

/// Some bytes changed, dropped, repeated or added.
fn damage(random: &mut fastrand::Rng, mut what: Vec<u8>) -> Vec<u8> {
    for _ in 0..=random.usize(0..6) {
        let at = random.usize(0..=what.len());
        match random.u8(0..5) {
            0 if at < what.len() => what[at] = random.u8(..),
            1 if at < what.len() => what[at] ^= 1 << random.u8(0..8),
            2 => what.truncate(at),
            3 => {
                let more = bytes(random, 8);
                what.splice(at..at, more);
            }
            _ => {
                let end = (at + random.usize(0..16)).min(what.len());
                let copy = what[at..end].to_vec();
                what.splice(at..at, copy);
            }
        }
    }
    what
}

/// A tree of another shape at random places.
fn reshape(random: &mut fastrand::Rng, tree: &mut Value, chance: u32) {
    if random.u32(0..chance) == 0 {
        *tree = odd(random);
        return;
    }
    match tree {
        Value::Object(map) => map
            .values_mut()
            .for_each(|value| reshape(random, value, chance)),
        Value::Array(all) => all
            .iter_mut()
            .for_each(|value| reshape(random, value, chance)),
        _ => {}
    }
}

fn odd(random: &mut fastrand::Rng) -> Value {
    match random.u8(0..10) {
        0 => Value::Null,
        1 => json!(random.bool()),
        2 => json!(random.i64(..)),
        3 => json!(u64::MAX),
        4 => json!("x".repeat(random.usize(0..2_000))),
        5 => json!(String::from_utf8_lossy(&bytes(random, 40))),
        6 => json!([{}, [], null, 7]),
        7 => json!({ "clientIp": "192.0.2.1", "1": { "1": [] } }),
        8 => json!("{\"umidToken\":\"secret\",\"contentType\":2,\"image\":{\"pics\":[{}]}}"),
        _ => Value::Object(Map::new()),
    }
}

fn push(data: &str, object_type: i64) -> String {
    let item = json!({ "bizType": 40, "data": data, "objectType": object_type });
    json!({ "lwp": "/s/sync", "headers": { "mid": "1 0" }, "body": { "syncPushPackage": { "data": [item] } } }).to_string()
}

fn one(random: &mut fastrand::Rng, corpus: &Corpus) {
    let object_type = [40_000, 40_103, 40_006, 370_000, 7][random.usize(0..5)];
    match random.u8(0..7) {
        0 => {
            let noise = bytes(random, 400);
            let _ = msgpack::read(&noise);
            read_all(&push(&STANDARD.encode(&noise), object_type));
        }
        1 | 2 => {
            let item = corpus.items[random.usize(0..corpus.items.len())].clone();
            let item = damage(random, item);
            read_all(&push(&STANDARD.encode(item), object_type));
        }
        3 => {
            let text = corpus.frames[random.usize(0..corpus.frames.len())].clone();
            read_all(&String::from_utf8_lossy(&damage(random, text.into_bytes())));
        }
        4 => {
            let text = &corpus.frames[random.usize(0..corpus.frames.len())];
            let mut tree: Value = serde_json::from_str(text).unwrap();
            reshape(random, &mut tree, 12);
            read_all(&tree.to_string());
        }
        5 => {
            let mut tree = corpus.bodies[random.usize(0..corpus.bodies.len())].clone();
            reshape(random, &mut tree, 12);
            body(&tree);
        }
        _ => {
            let item = &corpus.items[random.usize(0..corpus.items.len())];
            let tree = if item.starts_with(b"{") {
                serde_json::from_slice(item).ok()
            } else {
                msgpack::read(item).ok()
            };
            let mut tree = tree.unwrap_or_default();
            reshape(random, &mut tree, 10);
            read_all(&push(&tree.to_string(), object_type));
        }
    }
}

#[test]
fn whatever_the_provider_says_is_read_without_harm() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let goes_on = Duration::from_secs(number("IM_BRIDGE_FUZZ_S").unwrap_or(3));
    let first = number("IM_BRIDGE_SEED").unwrap_or_else(|| fastrand::u64(..1 << 40));
    println!("IM_BRIDGE_SEED={first}");
    let (corpus, begun) = (Corpus::new(), Instant::now());
    let mut seed = first;
    while begun.elapsed() < goes_on {
        let (start, at) = (Instant::now(), seed);
        let done = std::panic::catch_unwind(|| one(&mut fastrand::Rng::with_seed(at), &corpus));
        assert!(done.is_ok(), "IM_BRIDGE_SEED={seed} repeats it");
        assert!(
            start.elapsed() < TAKES_MAX,
            "IM_BRIDGE_SEED={seed}: {:?}",
            start.elapsed()
        );
        seed += 1;
    }
    println!("{} inputs in {:?}", seed - first, begun.elapsed());
}

/// What a length announces is not what is allocated.
#[test]
fn an_announced_length_costs_nothing() {
    let start = Instant::now();
    for head in [0xdd_u8, 0xdf, 0xdb, 0xc6] {
        assert!(msgpack::read(&[head, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    read_all(&deep);
    read_all(&push(&STANDARD.encode(&deep), 7));
    assert!(start.elapsed() < TAKES_MAX);
}
