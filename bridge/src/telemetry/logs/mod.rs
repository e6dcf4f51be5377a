//! Log lines on standard output: JSON, one object a line, or text on a terminal.
//!
//! Fixed keys first (`ts`, `level`, `target`, `msg`), then the fields, flat. Four promises: a line never waits for its reader
//! (`ring`), the same thing is not said for ever (`repeats`), no secret is in it (`line`), and a panic is a line, too.
//!
//! Not here: what is said, and where; the answers of client commands, which are no log.

mod line;
mod repeats;
mod ring;

use self::line::Fields;
use self::repeats::{Fate, Kind, Repeats, Summary};
use self::ring::Ring;
use super::context::{self, TraceContext};
use super::hidden::Hidden;
use super::otlp::logs as otlp;
use super::{Exposition, Metric, Source};
use crate::bus::clock::unix_ms;
use crate::config::types::{LogFormat, LogLevel, Logs};
use im_bridge_sdk::model::Time;
use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// At the end of the process, for the last lines.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Where lines go, once somebody writes them: there is one standard output.
static SINK: OnceLock<Arc<Sink>> = OnceLock::new();

/// Writes lines from now on; none if somebody in this process does so already.
pub fn install(config: &Logs) -> Option<Guard> {
    let sink = Arc::new(Sink::new(config));
    let subscriber = tracing_subscriber::registry().with(Lines(Arc::clone(&sink)));
    tracing::subscriber::set_global_default(subscriber).ok()?;
    let of = Arc::clone(&sink);
    // Not through the library's handle: its lock is held while it writes, and whoever ends the process waits for that.
    let out = File::from(std::io::stdout().as_fd().try_clone_to_owned().ok()?);
    std::thread::Builder::new()
        .name("im-log".to_owned())
        .spawn(move || ring::write(&of, out))
        .ok()?;
    // Set once, as the subscriber was.
    let _ = SINK.set(Arc::clone(&sink));
    std::panic::set_hook(Box::new(panicked));
    Some(Guard(sink))
}

/// What an adapter said.
pub struct Said<'a, F> {
    pub level: Level,
    /// What it was done for.
    pub trace: &'a TraceContext,
    /// Which part of it speaks.
    pub part: &'a str,
    pub message: &'a str,
    pub fields: F,
}

/// A line of an adapter's. `account` is that of the core, the rest the adapter's own words.
pub fn of_adapter<'f, F>(account: &crate::bus::Account, said: Said<'f, F>)
where
    F: Iterator<Item = (&'f str, &'f str)>,
{
    let Said {
        level,
        trace,
        part,
        message,
        fields,
    } = said;
    let Some(sink) = SINK.get() else {
        return elsewhere(level, account, part, message);
    };
    let target = if part.is_empty() {
        format!("plugin.{}", account.provider)
    } else {
        format!("plugin.{}.{part}", account.provider)
    };
    if level > sink.most(&target) {
        return;
    }
    let mut said = Fields {
        message: message.to_owned(),
        rest: vec![("account".into(), account.to_string().into())],
    };
    let ids = [
        ("trace_id", context::trace_id(trace)),
        ("span_id", context::span_id(trace)),
    ];
    let known = ids
        .into_iter()
        .filter_map(|(name, id)| Some((name.into(), id?.into())));
    said.rest.extend(known);
    for (name, value) in fields {
        said.put_foreign(name, value);
    }
    // What an adapter counts or measures in its text makes no line another one.
    let text = message.split(|c: char| c.is_ascii_digit());
    let text: Vec<&str> = text.filter(|part| !part.is_empty()).collect();
    let crowd = sink.hasher.hash_one((level, &target, &text));
    let kind = Kind {
        own: sink.hasher.hash_one((crowd, account)),
        crowd: (level >= Level::WARN).then_some(crowd),
    };
    sink.say(kind, level, &target, said);
}

/// The log is in other hands, which hear of adapters as of everything else. Targets of events are constants, so the part is a
/// field.
fn elsewhere(level: Level, account: &crate::bus::Account, part: &str, message: &str) {
    match level {
        Level::ERROR => tracing::error!(%account, part, "{message}"),
        Level::WARN => tracing::warn!(%account, part, "{message}"),
        Level::INFO => tracing::info!(%account, part, "{message}"),
        Level::DEBUG => tracing::debug!(%account, part, "{message}"),
        _ => tracing::trace!(%account, part, "{message}"),
    }
}

/// A panic was caught or will end the process; either way somebody should hear of it where they listen.
fn panicked(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    let at = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    tracing::error!(code = "internal_bug", at, thread, "panic: {text}");
    if let Some(sink) = SINK.get() {
        sink.ring.flush(Duration::from_millis(100));
    }
}

/// Held by the service; when it goes, the last lines are out.
pub struct Guard(Arc<Sink>);

impl Guard {
    /// What became of lines that were not written.
    pub fn figures(&self) -> &Arc<impl Source + use<>> {
        &self.0
    }
}

impl Guard {
    /// From now on accounts are called by other names.
    pub(super) fn hide(&self, hidden: Arc<Hidden>) {
        // Set once, at the start.
        let _ = self.0.hidden.set(hidden);
    }

    /// From now on each line is sent there, too.
    pub(super) fn also_to(&self, records: Arc<otlp::Records>) {
        // Set once, at the start.
        let _ = self.0.records.set(records);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.summarise(Instant::now(), true);
        self.0.ring.flush(FLUSH_WITHIN);
    }
}

/// What a line that sums up others begins with.
struct Head {
    level: Level,
    target: String,
    fields: Fields,
}

