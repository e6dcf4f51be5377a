//! Which accounts go together: the unit of ownership.

use super::token::Account;
use std::fmt;

/// How many there are, unless configured otherwise. Fixed once the stream of commands exists.
pub const SHARDS: u16 = 64;

/// A part of all accounts, owned by one replica at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u16);

impl Shard {
    /// The same number as the server's `partition(<shards>,1,2)` over provider and account.
    pub fn of(account: &Account, shards: u16) -> Self {
        let bytes = account
            .provider
            .as_str()
            .bytes()
            .chain(account.alias.as_str().bytes());
        let number = fnv1a(bytes) % u32::from(shards);
        Self(u16::try_from(number).expect("less than `shards`"))
    }

    pub fn new(number: u16) -> Self {
        Self(number)
    }

    pub fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn fnv1a(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// Who should hold a shard: the highest value wins, and each shard has its own order of members, so that a member that
/// leaves spreads its shards over all others.
pub fn rendezvous(owner: &str, shard: Shard) -> u64 {
    // 64 bits, and mixed at the end: FNV alone leaves neighbouring shards in the same order.
    let bytes = owner.bytes().chain([0]).chain(shard.0.to_be_bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_spread_evenly_over_members() {
        let members = ["a-1", "b-2", "c-3"];
        let mut counts = [0; 3];
        for shard in (0..SHARDS).map(Shard::new) {
            let best = (0..3)
                .max_by_key(|&index| rendezvous(members[index], shard))
                .unwrap();
            counts[best] += 1;
        }
        assert!(counts.iter().all(|&count| count > 8), "{counts:?}");
    }
}
