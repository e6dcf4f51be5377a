#![allow(clippy::unwrap_used, reason = "tests")]

use im_bridge_sdk::model::{Delivery, GapReason};

use super::*;
use crate::native::packet::{Flags, RecvAck};

const REORDER: Duration = Duration::from_millis(500);

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn id() -> Arc<ChannelId> {
    Arc::new(ChannelId::new(2, "team"))
}

fn message(seq: u64) -> Message {
    Message {
        channel: id(),
        seq,
        message_id: i64::try_from(seq).unwrap() + 1000,
        from_uid: "alice".to_owned(),
        client_msg_no: String::new(),
        time_ms: 0,
        flags: Flags::default(),
        setting: 0,
        topic: String::new(),
        expire_s: 0,
        payload: vec![1],
        delivery: Delivery::Live,
        ack: None,
    }
}

/// What goes out now: numbers, and gaps as negative ends.
fn out(book: &mut Book) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(item) = book.next() {
        seen.push(match item {
            Item::Message(message) => message.seq.to_string(),
            Item::Gap { numbers, .. } => {
                book.told();
                format!("gap {}-{}", numbers.start(), numbers.end())
            }
            Item::Fetched { .. } => panic!("nobody told it"),
        });
    }
    seen
}

fn started(cursor: u64) -> Book {
    let mut book = Book::default();
    book.start(&id(), cursor);
    book
}

fn offer(book: &mut Book, seq: u64, ms: u64) -> Offered {
    book.offer(message(seq), at(ms), REORDER)
}

#[test]
fn what_is_in_order_goes_out_at_once() {
    let mut book = started(10);
    assert_eq!(offer(&mut book, 11, 0), Offered::Taken);
    assert_eq!(out(&mut book), ["11"]);
    assert_eq!(book.next_due(), None);
}

#[test]
fn what_overtook_waits_and_follows_in_order() {
    let mut book = started(10);
    for seq in [13, 12] {
        offer(&mut book, seq, 0);
        assert!(!book.has_next());
    }
    assert_eq!(book.next_due(), Some(REORDER));
    offer(&mut book, 11, 20);
    assert_eq!(out(&mut book), ["11", "12", "13"]);
    assert_eq!(book.next_due(), None);
}

#[test]
fn a_hole_is_fetched_after_the_wait_and_filled() {
    let mut book = started(10);
    offer(&mut book, 14, 0);
    assert_eq!(book.overdue(at(499)), []);
    let holes = book.overdue(at(500));
    assert_eq!(
        holes,
        [Hole {
            channel: id(),
            from: 11
        }]
    );
    book.fetched(&id(), vec![message(11), message(12)], false, at(501));
    assert_eq!(out(&mut book), ["11", "12"]);
    book.fetched(&id(), vec![message(13), message(14)], true, at(502));
    assert_eq!(out(&mut book), ["13", "14"]);
    assert_eq!(book.next_due(), None);
}

#[test]
fn what_history_does_not_have_is_told_in_its_place() {
    let mut book = started(10);
    offer(&mut book, 16, 0);
    book.overdue(at(500));
    book.fetched(&id(), vec![message(12), message(15)], true, at(501));
    assert_eq!(out(&mut book), ["gap 11-11", "12", "gap 13-14", "15", "16"]);
}

#[test]
fn a_hole_that_history_never_fills_is_told_after_a_second_look() {
    let mut book = started(10);
    offer(&mut book, 12, 0);
    book.overdue(at(500));
    book.fetched(&id(), vec![], true, at(501));
    assert!(!book.has_next());
    assert_eq!(book.overdue(at(700)).len(), 1);
    book.fetched(&id(), vec![], true, at(701));
    assert_eq!(out(&mut book), ["gap 11-11", "12"]);
}

#[test]
fn a_number_passed_over_is_taken_when_it_comes_after_all() {
    let mut book = started(10);
    offer(&mut book, 13, 0);
    book.give_up(&id(), GapReason::NoHistory);
    assert_eq!(out(&mut book), ["gap 11-12", "13"]);
    assert_eq!(offer(&mut book, 12, 900), Offered::Taken);
    assert_eq!(out(&mut book), ["12"]);
    assert_eq!(offer(&mut book, 12, 901), Offered::OnTheWay);
    book.settled(&id(), 12, true);
    assert_eq!(offer(&mut book, 12, 902), Offered::Safe);
}

