//! What goes to the collector beside spans, where that is configured: metrics and log lines.

use super::logs::Guard;
use super::otlp::{self, Signal, Target, logs, metrics};
use super::{Registry, Telemetry, TelemetryError};
use crate::config::types;
use std::sync::Arc;
use std::time::Duration;

/// Sends until it is shut down. Without an endpoint it is nothing.
#[derive(Default)]
pub struct Pushed {
    metrics: Option<Arc<metrics::Push>>,
    lines: Option<Arc<logs::Records>>,
}

impl Pushed {
    /// Values are those of the registry, lines those of the guard.
    ///
    /// # Errors
    /// What is configured cannot be used. A collector that is away is no error.
    pub fn start(
        config: &types::Telemetry,
        telemetry: &Telemetry,
        registry: &Registry,
        lines: Option<&Guard>,
    ) -> Result<Self, TelemetryError> {
        if let (Some(lines), Some(hidden)) = (lines, telemetry.hidden()) {
            lines.hide(hidden);
        }
        let resource = otlp::resource(telemetry.resource());
        let mut pushed = Self::default();
        let target = |signal, is_wanted: bool| match is_wanted {
            true => Target::of(signal, &config.otlp),
            false => Ok(None),
        };
        if let Some(target) = target(Signal::Metrics, config.metrics.otlp)? {
            let every = Duration::from_secs(config.metrics.interval_s);
            let push = metrics::Push::start(target, registry.clone(), resource.clone(), every)?;
            let push = Arc::new(push);
            registry.add(&push);
            pushed.metrics = Some(push);
        }
        if let (Some(target), Some(lines)) = (target(Signal::Logs, config.logs.otlp)?, lines) {
            let records = Arc::new(logs::start(target, resource)?);
            registry.add(&records);
            lines.also_to(Arc::clone(&records));
            pushed.lines = Some(records);
        }
        Ok(pushed)
    }

    /// Sends what waits, each signal by itself, and blocks until that is done or `within` has passed.
    pub fn shut_down(&self, within: Duration) {
        std::thread::scope(|scope| {
            if let Some(metrics) = &self.metrics {
                scope.spawn(move || metrics.shut_down(within));
            }
            if let Some(lines) = &self.lines {
                scope.spawn(move || lines.shut_down(within));
            }
        });
    }
}
