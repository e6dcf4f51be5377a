//! Every vector of `tests/vectors/wukongim/`, both ways.
#![allow(clippy::unwrap_used, reason = "tests")]

use im_bridge_adapter_wukongim::native::channel::stored_pair;
use im_bridge_adapter_wukongim::native::frames::Frames;
use im_bridge_adapter_wukongim::native::jsonrpc::{self, Line, Objects};
use im_bridge_adapter_wukongim::native::packet::{Packet, Recv, Stream};
use im_bridge_adapter_wukongim::native::record::{Record, SentRecord};
use im_bridge_adapter_wukongim::native::seal::{
    KeyPair, Keys, SealError, sign_text_of_recv, sign_text_of_send,
};
use im_bridge_adapter_wukongim::native::wire::{WireError, read_length, write_length};
use serde_json::Value;

fn vectors() -> Value {
    let text = include_str!("../../../tests/vectors/wukongim/vectors.json");
    serde_json::from_str(text).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text<'a>(of: &'a Value, member: &str) -> &'a str {
    of[member]
        .as_str()
        .unwrap_or_else(|| panic!("{member} of {of}"))
}

fn private(of: &Value, member: &str) -> KeyPair {
    KeyPair::from_private(unhex(text(of, member)).try_into().unwrap())
}

/// The keys of the packets: those of the vectors' client.
fn keys(vectors: &Value) -> Keys {
    let keys = &vectors["keys"];
    private(keys, "client_private_hex")
        .agree(
            text(keys, "server_public_b64"),
            text(keys, "salt_and_iv_ascii"),
        )
        .unwrap()
}

fn one(bytes: &[u8], version: u8) -> Packet {
    let mut frames = Frames::default();
    frames.push(bytes);
    let packet = frames.next_packet(version).unwrap().expect("a whole frame");
    assert_eq!(
        frames.next_packet(version).unwrap(),
        None,
        "nothing behind it"
    );
    packet
}

fn written(packet: &Packet, version: u8) -> String {
    let mut out = Vec::new();
    packet.write(version, &mut out).unwrap();
    hex(&out)
}

#[test]
fn lengths_are_written_and_read() {
    let vectors = vectors();
    for case in vectors["variable_length"].as_array().unwrap() {
        let (length, wanted) = (case["n"].as_u64().unwrap(), text(case, "hex"));
        let mut out = Vec::new();
        write_length(usize::try_from(length).unwrap(), &mut out);
        assert_eq!(hex(&out), wanted);
        if !out.is_empty() {
            let read = read_length(&out).unwrap().unwrap();
            assert_eq!(read, (usize::try_from(length).unwrap(), out.len()));
        }
        for cut in 0..out.len().saturating_sub(1) {
            assert_eq!(
                read_length(&out[..cut]).unwrap(),
                None,
                "{length} cut at {cut}"
            );
        }
    }
}

#[test]
fn person_channels_are_stored_under_both_names() {
    for case in vectors()["person_channels"].as_array().unwrap() {
        let stored = stored_pair(text(case, "from"), text(case, "to"));
        assert_eq!(stored, text(case, "stored_channel_id"));
    }
}

#[test]
fn both_sides_agree_on_the_keys() {
    let vectors = vectors();
    let known = &vectors["keys"];
    for side in ["client", "server"] {
        let pair = private(known, &format!("{side}_private_hex"));
        assert_eq!(pair.public(), text(known, &format!("{side}_public_b64")));
    }
    let theirs = private(known, "server_private_hex")
        .agree(
            text(known, "client_public_b64"),
            text(known, "salt_and_iv_ascii"),
        )
        .unwrap();
    let told = Keys::new(
        text(known, "aes_key_ascii").as_bytes().try_into().unwrap(),
        text(known, "salt_and_iv_ascii")
            .as_bytes()
            .try_into()
            .unwrap(),
    );
    let sealed = keys(&vectors).seal(b"the same");
    assert_eq!(theirs.seal(b"the same"), sealed);
    assert_eq!(told.unseal(&sealed).unwrap(), b"the same");
}

