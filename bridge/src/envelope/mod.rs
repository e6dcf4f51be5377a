//! CloudEvents around everything that the bridge publishes, byte for byte.
//!
//! Attributes are written in one fixed order and the body is spliced in unread, so that an event costs one buffer and no
//! JSON is parsed. What cannot stand in an envelope is refused, never repaired: a reader sees exact native ids.
//!
//! Not here: what results and states say (`outbound`, `account`), subjects and headers (`bus`, `inbound`).

mod event;
mod message;
mod room;
mod text;
mod ulid;

pub use event::{EventAttributes, EventEnvelope, delivery, origin};
pub use message::{Attributes, Document, document, plugin_result, plugin_state, result};
pub use room::Room;
pub use text::traceparent;
pub use ulid::ulid;

use bytes::BufMut;

/// Longest body that stands inside an envelope; a longer one is stored as an object and named.
pub const DATA_BYTES_MAX: usize = 256 * 1024;

/// What an envelope carries.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// A JSON object, spliced in unread.
    Inline(&'a [u8]),
    /// The name of the stored object that holds it.
    Blob(&'a str),
}

/// Version of the event model that the writer of the body speaks. The major is fixed, for each has subjects of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelMinor(pub u32);

/// Major version of the event model.
const MODEL_MAJOR: u32 = 1;

/// Why no envelope can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    #[error("{attribute} has a control character, which an envelope's attribute may not have")]
    ControlCharacter { attribute: &'static str },
    #[error(
        "the body begins or ends with other bytes than `{{` and `}}`; it must be one JSON object"
    )]
    NoObject,
}

impl Data<'_> {
    fn check(&self) -> Result<(), EnvelopeError> {
        match self {
            Data::Inline([b'{', .., b'}']) | Data::Blob(_) => Ok(()),
            Data::Inline(_) => Err(EnvelopeError::NoObject),
        }
    }

    fn len(&self) -> usize {
        match self {
            Data::Inline(json) => DATA.len() + json.len(),
            Data::Blob(name) => DATAREF.len() + name.len() + 1,
        }
    }

    fn write(&self, out: &mut impl BufMut) {
        match self {
            Data::Inline(json) => {
                out.put_slice(DATA.as_bytes());
                out.put_slice(json);
            }
            Data::Blob(name) => {
                out.put_slice(DATAREF.as_bytes());
                out.put_slice(name.as_bytes());
                out.put_u8(b'"');
            }
        }
    }
}

const DATA: &str = "\"data\":";
const DATAREF: &str = "\"dataref\":\"urn:im-bridge:blob:";

#[cfg(test)]
mod tests;
