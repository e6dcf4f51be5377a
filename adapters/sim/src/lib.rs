//! Not written yet.
#![forbid(unsafe_code)]
pub mod native;
pub mod provider;
