//! Values of one scrape, and the text that scrapers read (format 0.0.4).
//!
//! Equal labels of several sources add up, so that each account counts for itself and the provider's figure is the sum.

use super::histogram::{Histogram, LATENCY_S};
use super::metrics::{Metric, Type};
use std::collections::BTreeMap;
use std::fmt::Write as _;

#[derive(Debug, Default)]
struct Buckets {
    counts: [u64; LATENCY_S.len() + 1],
    sum_s: f64,
}

/// What one scrape is told.
#[derive(Debug, Default)]
pub struct Exposition {
    values: BTreeMap<Metric, BTreeMap<String, f64>>,
    histograms: BTreeMap<Metric, BTreeMap<String, Buckets>>,
}

impl Exposition {
    /// One value; labels in the order of the metric's definition.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the format has no integers; counts beyond 2^53 are not lived to"
    )]
    pub fn count(&mut self, metric: Metric, labels: &[&str], value: u64) {
        self.value(metric, labels, value as f64);
    }

    /// One value that is no count.
    pub fn value(&mut self, metric: Metric, labels: &[&str], value: f64) {
        *self
            .values
            .entry(metric)
            .or_default()
            .entry(rendered(metric, labels))
            .or_default() += value;
    }

    /// All counts of a histogram.
    pub fn histogram(&mut self, metric: Metric, labels: &[&str], histogram: &Histogram) {
        let own = self
            .histograms
            .entry(metric)
            .or_default()
            .entry(rendered(metric, labels))
            .or_default();
        for (own, count) in own.counts.iter_mut().zip(histogram.counts()) {
            *own += count;
        }
        own.sum_s += histogram.sum_seconds();
    }

    /// The text.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for metric in Metric::ALL {
            let info = metric.info();
            let name = info.name;
            if let Some(series) = self.values.get(metric) {
                head(&mut out, *metric);
                for (labels, value) in series {
                    let braces = if labels.is_empty() {
                        String::new()
                    } else {
                        format!("{{{labels}}}")
                    };
                    let _ = writeln!(out, "im_bridge_{name}{braces} {value}");
                }
            }
            let Some(series) = self.histograms.get(metric) else {
                continue;
            };
            head(&mut out, *metric);
            for (labels, buckets) in series {
                let comma = if labels.is_empty() { "" } else { "," };
                let mut total = 0;
                for (index, count) in buckets.counts.iter().enumerate() {
                    total += count;
                    let bound = LATENCY_S
                        .get(index)
                        .map_or_else(|| "+Inf".to_owned(), f64::to_string);
                    let _ = writeln!(
                        out,
                        "im_bridge_{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}"
                    );
                }
                let braces = if labels.is_empty() {
                    String::new()
                } else {
                    format!("{{{labels}}}")
                };
                let _ = writeln!(out, "im_bridge_{name}_sum{braces} {}", buckets.sum_s);
                let _ = writeln!(out, "im_bridge_{name}_count{braces} {total}");
            }
        }
        out
    }
}

fn head(out: &mut String, metric: Metric) {
    let info = metric.info();
    let kind = match info.kind {
        Type::Counter => "counter",
        Type::Gauge => "gauge",
        Type::Histogram => "histogram",
    };
    let _ = writeln!(out, "# HELP im_bridge_{} {}", info.name, info.help);
    let _ = writeln!(out, "# TYPE im_bridge_{} {kind}", info.name);
}

fn rendered(metric: Metric, labels: &[&str]) -> String {
    let names = metric.info().labels;
    debug_assert_eq!(names.len(), labels.len(), "{metric:?} has labels {names:?}");
    let mut out = String::new();
    for (index, (name, value)) in names.iter().zip(labels).enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = write!(out, "{comma}{name}=\"{value}\"");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Registry, Source};
    use std::sync::Arc;
    use std::time::Duration;

    struct Account(u64, Histogram);

    impl Source for Account {
        fn collect(&self, to: &mut Exposition) {
            to.count(
                Metric::EventsTotal,
                &["chat", "message.created", "stored"],
                self.0,
            );
            to.histogram(Metric::EventStoreSeconds, &["chat"], &self.1);
            to.value(Metric::LeasesHeld, &[], 1.0);
        }
    }

    #[test]
    fn accounts_of_a_provider_add_up_and_those_gone_are_not_asked() {
        let registry = Registry::default();
        let (one, two) = (
            Arc::new(Account(2, Histogram::default())),
            Arc::new(Account(3, Histogram::default())),
        );
        one.1.record(Duration::from_millis(2));
        two.1.record(Duration::from_secs(60));
        registry.add(&one);
        registry.add(&two);
        let text = registry.render();
        let line = "im_bridge_events_total{provider=\"chat\",kind=\"message.created\",outcome=\"stored\"} 5\n";
        assert!(text.contains(line), "{text}");
        assert!(
            text.contains("# TYPE im_bridge_events_total counter"),
            "{text}"
        );
        assert!(
            text.contains("event_store_seconds_bucket{provider=\"chat\",le=\"0.0025\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("event_store_seconds_bucket{provider=\"chat\",le=\"+Inf\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("im_bridge_leases_held 2\n"), "{text}");
        drop(two);
        assert!(registry.render().contains("stored\"} 2\n"));
    }

    #[test]
    fn labels_cannot_break_the_format() {
        let mut exposition = Exposition::default();
        exposition.count(Metric::PluginRefusedTotal, &["a\"b\\c\nd"], 1);
        assert!(exposition.render().contains(r#"{code="a\"b\\c\nd"} 1"#));
    }

    #[test]
    fn names_follow_the_rules_of_scrapers() {
        for metric in Metric::ALL {
            let info = metric.info();
            assert!(
                info.name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            );
            assert_eq!(
                info.name.ends_with("_total"),
                info.kind == Type::Counter,
                "{}",
                info.name
            );
            assert!(info.help.ends_with('.'), "{}", info.name);
        }
    }
}
