//! A WebSocket to the provider: a [`Reader`] that the session owns and [`Writer`]s for whoever answers or sends.
//!
//! Promises: a message has at most 4 MiB (an option, at most 16 MiB); the handshake ends within 10 s; pings of the
//! provider are answered and own ones sent while the account waits for credit, and only time in which the reader was
//! listening counts as silence of the peer. Handshake and closure are `session` operations, each ping and pong is a
//! `heartbeat` operation. Dropping the reader ends the connection; closing it does so in order, so that the peer gets
//! everything that was written.
//!
//! ```no_run
//! # async fn f(cx: &im_bridge_sdk::Context) -> Result<(), im_bridge_sdk::websocket::Error> {
//! use im_bridge_sdk::websocket::{Message, Options};
//! let options = Options::new("wss://im.example/ws?token=x").template("/ws");
//! let (mut reader, writer) = cx.websocket("connect", options).await?;
//! writer.text(r#"{"hello":1}"#).await?;
//! loop {
//!     tokio::select! {
//!         biased;
//!         () = cx.draining() => {
//!             reader.close(1000, "").await;
//!             return Ok(());
//!         }
//!         message = async { cx.ready().await; reader.next().await } => match message? {
//!             Message::Text(text) => println!("{text}"),
//!             Message::Binary(bytes) => println!("{} bytes", bytes.len()),
//!         },
//!     }
//! }
//! # }
//! ```
//!
//! Not here: reconnecting, and pings that a provider wants as messages of its own. Compression is not offered.

mod connect;
mod error;
mod heart;
mod options;
mod reader;
mod shared;
mod stream;
mod writer;

pub use error::Error;
pub use options::{Options, Ping};
pub use reader::{Message, Reader};
pub use writer::Writer;

/// Most bytes of a message, unless an option says otherwise.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most that the option can ask for.
pub const MESSAGE_BYTES_LIMIT: usize = 16 * 1024 * 1024;
