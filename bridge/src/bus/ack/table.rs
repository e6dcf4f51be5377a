//! What is on its way: slots, and what an answer or the passing of time means for each.
//!
//! Pure: no clock, no socket. Invariant: a slot is freed exactly once, with its outcome; guarded by the tests below.

use super::{Acked, Outgoing, Refusal, Trouble, Troubled};
use crate::bus::api::{ServerError, number};
use crate::bus::denied::Denied;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

/// No answer for this long: sent again, under the same id.
pub(super) const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// When the connection came back, what is older than this was lost with the old one.
pub(super) const LOST_IF_OLDER: Duration = Duration::from_millis(200);
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_secs(2);
const FULL_PAUSE: Duration = Duration::from_secs(2);
/// An error that is none of the known ones may be a server's hiccup, but not for ever.
pub const ODD_ERRORS_MAX: u32 = 3;
/// Close to the end of the window, the clocks of two machines do not tell which side of it a message is on.
const WINDOW_MARGIN: f64 = 0.8;

/// Names a slot and its use: an answer to a former use finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    slot: u16,
    generation: u64,
}

const GENERATION_BITS: u32 = 48;

impl Token {
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.slot) << GENERATION_BITS | self.generation
    }

    pub(super) fn from_bits(bits: u64) -> Option<Self> {
        Some(Self {
            slot: u16::try_from(bits >> GENERATION_BITS).ok()?,
            generation: bits & ((1 << GENERATION_BITS) - 1),
        })
    }
}

struct InFlight {
    message: Arc<Outgoing>,
    done: oneshot::Sender<Acked>,
    /// Room in the window; given back when the slot is freed.
    _permit: OwnedSemaphorePermit,
    /// Position among all that were published: resending goes oldest first.
    order: u64,
    first_sent: Instant,
    last_sent: Instant,
    due: Instant,
    pauses: u32,
    odd_errors: u32,
    trouble: Option<(Trouble, Instant)>,
}

#[derive(Default)]
struct Slot {
    generation: u64,
    in_flight: Option<InFlight>,
}

/// What to do with a slot whose time has come.
pub(super) enum Due {
    Send(Token, Arc<Outgoing>),
    /// The stream may have forgotten the id: look at its last message first.
    Look(Token, Arc<Outgoing>),
}

#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<u16>,
    next_order: u64,
    /// Nobody looks for what is due until the next message comes.
    rests: bool,
    pub(super) resends: u64,
}

/// An answer as it came, read.
pub(super) enum Answer {
    Stored { sequence: u64, is_duplicate: bool },
    NoResponders,
    Error(ServerError),
    Unreadable,
}

