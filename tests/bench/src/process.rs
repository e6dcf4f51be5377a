//! What a process used: processor time, waits, memory, allocations. Read from the system, so that every column is
//! measured alike.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// A running process, by its id.
#[derive(Clone, Copy)]
pub struct Process(pub u32);

/// Of each thread, so far.
pub struct Sample(BTreeMap<String, (Duration, u64)>);

/// Between two samples.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// User and system, all threads.
    pub cpu: Duration,
    /// Voluntary context switches: how often a thread waited and was woken.
    pub waits: u64,
}

/// KiB. `own` shares what several processes map among them (PSS).
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub resident_kib: u64,
    pub own_kib: u64,
}

impl Process {
    pub fn sample(self) -> Sample {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0));
        let threads = threads.into_iter().flatten().flatten();
        let sampled = threads.filter_map(|thread| {
            let folder = thread.path();
            // Nanoseconds; the clock ticks of `stat` would be a tenth of a short run.
            let scheduled = fs::read_to_string(folder.join("schedstat")).ok()?;
            let cpu = scheduled.split(' ').next()?.parse().ok()?;
            let status = fs::read_to_string(folder.join("status")).ok()?;
            let waits = number(&status, "voluntary_ctxt_switches:").unwrap_or(0);
            let name = thread.file_name().to_string_lossy().into_owned();
            Some((name, (Duration::from_nanos(cpu), waits)))
        });
        Sample(sampled.collect())
    }

    /// Threads that ended meanwhile are missing; nothing measured here ends any.
    pub fn used_since(self, before: &Sample) -> Used {
        let mut used = Used::default();
        for (thread, (cpu, waits)) in self.sample().0 {
            let (cpu_before, waits_before) = before.0.get(&thread).copied().unwrap_or_default();
            used.cpu += cpu.saturating_sub(cpu_before);
            used.waits += waits.saturating_sub(waits_before);
        }
        used
    }

    pub fn memory(self) -> Memory {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0));
        let rollup = rollup.unwrap_or_default();
        Memory {
            resident_kib: number(&rollup, "Rss:").unwrap_or(0),
            own_kib: number(&rollup, "Pss:").unwrap_or(0),
        }
    }

    pub fn threads(self) -> usize {
        self.sample().0.len()
    }
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
