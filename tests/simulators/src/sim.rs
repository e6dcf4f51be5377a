//! The sim adapter's provider behind WebSockets: each connection is plugged into the worlds of this process.

use std::future::poll_fn;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt, StreamExt};
use im_bridge_adapter_sim::provider::{Heard, Port, Worlds};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{Error, Message, protocol::WebSocketConfig};

/// Longest time between two looks at the clock while a world has nothing planned.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(1);
// The library's default of 128 KiB each way is 250 MB for a thousand accounts.
const BUFFER_BYTES: usize = 4 * 1024;

pub async fn serve(listener: TcpListener) -> io::Result<()> {
    let worlds = Worlds::default();
    loop {
        let (stream, _) = listener.accept().await?;
        let port = worlds.plug_in();
        tokio::spawn(async move {
            // A client that breaks off is what tests do all day; the world records the end of its session.
            let _ = serve_one(stream, port).await;
        });
    }
}

async fn serve_one(stream: TcpStream, mut port: Port) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0);
    let mut socket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
    loop {
        let wait = port.due_ms().map_or(LOOK_AT_LEAST_EVERY, |due_ms| {
            Duration::from_millis(u64::try_from(due_ms - now_ms()).unwrap_or(0))
                .min(LOOK_AT_LEAST_EVERY)
        });
        tokio::select! {
            biased;
            heard = poll_fn(|cx| port.poll(now_ms(), cx)) => match heard {
                Heard::Frame(text) => socket.send(Message::text(text)).await?,
                Heard::End => return socket.close(None).await,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => port.receive(&text, now_ms()),
                // Answers it, which is all that is left to do.
                Some(Ok(Message::Close(_))) => return socket.close(None).await,
                None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
            },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
