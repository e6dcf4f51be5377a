//! One command in hand: what arrived, read and checked as far as that needs no account, and where its answer goes.

use super::Fail;
use super::check::{self, Target};
use super::incoming::{self, Attributes, Data, Fallback};
use super::ledger::{Claimant, hash};
use crate::bus::api::header;
use crate::bus::clock::unix_ms;
use crate::bus::{Account, Kind};
use crate::telemetry::{Carried, CommandSpan, TraceContext};
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use im_bridge_sdk::model::ids::client_ref;
use im_bridge_sdk::model::{Command, ControlVerb, Effect, ErrorClass, ErrorCode, Options, Time};
use std::borrow::Cow;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// A request without a deadline of its own.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// The server forgets the right to answer after two minutes.
pub const REQUEST_DEADLINE_MAX: Duration = Duration::from_secs(60);
/// What matters only now, such as typing, is late after this long.
pub const EPHEMERAL_DEADLINE: Duration = Duration::from_secs(5);
/// The owner answers before the stream forgets the command.
const BEFORE_MAX_AGE: Duration = Duration::from_secs(60);
/// Marks a command that was sent again from the dead letters.
const REDRIVE: &str = "Im-Redrive";

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Command(Command),
    Control(ControlVerb),
    /// A name that this version does not know.
    Unknown,
}

/// Where a command came from, and so where its answer goes.
#[derive(Debug)]
pub(super) enum Origin {
    Durable {
        sequence: u64,
    },
    Request {
        reply: Option<Subject>,
        /// Its place among all requests of the replica.
        _slot: Option<OwnedSemaphorePermit>,
    },
    /// One message of a batch.
    Item {
        batch: u64,
        index: usize,
    },
}

/// The key of a mutating command.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// What it became at the provider.
    pub client_ref: String,
    /// Of the ledger's entry.
    pub entry: String,
}

/// See the front page.
#[derive(Debug)]
pub(super) struct Work {
    pub what: What,
    pub kind: Kind,
    pub name: Box<str>,
    pub attributes: Attributes,
    pub data: Data,
    pub target: Target,
    /// Exact native id, once known.
    pub channel: Option<String>,
    pub origin: Origin,
    /// Retried until its deadline; else its caller waits.
    pub is_durable: bool,
    pub deadline_ms: i64,
    /// When the stream stored it, or it came in.
    pub since_ms: i64,
    pub taken: Instant,
    /// What makes it impossible from the start.
    pub fail: Option<Fail>,
    /// Given by the caller, or the envelope's id; none of a mutating command is a failure.
    pub key: Option<String>,
    /// Of the parameters; computed at the first try.
    pub hash: Option<String>,
    pub claimant: u64,
    /// How often the adapter got it.
    pub attempts: u32,
    /// How often it was put off because the bus did not answer.
    pub put_off: u32,
    pub first_try_ms: Option<i64>,
    pub at_provider: Duration,
    /// Held among the keys that are being worked on.
    pub key_in_hand: Option<String>,
    /// Its caller was told already that it is still running.
    pub is_answered: bool,
    /// Its sender's trace.
    pub carried: Carried,
    /// The attempt under way; none before the command is in hand.
    pub span: Option<CommandSpan>,
    /// Attempts that have their span.
    pub attempts_told: u32,
    /// Sent again from the dead letters.
    pub is_redriven: bool,
    /// Of the body, for the bound on what an account keeps.
    pub bytes: usize,
}

/// A message that carries a command.
pub(super) struct Intake<'a> {
    pub kind: Kind,
    pub is_control: bool,
    pub headers: &'a HeaderMap,
    pub payload: &'a Bytes,
    pub origin: Origin,
    pub since_ms: i64,
    pub commands_max_age: Duration,
}

