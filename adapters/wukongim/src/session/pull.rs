//! Fetching what was not pushed: what was missed while away, and holes that overtaking does not explain.
//!
//! A page at a time, several channels at a time. An API that fails is asked again, slower and slower; only when messages
//! wait behind a hole for too long it is told as a gap instead. The cursor of a channel whose history fails stays, so
//! nothing is lost by it.
//!
//! What is asked of the API is `pull/ask.rs`. Not here: which message is new (`book.rs`).

mod ask;

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
use crate::api::{ApiError, Conversation, Page};
use crate::book::Hole;
use crate::link::{SyncOrder, Synced};
use crate::native::channel::ChannelId;
use ask::{Brought, Done, Job, Task, ask, is_since};

pub use ask::{message, read};

/// Questions at a time: enough to hide the distance, few enough for the server.
const RUNNING_MAX: usize = 4;

/// Messages of a page; fewer when they are too large together.
const PAGE: u32 = 100;

/// After this time behind a hole, messages go out without what is missing. Below a minute, after which the server pushes
/// again what was not acknowledged.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Known channels without a conversation whose history is looked at when catching up.
const QUIET_MAX: usize = 1_000;

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
