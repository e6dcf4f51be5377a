//! Metrics of the adapter's own: defined in `create`, updated by id, labels from closed sets.
//!
//! The number of series is known when the account is created. A definition that the host refuses is logged, and its
//! updates do nothing: a metric is never a reason to fail.

use crate::ffi::link::{HostLink, size_of_u32};
use im_bridge_plugin_api::abi;
use std::sync::Arc;

/// A metric to be defined. Exported as `im_bridge_adapter_<name>`.
#[derive(Clone, Debug)]
pub struct Metric {
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    labels: Vec<(&'static str, &'static [&'static str])>,
    buckets: Vec<f64>,
}

impl Metric {
    /// `name` is `[a-z][a-z0-9_]{0,47}`, `help` one sentence.
    #[must_use]
    pub fn new(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            unit: "1",
            help,
            labels: Vec::new(),
            buckets: Vec::new(),
        }
    }

    /// The unit in UCUM: `s`, `By`; `1` unless said otherwise.
    #[must_use]
    pub fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// A label with all its values, at most 16; at most 3 labels. Updates name values by index.
    #[must_use]
    pub fn label(mut self, name: &'static str, values: &'static [&'static str]) -> Self {
        self.labels.push((name, values));
        self
    }

    /// Upper bounds of a histogram's buckets, ascending, at most 16.
    #[must_use]
    pub fn buckets(mut self, bounds: &[f64]) -> Self {
        self.buckets = bounds.to_vec();
        self
    }

    fn define(&self, link: &Arc<HostLink>, kind: abi::MetricKind) -> Handle {
        let values: Vec<Vec<abi::Str>> = self
            .labels
            .iter()
            .map(|(_, values)| values.iter().map(|value| abi::Str::new(value)).collect())
            .collect();
        let labels: Vec<abi::Label> = self
            .labels
            .iter()
            .zip(&values)
            .map(|((name, _), values)| abi::Label {
                name: abi::Str::new(name),
                values: values.as_ptr(),
                values_len: values.len(),
            })
            .collect();
        let status = link.define_metric(&abi::Metric {
            size: size_of_u32::<abi::Metric>(),
            kind,
            name: abi::Str::new(self.name),
            unit: abi::Str::new(self.unit),
            help: abi::Str::new(self.help),
            labels: labels.as_ptr(),
            labels_len: labels.len(),
            buckets: self.buckets.as_ptr(),
            buckets_len: self.buckets.len(),
        });
        if !status.is_ok() {
            tracing::warn!(metric = self.name, status = status.0, "metric is refused");
        }
        Handle {
            link: Arc::clone(link),
            id: u32::try_from(status.0).ok(),
        }
    }
}

#[derive(Clone)]
struct Handle {
    link: Arc<HostLink>,
    id: Option<u32>,
}

impl Handle {
    fn record(&self, value: f64, labels: &[u16]) {
        if let Some(id) = self.id {
            self.link.record_metric(id, value, labels);
        }
    }
}

/// Only rises.
#[derive(Clone)]
pub struct Counter(Handle);

/// Goes both ways.
#[derive(Clone)]
pub struct Gauge(Handle);

/// Counts by size.
#[derive(Clone)]
pub struct Histogram(Handle);

impl Counter {
    pub(crate) fn define(link: &Arc<HostLink>, metric: &Metric) -> Self {
        Self(metric.define(link, abi::MetricKind::COUNTER))
    }

    /// Adds; one index for each label, in the order of their definition.
    pub fn add(&self, value: f64, labels: &[u16]) {
        self.0.record(value, labels);
    }
}

impl Gauge {
    pub(crate) fn define(link: &Arc<HostLink>, metric: &Metric) -> Self {
        Self(metric.define(link, abi::MetricKind::GAUGE))
    }

    /// Sets; one index for each label, in the order of their definition.
    pub fn set(&self, value: f64, labels: &[u16]) {
        self.0.record(value, labels);
    }
}

impl Histogram {
    pub(crate) fn define(link: &Arc<HostLink>, metric: &Metric) -> Self {
        Self(metric.define(link, abi::MetricKind::HISTOGRAM))
    }

    /// Observes; one index for each label, in the order of their definition.
    pub fn record(&self, value: f64, labels: &[u16]) {
        self.0.record(value, labels);
    }
}
