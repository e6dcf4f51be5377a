//! Host side of `imb.metrics/1`: definitions are checked and kept, updates checked against them and handed to the hooks.
//!
//! Not here: the instruments themselves.

use super::gate::Pass;
use super::messages::MetricDefinition;
use super::misbehaviour::Misbehaviour;
use super::packed::text;
use super::shared::{Phase, Shared};
use super::table::{self, guarded};
use im_bridge_plugin_api::abi::{self, Status, raw};
use std::ffi::c_void;
use std::sync::PoisonError;

/// Metrics of one adapter: with the bounds below this bounds the series of an account.
const METRICS_MAX: usize = 32;
const LABELS_MAX: usize = 3;
const LABEL_VALUES_MAX: usize = 16;
const BUCKETS_MAX: usize = 16;
/// Bytes of a name, of a label's name or value, and of a help text.
const NAME_BYTES_MAX: usize = 48;
const HELP_BYTES_MAX: usize = 512;

/// The static table.
pub(super) static TABLE: abi::MetricsHost = abi::MetricsHost {
    size: table::size_of_table::<abi::MetricsHost>(),
    reserved: 0,
    define: Some(define),
    record: Some(record),
};

/// What updates are checked against: how many values each label has.
pub(super) struct Shape(Vec<u16>);

unsafe extern "C" fn define(ctx: *mut c_void, metric: *const abi::Metric) -> Status {
    // SAFETY: the adapter hands back its own context; the struct and what it names are readable until we return.
    unsafe {
        guarded(ctx, Pass::Early, Status::E_CLOSED, |shared| {
            if shared.phase() != Phase::Created || !shared.handle().is_null() {
                return Status::E_CLOSED; // only inside create
            }
            let Ok(definition) = raw::read(metric).and_then(|metric| definition(&metric)) else {
                shared.count(Misbehaviour::BadStruct);
                return Status::E_INVALID;
            };
            keep(shared, &definition)
        })
    }
}

fn keep(shared: &Shared, definition: &MetricDefinition) -> Status {
    let mut metrics = shared
        .metrics
        .write()
        .unwrap_or_else(PoisonError::into_inner);
    let Ok(id) = i32::try_from(metrics.len()) else {
        return Status::E_RATE_LIMITED;
    };
    if metrics.len() >= METRICS_MAX {
        return Status::E_RATE_LIMITED;
    }
    let values = definition.labels.iter().map(|(_, values)| values.len());
    metrics.push(Shape(
        values.filter_map(|n| u16::try_from(n).ok()).collect(),
    ));
    shared.hooks.define(id.unsigned_abs(), definition);
    Status(id)
}

/// # Safety
/// Texts and arrays as the contract says.
unsafe fn definition(from: &abi::Metric) -> Result<MetricDefinition, Status> {
    let known = abi::MetricKind::ALL
        .iter()
        .any(|(_, kind)| *kind == from.kind);
    // SAFETY: the caller's promise, here and below.
    let labels = unsafe { raw::slice(from.labels, from.labels_len, LABELS_MAX) }?;
    // SAFETY: as above.
    let buckets = unsafe { raw::slice(from.buckets, from.buckets_len, BUCKETS_MAX) }?;
    // SAFETY: as above.
    let (name, unit, help) = unsafe {
        (
            own(&from.name, NAME_BYTES_MAX)?,
            own(&from.unit, NAME_BYTES_MAX)?,
            own(&from.help, HELP_BYTES_MAX)?,
        )
    };
    let mut owned = Vec::with_capacity(labels.len());
    for label in labels {
        // SAFETY: as above.
        let values = unsafe { raw::slice(label.values, label.values_len, LABEL_VALUES_MAX) }?;
        // SAFETY: as above.
        let values: Result<Vec<_>, _> = values
            .iter()
            .map(|value| unsafe { own(value, NAME_BYTES_MAX) })
            .collect();
        // SAFETY: as above.
        let name = unsafe { own(&label.name, NAME_BYTES_MAX) }?;
        if !is_name(&name) {
            return Err(Status::E_INVALID);
        }
        owned.push((name, values?));
    }
    let is_ascending = buckets.windows(2).all(|pair| pair[0] < pair[1]);
    if !known || !is_name(&name) || !is_ascending || owned.iter().any(|(_, v)| v.is_empty()) {
        return Err(Status::E_INVALID);
    }
    Ok(MetricDefinition {
        kind: from.kind,
        name,
        unit,
        help,
        labels: owned,
        buckets: buckets.into(),
    })
}

/// # Safety
/// As `text`.
unsafe fn own(from: &abi::Str, limit_bytes: usize) -> Result<Box<str>, Status> {
    let mut is_bad = false;
    // SAFETY: the caller's promise.
    let text = unsafe { text(from, limit_bytes, &mut is_bad) };
    if is_bad {
        Err(Status::E_INVALID)
    } else {
        Ok(text.into())
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

unsafe extern "C" fn record(
    ctx: *mut c_void,
    id: u32,
    value: f64,
    label_values: *const u16,
    n: u32,
) -> Status {
    // SAFETY: the adapter hands back its own context; the array is readable until we return.
    unsafe {
        guarded(ctx, Pass::Full, Status::E_CLOSED, |shared| {
            let Ok(indices) = raw::slice(label_values, n as usize, LABELS_MAX) else {
                shared.count(Misbehaviour::BadStruct);
                return Status::E_INVALID;
            };
            let metrics = shared
                .metrics
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            let Some(Shape(sizes)) = metrics.get(id as usize) else {
                return Status::E_NOT_FOUND;
            };
            let fits = sizes.len() == indices.len()
                && sizes.iter().zip(indices).all(|(size, index)| index < size);
            if !fits || !value.is_finite() {
                return Status::E_INVALID;
            }
            shared.hooks.record(id, value, indices);
            Status::OK
        })
    }
}
