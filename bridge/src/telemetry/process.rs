//! What the process itself uses, as the kernel counts it.
//!
//! Asked when a scraper comes; a figure that the system does not tell is left out. Not here: what tasks and plugins use.

use super::{Exposition, Metric};
use std::fs;

/// As it stands in `/proc`: clock ticks.
#[derive(Debug, PartialEq, Eq)]
struct Times {
    /// Of user and system.
    used: u64,
    /// After the machine's.
    started: u64,
}

impl Times {
    /// From `/proc/<pid>/stat`. The name may hold spaces and brackets, so what counts begins after its last bracket.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            used: number(11)? + number(12)?,
            started: number(19)?,
        })
    }
}

pub(super) fn collect(to: &mut Exposition) {
    if let Some(bytes) = resident_bytes() {
        to.count(Metric::ProcessResidentBytes, &[], bytes);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder that is being read.
        let open = files.count().saturating_sub(1);
        to.count(Metric::ProcessOpenFds, &[], open as u64);
    }
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let Some(times) = stat.as_deref().and_then(Times::parse) else {
        return;
    };
    let seconds = |ticks: u64| ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    to.value(Metric::ProcessCpuSecondsTotal, &[], seconds(times.used));
    if let Some(boot) = boot_unix_seconds() {
        let started = boot as f64 + seconds(times.started);
        to.value(Metric::ProcessStartTimeSeconds, &[], started);
    }
}

fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn boot_unix_seconds() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_a_name_with_brackets() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 900 0 0 0 25 17 0 0 20 0 9 0 5150 1 2";
        let times = Times {
            used: 42,
            started: 5150,
        };
        assert_eq!(Times::parse(stat), Some(times));
        assert_eq!(Times::parse("7 (cut off) S 1"), None);
        assert_eq!(Times::parse(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_tells_what_it_uses() {
        use std::time::{SystemTime, UNIX_EPOCH};
        let mut told = Exposition::default();
        collect(&mut told);
        let value = |wanted: Metric| {
            let mut all = told.series().filter(|(metric, _)| *metric == wanted);
            let (_, series) = all.next().expect("it is told");
            series.values().sum::<f64>()
        };
        let resident = value(Metric::ProcessResidentBytes);
        assert!((1e5..1e12).contains(&resident), "{resident}");
        assert!(value(Metric::ProcessOpenFds) >= 3.0);
        assert!(value(Metric::ProcessCpuSecondsTotal) >= 0.0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - value(Metric::ProcessStartTimeSeconds);
        // The clock may have been set since the machine started; no test process is a day old.
        assert!((-5.0..86_400.0).contains(&age), "{age}");
    }
}
