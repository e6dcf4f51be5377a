//! Commands that the host hands over, and their completions: each exactly one.

use crate::test::host::{optional, take};
use crate::test::keep::Kept;
use crate::test::lend::{Lent, size_u32};
use crate::test::record::{CompletionRecord, Trace};
use crate::test::rules::bad;
use crate::test::shared::{Book, Shared};
use crate::test::violation::{Call, Function, Violation};
use im_bridge_plugin_api::abi::{self, CMD_REDELIVERED, Completion, PAYLOAD_MAX, Status};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long after its deadline a host waits for a completion before it gives the command up.
const GRACE: Duration = Duration::from_secs(5);
const ID_BYTES_MAX: usize = 512;

/// A command as a test writes it.
#[derive(Clone, Debug)]
pub struct Command {
    pub(super) name: String,
    pub(super) channel: Option<String>,
    pub(super) key: Option<String>,
    pub(super) params: Value,
    pub(super) options: Value,
    pub(super) deadline: Duration,
    pub(super) is_redelivered: bool,
    pub(super) trace: Option<Trace>,
}

impl Command {
    /// A command without parameters and with a deadline in 10 s.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            channel: None,
            key: None,
            params: json!({}),
            options: json!({}),
            deadline: Duration::from_secs(10),
            is_redelivered: false,
            trace: None,
        }
    }

    /// The channel's native id.
    #[must_use]
    pub fn channel(mut self, channel: &str) -> Self {
        self.channel = Some(channel.to_owned());
        self
    }

    /// The idempotency key; without one the mock makes one for each command.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// The parameters.
    #[must_use]
    pub fn params(mut self, params: Value) -> Self {
        self.params = params;
        self
    }

    /// The options.
    #[must_use]
    pub fn options(mut self, options: Value) -> Self {
        self.options = options;
        self
    }

    /// The deadline, counted from when it is handed over.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// An earlier attempt may have reached the provider.
    #[must_use]
    pub fn redelivered(mut self) -> Self {
        self.is_redelivered = true;
        self
    }

    /// Parent of everything done for it; without one the mock makes one.
    #[must_use]
    pub fn trace(mut self, trace: Trace) -> Self {
        self.trace = Some(trace);
        self
    }
}

/// What the host knows of commands.
#[derive(Default)]
pub(super) struct CommandBook {
    next: u64,
    entries: BTreeMap<u64, Entry>,
}

struct Entry {
    deadline_ms: i64,
    is_taken: bool,
    is_completed: bool,
}

impl CommandBook {
    /// Taken and not completed.
    pub fn open(&self) -> Vec<u64> {
        let open = self.entries.iter();
        open.filter(|(_, entry)| entry.is_taken && !entry.is_completed)
            .map(|(id, _)| *id)
            .collect()
    }
}

/// Hands commands over in one call; the ids of those taken, and the answer of the adapter.
pub(super) fn hand_over(
    shared: &Arc<Shared>,
    call: Call,
    commands: &[Command],
) -> (Vec<u64>, Option<Status>) {
    let mut lent = Lent::default();
    let (ids, structs): (Vec<u64>, Vec<abi::Command>) = {
        let mut book = shared.lock();
        let register = |command| offer(shared, &mut book, &mut lent, command);
        commands.iter().map(register).unzip()
    };
    let first = lent.grown(&structs, shared.extra);
    let count = size_u32(structs.len());
    let status = shared.call(call, |adapter, instance| {
        let take = match (&adapter.verify, call) {
            (Some(verify), Call::Verify) => verify.verify,
            _ => adapter.core.execute,
        };
        // SAFETY: a live instance, and an array of `count` elements that outlives the call.
        unsafe { take.expect("checked when entered")(instance, first, count) }
    });
    drop(lent);
    let answered = status.map_or(0, |status| usize::try_from(status.0).unwrap_or(0));
    if let Some(status) = status.filter(|_| answered > ids.len()) {
        shared.lock().violate(Violation::BadStatus { call, status });
    }
    let taken = answered.min(ids.len());
    let mut book = shared.lock();
    for id in &ids[taken..] {
        let entry = book.commands.entries.remove(id);
        if entry.is_some_and(|entry| entry.is_completed) {
            book.violate(Violation::CompletedNotTaken { id: *id });
        }
    }
    for id in &ids[..taken] {
        if let Some(entry) = book.commands.entries.get_mut(id) {
            entry.is_taken = true;
        }
    }
    drop(book);
    shared.notify();
    (ids[..taken].to_vec(), status)
}

