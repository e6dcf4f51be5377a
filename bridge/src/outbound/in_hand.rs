//! Commands of one shard that were delivered and are not acknowledged: where each is to be acknowledged now.
//!
//! A command is known by its sequence in the stream. One that is delivered again while it is in hand only brings a new
//! place to acknowledge it. What is in hand for long says so to the server, so that it is not delivered again.

use crate::bus::Account;
use crate::bus::consumer::{AckSubject, Acks};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Half of the time after which the server delivers a command again.
const PROGRESS_AFTER: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct Place {
    ack: AckSubject,
    /// None: its subject names none.
    account: Option<Account>,
    heard: Instant,
}

/// See the front page.
#[derive(Debug)]
pub struct InHand {
    acks: Acks,
    places: Mutex<HashMap<u64, Place>>,
}

impl InHand {
    pub fn new(acks: Acks) -> Self {
        Self {
            acks,
            places: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a command into the hand. False: it is there already.
    pub(super) fn take(&self, sequence: u64, ack: AckSubject, account: Option<Account>) -> bool {
        let place = Place {
            ack,
            account,
            heard: Instant::now(),
        };
        self.lock().insert(sequence, place).is_none()
    }

    /// The account's queue is gone: what it had is in nobody's hand, and is taken when it comes again.
    pub(super) fn forget(&self, account: &Account) {
        let mut places = self.lock();
        places.retain(|_, place| place.account.as_ref() != Some(account));
    }

    /// It is answered: acknowledges it. A lost acknowledgement brings it again, and then the ledger answers.
    pub(super) async fn done(&self, sequence: u64) {
        let place = self.lock().remove(&sequence);
        if let Some(place) = place {
            self.acks.done(&place.ack).await;
        }
    }

    /// Says of all that are in hand for long that they still are.
    pub(super) async fn progress(&self) {
        let now = Instant::now();
        let long: Vec<AckSubject> = {
            let mut places = self.lock();
            let long = places
                .values_mut()
                .filter(|place| now.duration_since(place.heard) >= PROGRESS_AFTER);
            long.map(|place| {
                place.heard = now;
                place.ack.clone()
            })
            .collect()
        };
        for ack in &long {
            self.acks.progress(ack).await;
        }
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
