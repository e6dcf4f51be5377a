//! What the adapter can, and what of it an account with this configuration can.

use std::collections::BTreeMap;

use im_bridge_sdk::model::{
    Capabilities, CatchUp, ChannelKind, Command, ControlVerb, EventKind, Feature, Guarantees,
    Inbound, InboundAck, Level, Levels, Limits, MediaBy, OrderScope, Outbound, SegmentLevels,
    SegmentType, SendAck, TimeSource, Transport,
};
use im_bridge_sdk::{Description, Noise, Session};
use serde_json::{Value, json};

use crate::Config;
use crate::config::Receive;

/// The server resends what was not acknowledged up to five times, the last time 378 s after the first.
const REPEATS_FOR_S: u32 = 480;

/// Unsettled events at a time: as many as the contract allows, because the server pushes without waiting.
pub const WINDOW_EVENTS: u16 = 1024;

/// Plain bytes of a message that is sent: other clients refuse to read much more than that sealed.
pub const PAYLOAD_BYTES_MAX: usize = 24_000;

pub fn describe() -> Description {
    Description::new(capabilities())
        .title("WuKongIM")
        .homepage("https://githubim.com")
        .operation("bootstrap", Noise::Session)
        .operation("connect", Noise::Session)
        .operation("login", Noise::Session)
        .operation("heartbeat", Noise::Heartbeat)
        .operation("send", Noise::Command)
        .operation("request", Noise::Command)
        .operation("outcome", Noise::Command)
        .operation("history", Noise::Poll)
        .operation("conversations", Noise::Poll)
        .operation("health", Noise::Aux)
        .session(Session {
            // The same device id: the server drops the older connection by itself.
            overlap: true,
            ack: InboundAck::Each,
            window_events: Some(WINDOW_EVENTS),
        })
        .repeats_for_s(REPEATS_FOR_S)
        .keeps_secrets()
        .verify()
        .webhook()
        .example(json!({
            "uid": "bot-1", "token": "a-token", "url": "ws://127.0.0.1:5200",
            "native": { "api_url": "http://127.0.0.1:5001" },
        }))
        .example(json!({ "openchat": {
            "base_url": "https://chat.example/api/v1/im", "access_token": "a-jwt",
        } }))
}

/// Segments that lose nothing, both ways.
const WHOLE: [SegmentType; 9] = [
    SegmentType::Text,
    SegmentType::Mention,
    SegmentType::MentionAll,
    SegmentType::Image,
    SegmentType::Voice,
    SegmentType::Audio,
    SegmentType::Video,
    SegmentType::Contact,
    SegmentType::Opaque,
];

fn capabilities() -> Capabilities {
    use Command as C;
    use ControlVerb as V;
    use EventKind as E;
    use SegmentType as S;
    Capabilities {
        transport: Transport {
            inbound: Inbound::Push,
            outbound: Outbound::Socket,
            ack: SendAck::Response,
            poll_fallback: false,
        },
        events: Levels::new()
            .with(
                Level::Full,
                &[
                    E::MessageCreated,
                    E::NoticeReceived,
                    E::SyncGap,
                    E::SyncCompleted,
                    E::RawFrame,
                ],
            )
            .with(Level::Partial, &[E::MessageFailed]),
        commands: Levels::new()
            .with(
                Level::Full,
                &[
                    C::MessageSend,
                    C::MessageGet,
                    C::MessageList,
                    C::ChannelDelete,
                    C::MemberAdd,
                    C::MemberRemove,
                ],
            )
            .with(
                Level::Partial,
                &[
                    C::MessageSendBatch,
                    C::ChannelCreate,
                    C::ChannelList,
                    C::UnreadGet,
                ],
            ),
        control: Levels::new().with(
            Level::Full,
            &[
                V::Login,
                V::Logout,
                V::Reconnect,
                V::Sync,
                V::Health,
                V::Info,
                V::Drain,
            ],
        ),
        segments: SegmentLevels {
            send: Levels::new()
                .with(Level::Full, &WHOLE)
                .with(Level::Partial, &[S::File, S::Location])
                .with(Level::Fallback, &[S::Emoji, S::Link, S::Card, S::Forward]),
            receive: Levels::new()
                .with(Level::Full, &WHOLE)
                .with(Level::Partial, &[S::File, S::Location]),
        },
        features: Levels::new().with(Level::Full, &[Feature::Reply, Feature::DirectByUserId]),
        channel_kinds: BTreeMap::from([
            (ChannelKind::Dm, vec!["1".to_owned()]),
            (ChannelKind::Group, vec!["2".to_owned()]),
            (ChannelKind::Room, vec!["9".to_owned()]),
        ]),
        limits: Limits {
            max_in_flight: 8,
            max_reads_in_flight: 4,
            max_payload_bytes: Some(PAYLOAD_BYTES_MAX as u64),
            idempotency_key_chars: 64,
            recall_max_age_s: None,
            media_by: vec![MediaBy::Url],
            rate: None,
        },
        guarantees: Guarantees {
            ordering: OrderScope::Channel,
            inbound_ack: InboundAck::Each,
            catch_up: CatchUp::Full,
            sender_in_event: true,
            provider_dedup: false,
            verify_after_timeout: true,
            message_time: TimeSource::Provider,
            self_echo: true,
        },
    }
}

/// What differs for an account: a merge patch over the document above.
pub fn patch(config: &Config, server_version: Option<u8>) -> Value {
    let has_native = config.has_native();
    let by_http = config.sends_by_http();
    let mut patch = json!({
        "transport": { "outbound": if by_http { "http" } else { "socket" } },
        "guarantees": {
            "verify_after_timeout": has_native,
            "catch_up": if has_native { "full" } else { "none" },
            // Servers of version 3 speak protocol 6 and store a client's number once.
            "provider_dedup": server_version >= Some(6) && config.protocol_version >= 6,
            // The sending connection is the one that gets no copy.
            "self_echo": by_http,
        },
    });
    if config.receive == Receive::Webhook {
        patch["control"] = json!({ "sync": null });
    }
    if !has_native {
        let mut commands = json!({ "message.get": null, "channel.list": null, "unread.get": null });
        let rest = [
            "message.list",
            "channel.create",
            "member.add",
            "member.remove",
        ];
        let level = if config.has_openchat() {
            json!(1)
        } else {
            Value::Null
        };
        for command in rest {
            commands[command] = level.clone();
        }
        if !config.has_openchat() {
            commands["channel.delete"] = Value::Null;
        }
        // A direct conversation is known without asking anybody.
        commands["channel.create"] = json!(1);
        patch["commands"] = commands;
        if patch.get("control").is_none() {
            let level = if config.has_openchat() {
                json!(1)
            } else {
                Value::Null
            };
            patch["control"] = json!({ "sync": level });
        }
    }
    patch
}
