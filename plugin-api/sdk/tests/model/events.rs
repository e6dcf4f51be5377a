//! One event of each kind: what its `data` says, in which order, and what makes its id.

use im_bridge_sdk::model::{
    Body, Cause, ChangeReason, ChangedFields, Channel, ChannelKind, Content, Delivery, ErrorCode,
    ErrorObject, Event, EventKind, Frame, Gap, GapReason, GapScope, Json, Media, Member,
    MemberRole, Message, Notice, OpaqueEncoding, OrderScope, Origin, Presence, PresenceStatus,
    RawDirection, Reaction, ReactionUsers, Recall, Receipt, Removal, ReplyTo, Scope, Segment,
    Severity, Sync, Target, Time, Typing, Unread, User, UserKind, body, ids, segment,
};
use serde_json::json;

struct Sample {
    event: Event,
    native_id: &'static str,
    native_rev: &'static str,
    /// The members between the common ones, as they are written.
    members: &'static str,
}

/// An event in channel `c`, done by `u` at the first millisecond.
fn sample(
    body: impl Into<Body>,
    native_id: &'static str,
    native_rev: &'static str,
    members: &'static str,
) -> Sample {
    let event = Event::new("me", body)
        .channel(Channel::new("c", ChannelKind::Group))
        .actor(User::new("u", UserKind::Human))
        .time_ms(1);
    Sample {
        event,
        native_id,
        native_rev,
        members,
    }
}

fn member() -> Member {
    Member::new(User::new("v", UserKind::Bot), MemberRole::Admin)
}

fn fields() -> ChangedFields {
    ChangedFields {
        fields: vec!["name".into()],
    }
}

fn cause(reason: ChangeReason) -> Cause {
    Cause { reason }
}

fn reaction() -> Reaction {
    Reaction { key: "+1".into() }
}