impl Table {
    /// Its token, and whether this ended a rest: then somebody has to look again. `None` when every slot is taken; the window
    /// is smaller, so this does not happen.
    pub(super) fn insert(
        &mut self,
        message: Arc<Outgoing>,
        done: oneshot::Sender<Acked>,
        permit: OwnedSemaphorePermit,
        now: Instant,
    ) -> Option<(Token, bool)> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u16::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot::default());
                slot
            }
        };
        let order = self.next_order;
        self.next_order += 1;
        let entry = &mut self.slots[usize::from(slot)];
        entry.in_flight = Some(InFlight {
            message,
            done,
            _permit: permit,
            order,
            first_sent: now,
            last_sent: now,
            due: now + AGAIN_AFTER,
            pauses: 0,
            odd_errors: 0,
            trouble: None,
        });
        let token = Token {
            slot,
            generation: entry.generation,
        };
        Some((token, std::mem::take(&mut self.rests)))
    }

    /// An empty table rests from now on, until something is put into it.
    pub(super) fn rests(&mut self) -> bool {
        self.rests = self.len() == 0;
        self.rests
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn get(&mut self, token: Token) -> Option<&mut InFlight> {
        let slot = self.slots.get_mut(usize::from(token.slot))?;
        if slot.generation != token.generation {
            return None;
        }
        slot.in_flight.as_mut()
    }

    /// Frees the slot and tells its outcome.
    pub(super) fn finish(&mut self, token: Token, outcome: Acked) {
        if self.get(token).is_none() {
            return;
        }
        let slot = &mut self.slots[usize::from(token.slot)];
        if let Some(in_flight) = slot.in_flight.take() {
            slot.generation = (slot.generation + 1) & ((1 << GENERATION_BITS) - 1);
            self.free.push(token.slot);
            // Whoever published may have stopped waiting; the message was stored all the same.
            let _ = in_flight.done.send(outcome);
        }
    }

    pub(super) fn answered(&mut self, token: Token, answer: Answer, now: Instant) {
        let Some(in_flight) = self.get(token) else {
            return;
        };
        let outcome = match answer {
            Answer::Stored {
                sequence,
                is_duplicate: false,
            } => Acked::Stored { sequence },
            Answer::Stored { sequence, .. } => Acked::Duplicate { sequence },
            Answer::NoResponders => return in_flight.pause(Trouble::NoStream, now),
            Answer::Unreadable => return in_flight.pause(Trouble::Unavailable, now),
            Answer::Error(error) => match in_flight.judge(error, now) {
                Some(refusal) => Acked::Refused(refusal),
                None => return,
            },
        };
        self.finish(token, outcome);
    }

    /// The connection came back: what was sent on the former one and not answered is lost, as far as anybody knows.
    pub(super) fn reconnected(&mut self, now: Instant) {
        for in_flight in self.all() {
            if now.duration_since(in_flight.last_sent) > LOST_IF_OLDER {
                in_flight.due = now;
            }
        }
    }

    pub(super) fn denied(&mut self, denied: &Denied, now: Instant) {
        let mut refused = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(in_flight) = &mut slot.in_flight else {
                continue;
            };
            let (Ok(slot_number), true) = (
                u16::try_from(index),
                denied.is_publish && *in_flight.message.subject == *denied.subject,
            ) else {
                continue;
            };
            in_flight.trouble(Trouble::Forbidden, now);
            if in_flight.message.stream.waits_for_permission {
                continue;
            }
            in_flight.odd_errors += 1;
            if in_flight.odd_errors >= ODD_ERRORS_MAX {
                refused.push(Token {
                    slot: slot_number,
                    generation: slot.generation,
                });
            }
        }
        for token in refused {
            self.finish(token, Acked::Refused(Refusal::Forbidden));
        }
    }

    /// Those whose time has come, oldest first; ends those whose owner lost its lease.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Due> {
        let mut lost = Vec::new();
        let mut due = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(in_flight) = &mut slot.in_flight else {
                continue;
            };
            let Ok(number) = u16::try_from(index) else {
                continue;
            };
            let token = Token {
                slot: number,
                generation: slot.generation,
            };
            if !in_flight.message.hold.is_held() {
                lost.push(token);
            } else if in_flight.due <= now {
                let age = now.duration_since(in_flight.first_sent);
                let message = Arc::clone(&in_flight.message);
                let window = message.stream.duplicate_window.mul_f64(WINDOW_MARGIN);
                let what = if age > window {
                    Due::Look(token, message)
                } else {
                    Due::Send(token, message)
                };
                due.push((in_flight.order, what));
            }
        }
        for token in lost {
            self.finish(token, Acked::Abandoned);
        }
        due.sort_by_key(|(order, _)| *order);
        due.into_iter().map(|(_, what)| what).collect()
    }

    /// Sent again; false if it was answered meanwhile.
    pub(super) fn sending(&mut self, token: Token, now: Instant) -> bool {
        let Some(in_flight) = self.get(token) else {
            return false;
        };
        in_flight.last_sent = now;
        in_flight.due = now + AGAIN_AFTER;
        self.resends += 1;
        true
    }

    /// Not now; looked at again after a pause.
    pub(super) fn postponed(&mut self, token: Token, now: Instant) {
        if let Some(in_flight) = self.get(token) {
            in_flight.pause(Trouble::Unavailable, now);
        }
    }

    pub(super) fn abandon_all(&mut self) {
        for index in 0..self.slots.len() {
            let Ok(slot) = u16::try_from(index) else {
                return;
            };
            let generation = self.slots[index].generation;
            self.finish(Token { slot, generation }, Acked::Abandoned);
        }
    }

    /// Streams that give trouble, each with what and since when.
    pub(super) fn troubles(&self, now: Instant) -> Vec<Troubled> {
        let mut found: Vec<Troubled> = Vec::new();
        for in_flight in self.slots.iter().filter_map(|slot| slot.in_flight.as_ref()) {
            let Some((trouble, since)) = in_flight.trouble else {
                continue;
            };
            let (stream, lasts) = (&in_flight.message.stream.name, now.duration_since(since));
            match found
                .iter_mut()
                .find(|other| other.stream == *stream && other.trouble == trouble)
            {
                Some(known) => known.lasts = known.lasts.max(lasts),
                None => found.push(Troubled {
                    stream: Arc::clone(stream),
                    subject: in_flight.message.subject.clone(),
                    trouble,
                    lasts,
                }),
            }
        }
        found
    }

    fn all(&mut self) -> impl Iterator<Item = &mut InFlight> {
        self.slots
            .iter_mut()
            .filter_map(|slot| slot.in_flight.as_mut())
    }
}

impl InFlight {
    /// What an error means: `None` if it will be tried again.
    fn judge(&mut self, error: ServerError, now: Instant) -> Option<Refusal> {
        match error.err_code {
            number::MESSAGE_TOO_LARGE => Some(Refusal::TooLarge),
            number::STREAM_FULL => {
                self.trouble(Trouble::Full, now);
                self.due = now + FULL_PAUSE;
                None
            }
            number::DUPLICATE_IN_PROCESS
            | number::WRONG_LAST_SEQUENCE_CONSTANT
            | number::TOO_MANY_REQUESTS
            | number::STREAM_NOT_FOUND => {
                self.pause(Trouble::Unavailable, now);
                None
            }
            _ if matches!(error.code, 429 | 503) => {
                self.pause(Trouble::Unavailable, now);
                None
            }
            _ => {
                self.odd_errors += 1;
                if self.odd_errors >= ODD_ERRORS_MAX {
                    return Some(Refusal::Error {
                        err_code: error.err_code,
                        description: error.description,
                    });
                }
                self.pause(Trouble::Unavailable, now);
                None
            }
        }
    }

    /// Doubles each time, with jitter, so that a thousand slots do not come back together.
    fn pause(&mut self, trouble: Trouble, now: Instant) {
        let longest = PAUSE_LAST.min(PAUSE_FIRST * 2_u32.pow(self.pauses.min(10)));
        self.pauses += 1;
        self.due = now + longest.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.trouble(trouble, now);
    }

    fn trouble(&mut self, trouble: Trouble, now: Instant) {
        match self.trouble {
            Some((same, _)) if same == trouble => {}
            _ => self.trouble = Some((trouble, now)),
        }
    }
}

#[cfg(test)]
mod tests;
