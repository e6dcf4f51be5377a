//! The server's side of a WebSocket: the handshake, messages in, messages out.
//!
//! By hand and not from the library that adapters use, so that a frame can be cut anywhere and a fragment is seen: the real
//! server cannot join fragments and goes mute.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BufMut, BytesMut};

const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Longest message from a client.
const MESSAGE_BYTES_MAX: u64 = 16 * 1024 * 1024;
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The answer to a request for an upgrade, once its head is whole; an error is the answer to anything else.
pub fn handshake(buffer: &mut BytesMut) -> Result<Option<String>, String> {
    let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
        if buffer.len() > HEAD_BYTES_MAX {
            return Err(refusal(431, "Request Header Fields Too Large"));
        }
        return Ok(None);
    };
    let head = buffer.split_to(end + 4);
    let head = String::from_utf8_lossy(&head);
    let header = |name: &str| {
        let values = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut mine = values.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        mine.next().map(|(_, value)| value.trim())
    };
    let has = |name: &str, wanted: &str| {
        let value = header(name).unwrap_or_default();
        value
            .split(',')
            .any(|part| part.trim().eq_ignore_ascii_case(wanted))
    };
    let is_upgrade = head.starts_with("GET ")
        && has("upgrade", "websocket")
        && has("connection", "upgrade")
        && header("sec-websocket-version") == Some("13");
    let Some(key) = header("sec-websocket-key").filter(|_| is_upgrade) else {
        return Err(refusal(400, "Bad Request"));
    };
    let digest = ring::digest::digest(
        &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}{GUID}").as_bytes(),
    );
    let accept = STANDARD.encode(digest);
    Ok(Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )))
}

pub fn refusal(status: u16, text: &str) -> String {
    format!("HTTP/1.1 {status} {text}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// One message of a client.
    Message(BytesMut),
    /// To be answered with this.
    Ping(BytesMut),
    Pong,
    /// With its code.
    Close(Option<u16>),
    /// A piece of a message.
    Fragment,
    Wrong(&'static str),
}

/// The next whole frame; `None` while bytes are missing.
pub fn read(buffer: &mut BytesMut) -> Option<Read> {
    let [first, second] = *buffer.first_chunk::<2>()?;
    let (is_final, operation) = (first & 0x80 != 0, first & 0x0f);
    if first & 0x70 != 0 {
        return Some(Read::Wrong("a reserved bit is set"));
    }
    if second & 0x80 == 0 {
        return Some(Read::Wrong("a client's frame is not masked"));
    }
    let (length, head): (u64, usize) = match second & 0x7f {
        126 => (
            u16::from_be_bytes(*buffer.get(2..4)?.first_chunk()?).into(),
            4,
        ),
        127 => (u64::from_be_bytes(*buffer.get(2..10)?.first_chunk()?), 10),
        short => (short.into(), 2),
    };
    if length > MESSAGE_BYTES_MAX {
        return Some(Read::Wrong("a message is too long"));
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mask: [u8; 4] = *buffer.get(head..head + 4)?.first_chunk()?;
    if buffer.len() < head + 4 + length {
        return None;
    }
    buffer.advance(head + 4);
    let mut payload = buffer.split_to(length);
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Some(match operation {
        TEXT if is_final && std::str::from_utf8(&payload).is_err() => {
            Read::Wrong("a text message is not UTF-8")
        }
        TEXT | BINARY if is_final => Read::Message(payload),
        0..=2 => Read::Fragment,
        PING => Read::Ping(payload),
        PONG => Read::Pong,
        CLOSE => Read::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
        _ => Read::Wrong("an unknown operation"),
    })
}

/// One message, unmasked and whole.
pub fn write(operation: u8, payload: &[u8], out: &mut BytesMut) {
    out.put_u8(0x80 | operation);
    match payload.len() {
        length @ 0..=125 => out.put_u8(u8::try_from(length).unwrap_or(0)),
        length @ 126..=0xffff => {
            out.put_u8(126);
            out.put_u16(u16::try_from(length).unwrap_or(0));
        }
        length => {
            out.put_u8(127);
            out.put_u64(length as u64);
        }
    }
    out.put_slice(payload);
}

pub fn write_pong(payload: &[u8], out: &mut BytesMut) {
    write(PONG, payload, out);
}
