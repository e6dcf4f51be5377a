//! Compares the objects on the server with those that are wanted, and makes or widens what is missing.
//!
//! Never shrinks, deletes or purges. What differs in another way is told and stays. Two replicas that do this at once
//! agree, and so does one that is killed in the middle and starts again.

use super::api::{ApiError, number};
use super::connect::Bus;
use super::denied::Denied;
use super::objects::{Limits, ObjectKind, Wanted, wanted};
use super::replies::AskError;
use futures_util::future::join_all;
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// A cluster that elects a leader answers nothing for some seconds; nothing else takes this long.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);
const AGAIN_AFTER: Duration = Duration::from_millis(300);
const MIB: u64 = 1024 * 1024;
/// Unless configured otherwise.
const REPLICAS_IN_CLUSTER: u64 = 3;

/// One field that is not as wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub field: String,
    pub actual: Value,
    pub wanted: Value,
    pub meaning: Meaning,
}

/// What a difference leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The server's is narrower: it is widened.
    Narrower,
    /// The server's is wider: it stays.
    Wider,
    /// Neither: a person decides, and until then it stays.
    Other,
}

/// What is to be done about one object.
#[derive(Clone, Debug)]
pub struct Step {
    pub wanted: Wanted,
    pub action: Action,
}

#[derive(Clone, Debug)]
pub enum Action {
    Keep,
    Make,
    /// The server's configuration with the narrower fields widened.
    Widen(Map<String, Value>),
}

/// What is there, against what is wanted: `im-bridge streams plan` prints it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub differences: Vec<ObjectDifference>,
}

/// A difference and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectDifference {
    pub kind: ObjectKind,
    pub name: String,
    pub difference: Difference,
}

impl fmt::Display for ObjectDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference {
            field,
            actual,
            wanted,
            ..
        } = &self.difference;
        write!(
            f,
            "{} {}: {field} is {actual}, wanted {wanted}; see im-bridge streams plan",
            self.kind.as_str(),
            self.name
        )
    }
}

impl Plan {
    /// Whether there is something to make or to widen.
    pub fn is_due(&self) -> bool {
        self.steps
            .iter()
            .any(|step| !matches!(step.action, Action::Keep))
    }

    /// What a person decides: `nats_object_differs`.
    pub fn differing(&self) -> impl Iterator<Item = &ObjectDifference> {
        self.differences
            .iter()
            .filter(|one| one.difference.meaning == Meaning::Other)
    }

    /// Bytes that this step asks for beyond what is there.
    fn growth(&self, step: &Step) -> u64 {
        let wanted = step.wanted.max_bytes();
        match &step.action {
            Action::Keep => 0,
            Action::Make => wanted,
            Action::Widen(_) => {
                let actual = self.differences.iter().find(|one| {
                    one.kind == step.wanted.kind
                        && one.name == step.wanted.name
                        && one.difference.field == "max_bytes"
                        && one.difference.meaning == Meaning::Narrower
                });
                let actual = actual.and_then(|one| one.difference.actual.as_u64());
                actual.map_or(0, |actual| wanted.saturating_sub(actual))
            }
        }
    }

    fn no_room(&self, object: &Wanted, asked: u64, left: String) -> ProvisionError {
        let mut largest: Vec<&Wanted> = self.steps.iter().map(|step| &step.wanted).collect();
        largest.sort_by_key(|one| std::cmp::Reverse(one.max_bytes()));
        let mut keys: Vec<&str> = largest.iter().filter_map(|one| one.storage_key).collect();
        keys.dedup();
        keys.truncate(3);
        ProvisionError::Storage {
            object: object.name.clone(),
            asked: asked / MIB,
            left,
            keys: keys.join(", "),
        }
    }
}

/// Why the objects are not as they must be.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    #[error("{} {name} does not exist; run im-bridge streams apply", kind.as_str())]
    Missing { kind: ObjectKind, name: String },
    #[error("stream {stream} captures {subject}, where answers are expected; change its subjects")]
    Captured { stream: String, subject: String },
    #[error("stream {stream} captures {subject}, which {object} is to store; change its subjects")]
    Taken {
        stream: String,
        subject: String,
        object: String,
    },
    #[error(
        "NATS has no room for {object}: what is still to be made asks for {asked} MiB, {left} are left; lower {keys}"
    )]
    Storage {
        object: String,
        asked: u64,
        left: String,
        keys: String,
    },
    #[error("NATS refuses {} {name}: {why}; see im-bridge streams plan", kind.as_str())]
    Refused {
        kind: ObjectKind,
        name: String,
        why: String,
    },
    #[error("{0}")]
    Forbidden(Denied),
    #[error("NATS gives no account of its objects: {0}; see the log of its server")]
    Unanswered(ApiError),
}