impl Work {
    pub(super) fn read(from: Intake<'_>) -> Self {
        let name = from.kind.name();
        let what = match from.is_control {
            true => from.kind.action.as_str().parse().map(What::Control).ok(),
            false => name.parse().map(What::Command).ok(),
        };
        let what = what.unwrap_or(What::Unknown);
        let fallback = match from.origin {
            Origin::Durable { sequence } => Fallback::Sequence(sequence),
            _ => Fallback::Fresh(Time::from_ms(from.since_ms)),
        };
        let (attributes, read) = incoming::read(&name, Some(from.headers), from.payload, fallback);
        let (mut data, mut fail) = match read {
            Ok(data) => (data, None),
            Err(fail) => (empty(), Some(fail)),
        };
        let is_durable = matches!(from.origin, Origin::Durable { .. });
        let key = data
            .key
            .clone()
            .or_else(|| attributes.is_named.then(|| attributes.id.clone()));
        if fail.is_none() {
            fail = unfit(what, &mut data, key.is_some(), &name);
        }
        let target = match (what, &fail) {
            (What::Command(_), None) => check::target(&data.params),
            _ => Target::Nothing,
        };
        let mut work = Self {
            what,
            kind: from.kind,
            name: name.into(),
            carried: Carried::read(
                Some(from.headers),
                attributes.traceparent.as_deref(),
                attributes.tracestate.as_deref(),
            ),
            span: None,
            attempts_told: 0,
            is_redriven: is_redriven(from.headers),
            attributes,
            channel: match &target {
                Target::Channel(channel) => Some(channel.clone()),
                _ => None,
            },
            data,
            target,
            origin: from.origin,
            is_durable,
            deadline_ms: 0,
            since_ms: from.since_ms,
            taken: Instant::now(),
            fail,
            key,
            hash: None,
            claimant: fastrand::u64(..),
            attempts: 0,
            put_off: 0,
            first_try_ms: None,
            at_provider: Duration::ZERO,
            key_in_hand: None,
            is_answered: false,
            bytes: from.payload.len(),
        };
        work.deadline_ms = work.deadline(from.commands_max_age);
        work
    }

    /// One message of a batch, with a key of its own.
    pub(super) fn item(of: &Self, batch: u64, index: usize, item: &serde_json::Value) -> Self {
        let mut params = item.clone();
        let own = params
            .as_object_mut()
            .and_then(|item| item.remove("options"));
        let options: Options = own
            .as_ref()
            .and_then(|own| serde_json::from_value(own.clone()).ok())
            .unwrap_or_else(|| of.data.options.clone());
        let shown = own
            .unwrap_or_else(|| serde_json::to_value(&options).expect("options have a JSON form"));
        let body = Bytes::from(format!("{{\"params\":{params},\"options\":{shown}}}"));
        let target = check::target(&params);
        let key = of.key.as_ref().map(|key| format!("{key}-{index}"));
        Self {
            what: What::Command(Command::MessageSend),
            kind: "message.send".parse().expect("a kind"),
            name: Command::MessageSend.as_str().into(),
            attributes: of.attributes.clone(),
            channel: match &target {
                Target::Channel(channel) => Some(channel.clone()),
                _ => None,
            },
            bytes: body.len(),
            data: Data {
                key: key.clone(),
                parts: check::parts_of_item(&params),
                params,
                options,
                body,
            },
            target,
            origin: Origin::Item { batch, index },
            is_durable: of.is_durable,
            deadline_ms: of.deadline_ms,
            since_ms: of.since_ms,
            taken: of.taken,
            fail: None,
            key,
            hash: None,
            claimant: fastrand::u64(..),
            attempts: 0,
            put_off: 0,
            first_try_ms: None,
            at_provider: Duration::ZERO,
            key_in_hand: None,
            is_answered: false,
            carried: Carried {
                context: of.trace(),
                ..of.carried.clone()
            },
            span: None,
            attempts_told: 0,
            is_redriven: of.is_redriven,
        }
    }

    fn deadline(&self, commands_max_age: Duration) -> i64 {
        let asked = self.attributes.expiry.filter(|_| !self.is_redriven);
        let effect = self.effect();
        deadline_ms(
            asked,
            effect,
            self.is_durable,
            self.since_ms,
            commands_max_age,
        )
    }

    /// Parent of everything done for it.
    pub(super) fn trace(&self) -> TraceContext {
        let own = self.span.as_ref().map(CommandSpan::context);
        own.unwrap_or(self.carried.context)
    }

    /// None of a control verb, or of nothing known.
    pub(super) fn effect(&self) -> Option<Effect> {
        match self.what {
            What::Command(command) => Some(command.effect()),
            What::Control(_) | What::Unknown => None,
        }
    }

    pub(super) fn is_mutating(&self) -> bool {
        self.effect() == Some(Effect::Mutating)
    }

