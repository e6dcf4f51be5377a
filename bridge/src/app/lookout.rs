//! Sees what nobody is told of otherwise: readers that fall behind, objects that fill up, clocks that differ, adapters
//! that repeat for longer than ids are remembered.
//!
//! Each finding is a warning once and stands in the status for as long as it is true. What is looked at for all replicas
//! together is looked at by one: the owner of the lowest shard that is held.
//!
//! Not here: asking the server (`bus::survey`), judging readers (`readers`), what holds in sum (`holds`), streams that
//! store nothing (`troubles`).

mod readers;

use super::base::Base;
use super::holds::{Holds, holds, span};
use super::plan::Plan;
use crate::bus::Root;
use crate::bus::api::Api;
use crate::bus::clock::unix_ms;
use crate::bus::objects::Names;
use crate::bus::survey::{self, Object, Survey};
use im_bridge_sdk::model::Guarantees;
use readers::Readers;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// A reader has days and an object hours; a call for each object a minute is nothing to the server.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// For noticing that it has become this replica's turn.
const TICK: Duration = Duration::from_secs(1);
/// From here on a person has time to act before an object refuses.
const FULL_FROM_PERCENT: u64 = 80;

/// Something that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Section in `docs/errors.md`.
    pub code: &'static str,
    /// What it is about.
    pub about: String,
    pub text: String,
}

impl Finding {
    fn new(code: &'static str, about: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            code,
            about: about.into(),
            text: text.into(),
        }
    }
}

/// Who found it, and so who takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Own,
    Shared,
}

/// The last look.
pub struct Lookout {
    names: Names,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    survey: Arc<Survey>,
    findings: BTreeMap<Source, Vec<Finding>>,
}

impl Lookout {
    /// With what was there at the start.
    pub fn new(root: &Root, survey: Survey) -> Self {
        Self {
            names: Names::new(root),
            seen: Mutex::new(Seen {
                survey: Arc::new(survey),
                ..Seen::default()
            }),
        }
    }