fn samples() -> Vec<Sample> {
    let at = Time::from_ms(7);
    let message = || Message::text("m", "hi", Some(at));
    let target = || Target::new("m");
    let contact = || User::new("v", UserKind::Human);
    let client_reference = "key-1";
    let mut failed = sample(
        body::MessageFailed {
            error: ErrorObject::new(ErrorCode::Muted, true, "may not write"),
            target: Some(target()),
        },
        client_reference,
        "",
        r#""error":{"code":"muted","num":1302,"class":"forbidden","retryable":false,"certain":true,"message":"may not write"},"target":{"message_id":"m"}"#,
    );
    failed.event = failed.event.client_ref(client_reference);
    vec![
        sample(
            body::MessageCreated { message: message() },
            "m",
            "",
            r#""message":{"id":"m","segments":[{"type":"text","data":{"text":"hi"}}],"alt_text":"hi","reply_to":null,"mentions":{"all":false,"user_ids":[]},"created_at":"1970-01-01T00:00:00.007Z","status":"normal"}"#,
        ),
        sample(
            body::MessageUpdated {
                message: message().edited(Some(Time::from_ms(9))),
            },
            "m",
            "9",
            r#""message":{"id":"m","segments":[{"type":"text","data":{"text":"hi"}}],"alt_text":"hi","reply_to":null,"mentions":{"all":false,"user_ids":[]},"created_at":"1970-01-01T00:00:00.007Z","edited_at":"1970-01-01T00:00:00.009Z","status":"edited"}"#,
        ),
        sample(
            body::MessageRecalled {
                target: target(),
                change: Recall {
                    scope: Scope::Everyone,
                    reason: Some(ChangeReason::Unknown),
                },
            },
            "m",
            "",
            r#""target":{"message_id":"m"},"change":{"scope":"everyone","reason":"unknown"}"#,
        ),
        failed,
        sample(
            body::ReactionAdded {
                target: target(),
                reaction: reaction(),
            },
            "m|u|+1",
            "1",
            r#""target":{"message_id":"m"},"reaction":{"key":"+1"}"#,
        ),
        sample(
            body::ReactionRemoved {
                target: target(),
                reaction: reaction(),
            },
            "m|u|+1",
            "1",
            r#""target":{"message_id":"m"},"reaction":{"key":"+1"}"#,
        ),
        sample(
            body::ReactionSynced {
                target: target(),
                reactions: vec![ReactionUsers {
                    key: "+1".into(),
                    user_ids: vec!["u".into()],
                }],
            },
            "m",
            "1",
            r#""target":{"message_id":"m"},"reactions":[{"key":"+1","user_ids":["u"]}]"#,
        ),
        sample(
            body::ReceiptDelivered {
                receipt: Receipt {
                    message_ids: vec!["m".into(), "n".into()],
                    ..Receipt::default()
                },
            },
            "|m|n",
            "1",
            r#""receipt":{"user_id":null,"message_ids":["m","n"]}"#,
        ),
        sample(
            body::ReceiptRead {
                receipt: Receipt {
                    user_id: Some("v".into()),
                    up_to_message_id: Some("m".into()),
                    message_ids: Vec::new(),
                    at: Some(at),
                },
            },
            "v|m",
            "7",
            r#""receipt":{"user_id":"v","up_to_message_id":"m","message_ids":[],"at":"1970-01-01T00:00:00.007Z"}"#,
        ),
        sample(
            body::TypingStarted {
                typing: Typing { ttl_ms: 6000 },
            },
            "",
            "",
            r#""typing":{"ttl_ms":6000}"#,
        ),
        sample(body::TypingStopped {}, "", "", ""),
        sample(
            body::PresenceChanged {
                presence: Presence {
                    status: PresenceStatus::Away,
                    since: Some(at),
                },
            },
            "",
            "",
            r#""presence":{"status":"away","since":"1970-01-01T00:00:00.007Z"}"#,
        ),
        sample(body::ChannelCreated {}, "c", "", ""),
        sample(
            body::ChannelUpdated { change: fields() },
            "c",
            "1",
            r#""change":{"fields":["name"]}"#,
        ),
        sample(
            body::ChannelRemoved {
                change: Removal {
                    scope: Scope::Me,
                    reason: ChangeReason::Hidden,
                },
            },
            "c",
            "",
            r#""change":{"scope":"me","reason":"hidden"}"#,
        ),
        sample(
            body::MemberJoined {
                member: member(),
                change: cause(ChangeReason::Invite),
            },
            "v",
            "1",
            r#""member":{"user":{"id":"v","kind":"bot"},"role":"admin"},"change":{"reason":"invite"}"#,
        ),
        sample(
            body::MemberLeft {
                member: member(),
                change: cause(ChangeReason::Kick),
            },
            "v",
            "1",
            r#""member":{"user":{"id":"v","kind":"bot"},"role":"admin"},"change":{"reason":"kick"}"#,
        ),
        sample(
            body::MemberUpdated {
                member: member(),
                change: fields(),
            },
            "v",
            "1",
            r#""member":{"user":{"id":"v","kind":"bot"},"role":"admin"},"change":{"fields":["name"]}"#,
        ),
        sample(
            body::ContactRequested {
                contact: contact(),
                request_id: "r".into(),
                text: Some("hello".into()),
            },
            "r",
            "",
            r#""contact":{"id":"v","kind":"human"},"request_id":"r","text":"hello""#,
        ),
        sample(
            body::ContactAdded { contact: contact() },
            "v",
            "1",
            r#""contact":{"id":"v","kind":"human"}"#,
        ),
        sample(
            body::ContactRemoved { contact: contact() },
            "v",
            "1",
            r#""contact":{"id":"v","kind":"human"}"#,
        ),
        sample(
            body::UnreadChanged {
                unread: Unread {
                    total: Some(3),
                    channel: Some(0),
                },
            },
            "",
            "",
            r#""unread":{"total":3,"channel":0}"#,
        ),
        sample(
            body::NoticeReceived {
                notice: Notice {
                    native: Some(json!({ "a": 1 }).into()),
                    ..Notice::new("t", Severity::Info)
                },
                notice_id: Some("n".into()),
            },
            "n",
            "",
            r#""notice":{"native_type":"t","severity":"info","native":{"a":1}}"#,
        ),
        sample(
            body::SyncGap {
                gap: Gap {
                    scope: GapScope::Channel,
                    channel_id: Some("c".into()),
                    from: Some("1".into()),
                    to: None,
                    reason: GapReason::Downtime,
                    lost_estimate: Some(5),
                },
            },
            "channel|1|",
            "",
            r#""gap":{"scope":"channel","channel_id":"c","from":"1","reason":"downtime","lost_estimate":5}"#,
        ),
        sample(
            body::SyncCompleted {
                sync: Sync {
                    scope: GapScope::Account,
                    channel_id: None,
                    from: Some("1".into()),
                    to: Some("9".into()),
                    count: 8,
                },
            },
            "account|1|9",
            "",
            r#""sync":{"scope":"account","from":"1","to":"9","count":8}"#,
        ),
        sample(
            body::RawFrame {
                raw: Frame {
                    direction: RawDirection::In,
                    native_type: "PUB".into(),
                    encoding: OpaqueEncoding::Base64,
                    body: "AA==".into(),
                    truncated: false,
                },
            },
            "",
            "",
            r#""raw":{"direction":"in","native_type":"PUB","encoding":"base64","body":"AA==","truncated":false}"#,
        ),
    ]
}