/// For a call that the server did not refuse by an answer.
fn unanswered(error: ApiError) -> ProvisionError {
    match error {
        ApiError::Ask(AskError::Forbidden(denied)) => ProvisionError::Forbidden(denied),
        error => ProvisionError::Unanswered(error),
    }
}

impl ProvisionError {
    /// Its section in the list of errors.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "nats_object_missing",
            Self::Captured { .. } | Self::Taken { .. } => "nats_captured",
            Self::Storage { .. } => "nats_storage",
            Self::Refused { .. } => "nats_object_differs",
            Self::Forbidden(_) => "nats_permission",
            Self::Unanswered(_) => "nats_unreachable",
        }
    }
}

/// Compares. Reads only.
pub async fn plan(bus: &Bus, limits: &Limits) -> Result<Plan, ProvisionError> {
    // Everything is asked for at once, and judged in order.
    let wanted = wanted(&bus.subjects, limits);
    let there = join_all(wanted.iter().map(|wanted| look(bus, wanted)));
    let (captured, there) = tokio::join!(check_captures(bus), there);
    captured?;
    let mut plan = Plan {
        steps: Vec::new(),
        differences: Vec::new(),
    };
    for (wanted, there) in wanted.into_iter().zip(there) {
        let action = match there? {
            None => Action::Make,
            Some(Value::Object(config)) => compare(&wanted, config, &mut plan.differences),
            Some(_) => {
                return Err(ProvisionError::Refused {
                    kind: wanted.kind,
                    name: wanted.name,
                    why: "its configuration is no JSON object".to_owned(),
                });
            }
        };
        plan.steps.push(Step { wanted, action });
    }
    Ok(plan)
}

/// The configuration of an object that is there. Where there is none, it must be possible to make it.
async fn look(bus: &Bus, wanted: &Wanted) -> Result<Option<Value>, ProvisionError> {
    let name = wanted.stream();
    let there = patiently(|| bus.control.api().stream(&name)).await;
    match there.map_err(unanswered)? {
        Some(info) => Ok(Some(info.config)),
        None => {
            check_taken(bus, wanted).await?;
            Ok(None)
        }
    }
}

/// Makes and widens what the plan says. What is there already, as wanted, is a success.
pub async fn apply(bus: &Bus, plan: &Plan) -> Result<(), ProvisionError> {
    for step in &plan.steps {
        match &step.action {
            Action::Keep => {}
            Action::Make => make(bus, plan, &step.wanted).await?,
            Action::Widen(config) => {
                let call = format!("STREAM.UPDATE.{}", step.wanted.stream());
                patiently(|| bus.control.api().call::<Value>(&call, config))
                    .await
                    .map_err(|error| refused(&step.wanted, error))?;
            }
        }
    }
    Ok(())
}

/// At start: compares, and makes what is missing if that is allowed. Returns what a person has to look at.
pub async fn provision(
    bus: &Bus,
    limits: &Limits,
    may_make: bool,
) -> Result<Vec<ObjectDifference>, ProvisionError> {
    let first = plan(bus, limits).await?;
    carry_out(bus, first, may_make).await
}

/// As [`provision`], with the comparison made before.
pub async fn carry_out(
    bus: &Bus,
    first: Plan,
    may_make: bool,
) -> Result<Vec<ObjectDifference>, ProvisionError> {
    if may_make {
        apply(bus, &first).await?;
    } else if let Some(step) = first
        .steps
        .iter()
        .find(|step| matches!(step.action, Action::Make))
    {
        return Err(ProvisionError::Missing {
            kind: step.wanted.kind,
            name: step.wanted.name.clone(),
        });
    }
    // What was too narrow is a difference only where it may not be widened.
    Ok(first
        .differences
        .into_iter()
        .filter(|one| match one.difference.meaning {
            Meaning::Other => true,
            Meaning::Narrower => !may_make,
            Meaning::Wider => false,
        })
        .collect())
}

/// A stream that stores requests would answer them first, with its acknowledgement.
async fn check_captures(bus: &Bus) -> Result<(), ProvisionError> {
    let api = bus.control.api();
    let subjects = bus.subjects.never_captured();
    let asked = subjects
        .iter()
        .map(|subject| patiently(|| api.streams_capturing(subject)));
    for (subject, streams) in subjects.iter().zip(join_all(asked).await) {
        if let Some(stream) = streams.map_err(unanswered)?.into_iter().next() {
            return Err(ProvisionError::Captured {
                stream,
                subject: subject.to_string(),
            });
        }
    }
    Ok(())
}