    fn with<T>(&self, with: impl FnOnce(&mut Seen) -> T) -> T {
        with(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The objects as they were a minute ago at most.
    pub fn survey(&self) -> Arc<Survey> {
        self.with(|seen| Arc::clone(&seen.survey))
    }

    pub fn findings(&self) -> Vec<Finding> {
        self.with(|seen| seen.findings.values().flatten().cloned().collect())
    }

    /// What holds for an account whose adapter promises this.
    pub fn holds(&self, guarantees: &Guarantees) -> Holds {
        holds(guarantees, &self.survey(), &self.names)
    }

    /// What is true now; what is new is told.
    fn found(&self, source: Source, findings: Vec<Finding>) {
        let before = self.with(|seen| seen.findings.insert(source, findings.clone()));
        let before = before.unwrap_or_default();
        let is_same = |a: &Finding, b: &Finding| a.code == b.code && a.about == b.about;
        for finding in &findings {
            if !before.iter().any(|known| is_same(known, finding)) {
                tracing::warn!(code = finding.code, "{}", finding.text);
            }
        }
        for known in before {
            if !findings.iter().any(|finding| is_same(&known, finding)) {
                tracing::info!(code = known.code, about = known.about, "is over");
            }
        }
    }
}

/// Looks until the replica ends.
pub(super) async fn watch(base: Weak<Base>, plan: watch::Receiver<Arc<Plan>>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut readers = Readers::default();
    let mut looked: Option<Instant> = None;
    let mut was_first = false;
    loop {
        tick.tick().await;
        let Some(base) = base.upgrade() else { return };
        let is_first = has_lowest(&base);
        let is_due = looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if !is_due && (was_first || !is_first) {
            continue;
        }
        looked = Some(Instant::now());
        was_first = is_first;
        let plan = Arc::clone(&plan.borrow());
        look(&base, &plan, is_first, &mut readers).await;
    }
}

/// This replica owns the lowest shard that anybody holds.
fn has_lowest(base: &Base) -> bool {
    let view = base.shards.view();
    let view = view.borrow();
    let lowest = view.leases.values().next();
    lowest.is_some_and(|lease| lease.record.owner == *base.shards.owner())
}

async fn look(base: &Base, plan: &Plan, is_first: bool, readers: &mut Readers) {
    let api = base.bus.control.api();
    let survey = match Survey::take(api, &base.bus.subjects).await {
        Ok(survey) => Arc::new(survey),
        Err(error) => return tracing::debug!(%error, "no look at the objects"),
    };
    base.lookout.with(|seen| seen.survey = Arc::clone(&survey));
    let connections = [&base.bus.data, &base.bus.control];
    for (connection, figure) in connections.iter().zip(&base.figures.round_trip_ns) {
        if let Some(took) = connection.round_trip().await {
            let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            figure.store(ns, Ordering::Relaxed);
        }
    }
    let lookout = &base.lookout;
    let events = survey.object(&lookout.names.events());
    lookout.found(Source::Own, own(&survey, events, plan));
    if !is_first {
        *readers = Readers::default();
        return lookout.found(Source::Shared, Vec::new());
    }
    let mut shared: Vec<Finding> = survey.objects.iter().filter_map(filling).collect();
    shared.extend(slow_readers(api, &lookout.names, events, readers).await);
    lookout.found(Source::Shared, shared);
}

async fn slow_readers(
    api: &Api,
    names: &Names,
    events: Option<&Object>,
    readers: &mut Readers,
) -> Vec<Finding> {
    let Some(events) = events else {
        return Vec::new();
    };
    match survey::readers(api, names).await {
        Ok(now) => readers.judge(&now, events, unix_ms()),
        Err(error) => {
            tracing::debug!(%error, "no look at the readers");
            readers.known()
        }
    }
}

/// What one look finds that concerns all replicas.
pub async fn shared(api: &Api, names: &Names, survey: &Survey) -> Vec<Finding> {
    let mut found: Vec<Finding> = survey.objects.iter().filter_map(filling).collect();
    let events = survey.object(&names.events());
    found.extend(slow_readers(api, names, events, &mut Readers::default()).await);
    found
}

/// What concerns this replica alone.
fn own(survey: &Survey, events: Option<&Object>, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(ms) = survey.clock_differs_ms {
        findings.push(Finding::new("nats_clock", "clock", clock(ms)));
    }
    let Some(events) = events else {
        return findings;
    };
    for (provider, adapter) in &plan.plugins.adapters {
        let repeats = adapter.loaded.description.session.repeats_for();
        let accounts: Vec<String> = plan
            .accounts
            .values()
            .filter(|wanted| wanted.part.enabled && wanted.account.provider == *provider)
            .map(|wanted| wanted.account.to_string())
            .collect();
        if let Some(text) = window(events, repeats, &accounts) {
            findings.push(Finding::new("nats_window", provider.as_str(), text));
        }
    }
    findings
}

/// Both clocks, in a sentence.
pub fn clock(differs_ms: i64) -> String {
    format!("this clock and that of NATS differ by {differs_ms} ms; synchronise them")
}

/// Accounts that may repeat an event when the stream has forgotten its id.
pub fn window(events: &Object, repeats: Option<Duration>, accounts: &[String]) -> Option<String> {
    let repeats = repeats.filter(|repeats| *repeats > events.duplicate_window)?;
    let who = match accounts {
        [] => return None,
        [one] => one.clone(),
        [one, more @ ..] => format!("{one} and {} more", more.len()),
    };
    Some(format!(
        "stream {} forgets ids after {}, {who} may repeat after {}; set nats.events.duplicate_window_s to {} and run \
         im-bridge streams apply",
        events.name,
        span(events.duplicate_window),
        span(repeats),
        repeats.as_secs()
    ))
}

/// An object that refuses when it is full, and soon is. One that rolls is full for most of its life.
fn filling(object: &Object) -> Option<Finding> {
    let most = object.max_bytes.filter(|_| !object.rolls)?;
    let percent = object.bytes.saturating_mul(100) / most;
    if percent < FULL_FROM_PERCENT {
        return None;
    }
    let text = format!(
        "{} {} is {percent} % full, and a full one refuses; raise {}",
        object.kind.as_str(),
        object.name,
        object.storage_key
    );
    Some(Finding::new("bus_full", &object.name, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::objects::ObjectKind;

    pub(super) fn object(name: &str) -> Object {
        Object {
            kind: ObjectKind::Bucket,
            name: name.to_owned(),
            storage_key: "nats.kv.max_mib",
            replicas: 1,
            storage: "file".to_owned(),
            rolls: false,
            max_age: Duration::from_secs(1_000),
            max_bytes: Some(1_000),
            duplicate_window: Duration::from_secs(120),
            bytes: 0,
            messages: 0,
            first: 1,
            last: 0,
        }
    }

    #[test]
    fn what_refuses_when_full_is_named_from_eighty_percent() {
        let mut bucket = object("IM_KV");
        bucket.bytes = 799;
        assert_eq!(filling(&bucket), None);
        bucket.bytes = 800;
        let found = filling(&bucket).unwrap();
        assert_eq!(
            (found.code, found.text.as_str()),
            (
                "bus_full",
                "bucket IM_KV is 80 % full, and a full one refuses; raise nats.kv.max_mib"
            )
        );
        bucket.rolls = true;
        assert_eq!(filling(&bucket), None, "it forgets instead");
        let unlimited = Object {
            max_bytes: None,
            ..object("IM_KV")
        };
        assert_eq!(filling(&unlimited), None);
    }

    #[test]
    fn a_window_is_compared_with_the_longest_repeat() {
        let events = object("IM_EVT");
        let accounts = ["acme/one".to_owned(), "acme/two".to_owned()];
        let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
        assert_eq!(window(&events, None, &accounts), None);
        assert_eq!(window(&events, minutes(2), &accounts), None);
        assert_eq!(window(&events, minutes(10), &[]), None);
        assert_eq!(
            window(&events, minutes(10), &accounts[..1]).unwrap(),
            "stream IM_EVT forgets ids after 2 min, acme/one may repeat after 10 min; set \
             nats.events.duplicate_window_s to 600 and run im-bridge streams apply"
        );
        let both = window(&events, minutes(10), &accounts).unwrap();
        assert!(both.contains("acme/one and 1 more may repeat"), "{both}");
    }

    #[test]
    fn a_finding_stands_until_its_source_takes_it_back() {
        let lookout = Lookout::new(&"im".parse().unwrap(), Survey::default());
        let finding = |about: &str| Finding::new("reader_slow", about, "slow");
        lookout.found(Source::Shared, vec![finding("a"), finding("b")]);
        lookout.found(Source::Own, vec![finding("c")]);
        lookout.found(Source::Shared, vec![finding("b")]);
        let about: Vec<String> = lookout.findings().into_iter().map(|it| it.about).collect();
        assert_eq!(about, ["c", "b"]);
    }
}
