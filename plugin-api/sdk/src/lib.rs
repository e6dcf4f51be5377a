//! Write provider adapters for im-bridge without unsafe code.

pub mod model;
