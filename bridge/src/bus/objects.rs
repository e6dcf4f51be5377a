//! The streams and buckets as they are wanted: names, limits, and where each limit is configured.
//!
//! Not here: making them (`provision`) and using them.

use super::subjects::Subjects;
use super::token::Root;
use serde_json::{Map, Value, json};
use std::time::Duration;

const MIB: u64 = 1024 * 1024;
const HOUR: Duration = Duration::from_secs(3_600);
/// A dead letter is the message and its headers; with this it fits below the server's usual `max_payload`.
pub const COMMAND_BYTES_MAX: u64 = 960 * 1024;
/// The largest message of all other streams.
pub const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
/// A marker that lives for ever would refuse the next create for ever.
const LEASE_MARKER: Duration = Duration::from_secs(60);

/// What a stream does when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Drops the oldest.
    Roll,
    /// Refuses the newest.
    Stop,
}

impl WhenFull {
    fn discard(self) -> &'static str {
        match self {
            Self::Roll => "old",
            Self::Stop => "new",
        }
    }
}

/// The configuration's limits of all objects.
#[derive(Clone, Debug)]
pub struct Limits {
    /// 0: three in a cluster of three or more, else one.
    pub replicas: u8,
    pub shards: u16,
    pub events_max_age: Duration,
    pub events_max_bytes: u64,
    pub events_when_full: WhenFull,
    pub events_duplicate_window: Duration,
    pub results_max_age: Duration,
    pub results_max_bytes: u64,
    pub commands_max_age: Duration,
    pub commands_max_bytes: u64,
    /// Per account and command.
    pub commands_max_waiting: u64,
    pub dead_letters_max_age: Duration,
    pub dead_letters_max_bytes: u64,
    pub ledger_max_bytes: u64,
    pub kv_max_bytes: u64,
    pub lease_max_bytes: u64,
    pub state_max_bytes: u64,
    pub capability_max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            replicas: 0,
            shards: super::shard::SHARDS,
            events_max_age: 168 * HOUR,
            events_max_bytes: 1024 * MIB,
            events_when_full: WhenFull::Roll,
            events_duplicate_window: Duration::from_secs(900),
            results_max_age: 48 * HOUR,
            results_max_bytes: 256 * MIB,
            commands_max_age: 24 * HOUR,
            commands_max_bytes: 256 * MIB,
            commands_max_waiting: 10_000,
            dead_letters_max_age: 720 * HOUR,
            dead_letters_max_bytes: 256 * MIB,
            ledger_max_bytes: 512 * MIB,
            kv_max_bytes: 256 * MIB,
            lease_max_bytes: 16 * MIB,
            state_max_bytes: 64 * MIB,
            capability_max_bytes: 64 * MIB,
        }
    }
}

impl Limits {
    /// The same with at most this much storage for each object: what a demo or a test asks of a small disk.
    pub fn at_most_each(mut self, bytes: u64) -> Self {
        for limit in [
            &mut self.events_max_bytes,
            &mut self.results_max_bytes,
            &mut self.commands_max_bytes,
            &mut self.dead_letters_max_bytes,
            &mut self.ledger_max_bytes,
            &mut self.kv_max_bytes,
            &mut self.lease_max_bytes,
            &mut self.state_max_bytes,
            &mut self.capability_max_bytes,
        ] {
            *limit = (*limit).min(bytes);
        }
        self
    }
}

/// Names of all objects below one root.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: String,
}

impl Names {
    pub fn new(root: &Root) -> Self {
        Self {
            prefix: root.object_prefix(),
        }
    }

    pub fn events(&self) -> String {
        format!("{}_EVT", self.prefix)
    }

    pub fn results(&self) -> String {
        format!("{}_RES", self.prefix)
    }

    pub fn commands(&self) -> String {
        format!("{}_CMD", self.prefix)
    }

    pub fn dead_letters(&self) -> String {
        format!("{}_DLQ", self.prefix)
    }

    pub fn leases(&self) -> String {
        format!("{}_LEASE", self.prefix)
    }

    pub fn states(&self) -> String {
        format!("{}_STATE", self.prefix)
    }

    pub fn capabilities(&self) -> String {
        format!("{}_CAP", self.prefix)
    }

    pub fn ledger(&self) -> String {
        format!("{}_DEDUP", self.prefix)
    }

    pub fn kv(&self) -> String {
        format!("{}_KV", self.prefix)
    }

    pub fn blobs(&self) -> String {
        format!("{}_BLOB", self.prefix)
    }
}

/// What an object is to a person; the server knows streams only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    Stream,
    Bucket,
    ObjectStore,
}

impl ObjectKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Bucket => "bucket",
            Self::ObjectStore => "object store",
        }
    }

    /// Name of the stream that is this object to the server.
    pub fn stream_of(self, name: &str) -> String {
        match self {
            Self::Stream => name.to_owned(),
            Self::Bucket => format!("KV_{name}"),
            Self::ObjectStore => format!("OBJ_{name}"),
        }
    }
}

/// An object as it is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub kind: ObjectKind,
    pub name: String,
    /// The server's configuration fields, all that matter to the bridge and no others.
    pub config: Map<String, Value>,
    /// The key that its storage is configured with, if there is one.
    pub storage_key: Option<&'static str>,
}

impl Wanted {
    /// Name of the stream that is this object to the server.
    pub fn stream(&self) -> String {
        self.kind.stream_of(&self.name)
    }

    pub fn max_bytes(&self) -> u64 {
        self.config
            .get("max_bytes")
            .and_then(Value::as_u64)
            .unwrap_or_default()
    }
}

