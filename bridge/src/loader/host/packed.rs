//! Several short texts in one allocation: what is copied from a plugin's borrowed strings.
//!
//! An event has six routing texts and up to eight facts; one box each would cost more than the crossing itself.

use im_bridge_plugin_api::abi;

/// Bytes of one entry in the table of ends at the front of the block.
const END_BYTES: usize = 4;

/// Texts by index; an index beyond the last reads as empty.
#[derive(Clone, Default)]
pub struct Packed {
    /// Ends of the texts as native `u32`, then the texts. Invariant: each text is valid UTF-8.
    block: Box<[u8]>,
    count: u8,
}

impl Packed {
    /// Copies `texts`; at most 255 of them, 4 GiB in all, which every limit of the contract stays far below.
    pub fn new(texts: &[&str]) -> Self {
        let count = u8::try_from(texts.len()).expect("callers bound the number of texts");
        let table_bytes = texts.len() * END_BYTES;
        let text_bytes: usize = texts.iter().map(|text| text.len()).sum();
        let mut block = Vec::with_capacity(table_bytes + text_bytes);
        let mut end = table_bytes;
        for text in texts {
            end += text.len();
            let end = u32::try_from(end).expect("callers bound the length of texts");
            block.extend_from_slice(&end.to_ne_bytes());
        }
        for text in texts {
            block.extend_from_slice(text.as_bytes());
        }
        Self {
            block: block.into_boxed_slice(),
            count,
        }
    }

    /// Number of texts.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// No text at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The text at `index`; empty when there is none.
    #[must_use]
    pub fn get(&self, index: usize) -> &str {
        if index >= self.len() {
            return "";
        }
        let start = if index == 0 {
            self.len() * END_BYTES
        } else {
            self.end(index - 1)
        };
        let text = &self.block[start..self.end(index)];
        // SAFETY: `new` copied whole `str`s to exactly these bounds, and nothing changes the block.
        unsafe { std::str::from_utf8_unchecked(text) }
    }

    fn end(&self, index: usize) -> usize {
        let at = index * END_BYTES;
        let end: [u8; END_BYTES] = self.block[at..at + END_BYTES]
            .try_into()
            .expect("four bytes");
        u32::from_ne_bytes(end) as usize
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries((0..self.len()).map(|i| self.get(i)))
            .finish()
    }
}

/// The longest part from the front of a borrowed text that is valid and at most `limit_bytes`; `is_bad` is set when
/// that is not all of it.
///
/// # Safety
/// `from` must describe readable memory that stays as it is for `'a`.
pub(super) unsafe fn text<'a>(from: &abi::Str, limit_bytes: usize, is_bad: &mut bool) -> &'a str {
    if from.len != 0 && (from.ptr.is_null() || isize::try_from(from.len).is_err()) {
        *is_bad = true;
        return "";
    }
    // SAFETY: the caller vouches for the memory, the line above for address and length.
    let bytes: &'a [u8] = unsafe { from.bytes() };
    let within = if bytes.len() > limit_bytes {
        *is_bad = true;
        &bytes[..limit_bytes]
    } else {
        bytes
    };
    match std::str::from_utf8(within) {
        Ok(text) => text,
        Err(error) => {
            *is_bad = true;
            std::str::from_utf8(&within[..error.valid_up_to()]).expect("valid up to there")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_as_they_went_in() {
        let texts = ["message.created", "", "渠道", "x"];
        let packed = Packed::new(&texts);
        assert_eq!(packed.len(), 4);
        for (i, text) in texts.iter().enumerate() {
            assert_eq!(packed.get(i), *text);
        }
        assert_eq!(packed.get(4), "");
        assert_eq!(Packed::default().get(0), "");
    }

    #[test]
    fn a_text_that_breaks_a_limit_is_cut_and_said_to_be_bad() {
        let mut is_bad = false;
        // SAFETY: all texts are literals.
        unsafe {
            assert_eq!(text(&abi::Str::new("kind"), 4, &mut is_bad), "kind");
            assert!(!is_bad);
            assert_eq!(text(&abi::Str::new("渠道"), 4, &mut is_bad), "渠");
            assert!(std::mem::take(&mut is_bad));
            assert_eq!(text(&abi::Str::from_bytes(b"ok\xff"), 9, &mut is_bad), "ok");
            assert!(std::mem::take(&mut is_bad));
            assert_eq!(
                text(
                    &abi::Str {
                        len: 3,
                        ..abi::Str::EMPTY
                    },
                    9,
                    &mut is_bad
                ),
                ""
            );
            assert!(is_bad);
        }
    }
}
