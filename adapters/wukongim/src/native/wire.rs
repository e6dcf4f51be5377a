//! Primitives of the binary protocol: big-endian numbers, texts with a signed 16-bit length, lengths of 7 bits a byte.
//!
//! Reading never goes beyond the body and never panics; what is left over at the end is ignored, because newer servers
//! append members.

/// Most bytes of a frame's body: what the server takes and sends.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Longest text: its length is a signed 16-bit number.
pub const TEXT_BYTES_MAX: usize = 32_767;

/// Most bytes of a remaining length.
const LENGTH_BYTES_MAX: usize = 4;

/// Why bytes are not what the protocol says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the frame ends inside {0}")]
    Short(&'static str),
    #[error("the length of {0} is negative, expected a signed 16-bit number of at least 0")]
    NegativeLength(&'static str),
    #[error("{0} is no UTF-8")]
    NotUtf8(&'static str),
    #[error("{what} has {bytes} bytes, at most {TEXT_BYTES_MAX} can be written")]
    TooLong { what: &'static str, bytes: usize },
    #[error("a frame's length takes more than {LENGTH_BYTES_MAX} bytes")]
    EndlessLength,
    #[error("a frame has {0} bytes, at most {BODY_BYTES_MAX} are allowed")]
    TooLarge(usize),
}

/// Reads the members of a body one after the other.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    fn take(&mut self, bytes: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self
            .0
            .split_at_checked(bytes)
            .ok_or(WireError::Short(what))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let (taken, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(WireError::Short(what))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub fn i32(&mut self, what: &'static str) -> Result<i32, WireError> {
        self.array(what).map(i32::from_be_bytes)
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        self.array(what).map(u64::from_be_bytes)
    }

    pub fn i64(&mut self, what: &'static str) -> Result<i64, WireError> {
        self.array(what).map(i64::from_be_bytes)
    }

    pub fn text(&mut self, what: &'static str) -> Result<&'a str, WireError> {
        let length = i16::from_be_bytes(self.array(what)?);
        let bytes = usize::try_from(length).map_err(|_| WireError::NegativeLength(what))?;
        let taken = self.take(bytes, what)?;
        str::from_utf8(taken).map_err(|_| WireError::NotUtf8(what))
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes the members of a body one after the other.
#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub fn i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub fn text(&mut self, what: &'static str, text: &str) -> Result<(), WireError> {
        let bytes = text.len();
        let length = i16::try_from(bytes).map_err(|_| WireError::TooLong { what, bytes })?;
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// Appends a remaining length: 7 bits a byte, low group first, top bit = more. 0 is no byte at all.
pub fn write_length(mut length: usize, out: &mut Vec<u8>) {
    while length > 0 {
        let group = u8::try_from(length & 0x7f).expect("seven bits");
        length >>= 7;
        out.push(if length > 0 { group | 0x80 } else { group });
    }
}

/// The remaining length at the beginning, and how many bytes it took; none when more bytes are needed.
pub fn read_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, WireError> {
    let mut length = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if at == LENGTH_BYTES_MAX {
            return Err(WireError::EndlessLength);
        }
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((length, at + 1)));
        }
    }
    if bytes.len() >= LENGTH_BYTES_MAX {
        return Err(WireError::EndlessLength);
    }
    Ok(None)
}
