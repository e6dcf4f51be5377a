//! What the adapter can.

use im_bridge_sdk::model::{
    Capabilities, CatchUp, ChannelKind, Command, ControlVerb, EventKind, Feature, Guarantees,
    Inbound, InboundAck, Level, Levels, Limits, MediaBy, OrderScope, Outbound, Rate, SegmentLevels,
    SegmentType, SendAck, TimeSource, Transport,
};
use im_bridge_sdk::{Description, Noise, Session};
use serde_json::json;

use crate::session::HELD_MAX;

pub fn describe() -> Description {
    Description::new(capabilities())
        .title("Goofish (Xianyu)")
        .operation("token", Noise::Session)
        .operation("renew", Noise::Aux)
        .operation("connect", Noise::Session)
        .operation("register", Noise::Session)
        .operation("request", Noise::Command)
        .operation("user", Noise::Command)
        .operation("verify", Noise::Command)
        .operation("catch_up", Noise::Poll)
        .operation("heartbeat", Noise::Heartbeat)
        .session(Session {
            // A second connection may push the first one off.
            overlap: false,
            ack: InboundAck::Each,
            window_events: u16::try_from(HELD_MAX).ok(),
        })
        // Whether the provider says again what was not acknowledged is not known; the history is asked after every loss.
        .repeats_for_s(300)
        .verify()
        .keeps_secrets()
        .example(json!({ "cookies": "unb=1000000001; cookie2=a-cookie" }))
        .example(json!({
            "cookies": "unb=1000000001; cookie2=a-cookie", "mtop_url": "http://127.0.0.1:41801", "ws_url": "ws://127.0.0.1:41802/",
        }))
}

fn capabilities() -> Capabilities {
    Capabilities {
        transport: Transport {
            inbound: Inbound::Push,
            outbound: Outbound::Socket,
            ack: SendAck::Response,
            poll_fallback: false,
        },
        events: Levels::new().with(
            Level::Full,
            &[
                EventKind::MessageCreated,
                EventKind::ReceiptRead,
                EventKind::TypingStarted,
                EventKind::NoticeReceived,
                EventKind::SyncGap,
                EventKind::SyncCompleted,
                EventKind::RawFrame,
            ],
        ),
        commands: commands(),
        control: Levels::new()
            .with(
                Level::Full,
                &[
                    ControlVerb::Login,
                    ControlVerb::Logout,
                    ControlVerb::Reconnect,
                    ControlVerb::RefreshToken,
                    ControlVerb::AnswerChallenge,
                    ControlVerb::Sync,
                    ControlVerb::Drain,
                ],
            )
            .with(Level::Partial, &[ControlVerb::Health, ControlVerb::Info]),
        segments: segments(),
        features: Levels::new()
            .with(Level::Fallback, &[Feature::Reply])
            .with(Level::Rejected, &[Feature::Thread, Feature::MixedSegments])
            .with(Level::Partial, &[Feature::DirectByUserId]),
        channel_kinds: [(ChannelKind::Dm, vec!["1".to_owned()])].into(),
        limits: Limits {
            max_in_flight: 4,
            max_reads_in_flight: 2,
            max_payload_bytes: None,
            idempotency_key_chars: 64,
            recall_max_age_s: Some(120),
            media_by: vec![MediaBy::Url],
            // Of the account's configuration, which reports its own.
            rate: Some(Rate {
                per_s: 1.0,
                burst: 5,
            }),
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

fn commands() -> Levels<Command> {
    Levels::new()
        .with(
            Level::Full,
            &[
                Command::MessageSend,
                Command::MessageRecall,
                Command::MessageList,
                Command::ReceiptRead,
                Command::ChannelList,
            ],
        )
        .with(
            Level::Partial,
            &[
                // Split by the core into single sends.
                Command::MessageSendBatch,
                // About an item, with one other.
                Command::ChannelCreate,
                // From the list of conversations.
                Command::ChannelGet,
                Command::MemberList,
                Command::UserGet,
                Command::UnreadGet,
                Command::NativeCall,
            ],
        )
}

fn segments() -> SegmentLevels {
    SegmentLevels {
        send: Levels::new()
            .with(
                Level::Full,
                &[SegmentType::Text, SegmentType::Image, SegmentType::Opaque],
            )
            .with(
                Level::Fallback,
                &[
                    SegmentType::Mention,
                    SegmentType::MentionAll,
                    SegmentType::Emoji,
                    SegmentType::Link,
                    SegmentType::Location,
                    SegmentType::Contact,
                    SegmentType::Card,
                    SegmentType::Forward,
                ],
            ),
        receive: Levels::new()
            .with(
                Level::Full,
                &[SegmentType::Text, SegmentType::Image, SegmentType::Opaque],
            )
            .with(Level::Partial, &[SegmentType::Voice, SegmentType::Card]),
    }
}
