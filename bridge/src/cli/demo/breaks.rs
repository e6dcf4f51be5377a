//! `--break`: what goes wrong on purpose, when it is over, and what must hold beyond the verdict of every demo.
//!
//! What the provider and the plugin do wrong is configuration of the simulated account; only the server is killed by the
//! demo itself, which owns it.
//!
//! Not here: the course around it (`play`).

use super::audit::{Event, Stored, Truth};
use super::lookout::Sight;
use crate::bus::clock;
use serde_json::Value;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Break {
    /// The server is killed, and is back 3 s later.
    Nats,
    /// The provider cuts the connection and lets nobody in for 3 s.
    Provider,
    /// The plugin panics while it reads.
    Plugin,
    /// The provider answers late, and one command never, while 200 commands wait and 20,000 messages come.
    Slow,
}

/// Messages that were heard before anything is broken: so people see how it was.
pub(super) const AFTER: usize = 6;
/// How long the server is away.
pub(super) const AWAY: Duration = Duration::from_secs(3);
/// Messages a second while the server is away: enough to use up an account's credit.
pub(super) const RATE_AWAY: f64 = 40.0;
/// Commands at once.
pub(super) const COMMANDS: usize = 200;
/// How long the command may take that is never answered.
pub(super) const UNANSWERED_FOR: Duration = Duration::from_secs(8);
/// Events that an account may have handed over unstored; the adapter's own wish.
const CREDIT: u64 = 64;
/// What the process may grow by while the server is away.
const GROWTH_MAX: u64 = 8 << 20;
/// Channels that the commands go to: as many as may be under way at a time.
const ROOMS: u32 = 16;
const MIB: u64 = 1 << 20;

impl Break {
    /// Of the account `sim/demo`.
    pub(super) fn rooms(self) -> Option<u32> {
        (self == Self::Slow).then_some(ROOMS)
    }

    /// What the account's configuration says about faults.
    pub(super) fn faults(self) -> &'static str {
        match self {
            Self::Nats => "",
            Self::Provider => "faults.provider.disconnect = { after = 6, for_ms = 3000 }\n",
            Self::Plugin => "faults.panic.read = { after = 6 }\n",
            // As fits the provider that cannot be asked: what became of a lost answer stays unknown.
            Self::Slow => {
                "tells_outcomes = false\n\
                 faults.provider.slow_answer = { times = 48, for_ms = 2000 }\n\
                 faults.provider.no_answer = { times = 1 }\n\
                 faults.provider.flood = { after = 6, count = 20000 }\n"
            }
        }
    }

    /// Runs beside the broken one.
    pub(super) fn has_neighbour(self) -> bool {
        self == Self::Plugin
    }

    /// Commands whose end nobody can know.
    pub(super) fn unknown(self) -> usize {
        usize::from(self == Self::Slow)
    }
}

/// How far it has got, and what was seen of it.
pub(super) struct Course {
    pub of: Break,
    phase: Phase,
    /// Unix milliseconds, like the times of events.
    began_ms: i64,
    ended_ms: i64,
    is_connected: bool,
    is_starved: bool,
    credit_used: u64,
    resident_before: u64,
    resident_most: u64,
    panics: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Before,
    Under,
    /// What was broken works again; what piled up may still be on its way.
    Over,
}

