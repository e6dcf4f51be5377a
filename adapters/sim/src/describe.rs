//! What the adapter can: everything the model has.

use std::collections::BTreeMap;

use im_bridge_sdk::model::{
    Capabilities, CatchUp, ChannelKind, Command, ControlVerb, EventKind, Feature, Guarantees,
    Inbound, InboundAck, Level, Levels, Limits, MediaBy, OrderScope, Outbound, SegmentLevels,
    SegmentType, SendAck, TimeSource, Transport,
};
use im_bridge_sdk::{Description, Noise, Session};
use serde_json::json;

use crate::session::HELD_MAX;

pub fn describe() -> Description {
    Description::new(capabilities())
        .title("Simulated provider")
        .operation("connect", Noise::Session)
        .operation("login", Noise::Session)
        .operation("request", Noise::Command)
        .operation("outcome", Noise::Command)
        .operation("sync", Noise::Poll)
        .operation("heartbeat", Noise::Heartbeat)
        .session(Session {
            overlap: true,
            ack: InboundAck::Each,
            window_events: u16::try_from(HELD_MAX).ok(),
        })
        // Ten times what it waits for an acknowledgement, unless configured otherwise.
        .repeats_for_s(300)
        .verify()
        .webhook()
        .example(json!({ "users": 3, "rooms": 2, "rate_per_s": 2.0 }))
        .example(json!({ "url": "ws://127.0.0.1:41873", "token": "a-token", "user": "desk-1" }))
}

fn capabilities() -> Capabilities {
    Capabilities {
        transport: Transport {
            inbound: Inbound::Push,
            outbound: Outbound::Socket,
            ack: SendAck::Response,
            poll_fallback: false,
        },
        events: Levels::new().with(Level::Full, EventKind::ALL),
        commands: Levels::new()
            .with(Level::Full, Command::ALL)
            // Split by the core into single sends.
            .with(Level::Partial, &[Command::MessageSendBatch]),
        control: Levels::new().with(Level::Full, ControlVerb::ALL),
        segments: SegmentLevels {
            send: Levels::new().with(Level::Full, SegmentType::ALL),
            receive: Levels::new().with(Level::Full, SegmentType::ALL),
        },
        features: Levels::new().with(Level::Full, Feature::ALL),
        channel_kinds: channel_kinds(),
        limits: Limits {
            max_in_flight: 16,
            max_reads_in_flight: 8,
            max_payload_bytes: None,
            idempotency_key_chars: 64,
            recall_max_age_s: None,
            media_by: vec![MediaBy::Url, MediaBy::Upload],
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

fn channel_kinds() -> BTreeMap<ChannelKind, Vec<String>> {
    let kinds = [
        (ChannelKind::Dm, "1"),
        (ChannelKind::Group, "2"),
        (ChannelKind::Room, "3"),
        (ChannelKind::Broadcast, "4"),
        (ChannelKind::System, "5"),
    ];
    kinds
        .into_iter()
        .map(|(kind, native)| (kind, vec![native.to_owned()]))
        .collect()
}
