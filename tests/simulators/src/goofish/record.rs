//! What happened, numbered, for proofs: bounded, and honest about what it no longer has.
//!
//! Not here: cookies, tokens, signatures. Nothing that is a secret to a real client gets in.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

/// Hours of a test at its pace, and below 100 MB.
const ENTRIES_MAX: usize = 200_000;
/// Entries that one call answers at most.
const PAGE_MAX: usize = 10_000;

#[derive(Default)]
pub struct Record {
    entries: VecDeque<Map<String, Value>>,
    /// How many were thrown away: the first one kept has the number after it.
    gone: u64,
}

impl Record {
    /// `fields` is an object.
    pub fn add(&mut self, at_ms: u64, kind: &str, fields: Value) {
        let Value::Object(mut entry) = fields else {
            return;
        };
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
            self.gone += 1;
        }
        let number = self.gone + self.entries.len() as u64 + 1;
        entry.insert("n".to_owned(), number.into());
        entry.insert("at_ms".to_owned(), at_ms.into());
        entry.insert("kind".to_owned(), kind.into());
        self.entries.push_back(entry);
    }

    /// Entries numbered above `after`, of these kinds; none named: of all.
    pub fn page(&self, after: u64, kinds: &[&str], limit: usize) -> Value {
        let dropped = self.gone.saturating_sub(after);
        let skip = usize::try_from(after.saturating_sub(self.gone)).unwrap_or(usize::MAX);
        let mut next = after.max(self.gone);
        let mut entries = Vec::new();
        for entry in self.entries.iter().skip(skip) {
            if entries.len() == limit.min(PAGE_MAX) {
                break;
            }
            next += 1;
            let kind = entry["kind"].as_str().unwrap_or_default();
            if kinds.is_empty() || kinds.contains(&kind) {
                entries.push(entry);
            }
        }
        json!({ "entries": entries, "next": next, "dropped": dropped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_and_tell_what_is_gone() {
        let mut record = Record::default();
        for n in 0..ENTRIES_MAX + 3 {
            record.add(0, if n % 2 == 0 { "even" } else { "odd" }, json!({}));
        }
        let page = record.page(0, &["even"], 2);
        assert_eq!(page["dropped"], 3);
        assert_eq!(page["entries"][0]["n"], 5);
        assert_eq!(page["entries"][1]["n"], 7);
        let page = record.page(page["next"].as_u64().unwrap(), &[], 1);
        assert_eq!(
            (page["entries"][0]["n"].as_u64(), page["dropped"].as_u64()),
            (Some(8), Some(0))
        );
        let end = record.page(9_999_999, &[], 1);
        assert_eq!(
            end,
            json!({ "entries": [], "next": 9_999_999, "dropped": 0 })
        );
    }
}
