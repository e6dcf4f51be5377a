//! What happened, numbered, for proofs: bounded, and honest about what it no longer has.
//!
//! Not here: cookies, tokens, signatures. Nothing that is a secret to a real client gets in.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// Hours of a test at its pace; about 300 bytes each.
const ENTRIES_MAX: usize = 200_000;
/// Entries that one call answers at most.
const PAGE_MAX: usize = 10_000;

#[derive(Default)]
pub struct Record {
    /// Kind and text: a fifth of the size of the values.
    entries: VecDeque<(&'static str, Box<RawValue>)>,
    /// How many were thrown away: the first one kept has the number after it.
    gone: u64,
}

/// What one call answers.
#[derive(Serialize)]
pub struct Page<'a> {
    pub entries: Vec<&'a RawValue>,
    pub next: u64,
    pub dropped: u64,
}

impl Record {
    /// `fields` is an object.
    pub fn add(&mut self, at_ms: u64, kind: &'static str, mut fields: Value) {
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
            self.gone += 1;
        }
        fields["n"] = (self.gone + self.entries.len() as u64 + 1).into();
        fields["at_ms"] = at_ms.into();
        fields["kind"] = kind.into();
        if let Ok(text) = to_raw_value(&fields) {
            self.entries.push_back((kind, text));
        }
    }

    /// Entries numbered above `after`, of these kinds; none named: of all.
    pub fn page(&self, after: u64, kinds: &[&str], limit: usize) -> Page<'_> {
        let dropped = self.gone.saturating_sub(after);
        let skip = usize::try_from(after.saturating_sub(self.gone)).unwrap_or(usize::MAX);
        let mut next = after.max(self.gone);
        let mut entries = Vec::new();
        for (kind, entry) in self.entries.iter().skip(skip) {
            if entries.len() == limit.min(PAGE_MAX) {
                break;
            }
            next += 1;
            if kinds.is_empty() || kinds.contains(kind) {
                entries.push(&**entry);
            }
        }
        Page {
            entries,
            next,
            dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pages_follow_each_other_and_tell_what_is_gone() {
        let mut record = Record::default();
        for n in 0..ENTRIES_MAX + 3 {
            record.add(0, if n % 2 == 0 { "even" } else { "odd" }, json!({}));
        }
        let page = |after, kinds: &[&str], limit| {
            serde_json::to_value(record.page(after, kinds, limit)).unwrap()
        };
        let first = page(0, &["even"], 2);
        assert_eq!(first["dropped"], 3);
        assert_eq!(first["entries"][0]["n"], 5);
        assert_eq!(first["entries"][1]["n"], 7);
        let second = page(first["next"].as_u64().unwrap(), &[], 1);
        assert_eq!(
            (&second["entries"][0]["n"], &second["dropped"]),
            (&json!(8), &json!(0))
        );
        let end = page(9_999_999, &[], 1);
        assert_eq!(
            end,
            json!({ "entries": [], "next": 9_999_999, "dropped": 0 })
        );
    }
}
