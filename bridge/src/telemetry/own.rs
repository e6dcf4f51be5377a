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

/// All series of all such metrics in one scrape, by name without the prefix.
#[derive(Debug, Default)]
pub(super) struct Families(BTreeMap<String, Family>);

/// One metric.
#[derive(Debug)]
pub struct Family {
    pub kind: Type,
    pub help: String,
    pub series: Vec<Series>,
}

/// One series of it.
#[derive(Debug)]
pub struct Series {
    pub labels: Vec<(String, String)>,
    /// Upper bounds of its buckets.
    pub bounds: Vec<f64>,
    pub value: OwnValue,
}

impl Families {
    /// Adds a series. Two adapters that give one name two kinds: the first has it.
    pub(super) fn add(&mut self, own: &Own<'_>, labels: &[(&str, &str)], value: &OwnValue) {
        let family = self.0.entry(own.name.to_owned()).or_insert_with(|| Family {
            kind: own.kind,
            help: own.help.to_owned(),
            series: Vec::new(),
        });
        if family.kind != own.kind {
            return;
        }
        let labels = labels.iter();
        family.series.push(Series {
            labels: labels
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            bounds: own.bounds.to_vec(),
            value: value.clone(),
        });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Family)> {
        self.0.iter().map(|(name, family)| (name.as_str(), family))
    }

    pub(super) fn render(&self, out: &mut String) {
        for (name, family) in &self.0 {
            let name = format!("im_bridge_adapter_{name}");
            let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
            let _ = writeln!(out, "# HELP {name} {help}");
            let _ = writeln!(out, "# TYPE {name} {}", family.kind.as_str());
            for series in &family.series {
                series.render(&name, out);
            }
        }
    }
}

impl Series {
    fn render(&self, name: &str, out: &mut String) {
        let labels = rendered(&self.labels);
        match &self.value {
            OwnValue::Number(number) => {
                let _ = writeln!(out, "{name}{{{labels}}} {number}");
            }
            OwnValue::Buckets { counts, sum } => {
                let mut total = 0;
                for (index, count) in counts.iter().enumerate() {
                    total += count;
                    let bound = self.bounds.get(index);
                    let bound = bound.map_or_else(|| "+Inf".to_owned(), f64::to_string);
                    let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {total}");
                }
                let _ = writeln!(out, "{name}_sum{{{labels}}} {sum}");
                let _ = writeln!(out, "{name}_count{{{labels}}} {total}");
            }
        }
    }
}

fn rendered(labels: &[(String, String)]) -> String {
    let mut out = String::new();
    for (index, (name, value)) in labels.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let value = super::exposition::escaped(value);
        let _ = write!(out, "{comma}{name}=\"{value}\"");
    }
    out
}
