//! One supervisor per account: it makes the account's instance, keeps it going, and ends it.
//!
//! It promises that an account that is lost (a panic, a call that does not return, commands that are never completed)
//! comes back after a pause that grows, until it is given up; that each command handed over ends exactly once, at the
//! latest seven seconds after its deadline or when its instance stops; and that a panic in what is done with an event
//! costs that event's settle, not the account.
//!
//! An event takes no hop in here: the supervisor's task takes it out of the instance's inbox and hands it to the
//! [`Outlet`] at once.
//!
//! Not here: leases, liveness, lanes and the ledger; what becomes of events and results ([`Outlet`]).

mod backoff;
mod flights;
pub mod kv;
pub mod seal;
mod supervisor;

#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use flights::{Ended, Request};
pub use supervisor::{Account, Ending, NoConfig, Outlet, Permit, Settings, Status, Timing};
