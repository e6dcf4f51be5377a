//! What is written into each message, so that it can be found again wherever it ends up: its number, its room and when it
//! was said.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A message of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub number: u64,
    pub room: u64,
    pub said_ns: u64,
}

const BEGIN: &str = "[mark ";

impl Mark {
    pub fn now(number: u64, room: u64) -> Self {
        Self {
            number,
            room,
            said_ns: now_ns(),
        }
    }

    /// Always equally long.
    pub fn text(self, filler: usize) -> String {
        let Self {
            number,
            room,
            said_ns,
        } = self;
        format!(
            "{BEGIN}{number:010} {room:04} {said_ns:020}]{:.<filler$}",
            ""
        )
    }

    /// Finds it in whatever a column made of the message.
    pub fn find(bytes: &[u8]) -> Option<Self> {
        let at = bytes
            .windows(BEGIN.len())
            .position(|window| window == BEGIN.as_bytes())?;
        let rest = std::str::from_utf8(&bytes[at + BEGIN.len()..]).ok()?;
        let mut numbers = rest.split(']').next()?.split(' ').map(str::parse);
        Some(Self {
            number: numbers.next()?.ok()?,
            room: numbers.next()?.ok()?,
            said_ns: numbers.next()?.ok()?,
        })
    }
}

/// Nanoseconds since this process first asked.
pub fn now_ns() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    ns(BEGAN.get_or_init(Instant::now).elapsed())
}

pub fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether each of `count` messages from `first` on is there once, and in order within its room.
pub fn check(marks: &[Mark], first: u64, count: u64) -> Result<(), String> {
    let mut seen = vec![0_u32; usize::try_from(count).expect("fits into memory")];
    let mut last = std::collections::BTreeMap::new();
    let (mut broken, mut strange) = (0, 0);
    for mark in marks {
        let place = mark.number.checked_sub(first);
        let place = place.and_then(|place| usize::try_from(place).ok());
        match place.and_then(|place| seen.get_mut(place)) {
            Some(times) => *times += 1,
            None => strange += 1,
        }
        if let Some(before) = last.insert(mark.room, mark.number) {
            broken += u64::from(before > mark.number);
        }
    }
    let missing = seen.iter().filter(|times| **times == 0).count();
    let twice = seen.iter().filter(|times| **times > 1).count();
    if (missing, twice, broken, strange) == (0, 0, 0, 0) {
        return Ok(());
    }
    Err(format!(
        "{missing} missing, {twice} more than once, {broken} out of order, {strange} of another run"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_in_any_bytes() {
        let mark = Mark::now(7, 3);
        let text = format!("{{\"text\":\"{}\"}}", mark.text(20));
        assert_eq!(Mark::find(text.as_bytes()), Some(mark));
        assert_eq!(Mark::find(b"nothing"), None);
    }

    #[test]
    fn what_is_missing_repeated_or_out_of_order_is_told() {
        let marks =
            |numbers: &[u64]| -> Vec<Mark> { numbers.iter().map(|n| Mark::now(*n, 0)).collect() };
        assert_eq!(check(&marks(&[5, 6, 7]), 5, 3), Ok(()));
        for wrong in [&[5, 6][..], &[5, 6, 6, 7], &[6, 5, 7], &[5, 6, 7, 8]] {
            assert!(check(&marks(wrong), 5, 3).is_err(), "{wrong:?}");
        }
    }
}