#[test]
fn keys_that_are_none_are_refused() {
    let pair = || KeyPair::from_private([7; 32]);
    let good = pair().public();
    let error = |key: &str, salt: &str| pair().agree(key, salt).err().unwrap();
    assert_eq!(error("", "0123456789abcdef"), SealError::ServerKey);
    assert_eq!(error("AAAA", "0123456789abcdef"), SealError::ServerKey);
    assert_eq!(error("!", "0123456789abcdef"), SealError::ServerKey);
    assert_eq!(error(&good, "short"), SealError::Salt);
}

#[test]
fn every_packet_is_read_and_written_again() {
    let vectors = vectors();
    let keys = keys(&vectors);
    let mut sealed = 0;
    let packets = vectors["packets"].as_array().unwrap();
    for vector in packets {
        let name = text(vector, "name");
        let version = u8::try_from(vector["version"].as_u64().unwrap()).unwrap();
        let packet = one(&unhex(text(vector, "hex")), version);
        let mut fields = vector["fields"].clone();
        if version < 3 && fields.get("expire").is_some() {
            fields["expire"] = 0.into(); // not on the wire
        }
        compare(name, &packet, &fields, &vector["flags"]);
        // What a newer server appends is ignored, so it cannot come back.
        if vector["fields"].get("trailing_client_msg_no").is_none() {
            assert_eq!(
                written(&packet, version),
                text(vector, "hex"),
                "{name} v{version}"
            );
        }
        if vector["encrypted"] == true {
            sealed += 1;
            sealed_both_ways(name, &packet, &vector["fields"], &keys);
        }
    }
    assert_eq!((packets.len(), sealed), (80, 31));
}

/// Every member that the vector names.
fn compare(name: &str, packet: &Packet, fields: &Value, flags: &Value) {
    for (member, wanted) in fields.as_object().unwrap() {
        let Some(got) = member_of(packet, member, wanted) else {
            continue;
        };
        assert_eq!(&got, wanted, "{name}: {member}");
    }
    if let Some(bits) = flag_bits(packet)
        && flags.get("dup").is_some()
    {
        let names = ["no_persist", "red_dot", "sync_once", "dup"];
        for (bit, flag) in names.into_iter().enumerate() {
            assert_eq!(bits >> bit & 1 == 1, flags[flag] == true, "{name}: {flag}");
        }
    }
}

fn flag_bits(packet: &Packet) -> Option<u8> {
    Some(match packet {
        Packet::Send(packet) => packet.flags.0,
        Packet::SendAck(packet) => packet.flags.0,
        Packet::Recv(packet) => packet.flags.0,
        Packet::RecvAck(packet) => packet.flags.0,
        _ => return None,
    })
}

