//! What no lint can say: rules of the whole tree, read from sources and manifests.
//!
//! Each test is one rule and prints every place that breaks it, with the rule's reason.
//!
//! Not here: rules that rustc and clippy know (root `Cargo.toml`, `clippy.toml`).

mod observability;
mod packages;
mod sources;
mod tree;
