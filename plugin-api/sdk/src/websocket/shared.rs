//! The connection, shared by its reader, its writers and its heart.
//!
//! Reader and writers are polled by tasks of one thread; the lock is there because adapters keep writers in themselves,
//! and an adapter moves once, into its thread. It is held for a poll and never across an await.

use super::Error;
use super::stream::MaybeTls;
use futures_util::{Sink, Stream};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll};
use tokio::sync::Notify;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message as Frame};

pub(super) type Socket = WebSocketStream<MaybeTls>;

pub(super) struct Shared {
    /// None once the reader is gone.
    socket: Mutex<Option<Box<Socket>>>,
    /// One writer at a time: the library keeps one waker for writing.
    turn: tokio::sync::Mutex<()>,
    /// Wakes writers when the reader is gone.
    ended: Notify,
    pub host: String,
    pub message_bytes_max: usize,
}

impl Shared {
    pub fn new(socket: Box<Socket>, host: String, message_bytes_max: usize) -> Self {
        Self {
            socket: Mutex::new(Some(socket)),
            turn: tokio::sync::Mutex::new(()),
            ended: Notify::new(),
            host,
            message_bytes_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Socket>>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the connection; writers that wait are told.
    pub fn end(&self) {
        // Taken out first: dropping it is foreign code.
        let socket = self.lock().take();
        drop(socket);
        self.ended.notify_waiters();
    }

    pub fn is_open(&self) -> bool {
        self.lock().is_some()
    }

    fn poll<T>(
        &self,
        poll: impl FnOnce(Pin<&mut Socket>) -> Poll<Result<T, tungstenite::Error>>,
    ) -> Poll<Result<T, Error>> {
        match self.lock().as_mut() {
            None => Poll::Ready(Err(Error::NotOpen)),
            Some(socket) => poll(Pin::new(socket.as_mut()))
                .map_err(|error| Error::of_open(error, &self.host, self.message_bytes_max)),
        }
    }

    /// The next frame; none at the end of the stream. A partial frame stays in the socket.
    pub fn poll_frame(&self, cx: &mut TaskContext<'_>) -> Poll<Result<Option<Frame>, Error>> {
        self.poll(|socket| socket.poll_next(cx).map(Option::transpose))
    }

    /// Writes frames in their order and flushes them together.
    ///
    /// Dropped midway, some of them may still be written by the next flush: what was begun counts as sent.
    pub async fn write(&self, frames: Vec<Frame>) -> Result<(), Error> {
        let limit = self.message_bytes_max;
        if frames.iter().any(|frame| frame.len() > limit) {
            return Err(Error::TooLarge { limit });
        }
        let _turn = self.turn.lock().await;
        let (mut frames, mut has_begun) = (frames.into_iter(), false);
        let mut ended = std::pin::pin!(self.ended.notified());
        poll_fn(|cx| {
            if let Poll::Ready(()) = std::future::Future::poll(ended.as_mut(), cx) {
                return Poll::Ready(Err(if has_begun {
                    self.cut_off()
                } else {
                    Error::NotOpen
                }));
            }
            while frames.len() > 0 {
                std::task::ready!(self.poll(|socket| socket.poll_ready(cx)))
                    .map_err(|error| self.broken(error, has_begun))?;
                let frame = frames.next().expect("asked above");
                match self.poll(|socket| Poll::Ready(socket.start_send(frame))) {
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(self.broken(error, has_begun)));
                    }
                    Poll::Ready(Ok(())) | Poll::Pending => has_begun = true,
                }
            }
            self.poll(|socket| socket.poll_flush(cx))
                .map_err(|error| self.broken(error, has_begun))
        })
        .await
    }

    /// Once a frame was begun, whether it arrived is not known any more.
    fn broken(&self, error: Error, has_begun: bool) -> Error {
        if has_begun && matches!(error, Error::NotOpen) {
            self.cut_off()
        } else {
            error
        }
    }

    fn cut_off(&self) -> Error {
        let source = "closed while a message was being written".into();
        Error::Broken {
            host: self.host.clone(),
            source,
        }
    }
}
