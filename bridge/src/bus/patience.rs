//! How often something is written that NATS refuses.
//!
//! A bus that is away is waited for, as long as the lease is held. A refusal that waiting cannot mend (too large,
//! forbidden, misconfigured) is tried a few times, since it may be a server's hiccup, and not for ever: what waits behind
//! it goes on.

/// So many refusals are final.
pub const REFUSED_MAX: u32 = 3;

/// Refusals of one write so far.
#[derive(Debug, Default)]
pub struct Patience(u32);

impl Patience {
    /// Counts a refusal. False: that was the last try.
    pub fn refused(&mut self) -> bool {
        self.0 += 1;
        self.0 < REFUSED_MAX
    }
}
