//! Fetching what was not pushed: what was missed while away, and holes that overtaking does not explain.
//!
//! A page at a time, several channels at a time. An API that fails is asked again, slower and slower; only when messages
//! wait behind a hole for too long it is told as a gap instead. The cursor of a channel whose history fails stays, so
//! nothing is lost by it.
//!
//! Not here: which message is new (`book.rs`).

use std::collections::{HashMap, VecDeque};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use im_bridge_sdk::Context;
use im_bridge_sdk::model::{Delivery, GapReason};

use crate::WukongIm;
use crate::api::{ApiError, Call, Conversation, Native, Page, Seqs};
use crate::book::{Hole, Message};
use crate::link::{SyncOrder, Synced};
use crate::native::channel::{ChannelId, SYSTEM};
use crate::native::record::Record;

/// Questions at a time: enough to hide the distance, few enough for the server.
const RUNNING_MAX: usize = 4;

/// Messages of a page; fewer when they are too large together.
const PAGE: u32 = 100;

/// After this time behind a hole, messages go out without what is missing. Below a minute, after which the server pushes
/// again what was not acknowledged.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Longest wait before an API that failed is asked again.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Known channels without a conversation whose history is looked at when catching up.
const QUIET_MAX: usize = 1_000;

/// The clocks of server and bridge may differ by so much. Only channels nobody knew are read by time, so it costs nothing.
const CLOCK_SLACK_MS: i64 = 300_000;

#[derive(Debug, Clone)]
enum Job {
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

struct Task {
    job: Job,
    attempt: u32,
    page: u32,
    began: Duration,
    is_catch_up: bool,
}

enum Brought {
    Conversations(Vec<Conversation>),
    Page(Page),
    /// The first number that is late enough.
    First(u64),
}

struct Done {
    task: Task,
    result: Result<Brought, ApiError>,
}

type Running<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Done> + 'a>>>;

pub struct Pulls<'a> {
    wukongim: &'a WukongIm,
    cx: &'a Context,
    me: String,
    waiting: VecDeque<Task>,
    running: Running<'a>,
    /// Tasks of the catch-up under way.
    open: usize,
    /// When nothing was missing; none at the very first start.
    since_ms: Option<i64>,
    /// What each channel brought so far.
    brought: HashMap<Arc<ChannelId>, (u64, u64, u64)>,
    total: Synced,
    orders: Vec<SyncOrder>,
    /// The last question failed.
    pub is_failing: bool,
    /// Nobody said in time where new channels begin.
    has_given_up: bool,
    is_gap_told: bool,
}

impl<'a> Pulls<'a> {
    pub fn new(wukongim: &'a WukongIm, cx: &'a Context, me: &str, since_ms: Option<i64>) -> Self {
        Self {
            wukongim,
            cx,
            me: me.to_owned(),
            waiting: VecDeque::new(),
            running: FuturesUnordered::new(),
            open: 0,
            since_ms,
            brought: HashMap::new(),
            total: Synced::default(),
            orders: Vec::new(),
            is_failing: false,
            has_given_up: false,
            is_gap_told: false,
        }
    }

    /// Begins to fetch what was missed.
    pub fn catch_up(&mut self, only: Option<&ChannelId>) {
        if let Some(only) = only {
            let from = self.wukongim.book().cursor(only).map(|cursor| cursor + 1);
            let id = self.wukongim.book().id(only.clone());
            if let Some(from) = from {
                self.begin(&id, from, true);
            }
            return;
        }
        if self.wukongim.config.has_native() {
            // At the very first start every channel begins where it is.
            let is_first = self.since_ms.is_none();
            self.wukongim.book().set_asking(!is_first);
            self.push(Job::Conversations { is_first }, true);
            return;
        }
        let channels = &self.wukongim.config.channels;
        for name in channels
            .iter()
            .filter(|(_, is_on)| **is_on)
            .map(|(name, _)| name)
        {
            let Ok(id) = name.parse::<ChannelId>() else {
                continue;
            };
            let (id, cursor) = {
                let book = self.wukongim.book();
                let cursor = book.cursor(&id);
                (book.id(id), cursor)
            };
            if let Some(cursor) = cursor {
                self.begin(&id, cursor + 1, true);
            }
        }
    }

    /// Somebody wants to know what catching up now brings.
    pub fn order(&mut self, order: SyncOrder) {
        if !self.can_fetch() {
            let is_impossible = true;
            let _ = order.done.send(Synced {
                is_impossible,
                ..Synced::default()
            });
            return;
        }
        self.catch_up(order.channel.as_ref());
        self.orders.push(order);
        self.finish_orders();
    }