#[test]
fn the_first_messages_of_a_channel_are_put_in_order() {
    let mut book = Book::default();
    for seq in [7, 5, 6] {
        offer(&mut book, seq, 0);
    }
    assert!(!book.has_next());
    assert_eq!(book.overdue(FIRST_WAIT), []);
    assert_eq!(out(&mut book), ["5", "6", "7"]);
    // One that was overtaken for longer still comes.
    assert_eq!(offer(&mut book, 4, 300), Offered::Taken);
    assert_eq!(out(&mut book), ["4"]);
}

#[test]
fn number_one_needs_no_wait() {
    let mut book = Book::default();
    offer(&mut book, 1, 0);
    assert_eq!(out(&mut book), ["1"]);
}

#[test]
fn the_cursor_waits_for_the_oldest_open_message() {
    let mut book = started(10);
    for seq in 11..=13 {
        offer(&mut book, seq, 0);
    }
    out(&mut book);
    book.settled(&id(), 12, true);
    book.settled(&id(), 13, true);
    assert_eq!(book.cursor(&id()), Some(10));
    book.settled(&id(), 11, true);
    assert_eq!(book.cursor(&id()), Some(13));
    assert!(book.is_all_settled());
}

#[test]
fn what_could_not_be_stored_is_taken_again() {
    let mut book = started(10);
    offer(&mut book, 11, 0);
    out(&mut book);
    book.settled(&id(), 11, false);
    assert_eq!(book.cursor(&id()), Some(10));
    assert_eq!(offer(&mut book, 11, 1), Offered::Taken);
    assert_eq!(out(&mut book), ["11"]);
    book.settled(&id(), 11, true);
    assert_eq!(book.cursor(&id()), Some(11));
}

#[test]
fn own_messages_leave_no_hole() {
    let mut book = started(10);
    offer(&mut book, 12, 0);
    book.own(&id(), 11, at(0));
    assert_eq!(out(&mut book), ["12"]);
    book.settled(&id(), 12, true);
    assert_eq!(book.cursor(&id()), Some(12));
    let mut fresh = Book::default();
    fresh.own(&id(), 5, at(0));
    assert_eq!(fresh.cursor(&id()), Some(5));
}

#[test]
fn commands_stand_outside_of_the_order() {
    let mut book = started(10);
    let command = Message {
        flags: Flags::SYNC_ONCE,
        ..message(3)
    };
    book.offer(command.clone(), at(0), REORDER);
    book.offer(command, at(0), REORDER);
    offer(&mut book, 11, 0);
    assert_eq!(out(&mut book), ["3", "3", "11"]);
}

#[test]
fn letting_go_empties_the_book_and_keeps_the_cursor() {
    let mut book = started(10);
    offer(&mut book, 13, 0);
    book.let_go();
    assert_eq!(out(&mut book), ["13"]);
    book.settled(&id(), 13, true);
    assert_eq!(book.cursor(&id()), Some(10), "11 and 12 are fetched later");
    assert!(book.is_all_settled());
}

#[test]
fn any_order_of_arrival_goes_out_once_and_ascending() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..200 {
        let mut numbers: Vec<u64> = (1..=40).collect();
        random.shuffle(&mut numbers);
        numbers.extend((0..10).map(|_| random.u64(1..=40)));
        let mut book = started(0);
        let mut seen = Vec::new();
        for seq in numbers {
            offer(&mut book, seq, 0);
            seen.extend(out(&mut book));
            if random.bool() {
                let settled = seen.last().map_or(0, |seq: &String| seq.parse().unwrap());
                book.settled(&id(), settled, true);
            }
        }
        let wanted: Vec<String> = (1..=40).map(|seq: u64| seq.to_string()).collect();
        assert_eq!(seen, wanted);
    }
}

#[test]
fn the_least_used_channel_is_forgotten_first() {
    let mut book = Book::default();
    for number in 0..=CHANNELS_MAX {
        let id = Arc::new(ChannelId::new(2, number.to_string()));
        book.start(&id, 1);
    }
    assert_eq!(book.cursor(&ChannelId::new(2, "0")), None);
    assert_eq!(book.cursor(&ChannelId::new(2, "1")), Some(1));
    assert_eq!(book.cursors().count(), CHANNELS_MAX);
}