    pub(super) fn is_expired(&self) -> bool {
        self.deadline_ms <= unix_ms()
    }

    pub(super) fn deadline_at(&self) -> Instant {
        at(self.deadline_ms)
    }

    pub(super) fn sequence(&self) -> Option<u64> {
        match self.origin {
            Origin::Durable { sequence } => Some(sequence),
            _ => None,
        }
    }

    /// A batch is none of its own: its items have the keys.
    pub(super) fn has_entry(&self) -> bool {
        self.is_mutating()
            && !self.data.options.dry_run
            && self.what != What::Command(Command::MessageSendBatch)
    }

    /// The key as this account's provider can carry it.
    pub(super) fn key_at(&self, account: &Account, limit_chars: usize) -> Option<Key> {
        let client_ref = self.client_ref(limit_chars)?.into_owned();
        let Account { provider, alias } = account;
        let entry = [provider.as_str(), alias.as_str(), &client_ref].join(".");
        Some(Key { entry, client_ref })
    }

    /// What the key becomes at the provider.
    pub(super) fn client_ref(&self, limit_chars: usize) -> Option<Cow<'_, str>> {
        let key = self.key.as_deref().filter(|_| self.is_mutating())?;
        Some(client_ref(key, limit_chars))
    }

    pub(super) fn claimant<'w>(&'w mut self, key: &'w Key, epoch: u64) -> Claimant<'w> {
        let params = &self.data.params;
        let hash = self.hash.get_or_insert_with(|| hash(params));
        Claimant {
            key: &key.entry,
            epoch,
            claimant: self.claimant,
            seq: match self.origin {
                Origin::Durable { sequence } => Some(sequence),
                _ => None,
            },
            command: &self.name,
            hash,
        }
    }

    /// Malformed: for a person to look at.
    pub(super) fn is_malformed(fail: &Fail) -> bool {
        fail.0.class == ErrorClass::Invalid
            && matches!(
                fail.0.known_code(),
                Some(ErrorCode::BadRequest | ErrorCode::BadParam)
            )
    }
}

/// What needs no account to be known.
fn unfit(what: What, data: &mut Data, has_key: bool, name: &str) -> Option<Fail> {
    match what {
        What::Unknown => {
            let text = format!("there is no command `{name}`");
            Some(Fail::certain(ErrorCode::UnsupportedCommand, text))
        }
        What::Control(verb) => check::control(verb, &data.params).err(),
        What::Command(command) => check::params(command, data).err().or_else(|| {
            let needs_key = command.effect() == Effect::Mutating && !has_key;
            needs_key.then(|| {
                let text = "a command that changes something needs a key or an id";
                let hint = "set data.idempotency_key".to_owned();
                Fail::certain(ErrorCode::BadRequest, text).hint(Some(hint))
            })
        }),
    }
}

/// Sent again from the dead letters.
pub(super) fn is_redriven(headers: &HeaderMap) -> bool {
    header(headers, REDRIVE).is_some()
}

/// When a command is late, whatever its sender `asked` for.
pub(super) fn deadline_ms(
    asked: Option<Time>,
    effect: Option<Effect>,
    is_durable: bool,
    since_ms: i64,
    commands_max_age: Duration,
) -> i64 {
    let longest = commands_max_age.saturating_sub(BEFORE_MAX_AGE);
    let (usual, most) = match (effect, is_durable) {
        (Some(Effect::Ephemeral), _) => (EPHEMERAL_DEADLINE, EPHEMERAL_DEADLINE),
        (_, true) => (longest, longest),
        (_, false) => (REQUEST_DEADLINE, REQUEST_DEADLINE_MAX),
    };
    let after = |wait: Duration| since_ms.saturating_add(millis(wait));
    asked.map_or(after(usual), |asked| asked.ms().min(after(most)))
}

fn empty() -> Data {
    Data {
        key: None,
        params: serde_json::Value::Null,
        parts: Vec::new(),
        options: Options::default(),
        body: Bytes::new(),
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A moment of the wall clock, on the clock that timers use.
pub(super) fn at(unix: i64) -> Instant {
    let left = u64::try_from(unix.saturating_sub(unix_ms())).unwrap_or(0);
    // Beyond a day the deadline is looked at again anyway.
    Instant::now() + Duration::from_millis(left.min(86_400_000))
}
