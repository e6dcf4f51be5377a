//! What an account can: levels per kind of event, command and segment, limits and guarantees.
//!
//! Names are kept as text when read, so that a later version's survive; they are written from the enums.

use super::command::Command;
use super::names::{
    CatchUp, ChannelKind, ControlVerb, EventKind, Feature, Inbound, InboundAck, Level, MediaBy,
    OrderScope, Outbound, SegmentType, SendAck, TimeSource,
};
use super::record::record;
use super::state::AdapterBuild;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// A level for some of the names of `K`; a name that is absent is [`Level::Rejected`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels<K> {
    by_name: BTreeMap<Cow<'static, str>, Level>,
    names: PhantomData<fn() -> K>,
}

/// A set of names that can have levels.
pub trait Named: Copy {
    /// The word on the wire.
    fn name(self) -> &'static str;
}

macro_rules! named {
    ($($set:ident)+) => {
        $(impl Named for $set {
            fn name(self) -> &'static str {
                self.as_str()
            }
        })+
    };
}
named!(EventKind Command ControlVerb SegmentType Feature);

impl<K> Default for Levels<K> {
    fn default() -> Self {
        Self {
            by_name: BTreeMap::new(),
            names: PhantomData,
        }
    }
}

impl<K: Named> Levels<K> {
    /// Nothing is offered.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These names at this level.
    #[must_use]
    pub fn with(mut self, level: Level, names: &[K]) -> Self {
        let named = names.iter().map(|name| (Cow::Borrowed(name.name()), level));
        self.by_name.extend(named);
        self
    }

    /// The level of a name.
    #[must_use]
    pub fn get(&self, name: K) -> Level {
        self.get_name(name.name())
    }
}

impl<K> Levels<K> {
    /// The level of a word, which may be of a later version.
    #[must_use]
    pub fn get_name(&self, name: &str) -> Level {
        self.by_name.get(name).copied().unwrap_or(Level::Rejected)
    }

    /// Words with their levels, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Level)> {
        self.by_name.iter().map(|(name, level)| (&**name, *level))
    }
}

impl<K: Named> FromIterator<(K, Level)> for Levels<K> {
    fn from_iter<I: IntoIterator<Item = (K, Level)>>(levels: I) -> Self {
        let levels = levels.into_iter();
        Self {
            by_name: levels
                .map(|(name, level)| (name.name().into(), level))
                .collect(),
            names: PhantomData,
        }
    }
}

impl<K> Serialize for Levels<K> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.by_name.serialize(to)
    }
}

impl<'de, K> Deserialize<'de> for Levels<K> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self {
            by_name: BTreeMap::deserialize(from)?,
            names: PhantomData,
        })
    }
}

impl<K> JsonSchema for Levels<K> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Levels".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let level = generator.subschema_for::<Level>();
        json_schema!({ "type": "object", "additionalProperties": level })
    }
}

record! {
    /// What an adapter says it can.
    Capabilities {
        /// How events come in and commands go out.
        transport: Transport,
        /// Events that it makes.
        #[serde(default)]
        events: Levels<EventKind>,
        /// Commands that it takes.
        #[serde(default)]
        commands: Levels<Command>,
        /// Control verbs that it takes.
        #[serde(default)]
        control: Levels<ControlVerb>,
        /// Segments both ways.
        #[serde(default)]
        segments: SegmentLevels,
        /// Other things.
        #[serde(default)]
        features: Levels<Feature>,
        /// The provider's own words for each kind of channel.
        #[serde(default)]
        channel_kinds: BTreeMap<ChannelKind, Vec<String>>,
        /// Bounds.
        limits: Limits,
        /// What may be relied on.
        guarantees: Guarantees,
    }

    /// How events come in and commands go out.
    Transport {
        /// Events.
        inbound: Inbound,
        /// Commands.
        outbound: Outbound,
        /// What confirms a send.
        ack: SendAck,
        /// Polling takes over when pushes fail.
        poll_fallback: bool,
    }

    /// Levels of segments.
    #[derive(Default)]
    SegmentLevels {
        /// That can be sent.
        send: Levels<SegmentType>,
        /// That are received.
        receive: Levels<SegmentType>,
    }

    /// Bounds; null is not known or not limited.
    Limits {
        /// Mutating commands at a time.
        max_in_flight: u32,
        /// Read-only commands at a time.
        max_reads_in_flight: u32,
        /// Of one message.
        max_payload_bytes: Option<u64>,
        /// Of the provider's reference for a command.
        idempotency_key_chars: u32,
        /// How long a message can be taken back.
        recall_max_age_s: Option<u64>,
        /// How media gets to the provider.
        media_by: Vec<MediaBy>,
        /// Pace of mutating commands per account.
        rate: Option<Rate>,
    }

    /// A pace.
    Rate {
        /// In the long run.
        per_s: f64,
        /// At once, after a pause.
        burst: u32,
    }

    /// What may be relied on.
    Guarantees {
        /// Inside what order keys sort.
        ordering: OrderScope,
        /// What the provider is told about events received.
        inbound_ack: InboundAck,
        /// How much of what was missed can be fetched.
        catch_up: CatchUp,
        /// Events name their sender.
        sender_in_event: bool,
        /// The provider drops a command sent twice.
        provider_dedup: bool,
        /// Whether an uncertain command happened can be found out.
        verify_after_timeout: bool,
        /// Whose clock a message's time is.
        message_time: TimeSource,
        /// Own messages come back as events.
        self_echo: bool,
    }

    /// What an account can, as published.
    CapabilityDocument {
        /// The plugin that serves it.
        adapter: AdapterBuild,
        /// The event model that it writes.
        model: ModelVersion,
        /// Changes when anything here does.
        revision: String,
        /// What it can.
        #[serde(flatten)]
        capabilities: Capabilities,
        /// Operations without a span of their own.
        noise: Vec<String>,
    }

    /// Version of this model.
    #[derive(Copy, Eq)]
    ModelVersion {
        /// Raised when something is taken away.
        major: u32,
        /// Raised when something is added.
        minor: u32,
    }
}

/// The version that these types are.
pub const MODEL: ModelVersion = ModelVersion { major: 1, minor: 0 };
