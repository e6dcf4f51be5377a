//! What all accounts of a replica publish through.

use super::metrics::ProviderFigures;
use crate::bus::blobs::Blobs;
use crate::bus::objects::{Limits, Names};
use crate::bus::{AckTable, Bus, Subjects, Target};
use crate::dead_letter::DeadLetters;
use crate::telemetry::{PerProvider, Telemetry};
use async_nats::Client;
use std::sync::Arc;

/// One for the process.
pub struct Gateway {
    pub(super) acks: AckTable,
    pub(super) blobs: Blobs,
    /// For what nobody stores.
    pub(super) client: Client,
    pub(super) dead_letters: DeadLetters,
    pub(super) events: Target,
    pub(super) subjects: Subjects,
    pub(super) telemetry: Telemetry,
    figures: PerProvider<ProviderFigures>,
}

impl Gateway {
    pub fn new(bus: &Bus, acks: &AckTable, limits: &Limits, telemetry: &Telemetry) -> Arc<Self> {
        Arc::new(Self {
            acks: acks.clone(),
            blobs: Blobs::new(bus, acks),
            client: bus.data.client().clone(),
            dead_letters: DeadLetters::new(bus, acks),
            events: Target {
                name: Names::new(bus.subjects.root()).events().into(),
                duplicate_window: limits.events_duplicate_window,
                // Its provider is not read on meanwhile.
                waits_for_permission: true,
            },
            subjects: bus.subjects.clone(),
            telemetry: telemetry.clone(),
            figures: PerProvider::default(),
        })
    }

    pub fn figures(&self) -> &PerProvider<ProviderFigures> {
        &self.figures
    }
}
