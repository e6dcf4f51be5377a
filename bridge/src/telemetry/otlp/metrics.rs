//! Metrics for a collector: the values that a scraper would see, at regular times.
//!
//! There is one list of metrics and one way to ask for them, so both ways out say the same. Values are cumulative: one that is
//! lost on the way is made up for by the next.

use super::exporter::Exporter;
use super::{Signal, Target};
use crate::telemetry::exposition::Labels;
use crate::telemetry::histogram::LATENCY_S;
use crate::telemetry::metrics::{Metric, Type};
use crate::telemetry::own::{Family, OwnValue, Series};
use crate::telemetry::{Exposition, Registry, Source};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1 as wire;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Only the newest values are worth sending; a collector that is away misses those before.
const WAITING_MAX: usize = 1;

/// All values at one moment.
struct Taken {
    at_ns: u64,
    values: Exposition,
}

/// Sends them until it is shut down.
pub struct Push {
    exporter: Exporter<Taken>,
    registry: Registry,
    clock: Arc<Clock>,
}

#[derive(Default)]
struct Clock {
    is_over: Mutex<bool>,
    wake: Condvar,
}

impl Push {
    /// Asks the registry this often.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(
        target: Target,
        registry: Registry,
        resource: Vec<KeyValue>,
        every: Duration,
    ) -> std::io::Result<Self> {
        let start_ns = now_ns();
        let write = move |taken: Vec<Taken>| message(taken, &resource, start_ns);
        let exporter = Exporter::start(Signal::Metrics, target, WAITING_MAX, write)?;
        let clock = Arc::<Clock>::default();
        let (own, sink, source) = (Arc::clone(&clock), exporter.clone(), registry.clone());
        std::thread::Builder::new()
            .name("otlp clock".to_owned())
            .spawn(move || {
                while own.wait(every) {
                    sink.push(take(&source));
                }
            })?;
        Ok(Self {
            exporter,
            registry,
            clock,
        })
    }

    /// Sends the last values, and blocks until that is done or `within` has passed.
    pub fn shut_down(&self, within: Duration) {
        *self
            .clock
            .is_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.clock.wake.notify_all();
        self.exporter.push(take(&self.registry));
        self.exporter.shut_down(within);
    }
}

impl Source for Push {
    fn collect(&self, to: &mut Exposition) {
        self.exporter.collect(to);
    }
}