struct Sink {
    is_json: bool,
    level: Level,
    /// By the beginning of a target's name; the longest counts.
    targets: BTreeMap<String, Level>,
    hasher: RandomState,
    repeats: Mutex<Repeats<Head>>,
    ring: Ring,
    suppressed: [AtomicU64; LEVELS.len()],
    /// None: accounts are called by their aliases.
    hidden: OnceLock<Arc<Hidden>>,
    /// Also to a collector, once there is one.
    records: OnceLock<Arc<otlp::Records>>,
}

const LEVELS: [Level; 5] = [
    Level::ERROR,
    Level::WARN,
    Level::INFO,
    Level::DEBUG,
    Level::TRACE,
];

impl Sink {
    fn new(config: &Logs) -> Self {
        let is_json = match config.format {
            LogFormat::Json => true,
            LogFormat::Text => false,
            LogFormat::Auto => !std::io::stdout().is_terminal(),
        };
        let level = tracing_level(config.level);
        // The client library says something at info for each event of its own.
        let mut targets = BTreeMap::from([("async_nats".to_owned(), level.min(Level::WARN))]);
        let configured = config.targets.iter();
        targets.extend(configured.map(|(target, level)| (target.clone(), tracing_level(*level))));
        Self {
            is_json,
            level,
            targets,
            hasher: RandomState::new(),
            repeats: Mutex::new(Repeats::new(config.repeats_per_minute)),
            ring: Ring::default(),
            suppressed: Default::default(),
            hidden: OnceLock::new(),
            records: OnceLock::new(),
        }
    }

    /// Least important level that is written of this target.
    fn most(&self, target: &str) -> Level {
        let of = self.targets.iter().filter(|(name, _)| {
            target
                .strip_prefix(name.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ':']))
        });
        of.max_by_key(|(name, _)| name.len())
            .map_or(self.level, |(_, level)| *level)
    }

    fn repeats(&self) -> MutexGuard<'_, Repeats<Head>> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owes(&self) -> bool {
        self.repeats().owes()
    }

    fn say(&self, kind: Kind, level: Level, target: &str, mut fields: Fields) {
        let head = |is_own: bool| Head {
            level,
            target: target.to_owned(),
            fields: head_of(&fields, is_own),
        };
        let fate = self.repeats().meet(kind, level, Instant::now(), head);
        match fate {
            Fate::Written { suppressed } => {
                if suppressed > 0 {
                    fields.rest.push(("suppressed".into(), suppressed.into()));
                }
                self.write(level, target, fields);
            }
            Fate::LeftOut => {
                let at = LEVELS.iter().position(|known| *known == level).unwrap_or(0);
                self.suppressed[at].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn write(&self, level: Level, target: &str, mut fields: Fields) {
        if let Some(hidden) = self.hidden.get() {
            line::hide(&mut fields, hidden);
        }
        line::clean(&mut fields);
        let now = Time::from_ms(unix_ms());
        let line = line::render(now, level, target, &fields, self.is_json);
        self.ring.push(line, level == Level::ERROR);
        if let Some(records) = self.records.get().filter(|_| otlp::is_sent(target)) {
            let at_ns = u64::try_from(now.ms())
                .unwrap_or(0)
                .saturating_mul(1_000_000);
            let rest = fields.rest.iter().map(|(name, value)| (&**name, value));
            records.push(otlp::record(at_ns, level, target, &fields.message, rest));
        }
    }

    /// Tells what was left out of kinds that fell silent.
    fn summarise(&self, now: Instant, is_end: bool) {
        let due = self.repeats().due(now, is_end);
        for Summary {
            mut head,
            suppressed,
        } in due
        {
            let fields = &mut head.fields.rest;
            fields.push(("suppressed".into(), suppressed.into()));
            self.write(head.level, &head.target, head.fields);
        }
    }
}

/// What of a line tells its kind: with the account, or of all accounts.
fn head_of(fields: &Fields, is_own: bool) -> Fields {
    let rest = fields.rest.iter();
    Fields {
        message: fields.message.clone(),
        rest: rest
            .filter(|(name, _)| (is_own && name == "account") || name == "code")
            .cloned()
            .collect(),
    }
}

fn tracing_level(level: LogLevel) -> Level {
    match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    }
}

impl Source for Sink {
    fn collect(&self, to: &mut Exposition) {
        for (level, count) in LEVELS.iter().zip(&self.suppressed) {
            let level = level.as_str().to_lowercase();
            let count = count.load(Ordering::Relaxed);
            to.count(Metric::LogSuppressedTotal, &[&level], count);
        }
        let dropped = self.ring.dropped.load(Ordering::Relaxed);
        to.count(
            Metric::TelemetryDroppedTotal,
            &["logs", "queue_full"],
            dropped,
        );
        to.count(
            Metric::TelemetryQueue,
            &["logs"],
            self.ring.waiting() as u64,
        );
    }
}

/// From `tracing` to the sink.
struct Lines(Arc<Sink>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn enabled(&self, of: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *of.level() <= self.0.most(of.target())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let levels = self.0.targets.values().chain([&self.0.level]);
        levels.max().map(|level| LevelFilter::from_level(*level))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let of = event.metadata();
        // Where it stands in the code is its text before formatting.
        let (account, code) = (fields.text_of("account"), fields.text_of("code"));
        let hasher = &self.0.hasher;
        let kind = Kind {
            own: hasher.hash_one((of.callsite(), account, code)),
            // States of accounts are told at info, each of them.
            crowd: (*of.level() == Level::WARN && !account.is_empty())
                .then(|| hasher.hash_one((of.callsite(), code))),
        };
        self.0.say(kind, *of.level(), of.target(), fields);
    }
}

#[cfg(test)]
mod tests;
