//! The bridge's log in a demo: warnings and errors, for the one who shows the course, and where its status is told.
//!
//! Bounded: what nobody takes in time is left out; a log is no record.

use std::fmt::{self, Write as _};
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// More than a demo's fault makes in one go.
const WAITING_MAX: usize = 64;

/// One line of the log.
#[derive(Debug)]
pub(super) struct Notice {
    pub is_warning: bool,
    pub message: String,
    /// Whom it is about, if it is about an account.
    pub account: Option<String>,
    /// Of the adapter, if the adapter says it.
    pub part: Option<String>,
    /// Everything else, as `key=value`.
    pub details: String,
    /// Where the bridge answers probes; in one line of its start.
    pub admin: Option<String>,
}

/// The bridge finds its log in other hands, and leaves it there.
pub(super) fn install() -> mpsc::Receiver<Notice> {
    let (notices, receiver) = mpsc::channel(WAITING_MAX);
    let subscriber = tracing_subscriber::registry().with(Notices(notices));
    // Fails only where there is a log already.
    let _ = tracing::subscriber::set_global_default(subscriber);
    receiver
}

struct Notices(mpsc::Sender<Notice>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Notices {
    fn enabled(&self, of: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // A lost connection is told by the bridge's status, once.
        *of.level() <= Level::INFO && !of.target().starts_with("async_nats")
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut notice = Notice {
            is_warning: *event.metadata().level() <= Level::WARN,
            message: String::new(),
            account: None,
            part: None,
            details: String::new(),
            admin: None,
        };
        event.record(&mut notice);
        if notice.is_warning || notice.admin.is_some() {
            // Full: nobody looks.
            let _ = self.0.try_send(notice);
        }
    }
}

impl Visit for Notice {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            "account" => self.account = Some(text),
            "admin" => self.admin = Some(text),
            "part" => self.part = Some(text.trim_matches('"').to_owned()),
            name => {
                let gap = if self.details.is_empty() { "" } else { " " };
                // Writing into a string does not fail.
                let _ = write!(self.details, "{gap}{name}={text}");
            }
        }
    }
}
