//! The bridge as a library, so that tests and benches call the same code as the binary.
//!
//! In reading order, each with what it is for:
//!
//! * [`loader`]: from a dropped file to an adapter that can be called; its `host` runs instances.
//! * [`account`]: one supervisor per account: makes its instance, keeps it going, ends it; its durable keys.
//! * [`inbound`]: from what an adapter emitted to what JetStream stored, and back as an outcome.
//! * [`outbound`]: from a command on NATS to its result: checked, claimed, carried out, answered.
//! * [`dead_letter`]: what can never be done or stored as it is, kept for a person.
//! * [`envelope`]: CloudEvents around everything that is published, byte for byte.
//! * [`bus`]: every NATS name and object: subjects, streams, consumers, buckets, leases.
//! * [`config`]: layers merged, validated and typed, with a place for every value; secrets as references.
//! * [`telemetry`]: metrics and log lines.
//! * [`admin`]: probes, metrics and status over HTTP.
//! * [`app`]: the service that `im-bridge run` is: all of the above, put together.
//! * [`cli`]: the command line, one file per subcommand.
//!
//! Not here: the contract with adapters (`plugin-api/`), and anything that only one provider has (`adapters/`).

pub mod account;
pub mod admin;
pub mod app;
pub mod bus;
pub mod cli;
pub mod config;
pub mod dead_letter;
pub mod envelope;
pub mod inbound;
pub mod loader;
pub mod outbound;
pub mod telemetry;
