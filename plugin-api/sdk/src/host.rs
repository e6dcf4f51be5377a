//! What an adapter may use while it is created.

use crate::ffi::link::HostLink;
use crate::metrics::{Counter, Gauge, Histogram, Metric};
use std::sync::Arc;

/// The host as `create` sees it: the alias, and metrics to define. `tracing` works too.
pub struct Host {
    link: Arc<HostLink>,
}

impl Host {
    pub(crate) fn new(link: Arc<HostLink>) -> Self {
        Self { link }
    }

    /// The operator's alias for the account.
    #[must_use]
    pub fn account(&self) -> &str {
        self.link.account()
    }

    /// Defines a metric that only rises.
    #[must_use]
    pub fn counter(&self, metric: &Metric) -> Counter {
        Counter::define(&self.link, metric)
    }

    /// Defines a metric that goes both ways.
    #[must_use]
    pub fn gauge(&self, metric: &Metric) -> Gauge {
        Gauge::define(&self.link, metric)
    }

    /// Defines a metric that counts by size.
    #[must_use]
    pub fn histogram(&self, metric: &Metric) -> Histogram {
        Histogram::define(&self.link, metric)
    }
}
