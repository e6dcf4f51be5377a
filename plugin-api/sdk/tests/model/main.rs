//! The event model from outside: example messages, schemas, and the reference page.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, and says where"
)]

#[cfg(feature = "adapter")]
mod abi;
mod events;
mod examples;
mod page;
mod schemas;

use std::path::{Path, PathBuf};

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// The bytes of an example message.
fn example(name: &str) -> Vec<u8> {
    let path = format!("plugin-api/sdk/tests/examples/{name}.json");
    std::fs::read(file(&path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