/// Two streams cannot store one subject.
async fn check_taken(bus: &Bus, wanted: &Wanted) -> Result<(), ProvisionError> {
    let subjects = wanted.config.get("subjects").unwrap_or(&Value::Null);
    for subject in strings(subjects) {
        let streams = patiently(|| bus.control.api().streams_capturing(subject))
            .await
            .map_err(unanswered)?;
        // Its own, made meanwhile by another replica, is no other.
        let other = streams.into_iter().find(|name| *name != wanted.stream());
        if let Some(stream) = other {
            return Err(ProvisionError::Taken {
                stream,
                subject: subject.to_owned(),
                object: wanted.name.clone(),
            });
        }
    }
    Ok(())
}

async fn make(bus: &Bus, plan: &Plan, wanted: &Wanted) -> Result<(), ProvisionError> {
    let api = bus.control.api();
    let call = format!("STREAM.CREATE.{}", wanted.stream());
    let mut config = wanted.config.clone();
    let is_auto = !config.contains_key("num_replicas");
    if is_auto {
        let in_cluster = bus.server().cluster.is_some();
        config.insert(
            "num_replicas".to_owned(),
            if in_cluster { REPLICAS_IN_CLUSTER } else { 1 }.into(),
        );
    }
    let made = patiently(|| api.call::<Value>(&call, &config)).await;
    let too_few = |error: &ApiError| {
        error.is(number::NO_SUITABLE_PEERS) || error.is(number::REPLICAS_WITHOUT_CLUSTER)
    };
    let made = match made {
        // A cluster of two, or one whose other servers have no JetStream.
        Err(error) if is_auto && too_few(&error) => {
            config.insert("num_replicas".to_owned(), 1.into());
            patiently(|| api.call::<Value>(&call, &config)).await
        }
        made => made,
    };
    match made {
        Ok(_) => Ok(()),
        // Another replica was faster; if it wants something else, the next start tells the difference.
        Err(error) if error.is(number::STREAM_NAME_IN_USE) => {
            let name = wanted.stream();
            let there = patiently(|| api.stream(&name)).await;
            match there {
                Ok(Some(_)) => Ok(()),
                _ => Err(refused(wanted, error)),
            }
        }
        Err(error)
            if error.is(number::STORAGE_EXCEEDED) || error.is(number::INSUFFICIENT_RESOURCES) =>
        {
            Err(refused_room(bus, plan, wanted).await)
        }
        Err(error) => Err(refused(wanted, error)),
    }
}

fn refused(wanted: &Wanted, error: ApiError) -> ProvisionError {
    match error {
        ApiError::Server {
            description,
            err_code,
            ..
        } => ProvisionError::Refused {
            kind: wanted.kind,
            name: wanted.name.clone(),
            why: format!("{description} ({err_code})"),
        },
        error => unanswered(error),
    }
}

/// Whether what the plan makes and widens fits into what the account has left. Makes nothing.
///
/// The limit of a server is not visible to an account, so this may say yes and making still be refused.
pub async fn room(bus: &Bus, plan: &Plan) -> Result<(), ProvisionError> {
    let Some(left) = left(bus, &plan.steps).await else {
        return Ok(());
    };
    let mut asked = 0;
    for (index, step) in plan.steps.iter().enumerate() {
        asked += plan.growth(step) * left.times;
        if asked > left.bytes {
            let still = plan.steps.iter().map(|step| plan.growth(step)).sum::<u64>();
            let (asked, left) = (still * left.times, format!("{} MiB", left.bytes / MIB));
            return Err(plan.no_room(&plan.steps[index].wanted, asked, left));
        }
    }
    Ok(())
}

/// What an account has left.
struct Left {
    bytes: u64,
    /// How often each object counts.
    times: u64,
}

/// None: the account has no limit of its own, or may not be asked for.
async fn left(bus: &Bus, steps: &[Step]) -> Option<Left> {
    let info: Value = bus.control.api().call("INFO", &Value::Null).await.ok()?;
    let configured = steps.first()?.wanted.config.get("num_replicas");
    let replicas = match configured.and_then(Value::as_u64) {
        Some(replicas) => replicas,
        None if bus.server().cluster.is_some() => REPLICAS_IN_CLUSTER,
        None => 1,
    };
    // Limits by number of replicas count each object once, the others once for each replica.
    let (limits, times) = match info["tiers"].get(format!("R{replicas}")) {
        Some(tier) => (tier, 1),
        None => (&info, replicas),
    };
    let max = limits["limits"]["max_storage"].as_u64()?;
    let taken = limits["reserved_storage"].as_u64().unwrap_or_default();
    Some(Left {
        bytes: max.saturating_sub(taken),
        times,
    })
}

