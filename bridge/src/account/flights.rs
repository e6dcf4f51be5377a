//! Commands that the adapter has, each with its deadline.
//!
//! A command that is not completed at its deadline is cancelled five seconds later, and two seconds after that it is
//! `unknown` (`timeout_after_send`): nobody can say whether it happened. A completion that still comes replaces that
//! by the truth. Several such commands in a row mean that the adapter has stopped working.

use crate::loader::host::{Command, Completed};
use im_bridge_plugin_api::abi::Status;
use im_bridge_sdk::model::ErrorCode;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// From the deadline to the cancel: the adapter completes at the deadline by itself, this is for one that does not.
const CANCEL_AFTER: Duration = Duration::from_secs(5);
/// From the cancel to the end of patience.
const UNKNOWN_AFTER: Duration = Duration::from_secs(2);
/// So many commands in a row without an end, and the instance is given up.
const OVERDUE_MAX: u32 = 3;
/// So many commands without an end in all, and the same: the host lets only twice as many be open, and refuses the rest.
const LEFT_OPEN_MAX: usize = 32;
/// Deadlines further away than this are no deadlines.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A command on its way to the adapter.
#[derive(Debug)]
pub struct Request {
    /// By which the outlet knows it again.
    pub tag: u64,
    /// What is to be done.
    pub command: Command,
    /// Only asks what became of an earlier attempt.
    pub is_verify: bool,
}

impl Request {
    /// Of a command that is to be done; whoever hands it over numbers it.
    pub fn of(command: Command) -> Self {
        Self {
            tag: 0,
            command,
            is_verify: false,
        }
    }
}

/// How a command ended.
#[derive(Debug)]
pub enum Ended {
    /// The adapter said so, or the host, when the command never reached it.
    Completed(Completed),
    /// Nobody knows: `timeout_after_send`, or `lost_ack` when the instance ended first.
    Unknown(&'static str),
    /// The truth about a command that was unknown.
    Late(Completed),
}

impl Ended {
    /// It reached no instance, so it surely did not happen.
    pub fn not_taken() -> Self {
        let code = ErrorCode::NotConnected.as_str();
        Self::Completed(Completed::by_host(0, Status::E_UNAVAILABLE, true, code))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Waiting,
    Cancelled,
    Unknown,
}

#[derive(Debug)]
struct Flight {
    tag: u64,
    stage: Stage,
    /// When the next thing happens to it.
    due: Instant,
}

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// Ask the adapter to give it up.
    Cancel(u64),
    /// This tag is unknown from now on.
    Unknown(u64),
}

/// See the front page.
#[derive(Debug, Default)]
pub(super) struct Flights {
    by_id: HashMap<u64, Flight>,
    waiting: usize,
    overdue_in_a_row: u32,
}

impl Flights {
    /// Commands that may still end in time: those that count against the account's limit.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn add(&mut self, id: u64, tag: u64, left: Duration) {
        let due = Instant::now() + left.min(DEADLINE_MAX) + CANCEL_AFTER;
        self.by_id.insert(
            id,
            Flight {
                tag,
                stage: Stage::Waiting,
                due,
            },
        );
        self.waiting += 1;
    }

    /// Whose end it is; given back, it is of a command that never was among these.
    pub(super) fn completed(&mut self, completed: Completed) -> Result<(u64, Ended), Completed> {
        let Some(flight) = self.by_id.remove(&completed.id) else {
            return Err(completed);
        };
        if flight.stage == Stage::Unknown {
            return Ok((flight.tag, Ended::Late(completed)));
        }
        self.waiting -= 1;
        self.overdue_in_a_row = 0;
        Ok((flight.tag, Ended::Completed(completed)))
    }

    /// When [`Flights::next_due`] will have something.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let open = self
            .by_id
            .values()
            .filter(|flight| flight.stage != Stage::Unknown);
        open.map(|flight| flight.due).min()
    }

    pub(super) fn next_due(&mut self) -> Option<Due> {
        let now = Instant::now();
        let mut open = self.by_id.iter_mut();
        let (id, flight) =
            open.find(|(_, flight)| flight.stage != Stage::Unknown && flight.due <= now)?;
        if flight.stage == Stage::Waiting {
            flight.stage = Stage::Cancelled;
            flight.due = now + UNKNOWN_AFTER;
            return Some(Due::Cancel(*id));
        }
        flight.stage = Stage::Unknown;
        self.waiting -= 1;
        self.overdue_in_a_row += 1;
        Some(Due::Unknown(flight.tag))
    }

    /// The adapter takes commands and does not end them.
    pub(super) fn is_hopeless(&self) -> bool {
        let left_open = self.by_id.len() - self.waiting;
        self.overdue_in_a_row >= OVERDUE_MAX || left_open >= LEFT_OPEN_MAX
    }

    /// The instance is gone: nobody will say what became of these.
    pub(super) fn lost(&mut self) -> Vec<u64> {
        self.waiting = 0;
        self.overdue_in_a_row = 0;
        let all = self.by_id.drain();
        all.filter(|(_, flight)| flight.stage != Stage::Unknown)
            .map(|(_, f)| f.tag)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_that_ends_only_some_of_its_commands_is_given_up_before_it_is_full() {
        let mut flights = Flights::default();
        let mut lost = 0;
        for id in (0..).step_by(2) {
            flights.add(id, id, Duration::ZERO);
            flights.add(id + 1, id + 1, Duration::ZERO);
            let open = flights.by_id.get_mut(&id).unwrap();
            (open.stage, open.due) = (Stage::Cancelled, Instant::now());
            assert_eq!(flights.next_due(), Some(Due::Unknown(id)));
            lost += 1;
            assert_eq!(flights.is_hopeless(), lost == LEFT_OPEN_MAX);
            if lost == LEFT_OPEN_MAX {
                return;
            }
            let ended = Completed::by_host(id + 1, Status::OK, true, "");
            assert!(flights.completed(ended).is_ok());
        }
    }
}
