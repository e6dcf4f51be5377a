//! The command line: one file per subcommand.
//!
//! Not here: what a subcommand does with NATS or with plugins; `bus` and `loader` have that.

#[cfg(feature = "demo")]
pub mod demo;
