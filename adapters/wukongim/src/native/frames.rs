//! Frames out of a stream of bytes, however the transport cut it.

use super::packet::{Packet, is_bare};
use super::wire::{BODY_BYTES_MAX, WireError, read_length};

/// Bytes that are no whole frame yet: at most one frame.
#[derive(Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// Everything before was read.
    at: usize,
}

impl Frames {
    /// More of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next packet; none when more bytes are needed. After an error the stream is of no use any more.
    pub fn next_packet(&mut self, version: u8) -> Result<Option<Packet>, WireError> {
        let Some((&first, rest)) = self.bytes[self.at..].split_first() else {
            return Ok(None);
        };
        if is_bare(first) {
            self.at += 1;
            return Packet::read(first, &[], version).map(Some);
        }
        let Some((length, length_bytes)) = read_length(rest)? else {
            return Ok(None);
        };
        if length > BODY_BYTES_MAX {
            return Err(WireError::TooLarge(length));
        }
        let Some(body) = rest.get(length_bytes..length_bytes + length) else {
            return Ok(None);
        };
        let packet = Packet::read(first, body, version)?;
        self.at += 1 + length_bytes + length;
        Ok(Some(packet))
    }
}