/// A line to show: who, and what of him changed.
pub(super) type Change = (&'static str, String);

impl Course {
    pub(super) fn new(of: Break) -> Self {
        Self {
            of,
            phase: Phase::Before,
            began_ms: 0,
            ended_ms: 0,
            is_connected: true,
            is_starved: false,
            credit_used: 0,
            resident_before: 0,
            resident_most: 0,
            panics: 0,
        }
    }

    pub(super) fn is_before(&self) -> bool {
        self.phase == Phase::Before
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    pub(super) fn begins(&mut self) {
        if self.is_before() {
            self.phase = Phase::Under;
            self.began_ms = clock::unix_ms();
        }
    }

    pub(super) fn ends(&mut self) {
        if self.phase == Phase::Under {
            self.phase = Phase::Over;
            self.ended_ms = clock::unix_ms();
        }
    }

    /// Each change once.
    pub(super) fn on_sight(&mut self, account: &'static str, sight: &Sight) -> Vec<Change> {
        let mut changes = Vec::new();
        let used = sight.unsettled.get(account).copied().unwrap_or(0);
        self.credit_used = self.credit_used.max(used);
        if let Some(resident) = sight.resident_bytes {
            if self.is_before() {
                self.resident_before = resident;
            }
            self.resident_most = self.resident_most.max(resident);
        }
        if sight.is_connected != self.is_connected {
            self.is_connected = sight.is_connected;
            let what = if self.is_connected { "back" } else { "lost" };
            changes.push(("nats", what.to_owned()));
        }
        // A flood uses the credit up again and again; while the server is away that happens once.
        if self.of == Break::Nats {
            if !self.is_starved && used >= CREDIT {
                self.is_starved = true;
                let what = format!("reads no more (credit 0 of {CREDIT})");
                changes.push((account, what));
            }
            if self.is_starved && used < CREDIT / 2 {
                self.is_starved = false;
                changes.push((account, "reads again".to_owned()));
            }
        }
        changes
    }

    /// A state of the account `sim/demo` was published.
    pub(super) fn on_state(&mut self, state: &Value) {
        if !matches!(self.of, Break::Provider | Break::Plugin) {
            return;
        }
        match state["state"].as_str() {
            Some("online") => self.ends(),
            _ => self.begins(),
        }
    }

    /// The bridge says that the account's instance is lost.
    pub(super) fn on_fault(&mut self) {
        if self.of == Break::Plugin {
            self.panics += 1;
            self.begins();
        }
    }

    /// What must hold beyond the verdict, in a line, and whether it did. `interval`: between two messages.
    pub(super) fn finding(
        &self,
        truth: &Truth,
        stored: &Stored,
        interval: Duration,
    ) -> (String, bool) {
        let away_ms = u64::try_from(self.ended_ms - self.began_ms).unwrap_or(0);
        let away = Duration::from_millis(away_ms).as_secs_f32();
        let mut text = String::new();
        // Writing into a string does not fail.
        let is_kept = match self.of {
            Break::Nats => {
                let growth = self.resident_most.saturating_sub(self.resident_before);
                let (left, used) = (CREDIT.saturating_sub(self.credit_used), self.credit_used);
                let tenths = growth * 10 / MIB;
                let _ = write!(
                    text,
                    "nats: {away:.1} s away; reading stopped at credit {left} of {CREDIT}; \
                     memory {}.{} MiB up (at most {})",
                    tenths / 10,
                    tenths % 10,
                    GROWTH_MAX / MIB
                );
                used == CREDIT && growth <= GROWTH_MAX
            }
            Break::Provider => {
                let backfill = stored.events.iter().filter(|event| event.is_backfill);
                let (said, fetched) = (truth.said_while_away, backfill.count());
                let _ = write!(
                    text,
                    "provider: {away:.1} s away; {said} messages said meanwhile; {fetched} events marked backfill"
                );
                // What was said just before, and not acknowledged, is fetched with them.
                said > 0 && fetched >= said
            }
            Break::Plugin => {
                let gap = longest_gap(&stored.events, (self.began_ms, self.ended_ms));
                let most = interval * 2;
                let _ = write!(
                    text,
                    "plugin: {} panic, back after {away:.1} s; longest gap of {NEIGHBOUR} {:.2} s (at most {:.2})",
                    self.panics,
                    gap.as_secs_f32(),
                    most.as_secs_f32()
                );
                self.panics == 1 && gap <= most
            }
            Break::Slow => {
                let results = stored.results.len();
                let unknown = stored
                    .results
                    .iter()
                    .filter(|(_, status)| status == "unknown");
                let _ = write!(
                    text,
                    "slow: {COMMANDS} commands, {results} results, {} unknown; credit used {} of {CREDIT}",
                    unknown.count(),
                    self.credit_used
                );
                results == COMMANDS && self.credit_used <= CREDIT
            }
        };
        (text, is_kept && self.is_over())
    }
}

/// Beside the account whose plugin panics.
pub(super) const NEIGHBOUR: &str = "sim/other";

/// Longest time without a message of the neighbour's, of those that touch this span.
fn longest_gap(events: &[Event], (from, to): (i64, i64)) -> Duration {
    let theirs = events
        .iter()
        .filter(|event| event.said.account == NEIGHBOUR);
    let mut times: Vec<i64> = theirs
        .filter_map(|event| Some(event.recorded?.ms()))
        .collect();
    times.sort_unstable();
    let gaps = times
        .windows(2)
        .filter(|two| two[1] >= from && two[0] <= to)
        .map(|two| two[1] - two[0]);
    // Nothing heard before or after it is a gap of all of it.
    let longest = gaps.max().unwrap_or(to - from);
    Duration::from_millis(u64::try_from(longest).unwrap_or(0))
}

/// For waiting: never in the past.
pub(super) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::super::audit::Said;
    use super::*;
    use im_bridge_sdk::model::Time;

    fn at(ms: i64) -> Event {
        Event {
            said: Said {
                account: NEIGHBOUR.to_owned(),
                channel: "lobby".to_owned(),
                message: ms.to_string(),
            },
            recorded: Some(Time::from_ms(ms)),
            is_backfill: false,
        }
    }

    #[test]
    fn only_gaps_around_the_fault_count() {
        let events = [0, 900, 1400, 1900, 2500, 4000].map(at);
        let gap = |from, to| longest_gap(&events, (from, to)).as_millis();
        assert_eq!(gap(1000, 1800), 500);
        assert_eq!(gap(1000, 2000), 600);
        assert_eq!(gap(1000, 2500), 1500);
        assert_eq!(longest_gap(&[], (1000, 3000)).as_millis(), 2000);
    }

    #[test]
    fn each_change_is_told_once() {
        let mut course = Course::new(Break::Nats);
        let sight = |is_connected, used| Sight {
            is_connected,
            unsettled: [("sim/demo".to_owned(), used)].into(),
            resident_bytes: Some(MIB),
        };
        let mut told = Vec::new();
        for (is_connected, used) in [
            (true, 1),
            (false, 1),
            (false, 64),
            (false, 64),
            (true, 40),
            (true, 0),
            (true, 0),
        ] {
            told.extend(course.on_sight("sim/demo", &sight(is_connected, used)));
        }
        let told: Vec<&str> = told.iter().map(|(_, what)| what.as_str()).collect();
        assert_eq!(
            told,
            [
                "lost",
                "reads no more (credit 0 of 64)",
                "back",
                "reads again"
            ]
        );
    }

    #[test]
    fn a_fault_that_never_struck_is_no_proof() {
        let course = Course::new(Break::Nats);
        let (text, is_kept) = course.finding(
            &Truth::default(),
            &Stored::default(),
            Duration::from_secs(1),
        );
        assert!(!is_kept, "{text}");
    }
}
