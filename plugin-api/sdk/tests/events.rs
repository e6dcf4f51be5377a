//! Credits, batches and settles, seen from the host.

mod probe;

use im_bridge_sdk::test::{Outcome, Settling};
use probe::{A_WHILE, Frame, SOON, builder, started};

fn ids(events: &[im_bridge_sdk::test::EventRecord]) -> Vec<String> {
    let ids = events.iter().map(|event| event.native_id.clone());
    ids.map(Option::unwrap_or_default).collect()
}

#[test]
fn an_event_carries_what_its_payload_says() {
    let (mock, provider) = started("ev-one");
    provider.messages([7]);
    let events = mock.wait_events(1, SOON);
    assert_eq!(events[0].kind, "message.created");
    assert_eq!(events[0].channel.as_deref(), Some("lobby"));
    assert_eq!(events[0].json()["message"]["id"], "7");
    assert_eq!(events[0].meta, [("device".to_owned(), "d1".to_owned())]);
    mock.settle(events[0].token, Outcome::STORED);
    assert_eq!(provider.wait_acks(1), ["7"]);
    mock.finish();
}

#[test]
fn nothing_is_read_without_credit() {
    let (builder, provider) = builder("ev-credit");
    let mock = builder.create().unwrap();
    mock.start();
    provider.messages(0..10);
    mock.stays("no event without credit", A_WHILE, |seen| {
        seen.events.is_empty()
    });
    assert_eq!(provider.unread(), 10);
    mock.grant(3, 1 << 20);
    assert_eq!(ids(&mock.wait_events(3, SOON)), ["0", "1", "2"]);
    mock.stays("three events for three credits", A_WHILE, |seen| {
        seen.events.len() == 3
    });
    assert_eq!(provider.unread(), 7, "what cannot be emitted is not read");
    mock.finish();
}

#[test]
fn the_last_event_may_overdraw_the_bytes_once() {
    let (builder, provider) = builder("ev-bytes");
    let mock = builder.create().unwrap();
    mock.start();
    provider.push((0..3).map(|id| Frame::Message {
        id: id.to_string(),
        bytes: 5_000,
    }));
    mock.grant(10, 1);
    mock.wait_events(1, SOON);
    mock.stays("one event for one byte", A_WHILE, |seen| {
        seen.events.len() == 1
    });
    mock.grant(0, 4_000);
    mock.stays("the overdraft is paid back first", A_WHILE, |seen| {
        seen.events.len() == 1
    });
    mock.grant(0, 20_000);
    mock.wait_events(2, SOON);
    mock.finish();
}

#[test]
fn what_was_refused_comes_again_once_and_in_order() {
    let (mock, provider) = started("ev-refused");
    mock.take_at_most(Some(4));
    provider.messages(0..10);
    assert_eq!(ids(&mock.wait_events(4, SOON)), ["0", "1", "2", "3"]);
    mock.stays("refused events wait for a grant", A_WHILE, |seen| {
        seen.events.len() == 4
    });
    mock.take_at_most(None);
    mock.grant(0, 0);
    assert_eq!(
        ids(&mock.wait_events(6, SOON)),
        ["4", "5", "6", "7", "8", "9"]
    );
    mock.finish();
}

#[test]
fn settles_in_any_order_and_of_unknown_tokens_do_no_harm() {
    let (mock, provider) = started("ev-order");
    provider.messages(0..3);
    let events = mock.wait_events(3, SOON);
    mock.settle_anyway(&[
        (events[2].token, Outcome::DUPLICATE),
        (0, Outcome::STORED),
        (u64::MAX, Outcome::STORED),
        (events[2].token, Outcome::RETRY),
        (events[0].token, Outcome::RETRY),
        (events[1].token, Outcome(99)),
    ]);
    assert_eq!(provider.wait_acks(1), ["2"]);
    // The window is used again, with tokens that no open event has.
    provider.messages(3..6);
    mock.wait_events(3, SOON);
    mock.stays("nothing else is acknowledged", A_WHILE, |_| {
        provider.acks() == ["2"]
    });
    drop(mock);
}

#[test]
fn a_settle_may_come_before_emit_returns() {
    let (builder, provider) = builder("ev-early");
    let mock = builder
        .auto_grant(8, 1 << 20)
        .auto_settle(Settling::BeforeEmitReturns(Outcome::STORED))
        .create()
        .unwrap();
    mock.start();
    provider.messages(0..100);
    provider.wait_acks(100);
    mock.finish();
}

#[test]
fn a_thousand_events_cross_in_order() {
    let (builder, provider) = builder("ev-many");
    let mock = builder
        .auto_grant(64, 2 << 20)
        .auto_settle(Settling::Always(Outcome::STORED))
        .create()
        .unwrap();
    mock.start();
    provider.messages(0..1000);
    provider.wait_acks(1000);
    let wanted: Vec<String> = (0..1000).map(|id: u32| id.to_string()).collect();
    assert_eq!(ids(&mock.recording().events), wanted);
    mock.finish();
}
