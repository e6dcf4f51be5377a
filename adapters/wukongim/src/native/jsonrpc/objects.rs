//! Where an object ends in a stream of bytes, however the transport cut it: by counting braces outside of texts.

use super::JsonError;

/// Most bytes of an object. The server sends up to 930 KB; base64 of the largest payload is 1.4 MB.
pub const OBJECT_BYTES_MAX: usize = 4 << 20;

/// Objects out of a stream of bytes, however the transport cut it.
#[derive(Default)]
pub struct Objects {
    bytes: Vec<u8>,
    /// Everything before was taken.
    at: usize,
    /// Everything before was looked at.
    seen: usize,
    depth: usize,
    is_text: bool,
    is_escaped: bool,
}

impl Objects {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.seen -= self.at;
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole object; none when more bytes are needed. After an error the stream is of no use any more.
    pub fn next_object(&mut self) -> Result<Option<&[u8]>, JsonError> {
        while let Some(&byte) = self.bytes.get(self.seen) {
            if self.depth == 0 && byte.is_ascii_whitespace() {
                self.seen += 1;
                self.at = self.seen;
                continue;
            }
            if self.depth == 0 && byte != b'{' {
                return Err(JsonError::NoObject(byte));
            }
            self.seen += 1;
            if self.seen - self.at > OBJECT_BYTES_MAX {
                return Err(JsonError::TooLarge);
            }
            if self.ends_with(byte) {
                let object = self.at..self.seen;
                self.at = self.seen;
                return Ok(Some(&self.bytes[object]));
            }
        }
        Ok(None)
    }

    /// The byte closes the outermost object.
    fn ends_with(&mut self, byte: u8) -> bool {
        if std::mem::take(&mut self.is_escaped) {
            return false;
        }
        match byte {
            b'\\' if self.is_text => self.is_escaped = true,
            b'"' => self.is_text = !self.is_text,
            b'{' if !self.is_text => self.depth += 1,
            b'}' if !self.is_text => {
                self.depth -= 1;
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}