/// One event of each kind, in the order of the kinds.
pub fn one_of_each_kind() -> Vec<Event> {
    samples().into_iter().map(|sample| sample.event).collect()
}

fn payload(event: &Event) -> String {
    let mut out = Vec::new();
    event.write_payload(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn members_are_written_in_the_order_of_the_reference() {
    for sample in samples() {
        let comma = if sample.members.is_empty() { "" } else { "," };
        let expected = format!(
            r#"{{"self":{{"user_id":"me"}},"channel":{{"id":"c","kind":"group"}},"actor":{{"id":"u","kind":"human"}},"actor_resolved":true{comma}{}}}"#,
            sample.members
        );
        assert_eq!(payload(&sample.event), expected, "{}", sample.event.kind());
    }
}

#[test]
fn each_kind_has_its_native_id_and_revision() {
    let kinds: Vec<EventKind> = samples().iter().map(|sample| sample.event.kind()).collect();
    assert_eq!(kinds, EventKind::ALL);
    for sample in samples() {
        let told = (
            sample.event.native_id().into_owned(),
            sample.event.native_rev().into_owned(),
        );
        assert_eq!(
            told,
            (sample.native_id.into(), sample.native_rev.into()),
            "{}",
            sample.event.kind()
        );
    }
}

#[test]
fn a_revision_that_is_given_comes_before_the_time() {
    let change = fields();
    let event = Event::new("me", body::ChannelUpdated { change })
        .time_ms(5)
        .revision("v2");
    assert_eq!(event.native_rev(), "v2");
}

#[test]
fn a_long_native_id_is_replaced_by_its_hash() {
    let long = "x".repeat(ids::NATIVE_ID_BYTES_MAX + 1);
    let event = Event::new(
        "me",
        body::MessageCreated {
            message: Message::text(long.clone(), "", None),
        },
    );
    assert_eq!(
        event.native_id(),
        format!("h_{}", ids::B32::of(long.as_bytes()))
    );
    let fits = "x".repeat(ids::NATIVE_ID_BYTES_MAX);
    let event = Event::new(
        "me",
        body::MessageCreated {
            message: Message::text(fits.clone(), "", None),
        },
    );
    assert_eq!(event.native_id(), fits);
}

#[test]
fn unknown_actors_and_places_are_null_and_provider_specifics_come_last() {
    let event = Event::new("me", body::TypingStopped {})
        .actor_unresolved()
        .ext("sim", json!({ "b": 1 }));
    assert_eq!(
        payload(&event),
        r#"{"self":{"user_id":"me"},"channel":null,"actor":null,"actor_resolved":false,"ext":{"sim":{"b":1}}}"#
    );
}

#[test]
fn routing_has_safe_defaults() {
    let event = Event::new(
        "me",
        body::MessageCreated {
            message: Message::text("m", "", Some(Time::from_ms(4))),
        },
    );
    assert_eq!(
        (event.origin, event.delivery),
        (Origin::Remote, Delivery::Live)
    );
    assert_eq!(
        (event.order_scope, event.order_key.as_str()),
        (OrderScope::None, "")
    );
    assert_eq!(event.occurred(), Some(Time::from_ms(4)));
    assert_eq!(event.clone().time_ms(5).occurred(), Some(Time::from_ms(5)));
    assert_eq!(event.client_ref("k").origin, Origin::Bridge);
}

#[test]
fn every_segment_is_read_back_as_written() {
    let media = || {
        Media::url("https://example.org/a.png")
            .mime("image/png")
            .name("a.png")
    };
    let segments = vec![
        Segment::text("hi").fallback("also hi"),
        Segment::mention("u", Some("name".into())),
        Segment::mention_all(),
        Content::Emoji(segment::Emoji {
            unicode: Some("🙂".into()),
            id: None,
            name: None,
        })
        .into(),
        Content::Link(segment::Link {
            url: "https://example.org".into(),
            title: Some("t".into()),
            description: None,
            image_url: None,
        })
        .into(),
        Segment::image(media()),
        Content::Sticker(segment::Image {
            media: Media::native("7"),
            animated: Some(true),
        })
        .into(),
        Content::Voice(segment::Audio {
            media: media(),
            duration_ms: Some(1),
            title: None,
        })
        .into(),
        Content::Audio(segment::Audio {
            media: media(),
            duration_ms: None,
            title: Some("t".into()),
        })
        .into(),
        Content::Video(segment::Video {
            media: media(),
            duration_ms: None,
            thumbnail: Some(Media::blob("b")),
        })
        .into(),
        Segment::file(media()),
        Content::Location(segment::Location {
            latitude: -1.5,
            longitude: 2.0,
            title: None,
            address: None,
        })
        .into(),
        Content::Contact(segment::Contact {
            user_id: Some("u".into()),
            name: None,
            avatar_url: None,
        })
        .into(),
        Content::Card(segment::Card {
            title: Some("t".into()),
            ..segment::Card::default()
        })
        .into(),
        Content::Forward(segment::Forward {
            messages: vec![Message::text("m", "x", None)],
            title: None,
        })
        .into(),
        Segment::opaque(
            "t",
            Json::from_text(r#"{"z":1,"a":12345678901234567890123}"#.into()).unwrap(),
        ),
        Segment::opaque_text("t", "words"),
        Segment::opaque_bytes("t", b"\0"),
    ];
    let text = serde_json::to_string(&segments).unwrap();
    assert_eq!(
        serde_json::from_str::<Vec<Segment>>(&text).unwrap(),
        segments
    );
    // Through a tree, members come sorted: the data before its type. Numbers too large for a tree lose digits there.
    let few = &segments[..15];
    let tree = serde_json::to_value(few).unwrap();
    assert_eq!(serde_json::from_value::<Vec<Segment>>(tree).unwrap(), few);
}

#[test]
fn a_segment_of_a_later_version_is_opaque_with_its_fallback() {
    for text in [
        r#"{"type":"poll","data":{"q":[1]},"fallback":"a poll","later":true}"#,
        r#"{"later":true,"fallback":"a poll","data":{"q":[1]},"type":"poll"}"#,
    ] {
        let segment: Segment = serde_json::from_str(text).unwrap();
        let expected = Segment::opaque("poll", json!({ "q": [1] })).fallback("a poll");
        assert_eq!(segment, expected, "{text}");
    }
}

#[test]
fn an_event_of_a_later_version_is_read() {
    let text = r#"{"self":{"user_id":"me","x":1},"channel":{"id":"c","kind":"forum"},"actor":null,"actor_resolved":true,
        "message":{"id":"m","segments":[],"alt_text":"","reply_to":{"message_id":"n","x":1},
        "mentions":{"all":false,"user_ids":[]},"created_at":null,"status":"pinned","x":{}},"x":[]}"#;
    let event = Event::read(EventKind::MessageCreated, text.as_bytes()).unwrap();
    assert_eq!(event.channel.as_ref().unwrap().kind, ChannelKind::Unknown);
    let Body::MessageCreated(body) = &event.body else {
        panic!("{event:?}");
    };
    assert_eq!(body.message.reply_to, Some(ReplyTo::new("n")));
}
