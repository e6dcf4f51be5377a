//! What an adapter emits is stored once and in order, and what it keeps is written by its owner only, whatever happens to
//! the bus. Against real servers.
//!
//! Not here: adapters. Events are made here and go the way from the loader's boundary on.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod dead_letters;
mod faults;
mod kv;
mod large;
mod world;