#[test]
fn a_channel_that_counts_anew_loses_nothing() {
    let newer = |seq| Message {
        message_id: 9_000 + i64::try_from(seq).unwrap(),
        ..message(seq)
    };
    let mut book = started(10);
    offer(&mut book, 11, 0);
    assert_eq!(out(&mut book), ["11"]);
    book.settled(&id(), 11, true);
    // Pushed again it is the same message, and safe.
    assert_eq!(offer(&mut book, 11, 0), Offered::Safe);
    // A server that lost its data begins at 1.
    for seq in [1, 2] {
        assert_eq!(book.offer(newer(seq), at(0), REORDER), Offered::Taken);
    }
    assert_eq!(out(&mut book), ["1", "2"]);
    assert_eq!(book.offer(newer(1), at(0), REORDER), Offered::OnTheWay);
    book.settled(&id(), 1, true);
    assert_eq!(book.offer(newer(1), at(0), REORDER), Offered::Safe);
    book.settled(&id(), 2, true);
    assert_eq!(book.cursor(&id()), Some(2));
    assert_eq!(book.take_moved(), BTreeSet::from([id()]));
}

#[test]
fn where_a_channel_that_counts_anew_stands_is_asked() {
    let mut book = started(10);
    assert!(!book.restarted(&id(), 10, 5_000), "nothing new");
    assert!(!book.restarted(&id(), 12, 5_000), "something new");
    offer(&mut book, 11, 0);
    assert!(
        !book.restarted(&id(), 9, 1_009),
        "told before it was pushed"
    );
    assert!(book.restarted(&id(), 3, 5_000));
    assert_eq!(book.cursor(&id()), None);
    book.start(&id(), 1);
    assert_eq!(book.cursor(&id()), Some(1));
}

#[test]
fn what_was_pushed_before_the_beginning_was_known_goes_out() {
    let mut book = Book::default();
    offer(&mut book, 8, 0);
    book.start(&id(), 9);
    assert_eq!(out(&mut book), ["8"]);
    let mut book = Book::default();
    offer(&mut book, 8, 0);
    book.fetched(&id(), vec![message(9)], true, at(1));
    assert_eq!(out(&mut book), ["8", "9"]);
}

#[test]
fn a_channel_nobody_knew_waits_until_its_beginning_is_known() {
    let mut book = Book::default();
    book.set_asking(true);
    offer(&mut book, 8, 0);
    assert_eq!(book.overdue(at(200)), []);
    book.own(&id(), 9, at(200));
    assert!(!book.has_next());
    book.set_asking(false);
    assert!(book.fetch(&id()));
    assert_eq!(book.overdue(at(400)), [], "it is being fetched");
    book.fetched(
        &id(),
        vec![message(6), message(7), message(8)],
        true,
        at(500),
    );
    assert_eq!(out(&mut book), ["6", "7", "8"]);
    offer(&mut book, 10, 600);
    assert_eq!(out(&mut book), ["10"]);
}

#[test]
fn a_push_of_what_was_fetched_is_owed_when_that_is_stored() {
    let ack = RecvAck {
        message_seq: 11,
        ..RecvAck::default()
    };
    let pushed = || Message {
        ack: Some((7, ack)),
        ..message(11)
    };
    let mut book = started(10);
    book.fetched(&id(), vec![message(11)], true, at(0));
    assert_eq!(out(&mut book), ["11"]);
    assert_eq!(book.offer(pushed(), at(1), REORDER), Offered::OnTheWay);
    assert_eq!(book.settled(&id(), 11, true), Some((7, ack)));
    assert_eq!(book.offer(pushed(), at(2), REORDER), Offered::Safe);
    // Not stored: nothing is owed.
    let mut book = started(10);
    book.fetched(&id(), vec![message(11)], true, at(0));
    out(&mut book);
    book.offer(pushed(), at(1), REORDER);
    assert_eq!(book.settled(&id(), 11, false), None);
    // A copy of our own needs no event.
    let mut book = started(9);
    book.own(&id(), 11, at(0));
    assert_eq!(book.offer(pushed(), at(1), REORDER), Offered::Safe);
}

#[test]
fn an_own_message_does_not_begin_a_channel_that_is_being_fetched() {
    let mut book = Book::default();
    assert!(book.fetch(&id()));
    book.own(&id(), 6, at(0));
    offer(&mut book, 7, 0);
    assert!(!book.has_next());
    book.start(&id(), 3);
    book.fetched(&id(), vec![message(4), message(5)], true, at(1));
    assert_eq!(out(&mut book), ["4", "5", "7"]);
}