async fn refused_room(bus: &Bus, plan: &Plan, wanted: &Wanted) -> ProvisionError {
    let is_made = |step: &&Step| step.wanted.name != wanted.name;
    let still = plan.steps.iter().skip_while(is_made);
    let asked = still.map(|step| plan.growth(step)).sum::<u64>();
    match left(bus, &plan.steps).await {
        Some(left) => {
            let bytes = format!("{} MiB", left.bytes / MIB);
            plan.no_room(wanted, asked * left.times, bytes)
        }
        None => {
            let less = "fewer (max_file_store of the server)".to_owned();
            plan.no_room(wanted, asked, less)
        }
    }
}

/// Calls until the answer is one: a missing leader, an overload and a store that is being removed pass.
async fn patiently<T, F: Future<Output = Result<T, ApiError>>>(
    mut call: impl FnMut() -> F,
) -> Result<T, ApiError> {
    let until = Instant::now() + SETTLE_WITHIN;
    loop {
        match call().await {
            Err(error) if error.is_transient() && Instant::now() < until => {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            done => return done,
        }
    }
}

/// Fields where more is wider, and the server's way of saying "no limit".
const LIMITS: [(&str, &[i64]); 6] = [
    ("max_age", &[0]),
    ("max_bytes", &[-1, 0]),
    ("max_msg_size", &[-1, 0]),
    ("max_msgs_per_subject", &[-1, 0]),
    ("duplicate_window", &[]),
    ("num_replicas", &[]),
];

/// Fields that, once true, only ever allow more.
const PERMISSIONS: [&str; 3] = ["allow_direct", "allow_rollup_hdrs", "allow_msg_ttl"];

fn compare(
    wanted: &Wanted,
    mut there: Map<String, Value>,
    differences: &mut Vec<ObjectDifference>,
) -> Action {
    let mut is_widened = false;
    for (field, value) in &wanted.config {
        let actual = there.get(field).cloned().unwrap_or(Value::Null);
        if is_same(field, &actual, value) {
            continue;
        }
        let meaning = meaning(wanted, field, &actual, value);
        if meaning == Meaning::Narrower {
            is_widened = true;
            let wider = if field == "subjects" {
                union(&actual, value)
            } else {
                value.clone()
            };
            there.insert(field.clone(), wider);
        }
        differences.push(ObjectDifference {
            kind: wanted.kind,
            name: wanted.name.clone(),
            difference: Difference {
                field: field.clone(),
                actual,
                wanted: value.clone(),
                meaning,
            },
        });
    }
    if is_widened {
        Action::Widen(there)
    } else {
        Action::Keep
    }
}

/// The server leaves out what is false, zero or the default.
fn is_same(field: &str, actual: &Value, wanted: &Value) -> bool {
    match (actual, wanted) {
        (Value::Null, Value::Bool(wanted)) => !wanted,
        (Value::Null, Value::String(wanted)) => field == "compression" && wanted == "none",
        (Value::Object(actual), Value::Object(wanted)) => wanted
            .iter()
            .all(|(member, value)| actual.get(member) == Some(value)),
        _ => actual == wanted,
    }
}

fn meaning(wanted: &Wanted, field: &str, actual: &Value, value: &Value) -> Meaning {
    if PERMISSIONS.contains(&field) {
        return Meaning::Narrower;
    }
    if field == "subjects" {
        let (has, needs) = (strings(actual), strings(value));
        let lacks = needs.iter().any(|subject| !has.contains(subject));
        return if lacks {
            Meaning::Narrower
        } else {
            Meaning::Wider
        };
    }
    let limit = LIMITS.iter().find(|(name, _)| *name == field);
    // History of a bucket: more than one value per key changes what a TTL means.
    let is_history = wanted.kind == ObjectKind::Bucket && field == "max_msgs_per_subject";
    match (limit, actual.as_i64(), value.as_i64()) {
        (Some((_, unlimited)), Some(actual), Some(value)) if !is_history => {
            if unlimited.contains(&actual) || actual > value {
                Meaning::Wider
            } else {
                Meaning::Narrower
            }
        }
        _ => Meaning::Other,
    }
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .map(|all| all.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

fn union(actual: &Value, wanted: &Value) -> Value {
    let mut all = strings(actual);
    for subject in strings(wanted) {
        if !all.contains(&subject) {
            all.push(subject);
        }
    }
    Value::from(all)
}
