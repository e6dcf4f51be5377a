//! Metrics that an account's adapter defines itself, and what they stand at.
//!
//! They keep counting from one instance of the account to the next as long as the definition is the same. An account has
//! at most [`SERIES_MAX`] series; what is beyond that is counted as left out, not kept.
//!
//! Not here: checking definitions and updates against the contract (`loader::host`), the text (`telemetry`).

use crate::bus::Account;
use crate::loader::host::MetricDefinition;
use crate::telemetry::{Exposition, Metric, Own, OwnValue, Type};
use im_bridge_plugin_api::abi;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A hundred accounts stay below what a scraper takes in one go.
const SERIES_MAX: usize = 256;
/// The bridge's own labels, and the format's.
const RESERVED: [&str; 3] = ["provider", "account", "le"];

/// One account's.
#[derive(Default)]
pub struct OwnMetrics(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    metrics: Vec<Defined>,
    series: usize,
}

struct Defined {
    definition: MetricDefinition,
    kind: Option<Type>,
    series: BTreeMap<Vec<u16>, OwnValue>,
    left_out: u64,
}

impl OwnMetrics {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As `Hooks::define`.
    pub fn define(&self, id: u32, definition: &MetricDefinition) {
        let mut kept = self.lock();
        let id = id as usize;
        let is_known = kept.metrics.get(id).map(|it| it.definition == *definition);
        if is_known == Some(true) {
            return;
        }
        if is_known == Some(false) {
            // Another version's: nothing of it is counted on.
            kept.metrics.truncate(id);
            kept.series = kept.metrics.iter().map(|it| it.series.len()).sum();
        }
        kept.metrics.push(Defined {
            kind: kind(definition),
            definition: definition.clone(),
            series: BTreeMap::new(),
            left_out: 0,
        });
    }

    /// As `Hooks::record`.
    pub fn record(&self, id: u32, value: f64, labels: &[u16]) {
        let mut kept = self.lock();
        let has_room = kept.series < SERIES_MAX;
        let Some(metric) = kept.metrics.get_mut(id as usize) else {
            return;
        };
        let Some(kind) = metric.kind else {
            metric.left_out += 1;
            return;
        };
        let is_new = !metric.series.contains_key(labels);
        if is_new {
            if !has_room {
                metric.left_out += 1;
                return;
            }
            let empty = OwnValue::new(kind, metric.definition.buckets.len());
            metric.series.insert(labels.to_vec(), empty);
        }
        if let Some(series) = metric.series.get_mut(labels) {
            series.record(kind, value, &metric.definition.buckets);
        }
        kept.series += usize::from(is_new);
    }

    /// Tells what they stand at.
    pub fn collect(&self, account: &Account, to: &mut Exposition) {
        let kept = self.lock();
        for metric in &kept.metrics {
            let definition = &metric.definition;
            if metric.left_out > 0 {
                let name = format!("adapter_{}", definition.name);
                to.count(Metric::MetricsOverflowTotal, &[&name], metric.left_out);
            }
            let Some(kind) = metric.kind else { continue };
            let own = Own {
                name: &definition.name,
                help: &definition.help,
                kind,
                bounds: &definition.buckets,
            };
            for (indices, value) in &metric.series {
                let mut labels = vec![
                    ("provider", account.provider.as_str()),
                    ("account", account.alias.as_str()),
                ];
                for ((name, values), index) in definition.labels.iter().zip(indices) {
                    let value = values.get(usize::from(*index));
                    labels.push((name, value.map_or("", |value| value)));
                }
                to.own(&own, &labels, value);
            }
        }
    }
}

