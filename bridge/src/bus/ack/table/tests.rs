use super::*;
use crate::bus::ack::Target;
use crate::bus::hold::Hold;
use tokio::sync::Semaphore;
use tokio::sync::oneshot::error::TryRecvError;

struct Bench {
    table: Table,
    window: Arc<Semaphore>,
    start: Instant,
    has_ended_rest: bool,
}

impl Bench {
    fn new() -> Self {
        Self {
            table: Table::default(),
            window: Arc::new(Semaphore::new(8)),
            start: Instant::now(),
            has_ended_rest: false,
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn publish(&mut self, id: &str, hold: &Hold) -> (Token, oneshot::Receiver<Acked>) {
        let message = Arc::new(Outgoing {
            subject: format!("s.{id}").into(),
            message_id: id.into(),
            headers: Vec::new(),
            payload: bytes::Bytes::new(),
            stream: Target {
                name: "S".into(),
                duplicate_window: Duration::from_secs(100),
                waits_for_permission: id.starts_with("patient"),
            },
            hold: hold.clone(),
        });
        let (done, acked) = oneshot::channel();
        let permit = Arc::clone(&self.window).try_acquire_owned().unwrap();
        let inserted = self.table.insert(message, done, permit, self.start);
        let (token, has_ended_rest) = inserted.unwrap();
        self.has_ended_rest = has_ended_rest;
        (token, acked)
    }

    fn due(&mut self, ms: u64) -> Vec<String> {
        let now = self.at(ms);
        let name = |what| match what {
            Due::Send(_, message) => message.message_id.to_string(),
            Due::Look(_, message) => format!("look {}", message.message_id),
        };
        self.table.due(now).into_iter().map(name).collect()
    }
}

fn error(code: u16, err_code: u32) -> Answer {
    Answer::Error(ServerError {
        code,
        err_code,
        description: "no".to_owned(),
    })
}

fn stored(sequence: u64) -> Answer {
    Answer::Stored {
        sequence,
        is_duplicate: false,
    }
}

#[test]
fn a_late_answer_to_a_former_use_of_a_slot_finds_nothing() {
    let mut bench = Bench::new();
    let hold = Hold::forever();
    let (first, mut acked) = bench.publish("a", &hold);
    bench.table.answered(first, stored(1), bench.start);
    assert_eq!(acked.try_recv(), Ok(Acked::Stored { sequence: 1 }));
    let (second, mut acked) = bench.publish("b", &hold);
    assert_ne!(first, second);
    bench.table.answered(first, stored(1), bench.start);
    assert_eq!(acked.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(Token::from_bits(second.to_bits()), Some(second));
}

#[test]
fn freeing_a_slot_gives_its_room_back() {
    let mut bench = Bench::new();
    let (token, _acked) = bench.publish("a", &Hold::forever());
    assert_eq!(
        (bench.window.available_permits(), bench.table.len()),
        (7, 1)
    );
    bench.table.answered(token, stored(1), bench.start);
    assert_eq!(
        (bench.window.available_permits(), bench.table.len()),
        (8, 0)
    );
}

#[test]
fn without_an_answer_it_is_sent_again_after_five_seconds() {
    let mut bench = Bench::new();
    let (token, _acked) = bench.publish("a", &Hold::forever());
    assert!(bench.due(4_999).is_empty());
    assert_eq!(bench.due(5_000), ["a"]);
    assert!(bench.table.sending(token, bench.at(5_000)));
    assert!(bench.due(9_999).is_empty());
    assert_eq!(bench.due(10_000), ["a"]);
}

#[test]
fn a_reconnect_makes_the_old_ones_due_oldest_first() {
    let mut bench = Bench::new();
    let hold = Hold::forever();
    let tokens: Vec<_> = ["a", "b", "c"].map(|id| bench.publish(id, &hold)).into();
    // Frees the first slot, which the next one takes: the order is that of publishing, not of slots.
    bench.table.answered(tokens[0].0, stored(1), bench.start);
    let _d = bench.publish("d", &hold);
    bench.table.reconnected(bench.at(100));
    assert!(bench.due(100).is_empty());
    bench.table.reconnected(bench.at(300));
    assert_eq!(bench.due(300), ["b", "c", "d"]);
}

#[test]
fn close_to_the_end_of_the_window_the_stream_is_looked_at_first() {
    let mut bench = Bench::new();
    let _a = bench.publish("a", &Hold::forever());
    assert_eq!(bench.due(80_000), ["a"]);
    assert_eq!(bench.due(80_001), ["look a"]);
}

#[test]
fn transient_errors_are_tried_for_ever_with_pauses() {
    let mut bench = Bench::new();
    let (token, mut acked) = bench.publish("a", &Hold::forever());
    let mut now = 0;
    for round in 0..30 {
        let answer = match round % 4 {
            0 => Answer::NoResponders,
            1 => error(503, 10_008),
            2 => error(400, 10_158),
            _ => error(400, number::STREAM_FULL),
        };
        bench.table.answered(token, answer, bench.at(now));
        assert!(bench.due(now).is_empty());
        now += 2_000;
        assert_eq!(bench.due(now), ["a"], "round {round}");
    }
    assert_eq!(acked.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(bench.table.troubles(bench.start).len(), 1);
}

#[test]
fn an_error_that_nobody_knows_is_final_the_third_time() {
    let mut bench = Bench::new();
    let (token, mut acked) = bench.publish("a", &Hold::forever());
    for _ in 0..2 {
        bench.table.answered(token, error(400, 10_999), bench.start);
        assert_eq!(acked.try_recv(), Err(TryRecvError::Empty));
    }
    bench.table.answered(token, error(400, 10_999), bench.start);
    let wanted = Refusal::Error {
        err_code: 10_999,
        description: "no".to_owned(),
    };
    assert_eq!(acked.try_recv(), Ok(Acked::Refused(wanted)));
}

#[test]
fn what_is_forbidden_again_and_again_is_refused_unless_it_waits_for_the_permission() {
    let mut bench = Bench::new();
    let (_, mut acked) = bench.publish("a", &Hold::forever());
    let (_, mut patient) = bench.publish("patient", &Hold::forever());
    for _ in 0..ODD_ERRORS_MAX {
        assert_eq!(acked.try_recv(), Err(TryRecvError::Empty));
        for subject in ["s.a", "s.patient", "s.other"] {
            let words = format!("Permissions Violation for Publish to \"{subject}\"");
            let denied = Denied::read(&words).expect("its words");
            bench.table.denied(&denied, bench.start);
        }
    }
    assert_eq!(acked.try_recv(), Ok(Acked::Refused(Refusal::Forbidden)));
    assert_eq!(patient.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(bench.table.troubles(bench.start).len(), 1);
}

#[test]
fn what_is_too_large_is_refused_at_once() {
    let mut bench = Bench::new();
    let (token, mut acked) = bench.publish("a", &Hold::forever());
    let answer = error(400, number::MESSAGE_TOO_LARGE);
    bench.table.answered(token, answer, bench.start);
    assert_eq!(acked.try_recv(), Ok(Acked::Refused(Refusal::TooLarge)));
}

#[test]
fn a_lost_lease_ends_what_is_on_its_way() {
    let mut bench = Bench::new();
    let hold = Hold::forever();
    let (_, mut lost) = bench.publish("a", &hold);
    let (_, mut other) = bench.publish("b", &Hold::forever());
    hold.end();
    assert!(bench.due(1).is_empty());
    assert_eq!(lost.try_recv(), Ok(Acked::Abandoned));
    assert_eq!(other.try_recv(), Err(TryRecvError::Empty));
    bench.table.abandon_all();
    assert_eq!(other.try_recv(), Ok(Acked::Abandoned));
    assert_eq!(bench.table.len(), 0);
}

#[test]
fn what_the_server_forbids_is_told_by_subject() {
    let mut bench = Bench::new();
    let _a = bench.publish("a", &Hold::forever());
    let _b = bench.publish("b", &Hold::forever());
    let denied = Denied::read("Permissions Violation for Publish to \"s.a\"").unwrap();
    bench.table.denied(&denied, bench.start);
    let troubles = bench.table.troubles(bench.start);
    assert_eq!(troubles.len(), 1);
    assert_eq!(troubles[0].trouble, Trouble::Forbidden);
    assert_eq!(
        troubles[0].to_string(),
        "NATS forbids publishing to s.a; see im-bridge streams permissions"
    );
}

#[test]
fn an_empty_table_rests_until_the_first_message_comes() {
    let mut bench = Bench::new();
    assert!(bench.table.rests());
    let (first, _acked) = bench.publish("a", &Hold::forever());
    assert!(bench.has_ended_rest);
    let (second, _acked) = bench.publish("b", &Hold::forever());
    assert!(!bench.has_ended_rest && !bench.table.rests());
    bench.table.finish(first, Acked::Abandoned);
    assert!(!bench.table.rests());
    bench.table.finish(second, Acked::Abandoned);
    assert!(bench.table.rests());
    let _third = bench.publish("c", &Hold::forever());
    assert!(bench.has_ended_rest);
}
