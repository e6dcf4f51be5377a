//! Rules about what operators look at: every metric that an alert, a dashboard or a runbook names is one that the bridge has,
//! and the reference of metrics is the list in the code.

use crate::tree::{File, files, none, root};
use im_bridge::telemetry::labels::LABELS;
use im_bridge::telemetry::metrics::{Metric, Type};
use im_bridge_test_harness::skip;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::read_to_string;
use std::process::Command;

const ALERTS: &str = "deploy/helm/im-bridge/files/alerts.yaml";
const RUNBOOKS: &str = "docs/runbooks.md";
const DASHBOARDS: &str = "deploy/helm/im-bridge/files/dashboards";

fn read(path: &str) -> String {
    read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names of ours in a text, without the prefix.
fn named(text: &str) -> BTreeSet<String> {
    text.split("im_bridge_")
        .skip(1)
        .map(|rest| {
            let end =
                rest.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
        .collect()
}

fn is_ours(name: &str) -> bool {
    Metric::ALL.iter().any(|metric| is_named(name, metric))
}

/// Whether this is a series of the metric.
fn is_named(name: &str, metric: &Metric) -> bool {
    let info = metric.info();
    match name.strip_prefix(info.name) {
        Some("") => info.kind != Type::Histogram,
        Some("_bucket" | "_sum" | "_count") => info.kind == Type::Histogram,
        _ => false,
    }
}

#[test]
fn alerts_and_dashboards_name_metrics_that_exist() {
    let files = files(&[".json", "alerts.yaml", "runbooks.md"]);
    let looked_at = |file: &&File| {
        file.is_below(DASHBOARDS) || [ALERTS, RUNBOOKS].contains(&file.path.as_str())
    };
    let looked_at: Vec<&File> = files.iter().filter(looked_at).collect();
    assert!(looked_at.len() >= 5, "the dashboards lie elsewhere");
    let mut wrong = Vec::new();
    for file in looked_at {
        let unknown = named(&file.text).into_iter().filter(|name| !is_ours(name));
        wrong.extend(unknown.map(|name| format!("{}: im_bridge_{name}", file.path)));
    }
    none(
        "a panel or an alert of a metric that does not exist is silent for ever",
        &wrong,
    );
}

#[test]
fn alerts_and_dashboards_select_by_labels_that_exist() {
    // Of scrapers, and of the format itself.
    let others = ["le", "job", "instance", "namespace", "pod"];
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in files(&[".json", "alerts.yaml"]) {
        if !file.is_below(DASHBOARDS) && file.path != ALERTS {
            continue;
        }
        for part in file.text.split("im_bridge_").skip(1) {
            let Some((name, rest)) = part.split_once('{') else {
                continue;
            };
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let (true, Some((selected, _))) = (name.chars().all(is_name), rest.split_once('}'))
            else {
                continue;
            };
            let of = |metric: &&Metric| is_named(name, metric);
            let Some(metric) = Metric::ALL.iter().find(of) else {
                continue;
            };
            for one in selected.split(',') {
                let end = one.find(['=', '!']).unwrap_or(one.len());
                let label = one[..end].trim();
                seen += 1;
                if !metric.info().labels.contains(&label) && !others.contains(&label) {
                    wrong.push(format!("{}: {name} has no {label}", file.path));
                }
            }
        }
    }
    assert!(seen >= 20, "{seen} are seen");
    none(
        "what selects by a label that is not there selects nothing",
        &wrong,
    );
}

#[test]
fn every_alert_has_its_runbook_and_a_case_for_and_against_it() {
    let (alerts, runbooks) = (read(ALERTS), read(RUNBOOKS));
    let cases = read("tests/alerts/rules.yaml");
    let names: Vec<&str> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(names.len() >= 15, "{names:?}");
    let mut wrong = Vec::new();
    for name in &names {
        let anchor = format!("runbook: docs/runbooks.md#{}\n", name.to_lowercase());
        for (what, is_there) in [
            ("names no runbook", alerts.contains(&anchor)),
            (
                "has no section",
                runbooks.contains(&format!("\n## {name}\n")),
            ),
            (
                "has no case in which it fires",
                cases.contains(&format!("name: {name} fires\n")),
            ),
            (
                "has no silent case",
                cases.contains(&format!("name: {name} is silent\n")),
            ),
        ] {
            if !is_there {
                wrong.push(format!("{name} {what}"));
            }
        }
    }
    let sections = runbooks.lines().filter_map(|line| line.strip_prefix("## "));
    wrong.extend(
        sections
            .filter(|section| !names.contains(section))
            .map(|section| format!("{section} is no alert")),
    );
    none(
        "who is woken at night reads a runbook, and who wrote the alert has seen it fire",
        &wrong,
    );
}

#[test]
fn every_metric_has_somebody_who_tells_it() {
    let sources = files(&[".rs"]);
    let told: String = sources
        .iter()
        .filter(|file| file.is_below("bridge/src") && !file.path.contains("tests"))
        // The list itself is no use of it, and neither are its tests.
        .map(|file| file.text.split("#[cfg(test)]").next().unwrap_or_default())
        .collect();
    let silent: Vec<String> = Metric::ALL
        .iter()
        .filter(|metric| !told.contains(&format!("Metric::{metric:?}")))
        .map(|metric| metric.info().name.to_owned())
        .collect();
    none("a metric that nobody tells is a promise", &silent);
}

#[test]
fn labels_are_sorted_and_every_metric_has_known_ones() {
    assert!(LABELS.is_sorted_by_key(|label| label.name));
    let used = Metric::ALL.iter().flat_map(|metric| metric.info().labels);
    let known: BTreeSet<&str> = LABELS.iter().map(|label| label.name).collect();
    let unknown: Vec<String> = used
        .filter(|name| !known.contains(*name))
        .map(|name| (*name).to_owned())
        .collect();
    none(
        "a label without a bound makes series without a bound",
        &unknown,
    );
}

#[test]
fn the_reference_of_metrics_is_the_list_in_the_code() {
    let reference = reference();
    let path = root().join("docs/metrics.md");
    if std::env::var_os("IM_BRIDGE_UPDATE").is_some() {
        std::fs::write(&path, &reference).expect("the tree can be written to");
    }
    assert_eq!(
        read_to_string(&path).unwrap_or_default(),
        reference,
        "docs/metrics.md is not what the code has; IM_BRIDGE_UPDATE=1 cargo golden writes it"
    );
}

fn reference() -> String {
    let mut out = "# Metrics\n\nGenerated from the code; do not edit. `GET /metrics` on the admin listener answers them in the \
                   text format 0.0.4. Values of labels are closed sets: never a channel, a user, a message, an address or a \
                   text. What is beyond a bound shares one series called `other`, and `im_bridge_metrics_overflow_total` \
                   counts it.\n\n| name | type | labels | series at most | meaning |\n| --- | --- | --- | --- | --- |\n"
        .to_owned();
    for metric in Metric::ALL {
        let info = metric.info();
        let kind = format!("{:?}", info.kind).to_lowercase();
        let of = if info.labels.contains(&"account") {
            " an account"
        } else {
            ""
        };
        let labels = info.labels.join(", ");
        let (name, max, help) = (info.name, info.series_max(), info.help);
        let _ = writeln!(
            out,
            "| `im_bridge_{name}` | {kind} | {labels} | {max}{of} | {help} |"
        );
    }
    out.push_str("\n## Labels\n\n| label | values | at most |\n| --- | --- | --- |\n");
    for label in LABELS {
        let _ = writeln!(out, "| {} | {} | {} |", label.name, label.values, label.max);
    }
    out
}

#[test]
fn every_alert_fires() {
    let program = std::env::var_os("IM_BRIDGE_PROMTOOL").unwrap_or_else(|| "promtool".into());
    let tested = Command::new(&program)
        .args(["test", "rules", "rules.yaml"])
        .current_dir(root().join("tests/alerts"))
        .output();
    let output = match tested {
        Ok(output) => output,
        Err(error) => {
            let program = program.to_string_lossy();
            let reason = format!(
                "every_alert_fires: {program}: {error}; install Prometheus, or name its promtool in IM_BRIDGE_PROMTOOL"
            );
            return skip(&["promtool"], &reason);
        }
    };
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        said(&output.stdout),
        said(&output.stderr)
    );
}
