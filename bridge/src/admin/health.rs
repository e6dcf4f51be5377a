//! Alive and ready: two answers made of facts that others report.
//!
//! A bad account, a bad plugin among others or a refused reload never makes a replica unready: they are warnings.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A core that has not moved for this long is dead.
const HEARTBEAT_WITHIN: Duration = Duration::from_secs(10);

/// What must hold before a replica is ready.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Check {
    /// Connected, and its objects verified.
    Nats,
    /// The first scan is over, and some configured provider has an adapter.
    Plugins,
}

impl Check {
    const ALL: [Self; 2] = [Self::Nats, Self::Plugins];

    fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Plugins => "plugins",
        }
    }
}

/// What is known of this replica's health.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    /// Milliseconds after the start.
    heartbeat: AtomicU64,
    is_draining: AtomicBool,
    /// Why a check does not hold; before anything was said of it, it is still starting.
    checks: [Mutex<Option<Result<(), String>>>; 2],
    warnings: Mutex<Vec<(String, String)>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            heartbeat: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            checks: Default::default(),
            warnings: Mutex::default(),
        }
    }
}

impl Health {
    /// The core's task ran.
    pub fn beat(&self) {
        let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heartbeat.store(ms, Ordering::Relaxed);
    }

    /// A check holds, or does not, and why.
    pub fn set(&self, check: Check, holds: Result<(), String>) {
        *self.checks[check as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(holds);
    }

    /// Shutting down: never ready again.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// What is wrong without making the replica unready, by name.
    pub fn set_warnings(&self, warnings: Vec<(String, String)>) {
        *self.warnings.lock().unwrap_or_else(PoisonError::into_inner) = warnings;
    }

    /// Whether the core moves.
    pub fn is_alive(&self) -> bool {
        let beat = Duration::from_millis(self.heartbeat.load(Ordering::Relaxed));
        self.started.elapsed() < beat + HEARTBEAT_WITHIN
    }

    /// `ok`, or in one word why not.
    pub fn readiness(&self) -> &'static str {
        if self.is_draining.load(Ordering::Relaxed) {
            return "draining";
        }
        for check in Check::ALL {
            match &*self.checks[check as usize]
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
            {
                None => return "starting",
                Some(Err(_)) => return check.name(),
                Some(Ok(())) => {}
            }
        }
        "ok"
    }

    /// Each check in a line, warnings behind them.
    pub fn verbose(&self) -> String {
        let mut out = String::new();
        for check in Check::ALL {
            let name = check.name();
            let _ = match &*self.checks[check as usize]
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
            {
                None => writeln!(out, "[-]{name} starting"),
                Some(Err(why)) => writeln!(out, "[-]{name} {why}"),
                Some(Ok(())) => writeln!(out, "[+]{name} ok"),
            };
        }
        for (name, why) in self
            .warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            let _ = writeln!(out, "[!]{name} {why}");
        }
        out.push_str(self.readiness());
        out.push('\n');
        out
    }
}
