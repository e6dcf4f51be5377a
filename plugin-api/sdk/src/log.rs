//! Forwards `tracing` and panics of this plugin to the log of the instance concerned.
//!
//! The host's subscriber sees nothing of a plugin: each image has its own copy of `tracing`. The wanted level is cached
//! and asked for again at most once a second while records are suppressed, so that a level raised by the operator
//! arrives.
//!
//! Not here: spans. They cost the adapter nothing and are not forwarded; operations are reported by `Context::op`.

use crate::engine::scope;
use crate::ffi::link::{HostLink, count, size_of_u32};
use crate::state::cut;
use im_bridge_plugin_api::abi;
use std::cell::Cell;
use std::fmt::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::Once;
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// Most bytes of a message; the host cuts there too.
const MESSAGE_MAX: usize = 8 * 1024;
/// Most fields of a record.
const FIELDS_MAX: usize = 16;
/// How long a suppressed level is believed.
const ASK_AGAIN: Duration = Duration::from_secs(1);

thread_local! {
    /// A host that is linked statically logs with the same `tracing`: its records must not come back here.
    static IS_LOGGING: Cell<bool> = const { Cell::new(false) };
    static ASKED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Installs subscriber and panic hook, once per image.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails when a program that links the adapter statically has a subscriber already, which then keeps it.
        let _ = tracing::subscriber::set_global_default(Forwarder);
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !forward_panic(panic) {
                former(panic);
            }
        }));
    });
}

/// True when the instance's host took it.
fn forward_panic(panic: &PanicHookInfo<'_>) -> bool {
    let Some(link) = scope::current().filter(|link| !link.is_closed()) else {
        return false;
    };
    // An interpreter takes many seconds to name the frames.
    let backtrace = if cfg!(miri) {
        String::new()
    } else {
        std::backtrace::Backtrace::force_capture().to_string()
    };
    let thread = std::thread::current();
    send(
        &link,
        abi::LogLevel::ERROR,
        "panic",
        &panic.to_string(),
        &[
            ("thread", thread.name().unwrap_or("")),
            ("backtrace", cut(&backtrace, MESSAGE_MAX)),
        ],
    );
    true
}

struct Forwarder;

impl Subscriber for Forwarder {
    /// Asked each time: what is wanted differs by instance and changes. The default would keep the first answer for ever.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if IS_LOGGING.get() {
            return false;
        }
        let Some(link) = scope::current() else {
            return false;
        };
        let level = level_of(*metadata.level()).0;
        if level > link.wanted() && is_time_to_ask() {
            IS_LOGGING.set(true);
            link.log(None);
            IS_LOGGING.set(false);
        }
        level <= link.wanted()
    }

    // Spans are not forwarded, so that all of them may share an id.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(link) = scope::current() else { return };
        let mut record = Record::default();
        event.record(&mut record);
        let fields: Vec<(&str, &str)> = record
            .fields
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        let metadata = event.metadata();
        send(
            &link,
            level_of(*metadata.level()),
            metadata.target(),
            &record.message,
            &fields,
        );
    }
}

fn is_time_to_ask() -> bool {
    let now = Instant::now();
    let is_due = ASKED
        .get()
        .is_none_or(|asked| now.duration_since(asked) >= ASK_AGAIN);
    if is_due {
        ASKED.set(Some(now));
    }
    is_due
}

fn level_of(level: Level) -> abi::LogLevel {
    match level {
        Level::ERROR => abi::LogLevel::ERROR,
        Level::WARN => abi::LogLevel::WARN,
        Level::INFO => abi::LogLevel::INFO,
        Level::DEBUG => abi::LogLevel::DEBUG,
        Level::TRACE => abi::LogLevel::TRACE,
    }
}

fn send(
    link: &HostLink,
    level: abi::LogLevel,
    target: &str,
    message: &str,
    fields: &[(&str, &str)],
) {
    let pairs: Vec<abi::Pair> = fields
        .iter()
        .map(|(key, value)| abi::Pair {
            key: abi::Str::new(key),
            value: abi::Str::new(value),
        })
        .collect();
    let record = abi::Log {
        size: size_of_u32::<abi::Log>(),
        level,
        target: abi::Str::new(target),
        message: abi::Str::new(cut(message, MESSAGE_MAX)),
        fields: pairs.as_ptr(),
        fields_len: count(pairs.len()) as usize,
        trace: scope::trace().to_abi(),
    };
    IS_LOGGING.set(true);
    link.log(Some(&record));
    IS_LOGGING.set(false);
}

/// A record's message and fields as text.
#[derive(Default)]
struct Record {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Record {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if field.name() == "message" {
            // Writing to a string does not fail; what a Display refuses to say is missing.
            let _ = self.message.write_fmt(value);
        } else if self.fields.len() < FIELDS_MAX {
            let mut text = String::new();
            let _ = text.write_fmt(value);
            self.fields.push((field.name(), text));
        }
    }
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }

    // Without the quotes that Debug would put around it.
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, format_args!("{}", crate::fault::chain(value)));
    }
}
