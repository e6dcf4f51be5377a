//! The page's vectors, both ways: each packet decodes to its fields and encodes to its bytes.

use crate::codec::frames::{BODY_BYTES_MAX, FrameError, Splitter, read_length, write_length};
use crate::codec::packets::{self, Packet, Recv, Send};
use crate::codec::seal::{self, Keys};
use bytes::{Bytes, BytesMut};
use serde_json::Value;

pub fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../vectors/wukongim/vectors.json")).unwrap()
}

pub fn bytes(hex: &Value) -> Vec<u8> {
    let digits = hex.as_str().unwrap().as_bytes();
    let pairs = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

pub fn array(hex: &Value) -> [u8; 32] {
    bytes(hex).try_into().unwrap()
}

fn number(value: &Value) -> u64 {
    let text = value.as_str().and_then(|text| text.parse().ok());
    value.as_u64().or(text).unwrap_or_else(|| panic!("{value}"))
}

fn u8_of(value: &Value) -> u8 {
    u8::try_from(number(value)).unwrap()
}

fn packet_of(hex: &Value, version: u8) -> Packet {
    let mut buffer = BytesMut::from(&*bytes(hex));
    let frame = Splitter::default().next(&mut buffer).unwrap().unwrap();
    assert!(buffer.is_empty());
    packets::decode(frame, version).unwrap()
}

#[test]
fn lengths_are_written_and_read() {
    for case in vectors()["variable_length"].as_array().unwrap() {
        let n = usize::try_from(number(&case["n"])).unwrap();
        let mut out = BytesMut::new();
        write_length(n, &mut out);
        assert_eq!(out, bytes(&case["hex"]), "{n}");
        if n > 0 {
            assert_eq!(read_length(&out), Ok(Some((n, out.len()))));
            assert_eq!(read_length(&out[..out.len() - 1]), Ok(None));
        }
    }
    assert_eq!(read_length(&[0xff; 4]), Err(FrameError::Length));
}

#[test]
fn keys_agree_on_both_sides() {
    let keys = &vectors()["keys"];
    let (client, server) = (
        array(&keys["client_private_hex"]),
        array(&keys["server_private_hex"]),
    );
    assert_eq!(keys["client_public_b64"], seal::public(client));
    assert_eq!(keys["server_public_b64"], seal::public(server));
    let salt = keys["salt_and_iv_ascii"].as_str().unwrap();
    let theirs = |of: &str| seal::read_public(keys[of].as_str().unwrap()).unwrap();
    let one = Keys::agree(client, theirs("server_public_b64"), salt).unwrap();
    let other = Keys::agree(server, theirs("client_public_b64"), salt).unwrap();
    for length in 0..70 {
        let plain = vec![b'x'; length];
        let sealed = one.seal(&plain);
        assert_eq!(other.unseal(sealed.as_bytes()), Some(plain));
    }
    assert_eq!(one.unseal(b""), None);
    assert_eq!(one.unseal(b"AAAA"), None);
}

fn keys() -> Keys {
    let keys = &vectors()["keys"];
    let server = array(&keys["server_private_hex"]);
    let client = seal::read_public(keys["client_public_b64"].as_str().unwrap()).unwrap();
    Keys::agree(server, client, keys["salt_and_iv_ascii"].as_str().unwrap()).unwrap()
}

fn is_send_as_told(it: &Send, fields: &Value, is_sealed: bool) {
    let same = |name: &str, is: &str| {
        assert_eq!(fields[name].as_str().unwrap_or_default(), is, "{name}");
    };
    assert_eq!(number(&fields["client_seq"]), u64::from(it.client_seq));
    same("client_msg_no", &it.client_msg_no);
    same("channel_id", &it.channel_id);
    same("msg_key", &it.msg_key);
    same("topic", &it.topic);
    assert_eq!(u8_of(&fields["channel_type"]), it.channel_type);
    assert_eq!(u8_of(&fields["setting"]), it.setting);
    let plain = fields["payload_utf8"].as_str().unwrap();
    if is_sealed {
        same("sealed_payload", std::str::from_utf8(&it.payload).unwrap());
        same("sign_text", std::str::from_utf8(&it.sign_text()).unwrap());
        assert_eq!(keys().sign(&it.sign_text()), it.msg_key);
        assert_eq!(keys().seal(plain.as_bytes()), it.payload);
        assert_eq!(keys().unseal(&it.payload).unwrap(), plain.as_bytes());
    }
}

fn is_recv_as_told(it: &Recv, fields: &Value, is_sealed: bool) {
    let same = |name: &str, is: &str| {
        assert_eq!(fields[name].as_str().unwrap_or_default(), is, "{name}");
    };
    assert_eq!(number(&fields["message_id"]), it.message_id.cast_unsigned());
    assert_eq!(number(&fields["message_seq"]), it.message_seq);
    assert_eq!(
        number(&fields["timestamp"]),
        u64::try_from(it.timestamp_s).unwrap()
    );
    same("client_msg_no", &it.client_msg_no);
    same("from_uid", &it.from_uid);
    same("channel_id", &it.channel_id);
    same("msg_key", &it.msg_key);
    same("topic", &it.topic);
    assert_eq!(u8_of(&fields["channel_type"]), it.channel_type);
    assert_eq!(u8_of(&fields["setting"]), it.setting);
    if fields["stream_fields_on_wire"] == true {
        assert_eq!(number(&fields["stream_id"]), it.stream_id);
        assert_eq!(u8_of(&fields["stream_flag"]), it.stream_flag);
        same("stream_no", &it.stream_no);
    } else {
        assert_eq!(it.stream_no, "");
    }
    let plain = fields["payload_utf8"].as_str().unwrap();
    if is_sealed {
        same("sign_text", std::str::from_utf8(&it.sign_text()).unwrap());
        assert_eq!(keys().sign(&it.sign_text()), it.msg_key);
        assert_eq!(keys().seal(plain.as_bytes()), it.payload);
    } else {
        assert_eq!(it.payload, plain);
    }
}

#[test]
fn every_packet_decodes_to_its_fields_and_encodes_to_its_bytes() {
    let vectors = vectors();
    let all = vectors["packets"].as_array().unwrap();
    assert_eq!(all.len(), 80);
    for vector in all {
        let (name, version) = (&vector["name"], u8_of(&vector["version"]));
        println!("{name} v{version}");
        let packet = packet_of(&vector["hex"], version);
        let mut out = BytesMut::new();
        packets::encode(&packet, version, &mut out);
        assert_eq!(out, bytes(&vector["hex"]), "{name} v{version}");
        let (fields, is_sealed) = (&vector["fields"], vector["encrypted"] == true);
        match packet {
            Packet::Connect(it) => {
                assert_eq!(u8_of(&fields["version"]), it.version);
                assert_eq!(u8_of(&fields["device_flag"]), it.device_flag);
                assert_eq!(fields["device_id"], it.device_id);
                assert_eq!(fields["uid"], it.uid);
                assert_eq!(fields["token"], it.token);
                assert_eq!(fields["client_timestamp"], it.client_timestamp_ms);
                assert_eq!(fields["client_key"], it.client_key);
            }
            Packet::Connack(it) => {
                assert_eq!(fields["has_server_version"], it.server_version.is_some());
                assert_eq!(fields["time_diff"], it.time_diff_ms);
                assert_eq!(u8_of(&fields["reason_code"]), it.reason);
                assert_eq!(fields["server_key"], it.server_key);
                assert_eq!(fields["salt"], it.salt);
            }
            Packet::Send(it) => is_send_as_told(&it, fields, is_sealed),
            Packet::Sendack(it) => {
                assert_eq!(number(&fields["message_id"]), it.message_id.cast_unsigned());
                assert_eq!(number(&fields["client_seq"]), u64::from(it.client_seq));
                assert_eq!(number(&fields["message_seq"]), it.message_seq);
                assert_eq!(u8_of(&fields["reason_code"]), it.reason);
            }
            Packet::Recv(it) => is_recv_as_told(&it, fields, is_sealed),
            Packet::Recvack {
                message_id,
                message_seq,
                ..
            } => {
                assert_eq!(number(&fields["message_id"]), message_id.cast_unsigned());
                assert_eq!(number(&fields["message_seq"]), message_seq);
            }
            Packet::Ping | Packet::Pong => {}
            Packet::Disconnect { reason, text } => {
                assert_eq!(u8_of(&fields["reason_code"]), reason);
                assert_eq!(fields["reason"], text);
            }
            Packet::Event(it) => {
                assert_eq!(fields["id"], it.id);
                assert_eq!(fields["type"], it.kind);
                assert_eq!(fields["timestamp"], it.timestamp_ms);
                assert_eq!(fields["data_utf8"].as_str().unwrap(), it.data);
            }
        }
    }
}

#[test]
fn streams_of_bytes_are_cut_into_frames() {
    for case in vectors()["stream_cases"].as_array().unwrap() {
        let wanted = case["frames"].as_array().map_or(0, Vec::len);
        let whole = bytes(&case["hex"]);
        for step in [1, 2, 7, whole.len()] {
            let (mut splitter, mut buffer, mut count) = (Splitter::default(), BytesMut::new(), 0);
            for piece in whole.chunks(step) {
                buffer.extend_from_slice(piece);
                while splitter.next(&mut buffer).unwrap().is_some() {
                    count += 1;
                }
            }
            assert_eq!(count, wanted, "{} by {step}", case["name"]);
        }
    }
}

#[test]
fn what_is_wrong_is_refused() {
    for case in vectors()["rejects"].as_array().unwrap() {
        let mut buffer = BytesMut::from(&*bytes(&case["hex"]));
        let name = case["name"].as_str().unwrap();
        if name.contains("1 MiB") {
            let mut splitter = Splitter::default();
            // Read to its end first.
            assert_eq!(splitter.next(&mut buffer), Ok(None));
            buffer.extend_from_slice(&vec![0; BODY_BYTES_MAX]);
            assert_eq!(splitter.next(&mut buffer), Ok(None));
            buffer.extend_from_slice(&[0; 1]);
            let too_long = FrameError::TooLong(BODY_BYTES_MAX + 1);
            assert_eq!(splitter.next(&mut buffer), Err(too_long));
            continue;
        }
        let frame = Splitter::default().next(&mut buffer).unwrap().unwrap();
        match packets::decode(frame, 5) {
            Ok(Packet::Recv(it)) => assert_ne!(keys().sign(&it.sign_text()), it.msg_key),
            Ok(Packet::Send(it)) => assert_ne!(keys().sign(&it.sign_text()), it.msg_key),
            Ok(other) => panic!("{name}: {other:?}"),
            Err(_) => assert!(name.contains("string length") || name.contains("body shorter")),
        }
    }
}

#[test]
fn hostile_bytes_never_panic() {
    let mut rng = im_bridge_test_harness::seeded("hostile_bytes_never_panic");
    let vectors = vectors();
    let all = vectors["packets"].as_array().unwrap();
    for _ in 0..20_000 {
        let vector = &all[rng.usize(..all.len())];
        let mut raw = bytes(&vector["hex"]);
        for _ in 0..rng.usize(0..4) {
            let at = rng.usize(..raw.len());
            raw[at] = rng.u8(..);
        }
        raw.truncate(rng.usize(1..=raw.len()));
        let mut buffer = BytesMut::from(&*raw);
        if let Ok(Some(frame)) = Splitter::default().next(&mut buffer) {
            let version = rng.u8(0..8);
            if let Ok(packet) = packets::decode(frame, version) {
                let mut out = BytesMut::new();
                packets::encode(&packet, version, &mut out);
                assert!(!out.is_empty());
            }
        }
    }
    let empty = Bytes::new();
    assert_eq!(keys().unseal(&empty), None);
}
