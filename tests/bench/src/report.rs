//! Figures of several runs, as a table for people and a line for programs.

use crate::machine;
use crate::world::Column;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// One column in one run: figures by name. Units are in the names, and less is better unless the name says `rate`.
pub type Figures = Vec<(&'static str, f64)>;

/// What a job found out.
pub struct Report {
    job: &'static str,
    about: String,
    load_before: String,
    /// By part of the job (`5000/s`), then column, then run.
    parts: Vec<(String, BTreeMap<Column, Vec<Figures>>)>,
    wrong: Vec<String>,
}

impl Report {
    pub fn new(job: &'static str, about: String) -> Self {
        Self {
            job,
            about,
            load_before: machine::load(),
            parts: Vec::new(),
            wrong: Vec::new(),
        }
    }

    pub fn add(&mut self, part: &str, column: Column, figures: Figures) {
        let place = self.parts.iter().position(|(name, _)| name == part);
        let place = place.unwrap_or_else(|| {
            self.parts.push((part.to_owned(), BTreeMap::new()));
            self.parts.len() - 1
        });
        let (_, columns) = &mut self.parts[place];
        columns.entry(column).or_default().push(figures);
    }

    /// A column that did its job wrongly: its figures mean nothing.
    pub fn check(&mut self, column: Column, checked: Result<(), String>) {
        if let Err(wrong) = checked {
            self.wrong.push(format!("{}: {wrong}", column.name()));
        }
    }

    /// Prints it; false if a column did its job wrongly.
    pub fn print(&self, json: bool) -> bool {
        let load = machine::load();
        if !json {
            self.print_table(&load);
        }
        let parts: Map<String, Value> = self
            .parts
            .iter()
            .map(|(name, columns)| (name.clone(), part(columns)))
            .collect();
        let line = json!({
            "job": self.job, "about": self.about, "version": env!("CARGO_PKG_VERSION"), "parts": parts,
            "wrong": self.wrong, "machine": machine::describe(), "load_before": self.load_before, "load_after": load,
        });
        println!("{line}");
        self.wrong.is_empty()
    }

    fn print_table(&self, load: &str) {
        let job = self.job.to_uppercase();
        println!("{job}: {}", self.about);
        println!("{}", machine::describe());
        let (version, before) = (env!("CARGO_PKG_VERSION"), &self.load_before);
        println!("im-bridge {version}, load {before} before, {load} after");
        for (name, columns) in &self.parts {
            let names = names(columns);
            let head: String = names.iter().map(|name| format!("{name:>14}")).collect();
            println!("\n{name:<12}{head}{:>8}", "ratio");
            for (column, runs) in columns {
                let best = names.iter().map(|name| best(runs, name));
                let figures: String = best
                    .map(|best| best.map_or_else(|| format!("{:>14}", "-"), shown))
                    .collect();
                let ratio = ratio(columns, *column, names[0]);
                let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:>7.3}x"));
                println!("{:<12}{figures}{ratio}", column.name());
            }
        }
        for wrong in &self.wrong {
            println!("\nWRONG: {wrong}");
        }
        println!();
    }
}

fn names(columns: &BTreeMap<Column, Vec<Figures>>) -> Vec<&'static str> {
    let mut names = Vec::new();
    for (name, _) in columns.values().flatten().flatten() {
        if !names.contains(name) {
            names.push(*name);
        }
    }
    names
}

fn part(columns: &BTreeMap<Column, Vec<Figures>>) -> Value {
    let names = names(columns);
    let columns = columns.iter().map(|(column, runs)| {
        let mut figures: Map<String, Value> = names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), best(runs, name)?.into())))
            .collect();
        if let Some(ratio) = ratio(columns, *column, names[0]) {
            figures.insert("ratio".to_owned(), ratio.into());
        }
        (column.name().to_owned(), Value::Object(figures))
    });
    Value::Object(columns.collect())
}

fn get(figures: &Figures, name: &str) -> Option<f64> {
    let found = figures.iter().find(|(other, _)| *other == name);
    found.map(|(_, figure)| *figure)
}

/// The least of all runs, of a rate the most: others share the machine, and only ever make it slower.
fn best(runs: &[Figures], name: &str) -> Option<f64> {
    let all = runs.iter().filter_map(|run| get(run, name));
    if name.contains("rate") {
        return all.max_by(f64::total_cmp);
    }
    all.min_by(f64::total_cmp)
}

/// Against the floor of the same run, where there is none against the bare bridge; the median of all runs, as what disturbs
/// a run disturbs both.
fn ratio(columns: &BTreeMap<Column, Vec<Figures>>, column: Column, name: &str) -> Option<f64> {
    let bare = || columns.get(&Column::Bridge);
    let floor = columns.get(&Column::Floor).or_else(bare)?;
    let runs = columns.get(&column)?;
    let mut ratios: Vec<f64> = runs
        .iter()
        .zip(floor)
        .filter_map(|(run, floor)| Some(get(run, name)? / get(floor, name)?))
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied()
}

fn shown(figure: f64) -> String {
    if figure >= 100.0 {
        format!("{figure:>14.0}")
    } else {
        format!("{figure:>14.2}")
    }
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
pub fn per(sum: u64, count: u64) -> f64 {
    sum as f64 / count.max(1) as f64
}

pub fn us_per(sum: Duration, count: u64) -> f64 {
    sum.as_secs_f64() * 1e6 / per(count, 1)
}

pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Percentiles 50 and 99, in milliseconds.
pub fn percentiles(latencies_ns: &mut [u64]) -> (f64, f64) {
    latencies_ns.sort_unstable();
    let at = |hundredth: usize| {
        let place =
            (latencies_ns.len() * hundredth / 100).min(latencies_ns.len().saturating_sub(1));
        latencies_ns
            .get(place)
            .map_or(f64::NAN, |ns| per(*ns, 1_000_000))
    };
    (at(50), at(99))
}
