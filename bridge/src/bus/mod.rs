//! Every NATS name and object.