/// None: it cannot be shown.
fn kind(definition: &MetricDefinition) -> Option<Type> {
    let mut names: Vec<&str> = definition.labels.iter().map(|(name, _)| &**name).collect();
    let is_taken = names.iter().any(|name| RESERVED.contains(name));
    names.sort_unstable();
    let is_double = names.windows(2).any(|pair| pair[0] == pair[1]);
    if is_taken || is_double {
        tracing::warn!(
            metric = &*definition.name,
            "an adapter's metric has a label twice, or one of the bridge's"
        );
        return None;
    }
    match definition.kind {
        abi::MetricKind::COUNTER => Some(Type::Counter),
        abi::MetricKind::GAUGE => Some(Type::Gauge),
        abi::MetricKind::HISTOGRAM => Some(Type::Histogram),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(kind: abi::MetricKind, name: &str, labels: &[(&str, usize)]) -> MetricDefinition {
        let values = |count: usize| (0..count).map(|n| format!("v{n}").into()).collect();
        MetricDefinition {
            kind,
            name: name.into(),
            unit: "1".into(),
            help: "Some\nthing.".into(),
            labels: labels
                .iter()
                .map(|(name, count)| ((*name).into(), values(*count)))
                .collect(),
            buckets: vec![1.0, 2.5],
        }
    }

    fn text(metrics: &OwnMetrics) -> String {
        let account = Account::new("chat".parse().unwrap(), "one".parse().unwrap());
        let mut exposition = Exposition::default();
        metrics.collect(&account, &mut exposition);
        exposition.render()
    }

    #[test]
    fn each_kind_is_shown_with_the_accounts_labels_before_its_own() {
        let metrics = OwnMetrics::default();
        metrics.define(
            0,
            &metric(abi::MetricKind::COUNTER, "drops_total", &[("why", 2)]),
        );
        metrics.define(1, &metric(abi::MetricKind::GAUGE, "level", &[]));
        metrics.define(2, &metric(abi::MetricKind::HISTOGRAM, "size", &[]));
        metrics.record(0, 2.0, &[1]);
        metrics.record(0, 1.5, &[1]);
        metrics.record(0, -1.0, &[1]);
        metrics.record(1, 7.0, &[]);
        metrics.record(1, -2.0, &[]);
        for value in [0.5, 1.0, 2.0, 9.0] {
            metrics.record(2, value, &[]);
        }
        let text = text(&metrics);
        for line in [
            "# HELP im_bridge_adapter_drops_total Some\\nthing.",
            "# TYPE im_bridge_adapter_drops_total counter",
            "im_bridge_adapter_drops_total{provider=\"chat\",account=\"one\",why=\"v1\"} 3.5",
            "im_bridge_adapter_level{provider=\"chat\",account=\"one\"} -2",
            "im_bridge_adapter_size_bucket{provider=\"chat\",account=\"one\",le=\"1\"} 2",
            "im_bridge_adapter_size_bucket{provider=\"chat\",account=\"one\",le=\"2.5\"} 3",
            "im_bridge_adapter_size_bucket{provider=\"chat\",account=\"one\",le=\"+Inf\"} 4",
            "im_bridge_adapter_size_sum{provider=\"chat\",account=\"one\"} 12.5",
            "im_bridge_adapter_size_count{provider=\"chat\",account=\"one\"} 4",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
    }

    #[test]
    fn an_account_keeps_a_bounded_number_of_series_and_counts_the_rest() {
        let metrics = OwnMetrics::default();
        metrics.define(
            0,
            &metric(
                abi::MetricKind::COUNTER,
                "many",
                &[("a", 16), ("b", 16), ("c", 16)],
            ),
        );
        for n in 0..4096_u16 {
            metrics.record(0, 1.0, &[n / 256, n / 16 % 16, n % 16]);
        }
        let text = text(&metrics);
        let shown = text
            .lines()
            .filter(|it| it.starts_with("im_bridge_adapter_many{"));
        assert_eq!(shown.count(), SERIES_MAX);
        let left = format!(
            "im_bridge_metrics_overflow_total{{metric=\"adapter_many\"}} {}",
            4096 - SERIES_MAX
        );
        assert!(text.contains(&left), "{text}");
    }

    #[test]
    fn the_next_instance_counts_on_and_another_definition_begins_anew() {
        let metrics = OwnMetrics::default();
        let first = metric(abi::MetricKind::COUNTER, "n", &[]);
        metrics.define(0, &first);
        metrics.record(0, 1.0, &[]);
        metrics.define(0, &first);
        metrics.record(0, 1.0, &[]);
        assert!(
            text(&metrics).contains("im_bridge_adapter_n{provider=\"chat\",account=\"one\"} 2\n")
        );
        metrics.define(0, &metric(abi::MetricKind::GAUGE, "n", &[("account", 1)]));
        metrics.record(0, 1.0, &[0]);
        assert!(
            !text(&metrics).contains("im_bridge_adapter_n"),
            "its label is the bridge's"
        );
    }
}
