//! `imb.metrics/1`: definitions inside `create`, updates by id, and the present values for the test to read.

use crate::test::host::{bad_struct, text};
use crate::test::shared::{Phase, Shared};
use crate::test::violation::{Function, Violation};
use im_bridge_plugin_api::abi::{Metric, MetricKind, MetricsHost, Status, raw};
use std::collections::BTreeMap;
use std::ffi::c_void;

const METRICS_MAX: usize = 32;
const LABELS_MAX: usize = 3;
const LABEL_VALUES_MAX: usize = 16;
const BUCKETS_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 48;

pub(super) static METRICS: MetricsHost = MetricsHost {
    size: 24,
    reserved: 0,
    define: Some(define),
    record: Some(record),
};

struct Defined {
    name: String,
    kind: MetricKind,
    labels: Vec<Vec<String>>,
    series: BTreeMap<Vec<u16>, f64>,
}

/// All metrics of one instance, by id.
#[derive(Default)]
pub(super) struct MetricsBook {
    defined: Vec<Defined>,
}

impl MetricsBook {
    /// Counters: the sum; gauges: the last value; histograms: the number of observations.
    pub fn value(&self, name: &str, label_values: &[&str]) -> Option<f64> {
        let metric = self.defined.iter().find(|metric| metric.name == name)?;
        let mut indexes = Vec::new();
        for (values, wanted) in metric.labels.iter().zip(label_values) {
            let index = values.iter().position(|value| value == wanted)?;
            indexes.push(u16::try_from(index).ok()?);
        }
        metric.series.get(&indexes).copied()
    }
}

unsafe extern "C" fn define(ctx: *mut c_void, metric: *const Metric) -> Status {
    let function = Function::MetricDefine;
    // SAFETY: the table's own ctx.
    let shared = unsafe { Shared::from_ctx(ctx) };
    let Some(_entered) = shared.enter(function) else {
        return Status::E_CLOSED;
    };
    // SAFETY: the contract makes it a metric.
    let metric = match unsafe { raw::read(metric) } {
        Ok(metric) => metric,
        Err(status) => return bad_struct(shared, function, status),
    };
    let mut book = shared.lock();
    let book = &mut *book;
    if book.phase != Phase::Creating {
        book.violate(Violation::MetricDefinedLate);
        return Status::E_INVALID;
    }
    // SAFETY: texts and arrays of the adapter's argument.
    let read = unsafe {
        let name = text(book, function, "name", metric.name);
        raw::slice(metric.labels, metric.labels_len, LABELS_MAX)
            .and_then(|labels| {
                let values = labels.iter().map(|label| {
                    let values = raw::slice(label.values, label.values_len, LABEL_VALUES_MAX)?;
                    Ok(values
                        .iter()
                        .map(|value| text(book, function, "label value", *value))
                        .collect())
                });
                values.collect::<Result<Vec<Vec<String>>, Status>>()
            })
            .and_then(|labels| {
                let buckets = raw::slice(metric.buckets, metric.buckets_len, BUCKETS_MAX)?;
                Ok((name, labels, buckets.is_sorted_by(|a, b| a < b)))
            })
    };
    let (name, labels, is_ascending) = match read {
        Ok(read) => read,
        Err(status) => {
            book.violate(Violation::BadStruct { function, status });
            return status;
        }
    };
    let is_name = name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    let problem = if !is_name {
        Some("its name is not [a-z][a-z0-9_]{0,47}")
    } else if book.metrics.defined.iter().any(|known| known.name == name) {
        Some("defined twice")
    } else if !is_ascending {
        Some("its buckets do not ascend")
    } else if !MetricKind::ALL.iter().any(|(_, kind)| *kind == metric.kind) {
        Some("of unknown kind")
    } else if book.metrics.defined.len() >= METRICS_MAX {
        Some("one more than 32")
    } else {
        None
    };
    if let Some(problem) = problem {
        let problem = problem.to_owned();
        book.violate(Violation::BadMetric { name, problem });
        return Status::E_INVALID;
    }
    let id = i32::try_from(book.metrics.defined.len()).expect("at most 32");
    book.metrics.defined.push(Defined {
        name,
        kind: metric.kind,
        labels,
        series: BTreeMap::new(),
    });
    Status(id)
}

unsafe extern "C" fn record(
    ctx: *mut c_void,
    id: u32,
    value: f64,
    label_values: *const u16,
    n: u32,
) -> Status {
    let function = Function::MetricRecord;
    // SAFETY: the table's own ctx.
    let shared = unsafe { Shared::from_ctx(ctx) };
    let Some(_entered) = shared.enter(function) else {
        return Status::E_CLOSED;
    };
    // SAFETY: the contract makes it an array of `n` indexes.
    let indexes = match unsafe { raw::slice(label_values, n as usize, LABELS_MAX) } {
        Ok(indexes) => indexes,
        Err(status) => return bad_struct(shared, function, status),
    };
    let mut book = shared.lock();
    let Some(metric) = book.metrics.defined.get_mut(id as usize) else {
        let name = format!("number {id}");
        let problem = "never defined".to_owned();
        book.violate(Violation::BadMetric { name, problem });
        return Status::E_NOT_FOUND;
    };
    let is_known = indexes.len() == metric.labels.len()
        && indexes
            .iter()
            .zip(&metric.labels)
            .all(|(index, values)| usize::from(*index) < values.len());
    let is_number = value.is_finite() && (metric.kind != MetricKind::COUNTER || value >= 0.0);
    if !is_known || !is_number {
        let name = metric.name.clone();
        let problem = format!("updated with {value} at labels {indexes:?}");
        book.violate(Violation::BadMetric { name, problem });
        return Status::E_INVALID;
    }
    let current = metric.series.entry(indexes.to_vec()).or_insert(0.0);
    match metric.kind {
        MetricKind::GAUGE => *current = value,
        MetricKind::HISTOGRAM => *current += 1.0,
        _ => *current += value,
    }
    drop(book);
    shared.notify();
    Status::OK
}
