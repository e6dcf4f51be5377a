//! The WebSocket port: handshakes, and one task for each connection that reads and writes it.
//!
//! Reading and writing do not wait for each other, so a client that sends much and reads late is served. Small buffers: a
//! thousand connections are a few megabytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::faults::{Do, On};
use super::http::ACCEPT_AGAIN_AFTER;
use super::sessions::{Out, QUEUE_FRAMES, Session};
use super::world::Shared;

const BUFFER_BYTES: usize = 4 * 1024;
/// Of a client's frame; the page knows none above 1 MiB.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
const CONNECTIONS_MAX: usize = 4_096;
/// How long a handshake that is not answered stays open.
const WITHHELD_FOR: Duration = Duration::from_secs(120);
/// How long a client has for its half of the closing.
const CLOSES_WITHIN: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<TcpStream>;

pub async fn serve(listener: TcpListener, world: Shared) -> std::io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return Ok(()); // it is never closed
        };
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            continue;
        };
        let world = world.clone();
        tokio::spawn(async move {
            let _place = place;
            one(stream, peer, world).await;
        });
    }
}

async fn one(stream: TcpStream, peer: SocketAddr, world: Shared) {
    // Without it an answer would wait for the acknowledgement of the one before; if it fails, the connection is gone already.
    let _ = stream.set_nodelay(true);
    let (conn, refusal) = {
        let mut world = world.lock();
        world.last_conn += 1;
        let conn = world.last_conn;
        let fault = world.hit(On::Handshake, None, "/").map(|(_, fault)| fault);
        (conn, fault)
    };
    let mut status = 0;
    match refusal.as_ref().map(|fault| fault.what) {
        Some(Do::Drop) => return tell(&world, conn, "drop", (false, None)),
        Some(Do::Withhold) => {
            tell(&world, conn, "withhold", (false, None));
            // The client's patience is shorter.
            return tokio::time::sleep(WITHHELD_FOR).await;
        }
        Some(_) => status = refusal.and_then(|fault| fault.status).unwrap_or(403),
        None => {}
    }
    let Some(socket) = shake_hands(stream, conn, status, &world).await else {
        return;
    };
    let (queue, queued) = mpsc::channel(QUEUE_FRAMES);
    let session = Session::new(conn, queue);
    let kill = session.kill.clone();
    world.lock().sessions.insert(conn, session);
    let ip = peer.ip().to_string();
    let (writer, mut reader) = socket.split();
    let why = tokio::select! {
        biased;
        () = kill.notified() => "overflow",
        why = both(writer, &mut reader, queued, conn, &ip, &world) => why,
    };
    world.lock().ended(conn, why);
}

fn tell(world: &Shared, conn: u64, outcome: &str, (cookie, origin): (bool, Option<String>)) {
    let fields = json!({ "conn": conn, "outcome": outcome, "cookie": cookie, "origin": origin });
    world.lock().tell("handshake", fields);
}

async fn shake_hands(stream: TcpStream, conn: u64, status: u16, world: &Shared) -> Option<Socket> {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    #[allow(clippy::result_large_err, reason = "the library's signature")]
    let looked_at = |request: &Request, response: Response| {
        let header = |name| {
            request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let about = (
            header("cookie").is_some(),
            header("origin").map(str::to_owned),
        );
        let refused = match (status, request.uri().path()) {
            (0, "/") => None,
            (0, _) => Some(404),
            (status, _) => Some(status),
        };
        let Some(status) = refused else {
            tell(world, conn, "opened", about);
            return Ok(response);
        };
        tell(world, conn, &format!("refused with {status}"), about);
        let mut response = ErrorResponse::new(None);
        *response.status_mut() = status.try_into().unwrap_or_default();
        Err(response)
    };
    let accepted =
        tokio_tungstenite::accept_hdr_async_with_config(stream, looked_at, Some(config)).await;
    accepted.ok()
}

/// Why the connection ended, for those ends that the session does not know itself.
async fn both(
    mut writer: SplitSink<Socket, Message>,
    reader: &mut SplitStream<Socket>,
    mut queued: mpsc::Receiver<Out>,
    conn: u64,
    ip: &str,
    world: &Shared,
) -> &'static str {
    let end = tokio::select! {
        biased;
        end = write(&mut writer, &mut queued) => end,
        why = read(reader, conn, ip, world) => return why,
    };
    match end {
        End::Closing => {
            let closed = async { while reader.next().await.is_some_and(|it| it.is_ok()) {} };
            let _ = tokio::time::timeout(CLOSES_WITHIN, closed).await;
            "close"
        }
        End::Gone => "lost",
        End::HalfOpen => loop {
            match queued.recv().await {
                Some(Out::Drop | Out::Cut(_) | Out::Close(..)) | None => return "drop",
                Some(Out::Text(_) | Out::Binary(_) | Out::HalfOpen) => {}
            }
        },
    }
}

async fn read(
    reader: &mut SplitStream<Socket>,
    conn: u64,
    ip: &str,
    world: &Shared,
) -> &'static str {
    loop {
        match reader.next().await {
            Some(Ok(Message::Text(text))) => world.lock().heard(conn, &text, ip),
            Some(Ok(Message::Binary(_))) => {
                world
                    .lock()
                    .refuse(conn, "", None, 400, "frames are text messages");
            }
            Some(Ok(Message::Close(_))) | Some(Err(Error::ConnectionClosed)) => {
                // Answers the closing.
                let _ = reader.next().await;
                return "closed_by_client";
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return "lost",
        }
    }
}

enum End {
    Closing,
    Gone,
    HalfOpen,
}

async fn write(writer: &mut SplitSink<Socket, Message>, queued: &mut mpsc::Receiver<Out>) -> End {
    while let Some(out) = queued.recv().await {
        let sent = match out {
            Out::Text(text) => writer.send(Message::text(text)).await,
            Out::Binary(text) => writer.send(Message::binary(text)).await,
            Out::Cut(text) => {
                let mut half = text.into_bytes();
                half.truncate(half.len() / 2);
                let unfinished = Frame::message(half, OpCode::Data(Data::Text), false);
                let _ = writer.send(Message::Frame(unfinished)).await;
                return End::Gone;
            }
            Out::Close(code, reason) => {
                let frame = CloseFrame {
                    code: CloseCode::from(code),
                    reason: reason.into(),
                };
                let _ = writer.send(Message::Close(Some(frame))).await;
                return End::Closing;
            }
            Out::Drop => return End::Gone,
            Out::HalfOpen => return End::HalfOpen,
        };
        if sent.is_err() {
            return End::Gone;
        }
    }
    End::Gone
}