/// Registers the command before the adapter sees it: it may be completed before the call returns.
fn offer(
    shared: &Shared,
    book: &mut Book,
    lent: &mut Lent,
    command: &Command,
) -> (u64, abi::Command) {
    book.commands.next += 1;
    let id = book.commands.next;
    let deadline_ms = book.clock.now_ms() + millis(command.deadline);
    let entry = Entry {
        deadline_ms,
        is_taken: false,
        is_completed: false,
    };
    book.commands.entries.insert(id, entry);
    let own_key = format!("{}-key-{id}", shared.account);
    let body = json!({ "params": command.params, "options": command.options }).to_string();
    let trace = command
        .trace
        .unwrap_or_else(|| Trace::numbered(book.next_trace()));
    let handed = abi::Command {
        size: 0,
        flags: if command.is_redelivered {
            CMD_REDELIVERED
        } else {
            0
        },
        id,
        deadline_ms,
        name: lent.text(&command.name),
        channel: lent.text(command.channel.as_deref().unwrap_or("")),
        idempotency_key: lent.text(command.key.as_deref().unwrap_or(&own_key)),
        body: lent.text(&body),
        trace: trace.to_abi(),
    };
    (id, handed)
}

/// Writes down one completion and what is wrong with it.
///
/// # Safety
/// `completion` must be an element of an array that the adapter passed to the current call.
pub(super) unsafe fn completed(
    shared: &Shared,
    book: &mut Book,
    completion: &Completion,
    to_release: &mut Vec<Kept>,
) {
    let function = Function::Complete;
    let id = completion.id;
    // SAFETY: the caller's promise.
    let (code, native_id, body) = unsafe {
        (
            optional(book, function, "code", completion.code),
            optional(book, function, "native_id", completion.native_id),
            take(book, function, completion.body, to_release),
        )
    };
    let now_ms = book.clock.now_ms();
    let late = match book.commands.entries.get_mut(&id) {
        None => {
            book.violate(Violation::CompletionUnknown { id });
            return;
        }
        Some(entry) if entry.is_completed => {
            book.violate(Violation::CompletedTwice { id });
            return;
        }
        Some(entry) => {
            entry.is_completed = true;
            Duration::from_millis(u64::try_from(now_ms - entry.deadline_ms).unwrap_or(0))
        }
    };
    if late > GRACE {
        book.violate(Violation::CompletionOverdue { id, late });
    }
    let record = CompletionRecord {
        order: book.order(),
        at: shared.at(),
        id,
        status: completion.status,
        code,
        native_id,
        certain: completion.certain != 0,
        retry_after: (completion.retry_after_ms > 0)
            .then(|| Duration::from_millis(completion.retry_after_ms)),
        body,
        by_host: false,
    };
    for (field, problem) in problems(&record) {
        book.violate(bad(function, field, problem));
    }
    book.seen.completions.push(record);
}

fn problems(record: &CompletionRecord) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let status = record.status;
    if matches!(status, Status::E_PANIC | Status::E_CLOSED) || status.0 > Status::ACCEPTED.0 {
        found.push((
            "status",
            format!("is {}, which no completion has", status.0),
        ));
    }
    if status.is_ok() && record.code.is_some() {
        found.push(("code", format!("is {:?} on success", record.code)));
    }
    if status == Status::E_UNCERTAIN && record.certain {
        found.push(("certain", "is 1 though the status is uncertain".to_owned()));
    }
    let length = record.native_id.as_ref().map_or(0, String::len);
    if length > ID_BYTES_MAX {
        let problem = format!("has {length} bytes, the limit is {ID_BYTES_MAX}");
        found.push(("native_id", problem));
    }
    if record.body.len() > PAYLOAD_MAX as usize {
        let problem = format!(
            "has {} bytes, the limit is {PAYLOAD_MAX}",
            record.body.len()
        );
        found.push(("body", problem));
    }
    let is_json = || serde_json::from_slice::<serde::de::IgnoredAny>(&record.body);
    if !record.body.is_empty()
        && let Err(error) = is_json()
    {
        found.push(("body", format!("is no JSON: {error}")));
    }
    found
}

/// Completes what is left after `stop`, as every host does; a violation each, unless a panic explains it.
pub(super) fn complete_missing(shared: &Shared, book: &mut Book, is_excused: bool) {
    for id in book.commands.open() {
        if !is_excused {
            book.violate(Violation::NeverCompleted { id });
        }
        if let Some(entry) = book.commands.entries.get_mut(&id) {
            entry.is_completed = true;
        }
        by_host(shared, book, id, Status::E_UNCERTAIN, Some("lost_ack"));
    }
}

/// Writes a completion that the host made itself.
pub(super) fn by_host(
    shared: &Shared,
    book: &mut Book,
    id: u64,
    status: Status,
    code: Option<&str>,
) {
    let record = CompletionRecord {
        order: book.order(),
        at: shared.at(),
        id,
        status,
        code: code.map(str::to_owned),
        native_id: None,
        certain: status != Status::E_UNCERTAIN,
        retry_after: None,
        body: Vec::new(),
        by_host: true,
    };
    book.seen.completions.push(record);
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}
