//! Writing.

use super::Error;
use super::shared::Shared;
use bytes::Bytes;
use std::sync::Arc;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message as Frame, Utf8Bytes};

/// Writes messages; clones write to the same connection, one message after the other.
///
/// An `Ok` means that the operating system has all of it. Not cancel safe: what was begun may still be sent.
#[derive(Clone)]
pub struct Writer {
    pub(super) shared: Arc<Shared>,
}

impl Writer {
    /// Writes a text message.
    pub async fn text(&self, text: impl Into<String>) -> Result<(), Error> {
        let text: String = text.into();
        self.shared.write(vec![Frame::Text(text.into())]).await
    }

    /// Writes text messages, one after the other and as few pieces as that takes: what has gathered while the adapter did
    /// something else costs one call of the system instead of one each.
    pub async fn texts<T: Into<String>>(
        &self,
        texts: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        let frames = texts.into_iter().map(|text| {
            let text: String = text.into();
            Frame::Text(text.into())
        });
        self.shared.write(frames.collect()).await
    }

    /// Writes a binary message.
    pub async fn binary(&self, bytes: impl Into<Bytes>) -> Result<(), Error> {
        self.shared.write(vec![Frame::Binary(bytes.into())]).await
    }

    /// Begins the orderly closure; the reader sees its end and is to be read until then, or closed with
    /// [`Reader::close`](super::Reader::close). After that only the reader may still get messages.
    pub async fn close(&self, code: u16, reason: &str) -> Result<(), Error> {
        let frame = CloseFrame {
            code: code.into(),
            reason: Utf8Bytes::from(reason),
        };
        self.shared.write(vec![Frame::Close(Some(frame))]).await
    }

    /// The connection is there, as far as known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.is_open()
    }
}
