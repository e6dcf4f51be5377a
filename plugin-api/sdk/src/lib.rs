//! Write provider adapters for im-bridge without unsafe code.

pub mod model;
#[cfg(feature = "adapter")]
pub mod test;