impl Clock {
    /// False: it is over.
    fn wait(&self, every: Duration) -> bool {
        let is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .wake
            .wait_timeout_while(is_over, every, |is_over| !*is_over);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

fn take(registry: &Registry) -> Taken {
    Taken {
        at_ns: now_ns(),
        values: registry.ask(),
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The newest of them.
fn message(taken: Vec<Taken>, resource: &[KeyValue], start_ns: u64) -> Vec<u8> {
    let metrics = taken.last().map(|taken| metrics(taken, start_ns));
    let scope = InstrumentationScope {
        name: "im-bridge".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let resource_metrics = wire::ResourceMetrics {
        resource: Some(Resource {
            attributes: resource.to_vec(),
            ..Resource::default()
        }),
        scope_metrics: vec![wire::ScopeMetrics {
            scope: Some(scope),
            metrics: metrics.unwrap_or_default(),
            schema_url: String::new(),
        }],
        schema_url: String::new(),
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![resource_metrics],
    };
    request.encode_to_vec()
}

fn metrics(taken: &Taken, start_ns: u64) -> Vec<wire::Metric> {
    let cumulative = wire::AggregationTemporality::Cumulative as i32;
    let values = taken.values.series().map(|(metric, series)| {
        let data_points = series
            .iter()
            .map(|(labels, value)| wire::NumberDataPoint {
                attributes: attributes(metric, labels),
                start_time_unix_nano: start_ns,
                time_unix_nano: taken.at_ns,
                value: Some(wire::number_data_point::Value::AsDouble(*value)),
                ..wire::NumberDataPoint::default()
            })
            .collect();
        let info = metric.info();
        let data = match info.kind {
            Type::Counter => wire::metric::Data::Sum(wire::Sum {
                data_points,
                aggregation_temporality: cumulative,
                is_monotonic: true,
            }),
            Type::Gauge | Type::Histogram => wire::metric::Data::Gauge(wire::Gauge { data_points }),
        };
        named(info.name, info.help, data)
    });
    let histograms = taken.values.buckets().map(|(metric, series)| {
        let data_points = series
            .iter()
            .map(|(labels, buckets)| wire::HistogramDataPoint {
                attributes: attributes(metric, labels),
                start_time_unix_nano: start_ns,
                time_unix_nano: taken.at_ns,
                count: buckets.counts.iter().sum(),
                sum: Some(buckets.sum_s),
                bucket_counts: buckets.counts.to_vec(),
                explicit_bounds: LATENCY_S.to_vec(),
                ..wire::HistogramDataPoint::default()
            })
            .collect();
        let histogram = wire::Histogram {
            data_points,
            aggregation_temporality: cumulative,
        };
        let info = metric.info();
        named(
            info.name,
            info.help,
            wire::metric::Data::Histogram(histogram),
        )
    });
    let own = taken.values.of_adapters().map(|(name, family)| {
        let help = &family.help;
        named(
            &format!("adapter_{name}"),
            help,
            own(family, taken, start_ns),
        )
    });
    values.chain(histograms).chain(own).collect()
}

/// What an adapter counts itself.
fn own(family: &Family, taken: &Taken, start_ns: u64) -> wire::metric::Data {
    let labels = |series: &Series| -> Vec<KeyValue> {
        let labels = series.labels.iter();
        let value = |value: &String| any_value::Value::StringValue(value.clone());
        labels
            .map(|(name, it)| super::attribute(name, value(it)))
            .collect()
    };
    let numbers = family
        .series
        .iter()
        .filter_map(|series| match series.value {
            OwnValue::Number(number) => Some(wire::NumberDataPoint {
                attributes: labels(series),
                start_time_unix_nano: start_ns,
                time_unix_nano: taken.at_ns,
                value: Some(wire::number_data_point::Value::AsDouble(number)),
                ..wire::NumberDataPoint::default()
            }),
            OwnValue::Buckets { .. } => None,
        });
    let buckets = family
        .series
        .iter()
        .filter_map(|series| match &series.value {
            OwnValue::Buckets { counts, sum } => Some(wire::HistogramDataPoint {
                attributes: labels(series),
                start_time_unix_nano: start_ns,
                time_unix_nano: taken.at_ns,
                count: counts.iter().sum(),
                sum: Some(*sum),
                bucket_counts: counts.clone(),
                explicit_bounds: series.bounds.clone(),
                ..wire::HistogramDataPoint::default()
            }),
            OwnValue::Number(_) => None,
        });
    let cumulative = wire::AggregationTemporality::Cumulative as i32;
    match family.kind {
        Type::Counter => wire::metric::Data::Sum(wire::Sum {
            data_points: numbers.collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Type::Gauge => wire::metric::Data::Gauge(wire::Gauge {
            data_points: numbers.collect(),
        }),
        Type::Histogram => wire::metric::Data::Histogram(wire::Histogram {
            data_points: buckets.collect(),
            aggregation_temporality: cumulative,
        }),
    }
}

/// The name without what the unit and the kind say.
fn named(name: &str, help: &str, data: wire::metric::Data) -> wire::Metric {
    let name = name.strip_suffix("_total").unwrap_or(name);
    let (name, unit) = match (name.strip_suffix("_seconds"), name.strip_suffix("_bytes")) {
        (Some(name), _) => (name, "s"),
        (None, Some(name)) => (name, "By"),
        (None, None) => (name, "1"),
    };
    wire::Metric {
        name: format!("im_bridge_{name}"),
        description: help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..wire::Metric::default()
    }
}

fn attributes(metric: Metric, labels: &Labels) -> Vec<KeyValue> {
    let names = metric.info().labels.iter();
    names
        .zip(labels)
        .map(|(name, value)| {
            super::attribute(name, any_value::Value::StringValue(value.to_string()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Own;

    #[test]
    fn both_ways_out_say_the_same() {
        let mut values = Exposition::default();
        values.count(Metric::EventBytesTotal, &["chat"], 7);
        values.value(Metric::NatsConnected, &["data"], 1.0);
        let histogram = crate::telemetry::Histogram::default();
        histogram.record(Duration::from_millis(2));
        values.histogram(Metric::EventStoreSeconds, &["chat"], &histogram);
        let of_adapter = |name, kind| Own {
            name,
            help: "Of an adapter's.",
            kind,
            bounds: if kind == Type::Histogram { &[1.0] } else { &[] },
        };
        let labels = [("provider", "chat"), ("account", "a"), ("way", "in")];
        values.own(
            &of_adapter("frames_total", Type::Counter),
            &labels,
            &OwnValue::Number(4.0),
        );
        let waited = OwnValue::Buckets {
            counts: vec![1, 2],
            sum: 9.0,
        };
        values.own(
            &of_adapter("wait_seconds", Type::Histogram),
            &labels,
            &waited,
        );
        let text = values.render();
        assert!(
            text.contains("adapter_frames_total{provider=\"chat\",account=\"a\",way=\"in\"} 4\n")
        );
        let bytes = message(vec![Taken { at_ns: 5, values }], &[], 1);
        let read = ExportMetricsServiceRequest::decode(&bytes[..]).unwrap();
        let metrics = &read.resource_metrics[0].scope_metrics[0].metrics;
        let facts: Vec<(&str, &str)> = metrics
            .iter()
            .map(|metric| (metric.name.as_str(), metric.unit.as_str()))
            .collect();
        assert_eq!(
            facts,
            [
                ("im_bridge_event", "By"),
                ("im_bridge_nats_connected", "1"),
                ("im_bridge_event_store", "s"),
                ("im_bridge_adapter_frames", "1"),
                ("im_bridge_adapter_wait", "s"),
            ]
        );
        let Some(wire::metric::Data::Sum(sum)) = &metrics[0].data else {
            panic!("{:?}", metrics[0]);
        };
        assert!(sum.is_monotonic);
        assert_eq!(sum.data_points[0].attributes[0].key, "provider");
        let Some(wire::metric::Data::Histogram(histogram)) = &metrics[2].data else {
            panic!("{:?}", metrics[2]);
        };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.bucket_counts[1]), (1, 1));
        let Some(wire::metric::Data::Sum(sum)) = &metrics[3].data else {
            panic!("{:?}", metrics[3]);
        };
        assert_eq!(sum.data_points[0].attributes[2].key, "way");
        let Some(wire::metric::Data::Histogram(histogram)) = &metrics[4].data else {
            panic!("{:?}", metrics[4]);
        };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, &*point.bucket_counts), (3, &[1, 2][..]));
    }
}
