//! Spans beside those of another writer, byte for byte, and at their limits.

use super::*;
use crate::telemetry::redact;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as theirs;
use prost::Message as _;

const OWN: TraceContext = TraceContext {
    trace_id: [0xab; 16],
    span_id: [0xcd; 8],
    flags: 1,
    pad: [0; 7],
};
const PARENT: [u8; 8] = [7; 8];

fn pair(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    pair(key, any_value::Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    pair(key, any_value::Value::IntValue(value))
}

fn plain() -> Begin<'static> {
    Begin::new("", Kind::Internal, OWN, 0)
}

fn read(span: Ended) -> theirs::Span {
    theirs::Span::decode(&*span.into_bytes()).unwrap()
}

#[test]
fn a_span_is_what_another_writer_makes_of_it() {
    let kinds = [
        (Kind::Internal, theirs::span::SpanKind::Internal),
        (Kind::Server, theirs::span::SpanKind::Server),
        (Kind::Client, theirs::span::SpanKind::Client),
        (Kind::Producer, theirs::span::SpanKind::Producer),
        (Kind::Consumer, theirs::span::SpanKind::Consumer),
    ];
    let link = TraceContext {
        trace_id: [1; 16],
        span_id: [2; 8],
        flags: 0,
        pad: [0; 7],
    };
    let shared = Attributes::of([("shared", "ä".into()), ("is", true.into())]);
    for (kind, of_kind) in kinds {
        let mut ours = Span::begin(&Begin {
            parent: PARENT,
            is_parent_remote: true,
            state: Some("vendor=1"),
            ..Begin::new(
                "process chat message.created",
                kind,
                OWN,
                1_760_000_000_000_000_001,
            )
        });
        ours.put_shared(&shared);
        ours.put("text", "");
        ours.put("number", u64::MAX);
        ours.put("below", Value::Number(-1));
        ours.put("is", false);
        ours.fails("refused");
        let mut notes = Notes::default();
        notes.add("im.op", 5, [("im.duration_us", 3_u64.into())]);
        let ours = ours.end_with(1_760_000_000_000_000_300, &notes, &link);
        let theirs = theirs::Span {
            trace_id: OWN.trace_id.to_vec(),
            span_id: OWN.span_id.to_vec(),
            trace_state: "vendor=1".to_owned(),
            parent_span_id: PARENT.to_vec(),
            flags: 0x301,
            name: "process chat message.created".to_owned(),
            kind: of_kind.into(),
            start_time_unix_nano: 1_760_000_000_000_000_001,
            end_time_unix_nano: 1_760_000_000_000_000_300,
            attributes: vec![
                text("shared", "ä"),
                pair("is", any_value::Value::BoolValue(true)),
                text("text", ""),
                number("number", i64::MAX),
                number("below", -1),
                pair("is", any_value::Value::BoolValue(false)),
                text("error.type", "refused"),
            ],
            dropped_attributes_count: 0,
            events: vec![theirs::span::Event {
                time_unix_nano: 5,
                name: "im.op".to_owned(),
                attributes: vec![number("im.duration_us", 3)],
                dropped_attributes_count: 0,
            }],
            dropped_events_count: 0,
            links: vec![theirs::span::Link {
                trace_id: link.trace_id.to_vec(),
                span_id: link.span_id.to_vec(),
                flags: 0x300,
                ..theirs::span::Link::default()
            }],
            dropped_links_count: 0,
            status: Some(theirs::Status {
                message: "refused".to_owned(),
                code: theirs::status::StatusCode::Error.into(),
            }),
        };
        assert_eq!(ours.into_bytes(), theirs.encode_to_vec());
    }
}

#[test]
fn a_root_that_says_nothing_has_its_ids_and_its_times() {
    let begin = Begin::new("x", Kind::Client, OWN, 1);
    let ours = Span::begin(&begin).end(2);
    let theirs = theirs::Span {
        trace_id: OWN.trace_id.to_vec(),
        span_id: OWN.span_id.to_vec(),
        name: "x".to_owned(),
        kind: theirs::span::SpanKind::Client.into(),
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        flags: 0x101,
        ..theirs::Span::default()
    };
    assert_eq!(ours.into_bytes(), theirs.encode_to_vec());
}

