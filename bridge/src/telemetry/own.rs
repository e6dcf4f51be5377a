//! Series that are not in the list of metrics: those that adapters define.
//!
//! Not here: who keeps them, and how many there may be.

use super::metrics::Type;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What is known of such a metric beside its values.
pub struct Own<'a> {
    /// Without the prefix `im_bridge_adapter_`.
    pub name: &'a str,
    pub help: &'a str,
    pub kind: Type,
    /// Upper bounds of a histogram's buckets, ascending.
    pub bounds: &'a [f64],
}

/// What one series stands at.
#[derive(Clone, Debug)]
pub enum OwnValue {
    Number(f64),
    /// Not cumulated; the last one is beyond all bounds.
    Buckets {
        counts: Vec<u64>,
        sum: f64,
    },
}

impl OwnValue {
    /// Of a series that has just begun.
    pub fn new(kind: Type, bounds: usize) -> Self {
        match kind {
            Type::Counter | Type::Gauge => Self::Number(0.0),
            Type::Histogram => Self::Buckets {
                counts: vec![0; bounds + 1],
                sum: 0.0,
            },
        }
    }

    /// An update; a counter that would fall stays.
    pub fn record(&mut self, kind: Type, value: f64, bounds: &[f64]) {
        match self {
            Self::Number(number) if kind == Type::Gauge => *number = value,
            Self::Number(number) => *number += value.max(0.0),
            Self::Buckets { counts, sum } => {
                let bucket = bounds.partition_point(|bound| *bound < value);
                if let Some(count) = counts.get_mut(bucket) {
                    *count += 1;
                }
                *sum += value;
            }
        }
    }
}

/// All series of all such metrics in one scrape.
#[derive(Debug, Default)]
pub(super) struct Families(BTreeMap<String, Family>);

#[derive(Debug)]
struct Family {
    kind: Type,
    help: String,
    lines: Vec<String>,
}

impl Families {
    /// Adds a series. Two adapters that give one name two kinds: the first has it.
    pub(super) fn add(&mut self, own: &Own<'_>, labels: &[(&str, &str)], value: &OwnValue) {
        let name = format!("im_bridge_adapter_{}", own.name);
        let family = self.0.entry(name.clone()).or_insert_with(|| Family {
            kind: own.kind,
            help: own.help.replace('\\', "\\\\").replace('\n', "\\n"),
            lines: Vec::new(),
        });
        if family.kind != own.kind {
            return;
        }
        let labels = rendered(labels);
        match value {
            OwnValue::Number(number) => family.lines.push(format!("{name}{{{labels}}} {number}")),
            OwnValue::Buckets { counts, sum } => {
                let mut total = 0;
                for (index, count) in counts.iter().enumerate() {
                    total += count;
                    let bound = own.bounds.get(index);
                    let bound = bound.map_or_else(|| "+Inf".to_owned(), f64::to_string);
                    let line = format!("{name}_bucket{{{labels},le=\"{bound}\"}} {total}");
                    family.lines.push(line);
                }
                family.lines.push(format!("{name}_sum{{{labels}}} {sum}"));
                family
                    .lines
                    .push(format!("{name}_count{{{labels}}} {total}"));
            }
        }
    }

    pub(super) fn render(&self, out: &mut String) {
        for (name, family) in &self.0 {
            let _ = writeln!(out, "# HELP {name} {}", family.help);
            let _ = writeln!(out, "# TYPE {name} {}", family.kind.as_str());
            for line in &family.lines {
                let _ = writeln!(out, "{line}");
            }
        }
    }
}

fn rendered(labels: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (index, (name, value)) in labels.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let value = super::exposition::escaped(value);
        let _ = write!(out, "{comma}{name}=\"{value}\"");
    }
    out
}
