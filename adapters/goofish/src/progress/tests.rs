//! The cursor, pushes and what is remembered.

use super::*;

fn push(text: &str, open: usize) -> Arc<Pushed> {
    Pushed::new(ack(text), open)
}

fn ack(text: &str) -> Acknowledgement {
    Acknowledgement {
        connection: 1,
        text: text.into(),
        max_pts: 1,
    }
}

#[test]
fn a_push_is_acknowledged_when_all_that_it_held_is_safe() {
    let one = push("ack", 2);
    assert_eq!(one.settled(true), None);
    assert_eq!(one.settled(true), Some(ack("ack")));
    assert_eq!(one.settled(true), None);
    let one = push("ack", 2);
    assert_eq!(one.settled(false), None);
    assert_eq!(one.settled(true), None);
}

#[test]
fn the_cursor_stays_before_what_is_not_safe() {
    let mut progress = Progress::default();
    progress.begin(100);
    progress.sent(Some(("a", 200)));
    progress.sent(Some(("b", 300)));
    progress.settled(Some("b"), true);
    assert_eq!(progress.cursor().at_ms, 199);
    progress.settled(Some("a"), false);
    assert_eq!(progress.cursor().at_ms, 199);
    assert!(progress.is_all_settled());
    assert_eq!(progress.know("a"), Known::No);
    progress.sent(Some(("a", 200)));
    progress.settled(Some("a"), true);
    assert_eq!(progress.cursor().at_ms, 300);
    assert_eq!(progress.know("a"), Known::Safe);
}

#[test]
fn what_is_said_again_waits_for_what_is_under_way() {
    let mut progress = Progress::default();
    progress.sent(Some(("a", 1)));
    assert_eq!(progress.know("a"), Known::UnderWay);
    progress.wait_for("a", push("again", 1));
    assert_eq!(progress.settled(Some("a"), true), [ack("again")]);
}

#[test]
fn only_what_may_come_again_is_kept() {
    let mut progress = Progress::default();
    for (id, at_ms) in [("old", 1_000), ("new", 1_000 + MARGIN_MS + 1)] {
        progress.sent(Some((id, at_ms)));
        progress.settled(Some(id), true);
    }
    let cursor = progress.cursor();
    assert_eq!(cursor.seen, [("new".to_owned(), 1_001 + MARGIN_MS)]);
    let mut resumed = Progress::default();
    resumed.resume(cursor);
    assert_eq!(resumed.know("new"), Known::Safe);
    assert_eq!(resumed.cursor().at_ms, 1_001 + MARGIN_MS);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut progress = Progress::default();
    for n in 0..2 * SEEN_MAX {
        let id = n.to_string();
        progress.sent(Some((&id, 5)));
        progress.settled(Some(&id), true);
    }
    assert_eq!(
        (progress.seen.len(), progress.seen_ids.len()),
        (SEEN_MAX, SEEN_MAX)
    );
    assert_eq!(progress.know("0"), Known::No);
}