#[test]
fn what_is_too_much_is_counted() {
    let mut span = Span::begin(&plain());
    span.put_shared(&Attributes::of([("first", 1_u64.into())]));
    for at in 0..40_u64 {
        span.put(&format!("k{at}"), at);
    }
    span.fails("late");
    let mut notes = Notes::default();
    for at in 0..20 {
        notes.add("im.op", at, []);
    }
    let span = read(span.end_with(0, &notes, &TraceContext::NONE));
    let keys: Vec<&str> = span.attributes.iter().map(|it| it.key.as_str()).collect();
    assert_eq!((keys.len(), keys[0], keys[31]), (32, "first", "k30"));
    assert_eq!(span.dropped_attributes_count, 10);
    assert_eq!((span.events.len(), span.dropped_events_count), (16, 4));
    // The status has a place of its own.
    assert_eq!(span.status.unwrap().message, "late");
}

#[test]
fn what_is_too_long_is_cut_between_characters() {
    let long = format!("{}ä{}", "x".repeat(VALUE_BYTES_MAX - 1), "y".repeat(20_000));
    let cut = &long[..VALUE_BYTES_MAX - 1];
    let mut span = Span::begin(&plain());
    span.put_shared(&Attributes::of([("shared", (&*long).into())]));
    span.put("own", &*long);
    span.put_said("said", &long);
    span.fails(long.clone());
    let span = read(span.end(0));
    for (at, key) in ["shared", "own", "said", "error.type"].iter().enumerate() {
        assert_eq!(span.attributes[at], text(key, cut));
    }
    assert_eq!(span.status.unwrap().message, cut);
}

#[test]
fn what_an_adapter_says_holds_no_secret() {
    redact::learn("kept-by-nobody-but-me");
    let mut span = Span::begin(&plain());
    span.put_said(
        "im.x.said",
        "with kept-by-nobody-but-me, as https://me:pw@h/x?q=1",
    );
    let span = read(span.end(0));
    let wanted = "with [redacted], as https://h/x";
    assert_eq!(span.attributes, [text("im.x.said", wanted)]);
}

#[test]
fn no_span_ends_before_it_begins_or_begins_before_the_epoch() {
    let end = |start, end| {
        let span = Begin::new("x", Kind::Client, OWN, at_ns(start));
        let span = read(Span::begin(&span).end(at_ns(end)));
        (span.start_time_unix_nano, span.end_time_unix_nano)
    };
    assert_eq!(end(5, 3), (5, 5));
    assert_eq!(end(-5, -3), (0, 0));
    assert_eq!(end(i64::MIN, i64::MAX), (0, i64::MAX as u64));
    assert!(now_ns() > at_ns(1_760_000_000_000_000_000));
    assert_eq!(ns(Duration::MAX), u64::MAX);
}

#[test]
fn another_id_changes_nothing_else() {
    let begin = Begin {
        parent: PARENT,
        state: Some("a=1"),
        ..plain()
    };
    let span = || Span::begin(&begin).end(9);
    let mut wanted = read(span());
    wanted.span_id = vec![5; 8];
    assert_eq!(read(span().renamed([5; 8])), wanted);
}

#[test]
fn a_state_that_is_none_is_not_said() {
    for state in ["", "vendor", "Vendor=1", "a=1=2"] {
        let begin = Begin {
            state: Some(state),
            ..plain()
        };
        assert_eq!(read(Span::begin(&begin).end(0)).trace_state, "", "{state}");
    }
}

#[test]
fn what_went_wrong_is_said_once() {
    let mut span = Span::begin(&plain());
    span.blames("first");
    span.fails("second");
    let span = read(span.end(0));
    assert_eq!(span.attributes, [text("error.type", "first")]);
    assert_eq!(span.status.unwrap().message, "second");
}
