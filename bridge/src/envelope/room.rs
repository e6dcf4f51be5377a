//! Room for bodies, cut from larger pieces of memory.
//!
//! A body is larger than what the allocator takes from a list of the thread's own, and many are written in a row. Cut from
//! one piece, ten of them cost what one does, and may be cloned for nothing. A piece is freed with the last body in it,
//! so whoever keeps a body keeps up to [`PIECE_BYTES`]; credits bound how many that are.

use bytes::{Bytes, BytesMut};

/// Of a usual piece; a body that is longer gets one of its own.
const PIECE_BYTES: usize = 16 * 1024;

/// Of one writer. Empty it holds no memory.
#[derive(Default)]
pub struct Room(BytesMut);

impl Room {
    /// Where a body of exactly this length is written.
    pub(super) fn of(&mut self, bytes: usize) -> &mut BytesMut {
        if self.0.capacity() == 0 {
            self.0 = BytesMut::with_capacity(bytes.max(PIECE_BYTES));
        } else {
            // Where nothing that was cut is left, this begins anew in the same piece.
            self.0.reserve(bytes);
        }
        &mut self.0
    }

    /// What was written.
    pub(super) fn cut(&mut self) -> Bytes {
        self.0.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_a_piece_until_it_is_full() {
        let mut room = Room::default();
        let mut bodies = Vec::new();
        for number in 0..20_u8 {
            room.of(1_500).extend_from_slice(&[number; 1_500]);
            bodies.push(room.cut());
        }
        let lies_behind =
            |pair: &[Bytes]| pair[0].as_ptr().addr() + 1_500 == pair[1].as_ptr().addr();
        let shared = bodies.windows(2).filter(|pair| lies_behind(pair)).count();
        assert!(shared >= 17, "{shared} of 19");
        for (number, body) in (0..20_u8).zip(&bodies) {
            assert_eq!(**body, [number; 1_500]);
        }
    }

    #[test]
    fn a_long_body_fits() {
        let mut room = Room::default();
        for bytes in [1, 3 * PIECE_BYTES, 7] {
            room.of(bytes).resize(bytes, b'x');
            assert_eq!(room.cut().len(), bytes);
        }
    }
}
