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

    /// Writes one frame and flushes it.
    ///
    /// Dropped midway, the frame may still be written by the next flush: what was begun counts as sent.
    pub async fn write(&self, frame: Frame) -> Result<(), Error> {
        if frame.len() > self.message_bytes_max {
            let limit = self.message_bytes_max;
            return Err(Error::TooLarge { limit });
        }
        let _turn = self.turn.lock().await;
        let mut frame = Some(frame);
        let mut ended = std::pin::pin!(self.ended.notified());
        poll_fn(|cx| {
            if let Poll::Ready(()) = std::future::Future::poll(ended.as_mut(), cx) {
                return Poll::Ready(Err(if frame.is_some() {
                    Error::NotOpen
                } else {
                    self.cut_off()
                }));
            }
            if frame.is_some() {
                std::task::ready!(self.poll(|socket| socket.poll_ready(cx)))?;
                let frame = frame.take().expect("asked above");
                match self.poll(|socket| Poll::Ready(socket.start_send(frame))) {
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            self.poll(|socket| socket.poll_flush(cx)).map_err(|error| {
                // The frame was begun: whether it arrived is not known any more.
                if matches!(error, Error::NotOpen) {
                    self.cut_off()
                } else {
                    error
                }
            })
        })
        .await
    }

    fn cut_off(&self) -> Error {
        let source = "closed while a message was being written".into();
        Error::Broken {
            host: self.host.clone(),
            source,
        }
    }
}
