//! What all events of one account, and all events of one kind of it, have in common.

use super::gateway::Gateway;
use super::metrics::{Outcomes, ProviderFigures};
use crate::bus::{Account, Hold, Kind};
use crate::envelope::{EventEnvelope, ModelMinor, Room};
use crate::telemetry::{AccountLabels, EventKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The command that an event echoes, as far as its envelope names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echoed {
    pub correlation_id: Option<Box<str>>,
    pub causation_id: Box<str>,
}

/// What events need to know of the rest of the core. Called on the account's task: it must not block.
pub trait Surroundings: Send + Sync + 'static {
    /// The command with this client reference, while its owner remembers it.
    fn echoed(&self, _client_ref: &str) -> Option<Echoed> {
        None
    }
}

/// Nothing around: no commands.
pub struct Alone;

impl Surroundings for Alone {}

/// Of one account.
pub(super) struct Owner {
    pub gateway: Arc<Gateway>,
    pub account: Account,
    pub hold: Hold,
    pub surroundings: Arc<dyn Surroundings>,
    pub figures: Arc<ProviderFigures>,
    pub labels: Arc<AccountLabels>,
    /// For bodies; given back while nothing is on its way.
    pub room: Mutex<Room>,
}

impl Owner {
    pub(super) fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of one kind of one account.
pub(super) struct Route {
    pub owner: Arc<Owner>,
    /// As the event says it, or `other`.
    pub kind: Box<str>,
    pub outcomes: Arc<Outcomes>,
    /// None: the kind is no `<resource>.<action>`, or not declared, so that nothing can be published.
    pub published: Option<Published>,
    /// None: nothing is traced.
    pub traced: Option<Arc<EventKind>>,
}

pub(super) struct Published {
    pub envelope: EventEnvelope,
    /// The subject up to the channel.
    pub subject_prefix: Box<str>,
    pub is_raw: bool,
}

/// Label of kinds that adapters did not declare: they must not make metrics grow.
const OTHER: &str = "other";
/// Not kept: for whoever is watching now.
const RAW_FRAME: &str = "raw.frame";

impl Route {
    pub(super) fn new(owner: &Arc<Owner>, kind: &Kind, model: ModelMinor) -> Self {
        let name = kind.to_string();
        let subjects = &owner.gateway.subjects;
        let prefix = subjects.event_prefix(&owner.account, kind);
        let is_raw = name == RAW_FRAME;
        let family = subjects.event_family(&owner.account.provider, kind);
        let traced = || {
            let template = subjects.event_template(kind);
            let telemetry = &owner.gateway.telemetry;
            telemetry.event_kind(&owner.labels, &name, template, &family)
        };
        Self {
            // Frames are shown once and stored nowhere.
            traced: (!is_raw).then(traced).flatten(),
            owner: Arc::clone(owner),
            outcomes: owner.figures.kind(&name),
            published: Some(Published {
                envelope: EventEnvelope::new(&owner.account, kind, model),
                subject_prefix: prefix.into(),
                is_raw,
            }),
            kind: name.into(),
        }
    }

    pub(super) fn nowhere(owner: &Arc<Owner>) -> Self {
        let Gateway {
            subjects,
            telemetry,
            ..
        } = &*owner.gateway;
        let template = subjects.dead_event_template();
        let [family, _] = subjects.dead_families();
        Self {
            traced: telemetry.event_kind(&owner.labels, OTHER, template, &family),
            owner: Arc::clone(owner),
            kind: OTHER.into(),
            outcomes: owner.figures.kind(OTHER),
            published: None,
        }
    }

    pub(super) fn is_raw(&self) -> bool {
        self.published.as_ref().is_some_and(|it| it.is_raw)
    }
}
