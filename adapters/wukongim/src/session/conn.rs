//! One connection: bytes in and out over WebSocket or TCP, packets in and out in either form.
//!
//! Payloads are unsealed here and sealed here. A packet that is not known is passed over; a RECV whose msgKey does not match
//! is dropped and never acknowledged; a stream that cannot be read ends the connection.
//!
//! Not here: what packets mean (`session.rs`), logging in (`login.rs`).

use std::time::Duration;

use futures_util::FutureExt;
use im_bridge_sdk::websocket::{self, Message, Options};
use im_bridge_sdk::{Context, Fault, Noise};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::config::Codec as CodecKind;
use crate::native::frames::Frames;
use crate::native::jsonrpc::{self, Line, Objects};
use crate::native::packet::Packet;
use crate::native::seal::{Keys, SealError};
use crate::{WukongIm, label};

/// A peer that takes nothing for so long is gone.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// How long a TCP connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Read at a time from TCP.
const READ_BYTES: usize = 32 * 1024;

pub struct Conn<'a> {
    wukongim: &'a WukongIm,
    cx: &'a Context,
    wire: Wire,
    form: Form,
    out: Vec<u8>,
}

enum Wire {
    WebSocket {
        reader: websocket::Reader,
        writer: websocket::Writer,
    },
    Tcp(TcpStream),
}

enum Form {
    Binary {
        frames: Frames,
        version: u8,
        keys: Option<Keys>,
    },
    JsonRpc {
        objects: Objects,
        /// Of the last request.
        number: u32,
    },
}

impl<'a> Conn<'a> {
    pub async fn open(
        wukongim: &'a WukongIm,
        cx: &'a Context,
        address: &str,
    ) -> Result<Self, Fault> {
        let wire = match address.strip_prefix("tcp://") {
            Some(host) => Wire::Tcp(connect(cx, host).await?),
            None => {
                let (reader, writer) = cx.websocket("connect", Options::new(address)).await?;
                Wire::WebSocket { reader, writer }
            }
        };
        let form = match wukongim.config.codec {
            CodecKind::Binary => Form::Binary {
                frames: Frames::default(),
                version: wukongim.config.protocol_version,
                keys: None,
            },
            CodecKind::Jsonrpc => Form::JsonRpc {
                objects: Objects::default(),
                number: 0,
            },
        };
        let out = Vec::new();
        Ok(Self {
            wukongim,
            cx,
            wire,
            form,
            out,
        })
    }

    /// What both agreed on.
    pub fn agreed(&mut self, agreed_version: u8, agreed_keys: Option<Keys>) {
        if let Form::Binary { version, keys, .. } = &mut self.form {
            *version = agreed_version;
            *keys = agreed_keys;
        }
    }

    /// The next packet; the end of the connection is a fault. Cancel safe.
    pub async fn next(&mut self) -> Result<Packet, Fault> {
        loop {
            if let Some(packet) = self.next_read()? {
                return Ok(packet);
            }
            self.read().await?;
        }
    }

    /// The next packet that is there already.
    pub fn next_now(&mut self) -> Result<Option<Packet>, Fault> {
        loop {
            if let Some(packet) = self.next_read()? {
                return Ok(Some(packet));
            }
            match self.read().now_or_never() {
                Some(read) => read?,
                None => return Ok(None),
            }
        }
    }

    /// The next packet of what was read. Unusable ones are passed over.
    fn next_read(&mut self) -> Result<Option<Packet>, Fault> {
        loop {
            let packet = match &mut self.form {
                Form::Binary {
                    frames,
                    version,
                    keys,
                } => {
                    let Some(packet) = frames.next_packet(*version).map_err(undecodable)? else {
                        return Ok(None);
                    };
                    match unsealed(packet, keys.as_ref()) {
                        Ok(packet) => packet,
                        Err(error) => {
                            tracing::warn!(%error, "a message was dropped");
                            self.wukongim.metrics.skipped.add(1.0, &[label::MSG_KEY]);
                            continue;
                        }
                    }
                }
                Form::JsonRpc { objects, .. } => {
                    let Some(object) = objects.next_object().map_err(undecodable)? else {
                        return Ok(None);
                    };
                    match jsonrpc::read(object).map_err(undecodable)? {
                        Line::Packet(packet) => packet,
                        Line::Nothing => continue,
                        // From here on every answer would be this error again.
                        Line::Error(text) => {
                            tracing::debug!(text, "the server could not read an object");
                            return Err(Fault::retry(
                                "provider_error",
                                "the server could not read an object and answers nothing after it",
                            ));
                        }
                    }
                }
            };
            if let Packet::Unknown(kind) = packet {
                tracing::debug!(kind, "a packet that is not known was passed over");
                self.wukongim.metrics.skipped.add(1.0, &[label::UNKNOWN]);
                continue;
            }
            return Ok(Some(packet));
        }
    }

