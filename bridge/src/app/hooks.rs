//! What an adapter is answered while it waits, for one account.
//!
//! It runs on threads of the adapter and waits for nothing.

use super::own_metrics::OwnMetrics;
use crate::config::types::LogLevel;
use crate::loader::host::{Hooks, MetricDefinition, Op};
use crate::telemetry::{self, AccountLabels, Telemetry};
use im_bridge_plugin_api::abi;
use std::sync::Arc;

/// See the front page.
pub struct AccountHooks {
    pub telemetry: Telemetry,
    pub labels: Arc<AccountLabels>,
    /// What adapters may say in the log.
    pub level: LogLevel,
    /// What the adapter counts itself.
    pub metrics: Arc<OwnMetrics>,
}

impl Hooks for AccountHooks {
    fn op(&self, op: &Op) -> abi::Trace {
        self.telemetry.op(&self.labels, || telemetry::Op {
            name: op.name(),
            noise: op.noise,
            status: op.status,
            items: op.items,
            start_ns: op.start_ns,
            end_ns: op.end_ns,
            parent: op.parent,
            attributes: op.attributes().collect(),
        })
    }

    fn log_level(&self) -> abi::LogLevel {
        match self.level {
            LogLevel::Error => abi::LogLevel::ERROR,
            LogLevel::Warn => abi::LogLevel::WARN,
            LogLevel::Info => abi::LogLevel::INFO,
            LogLevel::Debug => abi::LogLevel::DEBUG,
            LogLevel::Trace => abi::LogLevel::TRACE,
        }
    }

    fn define(&self, id: u32, metric: &MetricDefinition) {
        self.metrics.define(id, metric);
    }

    fn record(&self, id: u32, value: f64, label_values: &[u16]) {
        self.metrics.record(id, value, label_values);
    }
}