/// None: the vector's member is no member of the packet, or is checked elsewhere.
fn member_of(packet: &Packet, member: &str, wanted: &Value) -> Option<Value> {
    let known = |value: Value| Some(value);
    match (packet, member) {
        (
            _,
            "red_dot"
            | "no_persist"
            | "sync_once"
            | "dup"
            | "receipt"
            | "sign_text"
            | "sealed_payload"
            | "trailing_client_msg_no"
            | "stream_fields_on_wire"
            | "flags",
        ) => None,
        (Packet::Connect(p), _) => known(match member {
            "version" => p.version.into(),
            "device_flag" => p.device_flag.into(),
            "device_id" => p.device_id.clone().into(),
            "uid" => p.uid.clone().into(),
            "token" => p.token.clone().into(),
            "client_timestamp" => p.client_timestamp_ms.into(),
            "client_key" => p.client_key.clone().into(),
            other => panic!("CONNECT has no {other}"),
        }),
        (Packet::ConnAck(p), _) => known(match member {
            "has_server_version" => p.server_version.is_some().into(),
            "server_version" => p.server_version.unwrap().into(),
            "time_diff" => p.time_diff_ms.into(),
            "reason_code" | "reason" => p.reason.into(),
            "server_key" => p.server_key.clone().into(),
            "salt" => p.salt.clone().into(),
            "node_id" => p.node_id.unwrap().into(),
            other => panic!("CONNACK has no {other}"),
        }),
        (Packet::Send(p), "payload_utf8") if !p.msg_key.is_empty() => None,
        (Packet::Send(p), _) => known(match member {
            "setting" => p.setting.into(),
            "client_seq" => p.client_seq.into(),
            "client_msg_no" => p.client_msg_no.clone().into(),
            "channel_id" => p.channel_id.clone().into(),
            "channel_type" => p.channel_type.into(),
            "expire" => p.expire_s.into(),
            "msg_key" => p.msg_key.clone().into(),
            "topic" => p.topic.clone().into(),
            "payload_utf8" => String::from_utf8(p.payload.clone()).unwrap().into(),
            other => panic!("SEND has no {other}"),
        }),
        (Packet::SendAck(p), _) => known(match member {
            "message_id" => p.message_id.to_string().into(),
            "client_seq" => p.client_seq.into(),
            "message_seq" => p.message_seq.into(),
            "reason_code" | "reason" => p.reason.into(),
            other => panic!("SENDACK has no {other}"),
        }),
        (Packet::Recv(p), "payload_utf8") if !p.msg_key.is_empty() => None,
        (Packet::Recv(p), _) => known(recv_member(p, member)),
        (Packet::RecvAck(p), _) => known(match member {
            "message_id" => p.message_id.to_string().into(),
            "message_seq" => p.message_seq.into(),
            other => panic!("RECVACK has no {other}"),
        }),
        (Packet::Disconnect(p), _) => known(match member {
            "reason_code" => p.reason.into(),
            "reason" if wanted.is_number() => p.reason.into(),
            "reason" | "reason_text" => p.text.clone().into(),
            other => panic!("DISCONNECT has no {other}"),
        }),
        (Packet::Event(p), _) => known(match member {
            "id" => p.id.clone().into(),
            "type" => p.kind.clone().into(),
            "timestamp" => p.timestamp_ms.into(),
            "data_utf8" | "data" => String::from_utf8(p.data.clone()).unwrap().into(),
            other => panic!("EVENT has no {other}"),
        }),
        (packet, other) => panic!("{} has no {other}", packet.name()),
    }
}

fn recv_member(p: &Recv, member: &str) -> Value {
    match (member, &p.stream) {
        ("setting", _) => p.setting.into(),
        ("msg_key", _) => p.msg_key.clone().into(),
        ("from_uid", _) => p.from_uid.clone().into(),
        ("channel_id", _) => p.channel_id.clone().into(),
        ("channel_type", _) => p.channel_type.into(),
        ("expire", _) => p.expire_s.into(),
        ("client_msg_no", _) => p.client_msg_no.clone().into(),
        ("message_id", _) => p.message_id.to_string().into(),
        ("message_seq", _) => p.message_seq.into(),
        ("timestamp", _) => p.timestamp_s.into(),
        ("topic", _) => p.topic.clone().into(),
        ("payload_utf8", _) => String::from_utf8(p.payload.clone()).unwrap().into(),
        ("stream_flag", Some(Stream::New { flag, .. })) => (*flag).into(),
        ("stream_no", Some(Stream::New { no, .. })) => no.clone().into(),
        ("stream_id", Some(Stream::New { id, .. })) => (*id).into(),
        // From version 5 on they are not on the wire.
        ("stream_flag", None) => 1.into(),
        ("stream_no", None) => "stream-1".into(),
        ("stream_id", None) => 77.into(),
        (other, stream) => panic!("RECV has no {other}: {stream:?}"),
    }
}

