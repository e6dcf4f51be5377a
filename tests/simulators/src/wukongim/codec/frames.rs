//! Cuts a stream of bytes into frames: one type byte, a length of at most four bytes, the body.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest body; a longer one is read to its end before the connection is closed.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
const LENGTH_BYTES_MAX: usize = 4;
const PING: u8 = 7;
const PONG: u8 = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The high half of the first byte.
    pub kind: u8,
    /// The low half.
    pub flags: u8,
    pub body: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The fourth byte of a length says that a fifth follows.
    Length,
    /// This many bytes of a body that may have [`BODY_BYTES_MAX`].
    TooLong(usize),
}

/// Keeps what is left to skip of a body that is too long.
#[derive(Debug, Default)]
pub struct Splitter {
    skip: Option<(usize, usize)>,
}

impl Splitter {
    /// The next whole frame; `None` while bytes are missing. After an error the connection is over.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if let Some((left, whole)) = self.skip {
            let now = left.min(buffer.len());
            buffer.advance(now);
            if now == left {
                return Err(FrameError::TooLong(whole));
            }
            self.skip = Some((left - now, whole));
            return Ok(None);
        }
        let Some(&first) = buffer.first() else {
            return Ok(None);
        };
        let (kind, flags) = (first >> 4, first & 0x0f);
        if kind == PING || kind == PONG {
            buffer.advance(1);
            let body = Bytes::new();
            return Ok(Some(Frame { kind, flags, body }));
        }
        let Some((length, bytes)) = read_length(&buffer[1..])? else {
            return Ok(None);
        };
        let head = 1 + bytes;
        if length > BODY_BYTES_MAX {
            buffer.advance(head);
            self.skip = Some((length, length));
            return self.next(buffer);
        }
        if buffer.len() < head + length {
            return Ok(None);
        }
        buffer.advance(head);
        let body = buffer.split_to(length).freeze();
        Ok(Some(Frame { kind, flags, body }))
    }
}

/// The length and how many bytes it took.
pub fn read_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, FrameError> {
    let mut length = 0;
    for (index, byte) in bytes.iter().take(LENGTH_BYTES_MAX).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((length, index + 1)));
        }
    }
    if bytes.len() >= LENGTH_BYTES_MAX {
        return Err(FrameError::Length);
    }
    Ok(None)
}

/// Seven bits a byte, low ones first; nothing at all for zero.
pub fn write_length(mut length: usize, out: &mut BytesMut) {
    while length > 0 {
        let low = u8::try_from(length & 0x7f).unwrap_or(0);
        length >>= 7;
        out.put_u8(if length > 0 { low | 0x80 } else { low });
    }
}

pub fn write_frame(kind: u8, flags: u8, body: &[u8], out: &mut BytesMut) {
    out.put_u8(kind << 4 | flags & 0x0f);
    if kind != PING && kind != PONG {
        write_length(body.len(), out);
        out.put_slice(body);
    }
}
