//! The context of a trace: where a span hangs.

use im_bridge_plugin_api::abi;

/// A W3C trace context, or none. Made by the core only: an adapter passes it on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

impl Trace {
    /// No context.
    pub const NONE: Self = Self {
        trace_id: [0; 16],
        span_id: [0; 8],
        flags: 0,
    };

    /// There is no context.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.trace_id == [0; 16]
    }

    /// This one, else the other.
    pub(crate) fn or(self, other: Self) -> Self {
        if self.is_none() { other } else { self }
    }

    pub(crate) fn to_abi(self) -> abi::Trace {
        abi::Trace {
            trace_id: self.trace_id,
            span_id: self.span_id,
            flags: self.flags,
            pad: [0; 7],
        }
    }

    pub(crate) fn from_abi(trace: abi::Trace) -> Self {
        Self {
            trace_id: trace.trace_id,
            span_id: trace.span_id,
            flags: trace.flags,
        }
    }
}

impl std::fmt::Display for Trace {
    /// The value of a `traceparent` header; empty when there is none.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_none() {
            return Ok(());
        }
        f.write_str("00-")?;
        for byte in self.trace_id {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("-")?;
        for byte in self.span_id {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "-{:02x}", self.flags)
    }
}
