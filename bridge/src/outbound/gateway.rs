//! What all accounts of a replica take commands from and answer through.

use super::ledger::Ledger;
use super::metrics::ProviderFigures;
use crate::bus::api::{Api, Stored, Which};
use crate::bus::blobs::Blobs;
use crate::bus::kv::Bucket;
use crate::bus::objects::{Limits, Names};
use crate::bus::{AckTable, Bus, Hold, Subjects, Target};
use crate::dead_letter::DeadLetters;
use crate::telemetry::{PerProvider, Telemetry};
use async_nats::Client;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// Requests in hand of one replica; the next one is answered `overloaded`.
pub const REQUESTS_MAX: usize = 1_024;
/// The stream of results knows ids for this long.
const RESULTS_DUPLICATE_WINDOW: Duration = Duration::from_secs(900);
/// An entry outlives the command's place in its stream, or a command sent again late would be executed again.
const LEDGER_TTL_MIN: Duration = Duration::from_secs(24 * 60 * 60);
/// A follower may not have a command yet that its leader delivered.
const READ_WITHIN: Duration = Duration::from_secs(5);
const READ_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A command in its stream.
pub(super) enum Found {
    Stored(Stored),
    /// Somebody removed it.
    Gone,
    /// The lease was lost before anybody answered.
    Lost,
}

/// One for the process.
pub struct Gateway {
    pub(super) acks: AckTable,
    pub(super) blobs: Blobs,
    pub(super) dead_letters: DeadLetters,
    pub(super) ledger: Ledger,
    pub(super) results: Target,
    pub(super) subjects: Subjects,
    /// Requests and their answers go beside the data, so that a full data channel delays none.
    pub(super) control: Client,
    pub(super) control_api: Api,
    pub(super) requests: Arc<Semaphore>,
    pub(super) commands_max_age: Duration,
    api: Api,
    pub(super) commands: Arc<str>,
    pub(super) telemetry: Telemetry,
    figures: PerProvider<ProviderFigures>,
}

impl Gateway {
    pub fn new(bus: &Bus, acks: &AckTable, limits: &Limits, telemetry: &Telemetry) -> Arc<Self> {
        let names = Names::new(bus.subjects.root());
        let ttl = limits.commands_max_age.max(LEDGER_TTL_MIN);
        Arc::new(Self {
            acks: acks.clone(),
            blobs: Blobs::new(bus, acks),
            dead_letters: DeadLetters::new(bus, acks),
            ledger: Ledger::new(Bucket::new(&bus.data, &names.ledger()), ttl),
            results: Target {
                name: names.results().into(),
                duplicate_window: RESULTS_DUPLICATE_WINDOW,
                waits_for_permission: false,
            },
            subjects: bus.subjects.clone(),
            control: bus.control.client().clone(),
            control_api: bus.control.api().clone(),
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            commands_max_age: limits.commands_max_age,
            api: bus.data.api().clone(),
            commands: names.commands().into(),
            telemetry: telemetry.clone(),
            figures: PerProvider::default(),
        })
    }

    pub fn figures(&self) -> &PerProvider<ProviderFigures> {
        &self.figures
    }

    /// A command whose body was not kept; asks until somebody answers.
    pub(super) async fn read(&self, sequence: u64, hold: &Hold) -> Found {
        let until = Instant::now() + READ_WITHIN;
        loop {
            let read = self
                .api
                .message(&self.commands, Which::Sequence(sequence))
                .await;
            match read {
                Ok(Some(stored)) => return Found::Stored(stored),
                _ if !hold.is_held() => return Found::Lost,
                Ok(None) if Instant::now() >= until => return Found::Gone,
                _ => sleep(READ_AGAIN_AFTER).await,
            }
        }
    }
}
