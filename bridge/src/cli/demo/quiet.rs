//! The bridge's log in a demo: warnings and errors, aside. Standard output is the demo's.

use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// The bridge finds its log in other hands, and leaves it there.
pub(super) fn install() {
    let subscriber = tracing_subscriber::registry().with(Warnings);
    // Fails only where there is a log already.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct Warnings;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Warnings {
    fn enabled(&self, of: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *of.level() <= Level::WARN
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        eprintln!("  {:<8}  {}", event.metadata().level(), message.0);
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
