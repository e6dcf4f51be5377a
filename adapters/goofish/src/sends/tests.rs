//! Echoes and what they belong to.

use std::time::Duration;

use super::kept::kept_for;
use super::*;
use serde_json::json;

fn send(client_ref: &str, words: &str) -> Send {
    Send {
        client_ref: client_ref.into(),
        part: 0,
        conversation: "7".into(),
        content: content_hash(&json!({ "contentType": 1, "text": { "text": words } })),
        at_ms: 1_000,
        message: None,
        is_taken: false,
    }
}

fn echo(id: &str, words: &str) -> Message {
    let native = json!({ "atUsers": [], "contentType": 1, "text": { "text": words } });
    Message::pushed(&json!({ "1": {
        "2": "7@goofish", "3": id, "5": 2_000, "6": { "3": { "5": native.to_string() } },
    } }))
    .unwrap()
}

#[test]
fn an_echo_is_known_by_the_id_of_the_answer() {
    let mut sends = Sends::default();
    sends.begin(send("k1", "hi"));
    assert!(sends.is_unsettled(&echo("1.PNM", "hi")));
    sends.taken("k1", 0, Some("1.PNM"));
    assert!(!sends.is_unsettled(&echo("1.PNM", "hi")));
    assert_eq!(
        sends.author(&echo("1.PNM", "hi")),
        Author::Command("k1".into())
    );
    sends.answered("7");
    assert_eq!(sends.author(&echo("2.PNM", "hi")), Author::Elsewhere);
}

#[test]
fn without_an_answer_the_only_one_that_fits_is_it() {
    let mut sends = Sends::default();
    sends.begin(send("k1", "hi"));
    sends.answered("7");
    assert_eq!(sends.author(&echo("1.PNM", "other")), Author::Elsewhere);
    assert_eq!(
        sends.author(&echo("2.PNM", "hi")),
        Author::Command("k1".into())
    );
    assert_eq!(sends.author(&echo("3.PNM", "hi")), Author::Elsewhere);
}

#[test]
fn of_two_alike_none_is_guessed() {
    let mut sends = Sends::default();
    for client_ref in ["k1", "k2"] {
        sends.begin(send(client_ref, "hi"));
        sends.answered("7");
    }
    assert_eq!(sends.alike(&send("k1", "hi")), 2);
    assert_eq!(sends.author(&echo("1.PNM", "hi")), Author::Elsewhere);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut sends = Sends::default();
    for n in 0..2 * SENDS_MAX {
        sends.begin(send(&n.to_string(), "hi"));
        sends.answered("7");
    }
    assert_eq!(sends.all.len(), SENDS_MAX);
    assert!(sends.waiting.is_empty());
}

#[test]
fn an_unanswered_send_is_kept_as_long_at_any_pace() {
    let (open, half_an_hour) = (send("k1", "hi"), Duration::from_secs(1_800));
    let taken = Send {
        is_taken: true,
        ..open.clone()
    };
    for (send, pace, wanted) in [
        (&open, 1.0, half_an_hour),
        (&open, 200.0, half_an_hour),
        (&taken, 1.0, half_an_hour),
        (&taken, 200.0, Duration::from_secs(10)),
    ] {
        assert_eq!(kept_for(send, pace), wanted, "{send:?} at {pace}/s");
    }
}