    /// Something is missing before messages that came.
    pub fn hole(&mut self, hole: Hole) {
        if self.can_fetch() {
            self.push(
                Job::Channel {
                    id: hole.channel,
                    from: hole.from,
                },
                false,
            );
        } else {
            self.wukongim
                .book()
                .give_up(&hole.channel, GapReason::NoHistory);
        }
    }

    /// There is somebody to ask. OpenChat counts until it refuses.
    pub fn can_fetch(&self) -> bool {
        self.wukongim.config.has_native()
            || self.wukongim.config.has_openchat() && !self.wukongim.control.is_without_history()
    }

    pub fn is_catching_up(&self) -> bool {
        self.open > 0
    }

    /// Nothing is fetched any more; it comes again.
    pub fn stop(&mut self) {
        self.wukongim.book().set_asking(false);
        self.waiting.clear();
        self.running.clear();
        self.open = 0;
        self.orders.clear();
    }

    /// The next answer was taken care of. Cancel safe.
    pub async fn next(&mut self) {
        while self.running.len() < RUNNING_MAX
            && let Some(task) = self.waiting.pop_front()
        {
            let (wukongim, cx, me) = (self.wukongim, self.cx, self.me.clone());
            self.running
                .push(Box::pin(async move { ask(wukongim, cx, &me, task).await }));
        }
        match self.running.next().await {
            Some(done) => self.take(done),
            None => pending().await,
        }
    }

    fn push(&mut self, job: Job, is_catch_up: bool) {
        self.open += usize::from(is_catch_up);
        self.waiting.push_back(Task {
            job,
            attempt: 0,
            page: PAGE,
            began: self.cx.elapsed(),
            is_catch_up,
        });
    }

    fn begin(&mut self, id: &Arc<ChannelId>, from: u64, is_catch_up: bool) {
        if self.wukongim.book().fetch(id) {
            let id = Arc::clone(id);
            self.push(Job::Channel { id, from }, is_catch_up);
        }
    }

    fn take(&mut self, done: Done) {
        let Done { task, result } = done;
        match result {
            Ok(brought) => {
                self.is_failing = false;
                self.brought(task, brought);
            }
            Err(error) => self.failed(task, &error),
        }
        self.finish_orders();
    }

    fn brought(&mut self, task: Task, brought: Brought) {
        match (&task.job, brought) {
            (Job::Conversations { .. }, Brought::Conversations(rows)) => {
                self.conversations(&rows);
                self.end(&task);
            }
            (Job::Channel { id, .. }, Brought::Page(page)) => {
                let id = Arc::clone(id);
                let last = page.records.last().map(|record| record.message_seq);
                let has_more = page.has_more && last.is_some();
                self.page(&id, page, !has_more);
                match last.filter(|_| has_more) {
                    Some(last) => {
                        let from = last + 1;
                        self.waiting.push_front(Task {
                            job: Job::Channel { id, from },
                            attempt: 0,
                            ..task
                        });
                    }
                    None => {
                        self.tell(&id);
                        self.end(&task);
                    }
                }
            }
            (Job::New { id, .. }, Brought::First(from)) => {
                let id = Arc::clone(id);
                self.wukongim.book().start(&id, from.saturating_sub(1));
                self.waiting.push_front(Task {
                    job: Job::Channel { id, from },
                    attempt: 0,
                    ..task
                });
            }
            _ => self.end(&task),
        }
    }

    fn page(&mut self, id: &Arc<ChannelId>, page: Page, is_all: bool) {
        if page.unreadable > 0 {
            tracing::warn!(
                messages = page.unreadable,
                "messages of a history cannot be read"
            );
        }
        let numbers = page.records.first().zip(page.records.last());
        let numbers = numbers.map(|(first, last)| (first.message_seq, last.message_seq));
        let messages = page.records.into_iter();
        let messages = messages.map(|record| message(id, record, Delivery::Backfill));
        let now = self.cx.elapsed();
        let count = self
            .wukongim
            .book()
            .fetched(id, messages.collect(), is_all, now);
        if let Some((first, last)) = numbers.filter(|_| count > 0) {
            let brought = self
                .brought
                .entry(Arc::clone(id))
                .or_insert((first, last, 0));
            brought.1 = last;
            brought.2 += count;
        }
    }

    /// Says what was fetched of a channel.
    fn tell(&mut self, id: &Arc<ChannelId>) {
        let Some((first, last, count)) = self.brought.remove(id) else {
            return;
        };
        self.wukongim.book().tell_fetched(id, first..=last, count);
        self.total.count += count;
        self.total.from = Some(self.total.from.map_or(first, |from| from.min(first)));
        self.total.to = Some(self.total.to.map_or(last, |to| to.max(last)));
    }

    fn end(&mut self, task: &Task) {
        self.open -= usize::from(task.is_catch_up);
    }

