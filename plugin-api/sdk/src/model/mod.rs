//! The event model: the words that adapters, core and services share, as types.
//!
//! What is written is written in the order of the reference, without white space, optional members left out. What is
//! read is read leniently: unknown members are ignored, unknown kinds of segments kept as opaque.
//! Everything here is a value: no runtime, no I/O, no clock.
//!
//! Start at [`Event`] and [`body`] for what an adapter sends, at [`Command`], [`params`] and [`results`] for what it is
//! asked.
//!
//! Not here: how values cross the plugin ABI (the rest of the SDK), and subjects, which the core spells.

mod alt_text;
pub mod body;
mod capability;
mod code;
mod command;
mod envelope;
mod event;
mod event_parts;
pub mod ids;
mod json;
mod media;
mod message;
mod names;
mod names_macro;
mod nearest;
mod numbers;
pub mod params;
mod parts;
mod record;
pub mod results;
pub mod schema;
pub mod segment;
mod state;
pub mod strict;
mod time;
mod word;

pub use alt_text::{ALT_TEXT_CHARS_MAX, alt_text};
pub use body::Body;
pub use capability::{
    Capabilities, CapabilityDocument, Guarantees, Levels, Limits, MODEL, ModelVersion, Named, Rate,
    SegmentLevels, Transport,
};
pub use code::{ERROR_TEXT_CHARS_MAX, ErrorBody, ErrorCode, ErrorObject, NativeError};
pub use command::{Command, CommandBody, CommandData, Effect, Options, Params};
pub use envelope::{CommandEnvelope, DocumentEnvelope, EventEnvelope, ResultEnvelope};
pub use event::Event;
pub use event_parts::*;
pub use json::{Ext, Json};
pub use media::{Media, MediaSource};
pub use message::{Mentions, Message, ReplyTo};
pub use names::*;
pub use nearest::nearest;
pub use parts::{Channel, Member, Own, Target, User};
pub use results::{Degradation, ResultData, Timing};
pub use segment::{Content, Segment};
pub use state::{
    AdapterBuild, AdapterStateDocument, Challenge, Connection, Durable, Owner, SelfUser, State,
};
pub use time::{BadTime, Time};
