//! The goofish simulator, from outside: by a client that follows the protocol page, by a script in another language, and by
//! the provider's own public client.
#![allow(clippy::unwrap_used, reason = "tests")]

mod client;
mod delivery;
mod faults;
mod foreign;
mod gateway;
mod many;
mod requests;
