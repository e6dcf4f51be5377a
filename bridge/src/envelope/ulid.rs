//! Ids of envelopes that nothing makes deterministic: states and capabilities.

use im_bridge_sdk::model::Time;
use ring::rand::{SecureRandom, SystemRandom};

/// 26 characters of Crockford's base32: 48 bits of Unix ms, then 80 random bits. Sorts by time.
#[must_use]
pub fn ulid(time: Time) -> String {
    let mut random = [0; 10];
    // Without randomness of the system nothing else works either, TLS first of all.
    SystemRandom::new()
        .fill(&mut random)
        .expect("the system gives random bytes");
    write(u64::try_from(time.ms()).unwrap_or(0), random)
}

fn write(ms: u64, random: [u8; 10]) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    bytes[6..].copy_from_slice(&random);
    let number = u128::from_be_bytes(bytes);
    (0..26)
        .rev()
        .map(|at| (number >> (at * 5)) & 31)
        .map(|digit| char::from(ALPHABET[usize::try_from(digit).expect("five bits")]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ulid_has_its_time_in_front() {
        // The example of the specification's site: 2016-07-30T23:54:10.259Z.
        assert_eq!(&write(1_469_922_850_259, [0; 10])[..10], "01ARZ3NDEK");
        assert_eq!(
            write((1 << 48) - 1, [255; 10]),
            "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
        );
        let time = Time::from_ms(1_700_000_000_000);
        let (one, other) = (ulid(time), ulid(time));
        assert_eq!((one.len(), &one[..10]), (26, &other[..10]));
        assert_ne!(one, other);
    }
}
