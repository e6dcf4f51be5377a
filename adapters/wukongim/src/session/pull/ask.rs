//! What is asked of the API: the conversations, a page of a channel, where the history of a new one begins.

use std::sync::Arc;
use std::time::Duration;

use im_bridge_sdk::Context;
use im_bridge_sdk::model::Delivery;

use crate::WukongIm;
use crate::api::{ApiError, Call, Conversation, Native, Page, Seqs};
use crate::book::Message;
use crate::native::channel::{ChannelId, SYSTEM};
use crate::native::record::{Record, time_ms};

/// Longest wait before an API that failed is asked again.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The clocks of server and bridge may differ by so much. Only channels nobody knew are read by time, so it costs nothing.
const CLOCK_SLACK_MS: i64 = 300_000;

#[derive(Debug, Clone)]
pub enum Job {
    /// Which channels have something new; at the very first start, where each stands.
    Conversations { is_first: bool },
    /// The history of a channel, upward.
    Channel { id: Arc<ChannelId>, from: u64 },
    /// Where the history of a channel nobody knew begins that is later than a time. `last` is its newest number.
    New {
        id: Arc<ChannelId>,
        since_ms: i64,
        last: u64,
    },
}

pub struct Task {
    pub job: Job,
    pub attempt: u32,
    pub page: u32,
    pub began: Duration,
    pub is_catch_up: bool,
}

pub enum Brought {
    Conversations(Vec<Conversation>),
    Page(Page),
    /// The first number that is late enough.
    First(u64),
}

pub struct Done {
    pub task: Task,
    pub result: Result<Brought, ApiError>,
}

pub fn is_since(row: &Conversation, since_ms: i64) -> bool {
    time_ms(row.timestamp) + CLOCK_SLACK_MS >= since_ms
}

pub async fn ask(wukongim: &WukongIm, cx: &Context, me: &str, task: Task) -> Done {
    if task.attempt > 0 {
        let wait = Duration::from_millis(500).saturating_mul(2_u32.saturating_pow(task.attempt));
        cx.sleep(wait.min(RETRY_MAX)).await;
    }
    let result = match &task.job {
        Job::Conversations { is_first } => match wukongim.native(cx) {
            Some(native) => conversations(wukongim, &native, me, *is_first)
                .await
                .map(Brought::Conversations),
            None => Err(ApiError::NotConfigured),
        },
        Job::Channel { id, from } => read(wukongim, cx, me, id, Seqs::From(*from), task.page)
            .await
            .map(Brought::Page),
        Job::New { id, since_ms, last } => first_since(wukongim, cx, me, id, *since_ms, *last)
            .await
            .map(Brought::First),
    };
    Done { task, result }
}

/// All conversations. The one with the system the server leaves out of its list: until its cursor is known, its newest
/// message stands for it.
async fn conversations(
    wukongim: &WukongIm,
    native: &Native<'_>,
    me: &str,
    is_first: bool,
) -> Result<Vec<Conversation>, ApiError> {
    let mut rows = native.conversations(Call::CONVERSATIONS, me).await?;
    let system = ChannelId::person(SYSTEM);
    let is_known = wukongim.book().cursor(&system).is_some();
    if !is_first && !is_known {
        let page = match native.history(me, &system, Seqs::Newest, 1).await {
            Ok(page) => page,
            // A server that keeps nothing of it says so; one that fails is asked again.
            Err(
                ApiError::Refused { .. }
                | ApiError::Status {
                    status: 400 | 404, ..
                },
            ) => Page::default(),
            Err(error) => return Err(error),
        };
        let newest = page.records.last();
        rows.extend(newest.map(|newest| Conversation::of_newest(system, newest)));
    }
    Ok(rows)
}

/// A page of a channel, from whoever has it.
pub async fn read(
    wukongim: &WukongIm,
    cx: &Context,
    me: &str,
    id: &ChannelId,
    seqs: Seqs,
    limit: u32,
) -> Result<Page, ApiError> {
    if let Some(native) = wukongim.native(cx) {
        return native.history(me, id, seqs, limit).await;
    }
    let openchat = wukongim.openchat(cx).ok_or(ApiError::NotConfigured)?;
    let last = match seqs {
        Seqs::From(seq) => seq.saturating_sub(1),
        // Its page has no word for "before": the caller cuts.
        Seqs::Newest | Seqs::Before(_) => 0,
    };
    let records = openchat.history(id, last, limit).await?;
    Ok(Page {
        has_more: seqs != Seqs::Newest && !records.is_empty(),
        unreadable: 0,
        records,
    })
}

/// The first number of a channel that is not older than a time, by halving: a channel may have a long history.
async fn first_since(
    wukongim: &WukongIm,
    cx: &Context,
    me: &str,
    id: &ChannelId,
    since_ms: i64,
    last: u64,
) -> Result<u64, ApiError> {
    // Most channels nobody knew are new: then the first look is the last.
    let (mut low, mut high, mut look) = (1, last.saturating_add(1), 1);
    while low < high {
        let page = read(wukongim, cx, me, id, Seqs::From(look), 1).await?;
        match page.records.first() {
            Some(record) if record.time_ms + CLOCK_SLACK_MS < since_ms => {
                low = record.message_seq.max(look).saturating_add(1);
            }
            // Nothing stands between the number looked at and this one.
            _ => high = look,
        }
        look = low + (high.saturating_sub(low)) / 2;
    }
    Ok(low)
}

/// A record of history as the account sees it.
pub fn message(id: &Arc<ChannelId>, record: Record, delivery: Delivery) -> Message {
    Message {
        channel: Arc::clone(id),
        seq: record.message_seq,
        message_id: record.message_id,
        from_uid: record.from_uid,
        client_msg_no: record.client_msg_no,
        time_ms: record.time_ms,
        flags: record.flags,
        setting: record.setting,
        topic: record.topic,
        expire_s: record.expire_s,
        payload: record.payload,
        delivery,
        ack: None,
    }
}
