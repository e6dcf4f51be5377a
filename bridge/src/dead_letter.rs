//! What can never be done or stored as it is, kept for a person: the message, and what went wrong with it.
//!
//! A letter has the same id however often it is written, so that writing it again after a crash changes nothing. It is
//! stored before whatever it is about is settled or acknowledged, unless it is refused for good: then it is logged and counted.
//!
//! Not here: deciding what becomes a letter (`inbound`, `outbound`), and sending it again (`cli`).

use crate::bus::ack::{MESSAGE_ID, Refusal};
use crate::bus::blobs::{BlobError, Blobs};
use crate::bus::objects::{COMMAND_BYTES_MAX, Names};
use crate::bus::patience::Patience;
use crate::bus::{AckTable, Acked, Bus, Headers, Hold, Outgoing, Target};
use async_nats::Subject;
use bytes::Bytes;
use im_bridge_sdk::model::{ErrorObject, Time};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::sleep;

/// Between tries when the stream of dead letters refuses one.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// The stream forgets ids after this long.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(900);
/// Longest `Im-Dlq-Error`.
const ERROR_BYTES_MAX: usize = 4 * 1024;

/// What a letter holds.
#[derive(Clone, Debug)]
pub enum Body {
    /// The message as it was, or would have been, published.
    Message(Bytes),
    /// The adapter's bytes: no envelope could be made.
    Payload(Bytes),
}

/// One dead letter.
#[derive(Clone, Debug)]
pub struct Letter<'a> {
    /// Where dead letters of this account go.
    pub subject: Subject,
    /// Of the message.
    pub id: Box<str>,
    /// Where it was, or would have been, published; none: no subject could be formed.
    pub original: Option<String>,
    pub error: &'a ErrorObject,
    /// How often it was tried.
    pub attempts: u32,
    pub first: Time,
    pub last: Time,
    /// The message's own, without its id.
    pub headers: Headers,
    pub body: Body,
}

/// What became of a letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Put {
    Stored,
    /// The lease was lost first; it may be stored.
    Lost,
    /// Nobody takes it, and it is logged: whatever waits behind it goes on.
    Refused,
}

/// Writes them.
#[derive(Clone)]
pub struct DeadLetters {
    acks: AckTable,
    blobs: Blobs,
    stream: Target,
}

impl DeadLetters {
    pub fn new(bus: &Bus, acks: &AckTable) -> Self {
        Self {
            acks: acks.clone(),
            blobs: Blobs::new(bus, acks),
            stream: Target {
                name: Names::new(bus.subjects.root()).dead_letters().into(),
                duplicate_window: DUPLICATE_WINDOW,
                waits_for_permission: false,
            },
        }
    }

    /// Tries until it is stored, the lease is lost, or it is refused for good.
    pub async fn put(&self, letter: Letter<'_>, hold: &Hold) -> Put {
        let mut headers = letter.headers.clone();
        if let Some(original) = &letter.original {
            headers.push(("Im-Dlq-Subject".into(), original.as_str().into()));
        }
        headers.extend([
            ("Im-Dlq-Code".into(), letter.error.code.as_str().into()),
            ("Im-Dlq-Error".into(), error_header(letter.error).into()),
            ("Im-Dlq-Attempts".into(), letter.attempts.to_string().into()),
            ("Im-Dlq-First".into(), letter.first.to_string().into()),
            ("Im-Dlq-Last".into(), letter.last.to_string().into()),
        ]);
        let body = match letter.body {
            Body::Message(body) => body,
            Body::Payload(body) => {
                headers.push(("Im-Dlq-Body".into(), "payload".into()));
                body
            }
        };
        let mut message = Outgoing {
            subject: letter.subject,
            message_id: letter.id,
            headers,
            payload: body,
            stream: self.stream.clone(),
            hold: hold.clone(),
        };
        let mut is_by_reference = false;
        let mut patience = Patience::default();
        loop {
            let is_large = size(&message) > COMMAND_BYTES_MAX;
            let why = match is_large && !is_by_reference {
                true => match self.refer(&mut message, hold).await {
                    Ok(()) => {
                        is_by_reference = true;
                        continue;
                    }
                    Err(BlobError::Abandoned) => return Put::Lost,
                    Err(error) => error.to_string(),
                },
                false => match self.acks.publish(message.clone()).await.acked().await {
                    Acked::Stored { .. } | Acked::Duplicate { .. } => return Put::Stored,
                    Acked::Abandoned => return Put::Lost,
                    Acked::Refused(Refusal::TooLarge) if !is_by_reference => {
                        match self.refer(&mut message, hold).await {
                            Ok(()) => {
                                is_by_reference = true;
                                continue;
                            }
                            Err(BlobError::Abandoned) => return Put::Lost,
                            Err(error) => error.to_string(),
                        }
                    }
                    Acked::Refused(refusal) => refusal.to_string(),
                },
            };
            if !patience.refused() {
                let (subject, code) = (&message.subject, &letter.error.code);
                tracing::error!(%subject, %code, %why, "a dead letter is not stored, and what it is about is lost");
                return Put::Refused;
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    /// Puts the body into the object store and its name in its place.
    async fn refer(&self, message: &mut Outgoing, hold: &Hold) -> Result<(), BlobError> {
        let name = format!("dlq.{}", message.message_id);
        self.blobs.put(&name, &message.payload, hold).await?;
        let urn = format!("urn:im-bridge:blob:{name}");
        message.headers.push(("Im-Dlq-Ref".into(), urn.into()));
        message.payload = Bytes::new();
        Ok(())
    }
}

/// As the server counts it.
fn size(message: &Outgoing) -> u64 {
    const LINE: usize = ": \r\n".len();
    let own: usize = message
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + LINE)
        .sum();
    let id = MESSAGE_ID.len() + message.message_id.len() + LINE;
    (own + id + message.payload.len()) as u64
}

/// JSON in printable ASCII: header lines carry nothing else safely.
fn error_header(error: &ErrorObject) -> String {
    let written = ascii(error);
    if written.len() <= ERROR_BYTES_MAX {
        return written;
    }
    // Its texts are what is long; what is left fits by construction.
    let mut short = ErrorObject {
        native: None,
        hint: None,
        path: None,
        ..error.clone()
    };
    while ascii(&short).len() > ERROR_BYTES_MAX {
        let kept = short.message.chars().count() / 2;
        short.message = short.message.chars().take(kept).collect();
    }
    ascii(&short)
}

fn ascii(error: &ErrorObject) -> String {
    let json = serde_json::to_string(error).expect("the model's maps have string keys");
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if matches!(character, ' '..='~') {
            text.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(text, "\\u{unit:04x}").expect("a String takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use im_bridge_sdk::model::ErrorCode;

    #[test]
    fn the_error_is_printable_ascii_and_reads_back() {
        let error = ErrorObject::new(ErrorCode::CoreError, true, "群聊 🙂 \u{7f} \"x\"\n");
        let header = error_header(&error);
        assert!(
            header.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{header}"
        );
        let read: ErrorObject = serde_json::from_str(&header).unwrap();
        assert_eq!(read, error);
    }

    #[test]
    fn a_long_error_is_cut_to_its_limit() {
        let error = ErrorObject::new(ErrorCode::CoreError, true, "🙂".repeat(512));
        let header = error_header(&error);
        assert!(header.len() <= ERROR_BYTES_MAX);
        let read: ErrorObject = serde_json::from_str(&header).unwrap();
        assert!(read.message.starts_with("🙂🙂") && read.code == error.code);
    }
}
