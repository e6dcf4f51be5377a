//! Batches: a message each, with a key each, and one answer when all have ended.
//!
//! A batch has no entry in the ledger. Sent again under the same key it finds those of its messages that were sent, and
//! repeats exactly those that surely were not.

use super::answer::Verdict;
use super::work::{Origin, Work};
use im_bridge_sdk::model::{ErrorObject, Json, ResultStatus};
use serde::Serialize;
use std::collections::HashMap;

/// Batches that are under way; bounded by the commands in hand.
#[derive(Default)]
pub(super) struct Batches {
    open: HashMap<u64, Batch>,
    next: u64,
}

struct Batch {
    work: Box<Work>,
    items: Vec<Option<Item>>,
    left: usize,
    is_told: bool,
}

#[derive(Serialize)]
struct Item {
    index: usize,
    status: ResultStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorObject>,
}

#[derive(Serialize)]
struct Items {
    items: Vec<Item>,
}

impl Batches {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The messages of a checked batch.
    pub(super) fn split(&mut self, work: Box<Work>) -> Vec<Work> {
        self.next += 1;
        let number = self.next;
        let params = work.data.params["items"].as_array();
        let items: Vec<Work> = params
            .into_iter()
            .flatten()
            .enumerate()
            .map(|(index, item)| Work::item(&work, number, index, item))
            .collect();
        let batch = Batch {
            items: items.iter().map(|_| None).collect(),
            left: items.len(),
            work,
            is_told: false,
        };
        self.open.insert(number, batch);
        items
    }

    /// Batches whose caller waited until its deadline, once each.
    pub(super) fn overdue(&mut self) -> Vec<&Work> {
        let waiting = self
            .open
            .values_mut()
            .filter(|batch| !batch.is_told && !batch.work.is_durable && batch.work.is_expired());
        waiting
            .map(|batch| {
                batch.is_told = true;
                &*batch.work
            })
            .collect()
    }

    /// A message ended; the batch with its answer, if it was the last.
    pub(super) fn item_ended(
        &mut self,
        item: &Work,
        verdict: &Verdict,
    ) -> Option<(Box<Work>, Verdict)> {
        let Origin::Item { batch, index } = item.origin else {
            return None;
        };
        let open = self.open.get_mut(&batch)?;
        let ended = Item {
            index,
            status: verdict.status,
            result: verdict.result.clone(),
            error: verdict.error.clone(),
        };
        if open.items.get_mut(index)?.replace(ended).is_none() {
            open.left -= 1;
        }
        if open.left > 0 {
            return None;
        }
        let Batch {
            mut work,
            items,
            is_told,
            ..
        } = self.open.remove(&batch)?;
        work.is_answered |= is_told;
        let items = Items {
            items: items.into_iter().flatten().collect(),
        };
        let result = Json::new(&items).expect("results have a JSON form");
        Some((work, Verdict::success(ResultStatus::Ok, Some(result))))
    }
}