/// All objects, in the order in which they are made.
pub fn wanted(subjects: &Subjects, limits: &Limits) -> Vec<Wanted> {
    let names = Names::new(subjects.root());
    let mut all = streams(subjects, limits, &names);
    all.extend(buckets(subjects, limits, &names));
    all.push(blobs(limits, &names));
    if limits.replicas > 0 {
        for object in &mut all {
            object
                .config
                .insert("num_replicas".to_owned(), limits.replicas.into());
        }
    }
    all
}

fn object(
    kind: ObjectKind,
    name: String,
    storage_key: Option<&'static str>,
    config: Value,
) -> Wanted {
    let Value::Object(mut config) = config else {
        unreachable!("each configuration below is an object")
    };
    config.insert("name".to_owned(), kind.stream_of(&name).into());
    config.insert("storage".to_owned(), "file".into());
    config.insert("allow_direct".to_owned(), true.into());
    Wanted {
        kind,
        name,
        config,
        storage_key,
    }
}

fn streams(subjects: &Subjects, limits: &Limits, names: &Names) -> Vec<Wanted> {
    let commands = subjects.commands();
    vec![
        object(
            ObjectKind::Stream,
            names.events(),
            Some("nats.events.max_mib"),
            json!({
                "subjects": [subjects.events()],
                "retention": "limits",
                "discard": limits.events_when_full.discard(),
                "max_age": nanos(limits.events_max_age),
                "max_bytes": limits.events_max_bytes,
                "max_msg_size": MESSAGE_BYTES_MAX,
                "duplicate_window": nanos(limits.events_duplicate_window.min(limits.events_max_age)),
                "compression": "s2",
            }),
        ),
        object(
            ObjectKind::Stream,
            names.results(),
            Some("nats.results.max_mib"),
            json!({
                "subjects": [subjects.results()],
                "retention": "limits",
                "discard": "old",
                "max_age": nanos(limits.results_max_age),
                "max_bytes": limits.results_max_bytes,
                "max_msg_size": MESSAGE_BYTES_MAX,
                "duplicate_window": nanos(Duration::from_secs(900)),
                "compression": "s2",
            }),
        ),
        object(
            ObjectKind::Stream,
            names.commands(),
            Some("nats.commands.max_mib"),
            json!({
                "subjects": [commands],
                "retention": "workqueue",
                "discard": "new",
                "discard_new_per_subject": true,
                "max_msgs_per_subject": limits.commands_max_waiting,
                "max_age": nanos(limits.commands_max_age),
                "max_bytes": limits.commands_max_bytes,
                "max_msg_size": COMMAND_BYTES_MAX,
                "duplicate_window": nanos(Duration::from_secs(600)),
                "compression": "none",
                "subject_transform": {
                    "src": commands,
                    "dest": subjects.stored_commands_template(limits.shards),
                },
            }),
        ),
        object(
            ObjectKind::Stream,
            names.dead_letters(),
            Some("nats.dead_letters.max_mib"),
            json!({
                "subjects": [subjects.dead_letters()],
                "retention": "limits",
                "discard": "old",
                "max_age": nanos(limits.dead_letters_max_age),
                "max_bytes": limits.dead_letters_max_bytes,
                "max_msg_size": MESSAGE_BYTES_MAX,
                "duplicate_window": nanos(Duration::from_secs(900)),
                "compression": "s2",
            }),
        ),
    ]
}

fn buckets(subjects: &Subjects, limits: &Limits, names: &Names) -> Vec<Wanted> {
    let bucket = |name: String, bytes: u64, storage_key, more: Value| {
        let mut config = json!({
            "subjects": [format!("$KV.{name}.>")],
            "retention": "limits",
            "discard": "new",
            // One value per key: with more, the server raises every TTL to that of the markers.
            "max_msgs_per_subject": 1,
            "max_bytes": bytes,
            "allow_rollup_hdrs": true,
            "deny_delete": true,
            "allow_msg_ttl": true,
        });
        if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
        object(ObjectKind::Bucket, name, storage_key, config)
    };
    let republished = |name: &str, to: async_nats::Subject| json!({ "republish": { "src": format!("$KV.{name}.>"), "dest": to } });
    let (states, capabilities) = (names.states(), names.capabilities());
    let marker = json!({ "subject_delete_marker_ttl": nanos(LEASE_MARKER) });
    let (to_states, to_capabilities) = (
        republished(&states, subjects.states()),
        republished(&capabilities, subjects.capabilities()),
    );
    vec![
        bucket(names.leases(), limits.lease_max_bytes, None, marker),
        bucket(states, limits.state_max_bytes, None, to_states),
        bucket(
            capabilities,
            limits.capability_max_bytes,
            None,
            to_capabilities,
        ),
        bucket(
            names.ledger(),
            limits.ledger_max_bytes,
            Some("nats.ledger.max_mib"),
            json!({}),
        ),
        bucket(
            names.kv(),
            limits.kv_max_bytes,
            Some("nats.kv.max_mib"),
            json!({}),
        ),
    ]
}

/// Its objects live as long as the longest message that may refer to them.
fn blobs(limits: &Limits, names: &Names) -> Wanted {
    let longest = limits
        .events_max_age
        .max(limits.results_max_age)
        .max(limits.dead_letters_max_age);
    let name = names.blobs();
    let config = json!({
        "subjects": [format!("$O.{name}.C.>"), format!("$O.{name}.M.>")],
        "retention": "limits",
        "discard": limits.events_when_full.discard(),
        "max_age": nanos(longest),
        "max_bytes": limits.events_max_bytes,
        "allow_rollup_hdrs": true,
    });
    object(
        ObjectKind::ObjectStore,
        name,
        Some("nats.events.max_mib"),
        config,
    )
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