fn sealed_both_ways(name: &str, packet: &Packet, fields: &Value, keys: &Keys) {
    let plain = text(fields, "payload_utf8").as_bytes();
    assert_eq!(keys.seal(plain), text(fields, "sealed_payload").as_bytes());
    match packet {
        Packet::Send(send) => {
            assert_eq!(
                sign_text_of_send(send),
                text(fields, "sign_text").as_bytes()
            );
            let mut again = send.clone();
            again.msg_key.clear();
            again.payload = plain.to_vec();
            keys.seal_send(&mut again);
            assert_eq!(&again, send, "{name}");
        }
        Packet::Recv(recv) => {
            assert_eq!(
                sign_text_of_recv(recv),
                text(fields, "sign_text").as_bytes()
            );
            let mut opened = recv.clone();
            keys.unseal_recv(&mut opened).unwrap();
            assert_eq!(opened.payload, plain, "{name}");
        }
        other => panic!("{name}: {} is not sealed", other.name()),
    }
}

#[test]
fn the_old_members_of_streams_are_read_and_written() {
    let recv = Packet::Recv(Recv {
        setting: 0x04,
        stream: Some(Stream::Old {
            no: "s".to_owned(),
            seq: 3,
            flag: 2,
        }),
        payload: b"x".to_vec(),
        ..Recv::default()
    });
    let bytes = unhex(&written(&recv, 4));
    assert_eq!(one(&bytes, 4), recv);
}

#[test]
fn frames_come_out_however_the_stream_was_cut() {
    let vectors = vectors();
    for case in vectors["stream_cases"].as_array().unwrap() {
        let bytes = unhex(text(case, "hex"));
        let wanted: Vec<&str> = match case["frames"].as_array() {
            Some(frames) => frames.iter().map(|name| name.as_str().unwrap()).collect(),
            None => vec![],
        };
        for pieces in [1, 2, 7, bytes.len()] {
            let mut frames = Frames::default();
            let mut seen = 0;
            for piece in bytes.chunks(pieces) {
                frames.push(piece);
                while let Some(packet) = frames.next_packet(5).unwrap() {
                    let name = packet.name().to_ascii_lowercase();
                    assert!(wanted[seen].starts_with(&name), "{} {name}", case["name"]);
                    seen += 1;
                }
            }
            assert_eq!(seen, wanted.len(), "{} in pieces of {pieces}", case["name"]);
        }
    }
}

#[test]
fn what_must_be_refused_is() {
    let vectors = vectors();
    let keys = keys(&vectors);
    for case in vectors["rejects"].as_array().unwrap() {
        let name = text(case, "name");
        let mut frames = Frames::default();
        frames.push(&unhex(text(case, "hex")));
        let read = frames.next_packet(5);
        match name {
            "recv with a changed sealed payload" => {
                let Ok(Some(Packet::Recv(mut recv))) = read else {
                    panic!("{read:?}")
                };
                assert_eq!(keys.unseal_recv(&mut recv), Err(SealError::MsgKey));
            }
            "send with a changed sealed payload" => {
                let Ok(Some(Packet::Send(send))) = read else {
                    panic!("{read:?}")
                };
                let key = keys.msg_key(&sign_text_of_send(&send));
                assert_ne!(send.msg_key.as_bytes(), key);
            }
            "string length with the top bit set" => {
                assert_eq!(read, Err(WireError::NegativeLength("reason")));
            }
            "body shorter than its fields" => {
                assert_eq!(read, Err(WireError::Short("messageId")));
            }
            "remaining length above 1 MiB" => {
                assert_eq!(read, Err(WireError::TooLarge(1_048_577)));
            }
            other => panic!("a new reject: {other}"),
        }
    }
}

