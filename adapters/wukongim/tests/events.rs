//! From what the server pushes to events: order, gaps, acknowledgements, what survives a restart.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::http::{Api, json as answer};
use common::{SOON, Server, account, online, record, started, team, told, wait_told};
use im_bridge_adapter_wukongim::native::packet::{Event, Flags, Packet, Recv};
use im_bridge_sdk::test::{Delivery, KvStore, MockHost, Origin, Outcome, Settling, State};
use serde_json::{Value, json};

#[test]
fn the_server_is_acknowledged_only_after_the_store() {
    let server = Server::new();
    let builder = account(server.config()).auto_settle(Settling::Manual);
    let (host, mut conn) = online(&server, builder);
    conn.push(team(1, "hello"));
    let event = host.wait_events(1, SOON).pop().unwrap();
    conn.stays_quiet();
    host.settle(event.token, Outcome::STORED);
    let ack = conn.ack();
    assert_eq!(
        (ack.message_id, ack.message_seq),
        (9_000_000_000_000_000_001, 1)
    );
    assert_eq!(ack.flags, Flags::RED_DOT, "the RECV's flags are repeated");
    assert_eq!(event.channel.as_deref(), Some("2-team"));
    assert_eq!(event.order_key.as_deref(), Some("00000000000000000001"));
    assert!(host.finish().mentions("s3cret-token").is_empty());
}

#[test]
fn what_could_not_be_stored_is_not_acknowledged_and_taken_again() {
    let server = Server::new();
    let builder = account(server.config()).auto_settle(Settling::Manual);
    let (host, mut conn) = online(&server, builder);
    conn.push(team(1, "hello"));
    let event = host.wait_events(1, SOON).pop().unwrap();
    host.settle(event.token, Outcome::RETRY);
    conn.stays_quiet();
    conn.push(team(1, "hello"));
    let event = host.wait_events(1, SOON).pop().unwrap();
    host.settle(event.token, Outcome::STORED);
    assert_eq!(conn.ack().message_seq, 1);
    // Once it is stored a repetition is acknowledged and no event.
    conn.push(team(1, "hello"));
    assert_eq!(conn.ack().message_seq, 1);
    assert_eq!(host.recording().events.len(), 2);
    host.finish();
}

#[test]
fn messages_that_overtook_each_other_go_out_in_order() {
    let server = Server::new();
    let (host, mut conn) = online(&server, account(server.config()));
    for (seq, text) in [(1, "a"), (4, "d"), (3, "c"), (2, "b")] {
        conn.push(team(seq, text));
    }
    wait_told(&host, &["a", "b", "c", "d"]);
    host.finish();
}

#[test]
fn frames_are_read_however_they_are_cut() {
    let server = Server::new();
    let (host, mut conn) = online(&server, account(server.config()));
    let mut bytes = Vec::new();
    for (seq, text) in [(1, "a"), (2, "b"), (3, "c")] {
        let recv = conn.sealed(team(seq, text));
        bytes.extend(conn.bytes(&Packet::Recv(recv)));
    }
    let half = bytes.len() / 2;
    conn.write_bytes(&bytes[..half]);
    wait_told(&host, &["a"]);
    conn.write_bytes(&bytes[half..]);
    wait_told(&host, &["a", "b", "c"]);
    host.finish();
}

#[test]
fn a_gap_that_nobody_can_fill_is_told_in_its_place() {
    let server = Server::new();
    let mut config = server.config();
    config["reorder_ms"] = 50.into();
    let (host, mut conn) = online(&server, account(config));
    conn.push(team(1, "a"));
    conn.push(team(4, "d"));
    let events = wait_told(&host, &["a", "gap 2-3", "d"]);
    let gap = events
        .iter()
        .find(|event| event.kind == "sync.gap")
        .unwrap();
    assert_eq!(gap.json()["gap"]["reason"], "no_history");
    assert_eq!(gap.json()["gap"]["lost_estimate"], 2);
    // Late after all.
    conn.push(team(3, "c"));
    wait_told(&host, &["a", "gap 2-3", "d", "c"]);
    host.finish();
}

/// Asks for the conversation with the system.
fn is_of_system(request: &common::http::Request) -> bool {
    request.body["channel_id"] == "____system"
}

/// The server's API with a history of these messages in the group.
fn history(last: u64, without: &'static [u64]) -> Api {
    Api::new(move |request| match request.path.as_str() {
        "/conversation/sync" => answer(
            200,
            json!([{ "channel_id": "team", "channel_type": 2, "unread": 1, "timestamp": 1_760_003_600,
                "last_msg_seq": last }]),
        ),
        _ if is_of_system(request) => answer(200, json!({ "more": 0, "messages": [] })),
        "/channel/messagesync" => {
            let start = request.body["start_message_seq"].as_u64().unwrap();
            let limit = request.body["limit"].as_u64().unwrap();
            assert_eq!(request.body["pull_mode"], 1);
            let numbers = (start..=last).filter(|seq| !without.contains(seq));
            let numbers: Vec<u64> = numbers.take(usize::try_from(limit).unwrap()).collect();
            let more = u8::from(numbers.len() as u64 == limit);
            let messages: Vec<Value> = numbers
                .iter()
                .map(|seq| record(*seq, &format!("m{seq}")))
                .collect();
            answer(200, json!({ "more": more, "messages": messages }))
        }
        _ => answer(404, json!("404 page not found")),
    })
}

