//! The event model: the words that adapters, core and services share, as types.
//!
//! What is written is written in the order of the reference, without white space, optional members left out. What is
//! read is read leniently: unknown members are ignored, unknown kinds of segments kept as opaque.
//! Everything here is a value: no runtime, no I/O, no clock.
//!
//! Start at [`Event`] and [`body`] for what an adapter sends.
//!
//! Not here: how values cross the plugin ABI (the rest of the SDK), and subjects, which the core spells.

mod alt_text;
pub mod body;
mod code;
mod event;
mod event_parts;
pub mod ids;
mod json;
mod media;
mod message;
mod names;
mod names_macro;
mod numbers;
mod parts;
mod record;
pub mod segment;
mod time;
mod word;

pub use alt_text::{ALT_TEXT_CHARS_MAX, alt_text};
pub use body::Body;
pub use code::{ERROR_TEXT_CHARS_MAX, ErrorBody, ErrorCode, ErrorObject, NativeError};
pub use event::Event;
pub use event_parts::*;
pub use json::{Ext, Json};
pub use media::{Media, MediaSource};
pub use message::{Mentions, Message, ReplyTo};
pub use names::*;
pub use parts::{Channel, Member, Own, Target, User};
pub use segment::{Content, Segment};
pub use time::{BadTime, Time};