    fn finish_orders(&mut self) {
        if self.open == 0 {
            let total = std::mem::take(&mut self.total);
            for order in self.orders.drain(..) {
                // Whoever asked may have given up.
                let _ = order.done.send(total.clone());
            }
        }
    }

    fn conversations(&mut self, rows: &[Conversation]) {
        self.wukongim.book().set_asking(false);
        let mut seen = std::collections::HashSet::new();
        for row in rows {
            if row.channel_id.is_empty() || row.channel_id.ends_with("____cmd") {
                continue;
            }
            let id = ChannelId::new(row.channel_type, row.channel_id.clone());
            let (id, cursor) = {
                let book = self.wukongim.book();
                let cursor = book.cursor(&id);
                (book.id(id), cursor)
            };
            seen.insert(Arc::clone(&id));
            let is_anew = self
                .wukongim
                .book()
                .restarted(&id, row.last_msg_seq, row.last_id());
            if is_anew {
                tracing::warn!(channel = %id, "a channel counts anew; the server seems to have lost its data");
            }
            match (cursor.filter(|_| !is_anew), self.since_ms) {
                (Some(cursor), _) if row.last_msg_seq > cursor => {
                    self.begin(&id, cursor + 1, true);
                }
                (Some(_), _) => {}
                (None, Some(since_ms)) if is_since(row, since_ms) => {
                    if self.wukongim.book().fetch(&id) {
                        let last = row.last_msg_seq;
                        self.push(Job::New { id, since_ms, last }, true);
                    }
                }
                // The very first start, or nothing new: the account begins here.
                (None, _) => self.wukongim.book().start(&id, row.last_msg_seq),
            }
        }
        self.quiet(&seen);
    }

    /// Known channels that have no conversation may have messages nevertheless.
    fn quiet(&mut self, seen: &std::collections::HashSet<Arc<ChannelId>>) {
        let quiet: Vec<(Arc<ChannelId>, u64)> = {
            let book = self.wukongim.book();
            let quiet = book.cursors().filter(|(id, _)| !seen.contains(*id));
            quiet
                .take(QUIET_MAX)
                .map(|(id, cursor)| (Arc::clone(id), cursor))
                .collect()
        };
        for (id, cursor) in quiet {
            self.begin(&id, cursor + 1, true);
        }
    }

    fn failed(&mut self, mut task: Task, error: &ApiError) {
        match (&task.job, error) {
            // A page too large for one answer: fewer at a time.
            (_, ApiError::Http(im_bridge_sdk::http::Error::TooLarge { .. })) if task.page > 1 => {
                task.page = (task.page / 10).max(1);
                self.waiting.push_front(task);
                return;
            }
            // Newest servers have no such list: every known channel is looked at.
            (Job::Conversations { .. }, ApiError::Status { status: 404, .. }) => {
                self.wukongim.book().set_asking(false);
                self.quiet(&std::collections::HashSet::new());
                self.end(&task);
                return;
            }
            // OpenChat asks its server at a place that does not exist: it will not exist later either.
            (Job::Channel { id, .. }, ApiError::Refused { .. } | ApiError::Unexpected(_))
                if !self.wukongim.config.has_native() =>
            {
                tracing::warn!(%error, "OpenChat gives no history; what is missed cannot be fetched");
                self.wukongim.control.set_without_history();
                self.wukongim.book().give_up(id, GapReason::NoHistory);
                self.end(&task);
                return;
            }
            _ => {}
        }
        tracing::debug!(%error, attempt = task.attempt, "history was not read");
        self.is_failing = true;
        let has_waited = self.cx.elapsed().saturating_sub(task.began) >= GIVE_UP_AFTER;
        if let Job::Channel { id, .. } = &task.job
            && has_waited
            && !task.is_catch_up
        {
            tracing::warn!(%error, "a hole is told as a gap because history cannot be read");
            self.wukongim.book().give_up(id, GapReason::NoHistory);
            return;
        }
        if matches!(task.job, Job::Conversations { .. }) && has_waited && !self.has_given_up {
            tracing::warn!(%error, "where new channels begin is not known; they begin here");
            self.has_given_up = true;
            self.wukongim.book().set_asking(false);
        }
        task.attempt += 1;
        self.waiting.push_back(task);
    }

    /// New channels began without what was missed in them: to be told, once.
    pub fn take_given_up(&mut self) -> Option<i64> {
        let is_new = self.has_given_up && !std::mem::replace(&mut self.is_gap_told, true);
        self.since_ms.filter(|_| is_new)
    }
}

fn is_since(row: &Conversation, since_ms: i64) -> bool {
    crate::native::record::time_ms(row.timestamp) + CLOCK_SLACK_MS >= since_ms
}

async fn ask(wukongim: &WukongIm, cx: &Context, me: &str, task: Task) -> Done {
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