fn with_history(server: &Server, api: &Api) -> Value {
    let mut config = server.config();
    config["native"] = json!({ "api_url": api.url });
    config["reorder_ms"] = 50.into();
    config
}

#[test]
fn a_gap_is_filled_from_history() {
    let (server, api) = (Server::new(), history(5, &[3]));
    // The first start: everything up to 5 is before our time.
    let (host, mut conn) = online(&server, account(with_history(&server, &api)));
    conn.push(team(6, "m6"));
    wait_told(&host, &["m6"]);
    assert!(api.calls("/channel/messagesync").is_empty());
    drop(conn);
    host.finish();

    let (server, api) = (Server::new(), history(9, &[8]));
    let store = KvStore::default();
    store.put("cursor/since", br#"{"at_ms":1760000000000}"#);
    store.put("cursor/ch-00", br#"{"2-team":5}"#);
    let (host, mut conn) = online(&server, account(with_history(&server, &api)).kv(&store));
    let events = wait_told(&host, &["m6", "m7", "gap 8-8", "m9"]);
    assert!(
        events
            .iter()
            .all(|event| event.kind != "message.created" || event.delivery == Delivery::BACKFILL)
    );
    let done = host.wait("sync.completed", SOON, |seen| {
        seen.events
            .iter()
            .find(|event| event.kind == "sync.completed")
            .cloned()
    });
    assert_eq!(done.json()["sync"]["count"], 3);
    conn.push(team(10, "m10"));
    wait_told(&host, &["m6", "m7", "gap 8-8", "m9", "m10"]);
    host.finish();
}

#[test]
fn a_channel_nobody_knew_is_read_since_the_time_of_the_last_session() {
    let server = Server::new();
    // Everything up to 60 was said before.
    let api = Api::new(|request| match request.path.as_str() {
        "/conversation/sync" => answer(
            200,
            json!([{ "channel_id": "team", "channel_type": 2, "timestamp": 1_760_003_600, "last_msg_seq": 100 }]),
        ),
        _ if is_of_system(request) => answer(200, json!({ "more": 0, "messages": [] })),
        _ => {
            let start = request.body["start_message_seq"].as_u64().unwrap();
            let limit = request.body["limit"].as_u64().unwrap();
            let numbers = (start..=100).take(usize::try_from(limit).unwrap());
            let messages: Vec<Value> = numbers
                .map(|seq| {
                    let mut record = record(seq, &format!("m{seq}"));
                    if seq <= 60 {
                        record["timestamp"] = 1_700_000_000.into();
                    }
                    record
                })
                .collect();
            let more = u8::from(messages.len() as u64 == limit);
            answer(200, json!({ "more": more, "messages": messages }))
        }
    });
    let store = KvStore::default();
    store.put("cursor/since", br#"{"at_ms":1760003500000}"#);
    let (host, mut conn) = online(&server, account(with_history(&server, &api)).kv(&store));
    conn.push(team(101, "m101"));
    let wanted: Vec<String> = (61..=101).map(|seq| format!("m{seq}")).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    wait_told(&host, &wanted);
    let looks = api.calls("/channel/messagesync").len();
    assert!(looks < 12, "looks: {looks}");
    host.finish();
}

#[test]
fn what_the_system_wrote_meanwhile_is_fetched_although_no_list_names_it() {
    let server = Server::new();
    let api = Api::new(|request| match request.path.as_str() {
        "/channel/messagesync" => {
            assert!(is_of_system(request));
            let newest = request.body["start_message_seq"] == 0;
            let start = request.body["start_message_seq"].as_u64().unwrap();
            let start = if newest { 3 } else { start };
            let messages = (start..=3).map(|seq| {
                let mut record = record(seq, &format!("m{seq}"));
                // Which of both parties history names depends on their hashes.
                record["channel_type"] = 1.into();
                record["channel_id"] = ["bot-1", "____system"][usize::from(seq == 2)].into();
                record["from_uid"] = "".into();
                record["timestamp"] = (if seq == 1 {
                    1_700_000_000
                } else {
                    1_760_003_600
                })
                .into();
                record
            });
            let limit = usize::try_from(request.body["limit"].as_u64().unwrap()).unwrap();
            let messages: Vec<Value> = messages.take(limit).collect();
            answer(
                200,
                json!({ "more": u8::from(messages.len() == limit), "messages": messages }),
            )
        }
        _ => answer(200, json!([])),
    });
    let store = KvStore::default();
    store.put("cursor/since", br#"{"at_ms":1760003500000}"#);
    let (host, _conn) = online(&server, account(with_history(&server, &api)).kv(&store));
    let events = wait_told(&host, &["m2", "m3"]);
    let messages = events
        .iter()
        .filter(|event| event.kind == "message.created");
    assert!(
        messages
            .into_iter()
            .all(|event| event.channel.as_deref() == Some("1-____system"))
    );
    host.finish();
}

#[test]
fn a_server_that_lost_its_data_is_read_from_its_new_beginning() {
    let server = Server::new();
    let api = Api::new(|request| match request.path.as_str() {
        "/conversation/sync" => answer(
            200,
            json!([{ "channel_id": "team", "channel_type": 2, "timestamp": 1_760_003_600, "last_msg_seq": 2,
                "recents": [record(2, "m2")] }]),
        ),
        _ if is_of_system(request) => answer(200, json!({ "more": 0, "messages": [] })),
        _ => {
            let start = request.body["start_message_seq"].as_u64().unwrap();
            let messages: Vec<Value> = (start..=2)
                .map(|seq| record(seq, &format!("m{seq}")))
                .collect();
            answer(200, json!({ "more": 0, "messages": messages }))
        }
    });
    let store = KvStore::default();
    store.put("cursor/since", br#"{"at_ms":1760003500000}"#);
    store.put("cursor/ch-00", br#"{"2-team":9}"#);
    let (host, mut conn) = online(&server, account(with_history(&server, &api)).kv(&store));
    wait_told(&host, &["m1", "m2"]);
    conn.push(team(3, "m3"));
    wait_told(&host, &["m1", "m2", "m3"]);
    host.finish();
}

#[test]
fn a_restart_begins_where_everything_before_was_stored() {
    let (server, api) = (Server::new(), history(0, &[]));
    let store = KvStore::default();
    let config = with_history(&server, &api);
    let (host, mut conn) = online(&server, account(config.clone()).kv(&store));
    for (seq, text) in [(1, "m1"), (2, "m2"), (3, "m3")] {
        conn.push(team(seq, text));
    }
    for seq in 1..=3 {
        assert_eq!(conn.ack().message_seq, seq);
    }
    drain(&host);
    drop(conn);
    host.finish();

    let api = history(5, &[]);
    let config = with_history(&server, &api);
    let (host, _conn) = online(&server, account(config).kv(&store));
    wait_told(&host, &["m4", "m5"]);
    let calls = api.calls("/channel/messagesync");
    let first = calls.iter().find(|call| !is_of_system(call)).unwrap();
    assert_eq!(first.body["start_message_seq"], 4);
    host.finish();
}

fn drain(host: &MockHost) {
    assert_eq!(host.drain(5_000), 0, "everything is settled");
}

#[test]
fn draining_acknowledges_what_was_read_and_closes() {
    let server = Server::new();
    let builder = account(server.config()).auto_settle(Settling::Manual);
    let (host, mut conn) = online(&server, builder);
    conn.push(team(1, "a"));
    let event = host.wait_events(1, SOON).pop().unwrap();
    std::thread::scope(|scope| {
        let draining = scope.spawn(|| host.drain(5_000));
        conn.stays_quiet();
        host.settle(event.token, Outcome::STORED);
        assert_eq!(conn.ack().message_seq, 1);
        assert_eq!(conn.next(), None, "closed after the last acknowledgement");
        assert_eq!(draining.join().unwrap(), 0);
    });
    host.finish();
}

#[test]
fn a_downtime_without_history_is_told_once() {
    let server = Server::new();
    let store = KvStore::default();
    store.put("cursor/since", br#"{"at_ms":1760000000000}"#);
    let (host, _conn) = online(&server, account(server.config()).kv(&store));
    let gap = host.wait_events(1, SOON).pop().unwrap();
    assert_eq!(gap.json()["gap"]["scope"], "account");
    assert_eq!(gap.json()["gap"]["from"], "2025-10-09T08:53:20.000Z");
    host.finish();
}

#[test]
fn a_message_with_a_wrong_key_is_dropped_and_not_acknowledged() {
    let server = Server::new();
    let (host, mut conn) = online(&server, account(server.config()));
    let mut forged = conn.sealed(team(1, "forged"));
    forged.msg_key.replace_range(..1, "x");
    conn.write(&Packet::Recv(forged));
    conn.push(team(1, "true"));
    wait_told(&host, &["true"]);
    assert_eq!(conn.ack().message_seq, 1);
    assert_eq!(
        host.metric("packets_skipped_total", &["msg_key"]),
        Some(1.0)
    );
    host.finish();
}

#[test]
fn unknown_packets_are_passed_over_and_stream_events_are_notices() {
    let server = Server::new();
    let (host, mut conn) = online(&server, account(server.config()));
    conn.write_bytes(&[0xd0, 2, 1, 2]);
    conn.write(&Packet::Event(Event {
        id: "evt-1".to_owned(),
        kind: "stream.delta".to_owned(),
        timestamp_ms: 1_700_000_000_123,
        data: br#"{"client_msg_no":"x"}"#.to_vec(),
    }));
    let notice = host.wait_events(1, SOON).pop().unwrap();
    assert_eq!(notice.json()["notice"]["native_type"], "event.stream.delta");
    conn.push(team(1, "a"));
    wait_told(&host, &["a"]);
    assert_eq!(
        host.metric("packets_skipped_total", &["unknown"]),
        Some(1.0)
    );
    host.finish();
}

#[test]
fn older_versions_and_plain_connections_are_spoken() {
    for version in [2, 3, 4] {
        let server = Server::new();
        let host = started(account(server.config()));
        let mut conn = server.accept();
        assert_eq!(conn.connect.version, 5);
        conn.version = version;
        conn.welcome_plain();
        host.wait_state(State::ONLINE, SOON);
        conn.push(team(1, "plain"));
        wait_told(&host, &["plain"]);
        assert_eq!(conn.ack().message_seq, 1);
        host.finish();
    }
}

#[test]
fn copies_of_own_messages_and_both_parties_have_one_channel() {
    let server = Server::new();
    let (host, mut conn) = online(&server, account(server.config()));
    let person = |seq, from: &str, channel: &str| Recv {
        from_uid: from.to_owned(),
        channel_id: channel.to_owned(),
        channel_type: 1,
        ..team(seq, from)
    };
    conn.push(person(1, "bob", "bob"));
    conn.push(person(2, "bot-1", "bob"));
    let events = wait_told(&host, &["bob", "bot-1"]);
    let channels: Vec<_> = events
        .iter()
        .map(|event| event.channel.as_deref())
        .collect();
    assert_eq!(channels, [Some("1-bob"), Some("1-bob")]);
    let origins: Vec<_> = events.iter().map(|event| event.origin).collect();
    assert_eq!(origins, [Origin::REMOTE, Origin::SELF_OTHER_DEVICE]);
    host.finish();
}

#[test]
fn commands_are_acknowledged_and_no_chat_lines() {
    let server = Server::new();
    let (host, mut conn) = online(&server, account(server.config()));
    conn.push(Recv {
        flags: Flags(Flags::NO_PERSIST.0 | Flags::SYNC_ONCE.0),
        payload: br#"{"type":99,"cmd":"typing"}"#.to_vec(),
        message_seq: 0,
        ..team(0, "")
    });
    let ack = conn.ack();
    assert_eq!(ack.flags.0, 5, "NoPersist and SyncOnce are repeated");
    let event = host.wait_events(1, SOON).pop().unwrap();
    assert_eq!(
        (event.kind.as_str(), &*told(std::slice::from_ref(&event))),
        ("notice.received", &[][..])
    );
    host.finish();
}

#[test]
fn without_credit_nothing_is_read_and_heartbeats_go_on() {
    let server = Server::new();
    let mut config = server.config();
    config["heartbeat_ms"] = 50.into();
    let builder = account(config)
        .auto_grant(1, 2_000_000)
        .auto_settle(Settling::Manual);
    let (host, mut conn) = online(&server, builder);
    conn.push(team(1, "a"));
    host.wait_events(1, SOON);
    conn.push(team(2, "b"));
    // The one credit is used up: no answer can be read, and the connection is not given up for it.
    for _ in 0..5 {
        assert_eq!(conn.next(), Some(Packet::Ping));
    }
    assert_eq!(told(&host.recording().events), ["a"]);
    for event in host.recording().events {
        host.settle(event.token, Outcome::STORED);
    }
    wait_told(&host, &["a", "b"]);
    for event in host.open_tokens() {
        host.settle(event, Outcome::STORED);
    }
    host.finish();
}

#[test]
fn raw_frames_tell_what_was_said_and_never_the_token() {
    let server = Server::new();
    let mut config = server.config();
    config["raw_frames"] = true.into();
    let (host, mut conn) = online(&server, account(config));
    conn.push(team(1, "a"));
    conn.ack();
    let frames = host.wait("frames both ways", SOON, |seen| {
        let frames = seen.events.iter().filter(|event| event.kind == "raw.frame");
        let names: Vec<String> = frames
            .map(|event| {
                event.json()["raw"]["native_type"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        (names.len() >= 2).then_some(names)
    });
    assert_eq!(frames, ["RECV", "RECVACK"]);
    assert!(host.finish().mentions("s3cret-token").is_empty());
}
