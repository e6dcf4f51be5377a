//! The way to the provider: a WebSocket to a process, or a port of a world inside this plugin. Same frames on both.
//!
//! Not here: what is said (`session.rs`).

use std::future::poll_fn;
use std::sync::LazyLock;
use std::time::Duration;

use im_bridge_sdk::websocket::{Message, Options, Reader, Writer};
use im_bridge_sdk::{Context, Fault, Noise};
use tokio::select;

use crate::Config;
use crate::native::{Down, Up};
use crate::provider::{Heard, Port, Worlds};

/// The worlds inside this plugin. They outlive an instance, as a provider does.
static WORLDS: LazyLock<Worlds> = LazyLock::new(Worlds::default);

/// A peer that takes nothing for so long is gone.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// Longest sleep of a world in which nothing is planned.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(3_600);

pub enum Socket<'a> {
    Inside {
        port: Port,
        cx: &'a Context,
    },
    WebSocket {
        reader: Reader,
        writer: Writer,
        cx: &'a Context,
    },
}

impl<'a> Socket<'a> {
    pub async fn connect(cx: &'a Context, config: &Config) -> Result<Self, Fault> {
        let Some(url) = &config.url else {
            cx.op("connect", Noise::Session).done();
            return Ok(Self::Inside {
                port: WORLDS.plug_in(),
                cx,
            });
        };
        let (reader, writer) = cx.websocket("connect", Options::new(url.as_str())).await?;
        Ok(Self::WebSocket { reader, writer, cx })
    }

    pub async fn send(&mut self, frame: &Up) -> Result<(), Fault> {
        self.send_all(std::slice::from_ref(frame)).await
    }

    /// In their order, and written together.
    pub async fn send_all(&mut self, frames: &[Up]) -> Result<(), Fault> {
        let texts = frames.iter().map(|frame| {
            serde_json::to_string(frame).expect("frames have string keys only, so they are JSON")
        });
        match self {
            Self::Inside { port, cx } => {
                for text in texts {
                    port.receive(&text, cx.now_ms());
                }
                Ok(())
            }
            Self::WebSocket { writer, cx, .. } => {
                within(cx, WRITE_WITHIN, async { Ok(writer.texts(texts).await?) }).await
            }
        }
    }

    /// The next frame that makes sense; the end of the connection is a fault. Cancel safe.
    pub async fn next(&mut self) -> Result<Down, Fault> {
        loop {
            let Message::Text(text) = self.next_message().await? else {
                return Err(Fault::retry("provider_error", "a frame that is no text"));
            };
            match Down::read(&text) {
                Ok(frame) => return Ok(frame),
                // Not a reason to hang up: what follows may be fine. Its text may be anything, so it is not logged.
                Err(error) => tracing::warn!(%error, "a frame that cannot be read was passed over"),
            }
        }
    }

    async fn next_message(&mut self) -> Result<Message, Fault> {
        match self {
            Self::Inside { port, cx } => Ok(Message::Text(hear(cx, port).await?.into())),
            Self::WebSocket { reader, .. } => Ok(reader.next().await?),
        }
    }

    pub async fn close(self) {
        if let Self::WebSocket { reader, .. } = self {
            reader.close(1000, "").await;
        }
    }
}

async fn hear(cx: &Context, port: &mut Port) -> Result<String, Fault> {
    loop {
        let now_ms = cx.now_ms();
        let wait = port.due_ms().map_or(LOOK_AT_LEAST_EVERY, |due_ms| {
            Duration::from_millis(u64::try_from(due_ms - now_ms).unwrap_or(0))
        });
        select! {
            biased;
            heard = poll_fn(|task| port.poll(cx.now_ms(), task)) => return match heard {
                Heard::Frame(text) => Ok(text),
                Heard::End => Err(Fault::retry("network", "the provider hung up")),
            },
            () = cx.sleep(wait) => {}
        }
    }
}

/// A future with a deadline; a fault when that passes.
pub async fn within<T>(
    cx: &Context,
    limit: Duration,
    future: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let late = || Err(Fault::retry("timeout", "the provider takes too long"));
    cx.timeout(limit, future).await.unwrap_or_else(late)
}