#[test]
fn json_lines_of_a_client_are_written() {
    let vectors = vectors();
    for line in vectors["jsonrpc"]["client"].as_array().unwrap() {
        let wanted = text(line, "text");
        let mut out = Vec::new();
        let (packet, number) = client_packet(&serde_json::from_str(wanted).unwrap());
        jsonrpc::write(&packet, number, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }
}

/// The packet that a client's line is.
fn client_packet(line: &Value) -> (Packet, u32) {
    use im_bridge_adapter_wukongim::native::packet::{Connect, Flags, RecvAck, Send};
    let number = line["id"]
        .as_str()
        .map_or(0, |id| id.trim_start_matches("req-").parse().unwrap());
    let params = &line["params"];
    let flags = Flags::default()
        .with(Flags::RED_DOT, params["header"]["redDot"] == true)
        .with(Flags::NO_PERSIST, params["header"]["noPersist"] == true);
    let own = |member: &str| params[member].as_str().unwrap_or_default().to_owned();
    let packet = match text(line, "method") {
        "connect" => Packet::Connect(Connect {
            uid: own("uid"),
            token: own("token"),
            device_id: own("deviceId"),
            device_flag: 1,
            client_timestamp_ms: params["clientTimestamp"].as_i64().unwrap(),
            ..Connect::default()
        }),
        "send" => Packet::Send(Send {
            flags,
            client_seq: number,
            client_msg_no: own("clientMsgNo"),
            channel_id: own("channelId"),
            channel_type: u8::try_from(params["channelType"].as_u64().unwrap()).unwrap(),
            payload: br#"{"content":"hello","type":1}"#.to_vec(),
            ..Send::default()
        }),
        "recvack" => Packet::RecvAck(RecvAck {
            flags,
            message_id: own("messageId").parse().unwrap(),
            message_seq: params["messageSeq"].as_u64().unwrap(),
        }),
        "ping" => Packet::Ping,
        other => panic!("a new method: {other}"),
    };
    (packet, number)
}

#[test]
fn json_lines_of_the_server_are_read() {
    let vectors = vectors();
    let read = |text: &str| jsonrpc::read(text.as_bytes()).unwrap();
    for line in vectors["jsonrpc"]["server"].as_array().unwrap() {
        let read = read(text(line, "text"));
        match (text(line, "name"), read) {
            ("connect_response", Line::Packet(Packet::ConnAck(ack))) => {
                assert_eq!(
                    (ack.reason, ack.time_diff_ms, ack.node_id),
                    (1, -15, Some(1001))
                );
                assert_eq!(ack.negotiated(5), 5);
            }
            ("send_response", Line::Packet(Packet::SendAck(ack))) => {
                assert_eq!(
                    (ack.message_id, ack.client_seq),
                    (1_234_567_890_123_456_789, 2)
                );
                assert_eq!((ack.message_seq, ack.reason, ack.flags.0), (42, 1, 2));
            }
            ("send_response_not_subscriber", Line::Packet(Packet::SendAck(ack))) => {
                assert_eq!((ack.message_seq, ack.reason, ack.client_seq), (0, 3, 3));
            }
            ("recv_notification", Line::Packet(Packet::Recv(recv))) => {
                assert_eq!(recv.payload, br#"{"content":"hello","type":1}"#);
                assert_eq!((recv.message_seq, recv.timestamp_s), (42, 1_700_000_000));
                assert_eq!(
                    (&*recv.from_uid, &*recv.client_msg_no),
                    ("alice", "cmn-0001")
                );
            }
            ("recv_notification_topic", Line::Packet(Packet::Recv(recv))) => {
                assert_eq!(
                    (&*recv.topic, recv.expire_s, recv.setting),
                    ("news", 60, 0x08)
                );
                assert_eq!(recv.message_id, 9_007_199_254_740_993);
            }
            ("pong_response", Line::Packet(Packet::Pong)) => {}
            ("disconnect_notification", Line::Packet(Packet::Disconnect(end))) => {
                assert_eq!((end.reason, &*end.text), (12, "login in other device"));
            }
            ("event_notification", Line::Packet(Packet::Event(event))) => {
                assert_eq!((&*event.id, &*event.kind), ("evt-1", "stream.delta"));
                assert_eq!(event.data, br#"{"client_msg_no":"cmn-0004"}"#);
            }
            ("error_response", Line::Error(error)) => {
                assert_eq!(error, "jsonrpc: unknown method");
            }
            (name, read) => panic!("{name}: {read:?}"),
        }
    }
    let harmless = read(r#"{"jsonrpc":"2.0","error":{"code":0,"message":"unexpected EOF"}}"#);
    assert_eq!(harmless, Line::Nothing);
}

#[test]
fn json_forms_of_the_first_servers_and_of_the_prose_are_read() {
    let read = |text: &str| jsonrpc::read(text.as_bytes()).unwrap();
    assert_eq!(
        read(r#"{"jsonrpc":"2.0","method":"pong"}"#),
        Line::Packet(Packet::Pong)
    );
    let object = r#"{"method":"recv","params":{"messageId":"7","messageSeq":1,"timestamp":1700000000,
        "channelId":"team","channelType":2,"fromUid":"alice","payload":{"type":1,"content":"hi"}}}"#;
    let Line::Packet(Packet::Recv(recv)) = read(object) else {
        panic!("a RECV");
    };
    assert_eq!(recv.payload, br#"{"type":1,"content":"hi"}"#);
    let number = object.replace(r#""7""#, "9007199254740993");
    let Line::Packet(Packet::Recv(recv)) = read(&number) else {
        panic!("a RECV");
    };
    assert_eq!(recv.message_id, 9_007_199_254_740_993);
}

#[test]
fn json_objects_come_out_however_the_stream_was_cut() {
    let vectors = vectors();
    let lines = vectors["jsonrpc"]["server"].as_array().unwrap();
    let texts: Vec<&str> = lines.iter().map(|line| text(line, "text")).collect();
    let odd = r#"{"a":"}{\"\\","b":{"c":[{}]}}"#;
    let all = format!("{}{odd} \n{odd}", texts.concat());
    for pieces in [1, 3, 64, all.len()] {
        let mut objects = Objects::default();
        let mut seen = Vec::new();
        for piece in all.as_bytes().chunks(pieces) {
            objects.push(piece);
            while let Some(object) = objects.next_object().unwrap() {
                seen.push(String::from_utf8(object.to_vec()).unwrap());
            }
        }
        let wanted: Vec<&str> = texts.iter().copied().chain([odd, odd]).collect();
        assert_eq!(seen, wanted, "in pieces of {pieces}");
    }
    let mut objects = Objects::default();
    objects.push(b"[1]");
    assert!(objects.next_object().is_err());
}

#[test]
fn recorded_sessions_are_read_written_and_unsealed() {
    let vectors = vectors();
    let mut compared = 0;
    for session in vectors["recorded"]["sessions"].as_array().unwrap() {
        let version = u8::try_from(session["negotiated_version"].as_u64().unwrap()).unwrap();
        let mut keys = None;
        for step in session["steps"].as_array().unwrap() {
            let name = format!("{}: {}", text(session, "name"), text(step, "packet"));
            let packet = one(&unhex(text(step, "hex")), version);
            assert_eq!(packet.name(), text(step, "packet"));
            assert_eq!(written(&packet, version), text(step, "hex"), "{name}");
            if let Some(fields) = step.get("fields") {
                compare(&name, &packet, fields, &Value::Null);
            }
            match &packet {
                Packet::ConnAck(ack) if !ack.server_key.is_empty() => {
                    let announced =
                        u8::try_from(session["announced_version"].as_u64().unwrap()).unwrap();
                    assert_eq!(ack.negotiated(announced), version, "{name}");
                    let pair = private(session, "client_private_hex");
                    assert_eq!(pair.public(), text(session, "client_public_b64"));
                    keys = Some(pair.agree(&ack.server_key, &ack.salt).unwrap());
                }
                Packet::Recv(recv) => {
                    let mut recv = recv.clone();
                    if let Some(keys) = &keys {
                        keys.unseal_recv(&mut recv).unwrap();
                    }
                    let plain = text(&step["fields"], "payload_utf8");
                    assert_eq!(recv.payload, plain.as_bytes(), "{name}");
                    compared += 1;
                }
                Packet::Send(send) => {
                    // One was recorded with a wrong key on purpose.
                    let is_wrong = send.msg_key.bytes().all(|byte| byte == b'0');
                    if let Some(keys) = keys.as_ref().filter(|_| !is_wrong) {
                        let mut again = send.clone();
                        again.payload = keys.unseal(&send.payload).unwrap();
                        keys.seal_send(&mut again);
                        assert_eq!(&again, send, "{name}");
                        compared += 1;
                    }
                }
                _ => {}
            }
        }
    }
    assert_eq!(compared, 39, "messages compared");
}

#[test]
fn recorded_json_lines_are_read() {
    let vectors = vectors();
    for connection in vectors["recorded"]["jsonrpc"]["connections"]
        .as_array()
        .unwrap()
    {
        for line in connection["lines"].as_array().unwrap() {
            if line["dir"] != "s2c" {
                continue;
            }
            let parsed: Value = serde_json::from_str(text(line, "text")).unwrap();
            // A result is found by its id, which this client writes in its own way.
            let own = text(line, "text").replacen(r#""id":""#, r#""id":"req-"#, 1);
            let read = jsonrpc::read(own.as_bytes()).unwrap();
            let fits = match parsed["method"].as_str() {
                Some("recv") => matches!(read, Line::Packet(Packet::Recv(_))),
                Some("event") => matches!(read, Line::Packet(Packet::Event(_))),
                Some("disconnect") => matches!(read, Line::Packet(Packet::Disconnect(_))),
                Some(other) => panic!("a new method: {other}"),
                None if parsed.get("error").is_some() => matches!(read, Line::Error(_)),
                None => !matches!(read, Line::Error(_) | Line::Nothing),
            };
            assert!(fits, "{parsed} became {read:?}");
        }
    }
}

#[test]
fn recorded_bodies_hold_the_messages_they_show() {
    let vectors = vectors();
    let mut records = 0;
    for exchange in vectors["recorded"]["http"]["exchanges"].as_array().unwrap() {
        let raw = text(exchange, "raw_answer");
        let Ok(answer) = serde_json::from_str::<Value>(raw) else {
            continue;
        };
        if let Some(messages) = answer["messages"].as_array() {
            records += messages.iter().map(check_record).count();
        }
        if text(exchange, "path") == "/message/send" && exchange["status"] == 200 {
            let sent = answer["data"].to_string();
            let exact = SentRecord::read(&sent, true).unwrap();
            assert!(exact.message_id.is_some() && exact.message_seq.is_none());
            assert_eq!(SentRecord::read(&sent, false).unwrap().message_id, None);
        }
    }
    for webhook in vectors["recorded"]["webhooks"].as_array().unwrap() {
        let body: Value = serde_json::from_str(text(webhook, "body")).unwrap();
        let many = body
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![body.clone()]);
        records += many
            .iter()
            .filter(|one| one.is_object())
            .map(check_record)
            .count();
    }
    assert!(records >= 7, "records seen: {records}");
}

fn check_record(message: &Value) {
    let record = Record::read(&message.to_string()).unwrap();
    assert_eq!(
        record.message_id.to_string(),
        text(message, "message_idstr")
    );
    assert_eq!(record.from_uid, text(message, "from_uid"));
    assert_eq!(record.channel_id, text(message, "channel_id"));
    assert_eq!(Some(record.message_seq), message["message_seq"].as_u64());
    assert_eq!(
        record.time_ms,
        message["timestamp"].as_i64().unwrap() * 1000
    );
    assert!(
        record.payload.starts_with(b"{\"content\""),
        "base64 is read"
    );
}
