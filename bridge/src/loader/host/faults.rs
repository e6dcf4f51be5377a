//! Faults add up: on one account it is given up, on several accounts of one file the file is.
//!
//! Kept in memory only: a restart of the bridge forgets them.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// So many faults of one account within this time, and it is `failed`.
const ACCOUNT_FAULTS_MAX: usize = 3;
const ACCOUNT_WITHIN: Duration = Duration::from_secs(10 * 60);
/// Faults on so many accounts within this time, and the file is to blame.
const FILE_ACCOUNTS_MAX: usize = 3;
const FILE_WITHIN: Duration = Duration::from_secs(60);

/// What a fault leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The account is given up (reason `adapter_faulty`) until somebody asks for it; else it is started anew.
    pub gives_account_up: bool,
    /// The file is to be quarantined.
    pub quarantines_file: bool,
}

/// The faults of one plugin file.
#[derive(Debug, Default)]
pub struct Faults {
    /// The last few of each account: never more than [`ACCOUNT_FAULTS_MAX`].
    accounts: HashMap<Box<str>, VecDeque<Instant>>,
    is_quarantined: bool,
}

impl Faults {
    /// Counts a panic, a stuck call, or overdue commands.
    pub fn record(&mut self, account: &str, now: Instant) -> Verdict {
        let faults = self.accounts.entry(account.into()).or_default();
        faults.push_back(now);
        if faults.len() > ACCOUNT_FAULTS_MAX {
            faults.pop_front();
        }
        let recent = |at: &Instant, within| now.saturating_duration_since(*at) <= within;
        let of_account = faults
            .iter()
            .filter(|at| recent(at, ACCOUNT_WITHIN))
            .count();
        let accounts = self.accounts.values().filter_map(VecDeque::back);
        let of_file = accounts.filter(|at| recent(at, FILE_WITHIN)).count();
        self.is_quarantined |= of_file >= FILE_ACCOUNTS_MAX;
        Verdict {
            gives_account_up: of_account >= ACCOUNT_FAULTS_MAX,
            quarantines_file: of_file >= FILE_ACCOUNTS_MAX,
        }
    }

    /// Somebody asked for the account again, or it is gone.
    pub fn forget(&mut self, account: &str) {
        self.accounts.remove(account);
    }

    /// Whether the file was found to be to blame.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        self.is_quarantined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GO_ON: Verdict = Verdict {
        gives_account_up: false,
        quarantines_file: false,
    };

    #[test]
    fn three_faults_within_ten_minutes_give_the_account_up() {
        let (mut faults, start) = (Faults::default(), Instant::now());
        let minute = Duration::from_secs(60);
        assert_eq!(faults.record("a", start), GO_ON);
        assert_eq!(faults.record("a", start + 5 * minute), GO_ON);
        assert!(faults.record("a", start + 9 * minute).gives_account_up);
        faults.forget("a");
        assert_eq!(faults.record("a", start + 10 * minute), GO_ON);
    }

    #[test]
    fn faults_far_apart_do_not_add_up() {
        let (mut faults, start) = (Faults::default(), Instant::now());
        for n in 0..10 {
            assert_eq!(
                faults.record("a", start + n * Duration::from_secs(301)),
                GO_ON
            );
        }
    }

    #[test]
    fn three_accounts_within_a_minute_blame_the_file() {
        let (mut faults, start) = (Faults::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(faults.record("a", start), GO_ON);
        assert_eq!(faults.record("b", start + 20 * second), GO_ON);
        assert_eq!(faults.record("c", start + 70 * second), GO_ON);
        assert!(!faults.is_quarantined());
        assert!(faults.record("d", start + 75 * second).quarantines_file);
        assert!(faults.is_quarantined());
    }
}
