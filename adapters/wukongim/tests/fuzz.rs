//! Bytes that nobody meant: whatever comes, the decoders answer with a packet or an error, and never panic.
//!
//! Short by default; `IM_BRIDGE_FUZZ_S=600 cargo test -p im-bridge-adapter-wukongim --test fuzz -- --nocapture` goes on for
//! ten minutes. The seed is printed and taken from `IM_BRIDGE_SEED`. The corpus is the vectors, mutated.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use fastrand::Rng;
use im_bridge_adapter_wukongim::native::frames::Frames;
use im_bridge_adapter_wukongim::native::jsonrpc::{self, Objects};
use im_bridge_adapter_wukongim::native::packet::Packet;
use im_bridge_adapter_wukongim::native::record::{Record, SentRecord};
use im_bridge_adapter_wukongim::native::seal::{KeyPair, Keys};
use im_bridge_adapter_wukongim::native::wire::BODY_BYTES_MAX;
use serde_json::Value;

const SHORT_S: u64 = 2;

struct Corpus {
    binary: Vec<Vec<u8>>,
    json: Vec<Vec<u8>>,
}

fn corpus() -> Corpus {
    let vectors: Value =
        serde_json::from_str(include_str!("../../../tests/vectors/wukongim/vectors.json")).unwrap();
    let (mut binary, mut json) = (Vec::new(), Vec::new());
    collect(&vectors, &mut binary, &mut json);
    assert!(binary.len() > 150 && json.len() > 50);
    Corpus { binary, json }
}

/// Every text below `hex`, and every text that looks like JSON.
fn collect(value: &Value, binary: &mut Vec<Vec<u8>>, json: &mut Vec<Vec<u8>>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), member.as_str()) {
                    ("hex", Some(hex)) => binary.push(unhex(hex)),
                    (_, Some(text)) if text.starts_with(['{', '[']) => {
                        json.push(text.as_bytes().to_vec());
                    }
                    _ => collect(member, binary, json),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, binary, json)),
        _ => {}
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// One to eight changes: a byte, a bit, a cut, a repetition, an insertion, another one's piece.
fn mutated(random: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.choice(corpus).unwrap().clone();
    for _ in 0..random.usize(0..8) {
        if bytes.is_empty() {
            bytes.push(random.u8(..));
        }
        let at = random.usize(..bytes.len());
        match random.u8(..7) {
            0 => bytes[at] = random.u8(..),
            1 => bytes[at] ^= 1 << random.u8(..8),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..(at + random.usize(..8)).min(bytes.len()))),
            4 => bytes.insert(at, random.u8(..)),
            5 => {
                bytes[at] = *random
                    .choice([0_u8, 0x7f, 0x80, 0xff, b'"', b'{', b'\\'].iter())
                    .unwrap()
            }
            _ => {
                let other = random.choice(corpus).unwrap();
                let from = random.usize(..=other.len());
                let piece = other[from..].iter().take(64).copied().collect::<Vec<u8>>();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

fn seed() -> u64 {
    let told = std::env::var("IM_BRIDGE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = told.unwrap_or_else(|| fastrand::u64(..));
    println!("IM_BRIDGE_SEED={seed}");
    seed
}

fn until() -> Instant {
    let told = std::env::var("IM_BRIDGE_FUZZ_S")
        .ok()
        .and_then(|text| text.parse().ok());
    Instant::now() + Duration::from_secs(told.unwrap_or(SHORT_S))
}

fn keys() -> Keys {
    let pair = KeyPair::from_private([1; 32]);
    let public = KeyPair::from_private([2; 32]).public();
    pair.agree(&public, "0123456789abcdef").unwrap()
}

#[test]
fn binary_streams_never_panic_and_what_is_read_can_be_written() {
    let (corpus, keys, until) = (corpus(), keys(), until());
    let mut random = Rng::with_seed(seed());
    let (mut rounds, mut packets) = (0_u64, 0_u64);
    while Instant::now() < until {
        let version = random.u8(..=8);
        let mut frames = Frames::default();
        let bytes: Vec<u8> = (0..random.usize(1..4))
            .flat_map(|_| mutated(&mut random, &corpus.binary))
            .collect();
        let mut rest = bytes.as_slice();
        'stream: while !rest.is_empty() {
            let (piece, after) = rest.split_at(random.usize(1..=rest.len()));
            rest = after;
            frames.push(piece);
            loop {
                match frames.next_packet(version) {
                    Ok(Some(packet)) => {
                        packets += 1;
                        check(packet, version, &keys);
                    }
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
        rounds += 1;
    }
    println!("binary: {rounds} streams, {packets} packets");
}

fn check(packet: Packet, version: u8, keys: &Keys) {
    if matches!(packet, Packet::Unknown(_)) {
        return;
    }
    let mut out = Vec::new();
    packet
        .write(version, &mut out)
        .expect("it was read, so it fits");
    assert!(out.len() <= BODY_BYTES_MAX + 5);
    let mut frames = Frames::default();
    frames.push(&out);
    let again = frames.next_packet(version).unwrap();
    assert_eq!(again.as_ref(), Some(&packet));
    if let Packet::Recv(mut recv) = packet {
        let _ = keys.unseal_recv(&mut recv);
    }
}

#[test]
fn json_streams_and_records_never_panic() {
    let (corpus, until) = (corpus(), until());
    let mut random = Rng::with_seed(seed());
    let (mut rounds, mut objects) = (0_u64, 0_u64);
    while Instant::now() < until {
        let bytes = mutated(&mut random, &corpus.json);
        let mut stream = Objects::default();
        let mut rest = bytes.as_slice();
        'stream: while !rest.is_empty() {
            let (piece, after) = rest.split_at(random.usize(1..=rest.len()));
            rest = after;
            stream.push(piece);
            loop {
                match stream.next_object() {
                    Ok(Some(object)) => {
                        objects += 1;
                        let _ = jsonrpc::read(object);
                    }
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
        if let Ok(text) = str::from_utf8(&bytes) {
            let _ = Record::read(text);
            let _ = SentRecord::read(text, random.bool());
        }
        rounds += 1;
    }
    println!("JSON: {rounds} streams, {objects} objects");
}

#[test]
fn sealed_texts_never_panic() {
    let (keys, until) = (keys(), until());
    let mut random = Rng::with_seed(seed());
    while Instant::now() < until {
        let plain: Vec<u8> = (0..random.usize(..200)).map(|_| random.u8(..)).collect();
        let mut sealed = keys.seal(&plain);
        assert_eq!(keys.unseal(&sealed).unwrap(), plain);
        let at = random.usize(..sealed.len());
        sealed[at] = random.u8(..);
        let _ = keys.unseal(&sealed);
    }
}
