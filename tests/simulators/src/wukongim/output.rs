//! Bytes on their way to one socket: joined and cut as the settings say, wrapped for its transport.
//!
//! Not here: what is said, and when (`connection.rs`).

use super::settings::Settings;
use super::websocket;
use bytes::BytesMut;
use std::collections::VecDeque;

pub struct Output {
    is_ws: bool,
    pieces: VecDeque<BytesMut>,
}

impl Output {
    pub fn new(is_ws: bool) -> Self {
        let pieces = VecDeque::new();
        Self { is_ws, pieces }
    }

    /// As it is: a handshake, a control frame.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.pieces.push_back(bytes.into());
    }

    /// A WebSocket close frame; nothing on TCP.
    pub fn close(&mut self, code: u16) {
        if self.is_ws {
            let mut frame = BytesMut::new();
            websocket::write(websocket::CLOSE, &code.to_be_bytes(), &mut frame);
            self.pieces.push_back(frame);
        }
    }

    /// Packets in their form.
    pub fn packets(&mut self, packets: &[BytesMut], is_json: bool, settings: &Settings) {
        let cut = settings.chunk_bytes;
        if !self.is_ws {
            let mut all = packets.concat().as_slice().into();
            self.cut(&mut all, cut);
            return;
        }
        let mut all = BytesMut::new();
        if is_json {
            // An object is a message, always.
            for packet in packets {
                websocket::write(websocket::TEXT, packet, &mut all);
            }
        } else {
            let mut message = BytesMut::new();
            for (index, packet) in packets.iter().enumerate() {
                message.extend_from_slice(packet);
                let is_last = index + 1 == packets.len();
                if is_last || message.len() >= settings.batch_bytes {
                    let whole = message.split();
                    let length = if cut == 0 { whole.len() } else { cut };
                    for piece in whole.chunks(length.max(1)) {
                        websocket::write(websocket::BINARY, piece, &mut all);
                    }
                }
            }
        }
        self.pieces.push_back(all);
    }

    fn cut(&mut self, bytes: &mut BytesMut, length: usize) {
        while length > 0 && bytes.len() > length {
            self.pieces.push_back(bytes.split_to(length));
        }
        self.pieces.push_back(std::mem::take(bytes));
    }

    /// What is written next.
    pub fn next(&mut self) -> Option<&mut BytesMut> {
        while self.pieces.front().is_some_and(BytesMut::is_empty) {
            self.pieces.pop_front();
        }
        self.pieces.front_mut()
    }

    /// Whether enough waits for the socket already.
    pub fn is_full(&self) -> bool {
        self.pieces.len() > 1
    }
}
