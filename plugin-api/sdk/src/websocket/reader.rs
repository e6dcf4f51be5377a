//! Reading, answering pings, and noticing that the peer is gone.

use super::options::Options;
use super::shared::Shared;
use super::{Error, Writer};
use crate::{Context, Noise};
use bytes::Bytes;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio_tungstenite::tungstenite::{Message as Frame, Utf8Bytes};

/// How long either side's closure may take: a peer that takes its time costs nobody an orderly end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A message of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text.
    Text(Utf8Bytes),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// The bytes of either.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// Reads messages. Dropping it ends the connection at once; [`Reader::close`] ends it in order.
pub struct Reader {
    cx: Context,
    shared: Arc<Shared>,
    operation: &'static str,
    heartbeat: &'static str,
    what: String,
    dead_after: Option<Duration>,
    /// How long nothing was heard while `next` was awaited.
    silence: Duration,
    /// The peer's close is the answer to ours.
    is_closing: bool,
    is_over: bool,
}

impl Reader {
    pub(super) fn new(
        cx: Context,
        shared: Arc<Shared>,
        operation: &'static str,
        what: String,
        options: &Options,
    ) -> Self {
        Self {
            cx,
            shared,
            operation,
            heartbeat: options.heartbeat,
            what,
            dead_after: options.ping.map(|ping| ping.dead_after),
            silence: Duration::ZERO,
            is_closing: false,
            is_over: false,
        }
    }

    /// The next message. Any error is the end of the connection; [`Error::Closed`] is the orderly one.
    ///
    /// Cancel safe: a partial message stays in the connection. Await it only with credit, as in
    /// `async { cx.ready().await; reader.next().await }`: what is not read the provider keeps.
    pub async fn next(&mut self) -> Result<Message, Error> {
        if self.is_over {
            return Err(Error::NotOpen);
        }
        loop {
            let frame = match self.listen().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Err(self.over(closed(None))),
                Err(Error::NotOpen) => return Err(self.over(closed(None))),
                Err(error) => return Err(self.over(error)),
            };
            match frame {
                Frame::Text(text) => return Ok(Message::Text(text)),
                Frame::Binary(bytes) => return Ok(Message::Binary(bytes)),
                Frame::Ping(_) => {
                    self.beat("ping received");
                    // The library answers when it is polled next, which is now.
                    self.beat("pong sent");
                }
                Frame::Pong(_) => self.beat("pong received"),
                Frame::Close(frame) => {
                    // The answer to it is written by the library, as far as the peer still takes it. If it is the
                    // answer itself, both have said all, and nothing depends on who lets go first.
                    if !self.is_closing {
                        let last = tokio::time::timeout(CLOSE_TIMEOUT, self.listen());
                        // In a box: an idle reader keeps room for the largest of what it may wait for.
                        let _ = Box::pin(last).await;
                    }
                    let closed = match frame {
                        Some(frame) => Error::Closed {
                            code: Some(frame.code.into()),
                            reason: frame.reason.to_string(),
                        },
                        None => closed(None),
                    };
                    return Err(self.over(closed));
                }
                Frame::Frame(_) => {}
            }
        }
    }

    /// Closes in order: says so, reads and throws away what the peer had on its way, and lets the connection go when the
    /// peer has said so, too. Takes a second at most.
    ///
    /// Dropped with something unread in it, a connection is reset, and a reset may cost the peer what was written last: an
    /// acknowledgement, say.
    pub async fn close(mut self, code: u16, reason: &str) {
        self.is_closing = true;
        let writer = Writer {
            shared: Arc::clone(&self.shared),
        };
        let closing = async {
            if writer.close(code, reason).await.is_ok() {
                while self.next().await.is_ok() {}
            }
        };
        // A courtesy: whether the peer still hears it does not matter.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    }

    /// One frame, or the silence that ends the connection. Only time spent in here counts as silence.
    async fn listen(&mut self) -> Result<Option<Frame>, Error> {
        let Some(dead_after) = self.dead_after else {
            return poll_fn(|cx| self.shared.poll_frame(cx)).await;
        };
        let mut listening = Listening::new(&self.cx, &mut self.silence);
        let left = dead_after.saturating_sub(*listening.silence);
        let mut dead = std::pin::pin!(self.cx.sleep(left));
        // A frame that is there is taken first: a machine that was asleep finds its answers before its silence.
        let frame = poll_fn(|cx| {
            if let Poll::Ready(frame) = self.shared.poll_frame(cx) {
                return Poll::Ready(Some(frame));
            }
            dead.as_mut().poll(cx).map(|()| None)
        })
        .await;
        match frame {
            Some(frame) => {
                listening.heard();
                frame
            }
            None => Err(Error::Silent {
                host: self.shared.host.clone(),
                silence: dead_after,
            }),
        }
    }

    fn beat(&self, what: &'static str) {
        let mut op = self.cx.op(self.heartbeat, Noise::Heartbeat);
        op.detail(what);
        op.done();
    }

    /// Reports the end, once, and lets the connection go. What began the session has its span; an end has one only if it was
    /// a failure, and none is one that was asked for.
    fn over(&mut self, error: Error) -> Error {
        if !std::mem::replace(&mut self.is_over, true) {
            let mut op = self.cx.op(self.operation, Noise::Aux);
            match &error {
                _ if self.is_closing && !matches!(error, Error::Closed { .. }) => {
                    op.detail(format!("left {}", self.what));
                    op.done();
                }
                Error::Closed { code, .. } => {
                    let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
                    op.detail(format!("closed {} {code}", self.what));
                    op.done();
                }
                _ => {
                    op.detail(format!("lost {}", self.what));
                    op.class(error.class());
                    op.fail(&error);
                }
            }
            self.shared.end();
        }
        error
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.is_over {
            let mut op = self.cx.op(self.operation, Noise::Aux);
            op.detail(format!("left {}", self.what));
            op.done();
            self.shared.end();
        }
    }
}

fn closed(code: Option<u16>) -> Error {
    Error::Closed {
        code,
        reason: String::new(),
    }
}

/// Adds the time of one wait to the silence, also when the wait is dropped.
struct Listening<'a> {
    cx: &'a Context,
    since: Duration,
    silence: &'a mut Duration,
    is_heard: bool,
}

impl<'a> Listening<'a> {
    fn new(cx: &'a Context, silence: &'a mut Duration) -> Self {
        Self {
            cx,
            since: cx.elapsed(),
            silence,
            is_heard: false,
        }
    }

    fn heard(&mut self) {
        self.is_heard = true;
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        if self.is_heard {
            *self.silence = Duration::ZERO;
        } else {
            *self.silence += self.cx.elapsed().saturating_sub(self.since);
        }
    }
}
