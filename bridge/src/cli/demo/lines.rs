//! The lines of a demo: aligned, each within the width of a terminal where the texts allow it.

use super::notices::Notice;
use crate::bus::clock;
use crate::cli::tap;
use im_bridge_sdk::model::Time;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Messages in full within one second; of more, people see a blur.
const FULL_A_SECOND: u32 = 8;
/// In a second after one in which far more came.
const FULL_IN_A_FLOOD: u32 = 1;
/// What an adapter calls the place of a panic in its log.
const PANIC: &str = "panic";
const SECOND: Duration = Duration::from_secs(1);

/// A line of the start.
pub(super) fn fact(name: &str, what: &str, state: &str, took: Option<Duration>) -> String {
    let took = took.map(|took| format!("{:.1} s", took.as_secs_f32()));
    let line = format!(
        "  {name:<8}  {what:<58}  {state:<6}  {}",
        took.unwrap_or_default()
    );
    line.trim_end().to_owned()
}

/// A message, or an answer: what, and at the end where and how fast.
pub(super) fn message(way: &str, account: &str, channel: &str, said: &str, end: &str) -> String {
    let (channel, said) = (tap::one_line(channel), tap::one_line(said));
    format!(
        "  {}  {way:<3}  {account:<9}  {channel:<8}  {said:<20}  {end}",
        now()
    )
}

/// Something that changed, or that the demo does.
pub(super) fn change(way: &str, who: &str, what: &str) -> String {
    format!("  {}  {way:<3}  {who:<9}  {what}", now())
}

/// An account's state, in a few words.
pub(super) fn state(state: &Value) -> String {
    let word = state["state"].as_str().unwrap_or("?");
    let mut text = word.to_owned();
    if let Some(reason) = state["reason"].as_str() {
        text += &format!(" ({reason})");
    }
    let next = state["connection"]["next_attempt_at"].as_str();
    if let Some(next) = next.and_then(|next| next.parse::<Time>().ok()) {
        let left = u64::try_from(next.ms() - clock::unix_ms()).unwrap_or(0);
        text += &format!(
            ", again in {:.1} s",
            Duration::from_millis(left).as_secs_f32()
        );
    }
    text
}

/// A warning, if it says more than the states beside it. An adapter's own are for those who want all of it, but a panic is
/// for everybody.
pub(super) fn notice(notice: &Notice, wants_all: bool) -> Option<String> {
    let who = notice.account.as_deref().unwrap_or("bridge");
    let text = match notice.part.as_deref() {
        Some(PANIC) => format!("plugin {}", notice.message),
        Some(_) if !wants_all => return None,
        _ => format!("{} {}", notice.message, notice.details),
    };
    Some(change("log", who, tap::one_line(&text).trim_end()))
}

/// Of the day, as logs have it.
fn now() -> String {
    Time::from_ms(clock::unix_ms()).to_string()[11..23].to_owned()
}

/// Shows a few lines a second in full, and how many more there were.
#[derive(Debug)]
pub(super) struct Fold {
    since: Instant,
    /// Still to be shown in this second.
    left: u32,
    folded: Folded,
}

/// What was not shown.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Folded {
    messages: u64,
    results: u64,
}

impl Fold {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            left: FULL_A_SECOND,
            folded: Folded::default(),
        }
    }

    /// Whether the next message is shown in full.
    pub(super) fn takes_message(&mut self) -> bool {
        let is_shown = self.takes();
        self.folded.messages += u64::from(!is_shown);
        is_shown
    }

    /// Whether the next result is.
    pub(super) fn takes_result(&mut self) -> bool {
        let is_shown = self.takes();
        self.folded.results += u64::from(!is_shown);
        is_shown
    }

    fn takes(&mut self) -> bool {
        let is_shown = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_shown
    }

    /// When [`Self::rest`] is to be asked.
    pub(super) fn due(&self) -> Instant {
        self.since + SECOND
    }

    /// A line about what was not shown in the second that is over.
    pub(super) fn rest(&mut self) -> Option<String> {
        let Folded { messages, results } = std::mem::take(&mut self.folded);
        let is_flood = messages + results > u64::from(FULL_A_SECOND);
        self.since = Instant::now();
        self.left = if is_flood {
            FULL_IN_A_FLOOD
        } else {
            FULL_A_SECOND
        };
        let text = match (messages, results) {
            (0, 0) => return None,
            (messages, 0) => format!("{messages} messages more"),
            (0, results) => format!("{results} results more"),
            (messages, results) => format!("{messages} messages and {results} results more"),
        };
        Some(change("…", "", &text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_for_a_second_is_counted() {
        let mut fold = Fold::new();
        let shown = (0..100).filter(|_| fold.takes_message()).count();
        assert_eq!(shown, 8);
        assert!(!fold.takes_result());
        let rest = fold.rest().unwrap();
        assert!(rest.ends_with("92 messages and 1 results more"), "{rest}");
        // It goes on, so less is shown, until it ebbs.
        assert!(fold.takes_message() && !fold.takes_message());
        assert!(fold.rest().unwrap().ends_with("1 messages more"));
        assert_eq!((0..100).filter(|_| fold.takes_result()).count(), 8);
    }
}
