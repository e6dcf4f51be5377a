//! What the bridge says of itself: metrics and log lines.
//!
//! It promises that looking costs nothing while nobody looks: hot paths count in structs of their own, and are asked when
//! a scraper comes. Labels are closed sets; no channel, user, message or text is ever one.
//!
//! Not here: who answers `/metrics` (`admin`), and traces, which do not exist yet.

pub mod exposition;
pub mod histogram;
pub mod labels;
pub mod logs;
pub mod metrics;
pub mod per_provider;
pub mod redact;

pub use exposition::Exposition;
pub use histogram::Histogram;
pub use metrics::{Metric, Registry, Source};
pub use per_provider::PerProvider;