    /// More bytes. Cancel safe.
    async fn read(&mut self) -> Result<(), Fault> {
        match &mut self.wire {
            Wire::WebSocket { reader, .. } => {
                let message: Message = reader.next().await?;
                self.form.push(message.as_bytes());
            }
            Wire::Tcp(stream) => loop {
                stream.readable().await?;
                match take(stream, &mut self.form) {
                    Ok(0) => return Err(Fault::retry("network", "the server hung up")),
                    Ok(_) => return Ok(()),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
            },
        }
        Ok(())
    }

    /// Writes packets in their order and together. The payloads of messages are plain.
    pub async fn write(&mut self, packets: impl IntoIterator<Item = Packet>) -> Result<(), Fault> {
        self.out.clear();
        for packet in packets {
            match &mut self.form {
                Form::Binary { version, keys, .. } => {
                    let packet = sealed(packet, keys.as_ref());
                    packet.write(*version, &mut self.out).map_err(unwritable)?;
                }
                Form::JsonRpc { number, .. } => {
                    *number = number.wrapping_add(1);
                    // One object a message: the server keeps what follows for later, and stops at what it cannot read.
                    jsonrpc::write(&packet, *number, &mut self.out).map_err(unwritable)?;
                    self.flush().await?;
                }
            }
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        if self.out.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.out);
        let is_text = matches!(self.form, Form::JsonRpc { .. });
        let wire = &mut self.wire;
        let writing = async {
            match wire {
                Wire::WebSocket { writer, .. } if is_text => {
                    let text = String::from_utf8(bytes).expect("JSON is UTF-8");
                    Ok::<(), Fault>(writer.text(text).await?)
                }
                Wire::WebSocket { writer, .. } => Ok(writer.binary(bytes).await?),
                Wire::Tcp(stream) => Ok(stream.write_all(&bytes).await?),
            }
        };
        let late = || Err(Fault::retry("timeout", "the server takes nothing"));
        self.cx
            .timeout(WRITE_WITHIN, writing)
            .await
            .unwrap_or_else(late)
    }

    /// Closes in order, so that the server gets everything that was written.
    pub async fn close(self) {
        match self.wire {
            Wire::WebSocket { reader, .. } => reader.close(1000, "").await,
            Wire::Tcp(mut stream) => {
                // A courtesy: whether the server still hears it does not matter.
                let _ = stream.shutdown().await;
            }
        }
    }
}

impl Form {
    fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Binary { frames, .. } => frames.push(bytes),
            Self::JsonRpc { objects, .. } => objects.push(bytes),
        }
    }
}

/// What is there now. The room for it is on the stack, so that idle connections have none.
fn take(stream: &TcpStream, form: &mut Form) -> std::io::Result<usize> {
    let mut room = [0; READ_BYTES];
    let bytes = stream.try_read(&mut room)?;
    form.push(&room[..bytes]);
    Ok(bytes)
}

async fn connect(cx: &Context, host: &str) -> Result<TcpStream, Fault> {
    let mut op = cx.op("connect", Noise::Session);
    op.detail("connect tcp");
    let connected = match cx.timeout(CONNECT_WITHIN, TcpStream::connect(host)).await {
        Some(connected) => connected.and_then(|stream| {
            stream.set_nodelay(true)?;
            Ok(stream)
        }),
        None => Err(std::io::ErrorKind::TimedOut.into()),
    };
    match connected {
        Ok(stream) => {
            op.done();
            Ok(stream)
        }
        Err(error) => {
            op.fail(&error);
            Err(Fault::retry(
                "network",
                format_args!("cannot connect to {host}: {error}"),
            ))
        }
    }
}

fn unsealed(packet: Packet, keys: Option<&Keys>) -> Result<Packet, SealError> {
    let Packet::Recv(mut recv) = packet else {
        return Ok(packet);
    };
    match keys {
        Some(keys) => keys.unseal_recv(&mut recv)?,
        // A msgKey without keys: nothing could be checked.
        None if !recv.msg_key.is_empty() => return Err(SealError::MsgKey),
        None => {}
    }
    Ok(Packet::Recv(recv))
}

fn sealed(packet: Packet, keys: Option<&Keys>) -> Packet {
    match (packet, keys) {
        (Packet::Send(mut send), Some(keys)) => {
            keys.seal_send(&mut send);
            Packet::Send(send)
        }
        (packet, _) => packet,
    }
}

fn undecodable(error: impl std::fmt::Display) -> Fault {
    Fault::retry(
        "provider_error",
        format_args!("what the server sent cannot be read: {error}"),
    )
}

fn unwritable(error: impl std::fmt::Display) -> Fault {
    Fault::retry(
        "adapter_error",
        format_args!("a packet cannot be written: {error}"),
    )
}
