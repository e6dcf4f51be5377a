//! The descriptor: what an adapter says of itself before any of its code runs.
//!
//! Constant bytes, read at fixed offsets; the major version is looked at first, since another one may have another form.

use crate::loader::error::{AbiVersion, Problem, shown};
use crate::loader::version::Version;
use im_bridge_plugin_api::abi;
use std::mem::offset_of;

/// A descriptor whose fields follow the rules.
#[derive(Debug, Clone)]
pub struct Descriptor {
    /// ABI minor built for.
    pub minor: u16,
    /// `DESC_*`.
    pub flags: u32,
    /// Oldest host minor it can work with.
    pub min_host_minor: u32,
    /// Provider id.
    pub name: String,
    /// The adapter's version.
    pub version: Version,
    /// Target triple, for messages.
    pub target: String,
    /// Compiler and SDK, for messages.
    pub toolchain: String,
}

const SIZE: usize = size_of::<abi::Descriptor>();

/// Offset and length of a field.
macro_rules! field {
    ($bytes:ident, $field:ident, $len:expr) => {{
        const AT: usize = offset_of!(abi::Descriptor, $field);
        &$bytes[AT..AT + $len]
    }};
}

impl Descriptor {
    /// Reads the section.
    ///
    /// # Errors
    /// Every field that breaks its rule; or the one thing that makes the rest meaningless.
    pub fn read(section: &[u8]) -> Result<Self, Vec<Problem>> {
        let wrong = |field, value: String, rule| Problem::Descriptor { field, value, rule };
        let Ok(bytes) = <&[u8; SIZE]>::try_from(section) else {
            let value = format!("{} bytes long", section.len());
            return Err(vec![wrong("section", value, "256 bytes, one adapter")]);
        };
        let u16_at = |at: &[u8]| u16::from_le_bytes([at[0], at[1]]);
        let u32_at = |at: &[u8]| u32::from_le_bytes([at[0], at[1], at[2], at[3]]);

        let magic = field!(bytes, magic, 8);
        if magic != abi::MAGIC {
            return Err(vec![wrong("magic", shown(magic), "IMBRIDGE")]);
        }
        let major = u16_at(field!(bytes, major, 2));
        let minor = u16_at(field!(bytes, minor, 2));
        if major != abi::ABI_MAJOR {
            return Err(vec![Problem::AbiMajor {
                theirs: AbiVersion { major, minor },
                ours: AbiVersion::OURS,
            }]);
        }

        let mut problems = Vec::new();
        let size = u32_at(field!(bytes, size, 4));
        if size as usize != SIZE {
            problems.push(wrong("size", size.to_string(), "256"));
        }
        let min_host_minor = u32_at(field!(bytes, min_host_minor, 4));
        if min_host_minor > u32::from(minor) {
            let rule = "at most the minor it was built for";
            problems.push(wrong("min_host_minor", min_host_minor.to_string(), rule));
        }
        let mut text = |field, bytes, rule, is_right: fn(&str) -> bool| {
            let text = padded(bytes);
            if text.is_none_or(|text| !is_right(text)) {
                problems.push(wrong(field, format!("`{}`", shown(unpadded(bytes))), rule));
            }
            text.unwrap_or_default().to_owned()
        };
        let name = text(
            "name",
            field!(bytes, name, 48),
            "[a-z][a-z0-9-]{0,31}, zero-padded",
            is_provider_id,
        );
        let version = text(
            "version",
            field!(bytes, version, 32),
            "a semantic version, zero-padded",
            |text| text.parse::<Version>().is_ok(),
        );
        let printable = "printable ASCII, zero-padded";
        let target = text("target", field!(bytes, target, 48), printable, |_| true);
        let toolchain = text("toolchain", field!(bytes, toolchain, 64), printable, |_| {
            true
        });
        // A later minor may have put something there; up to ours it means a mistake.
        let reserved = field!(bytes, reserved, 40);
        if u32::from(minor) <= u32::from(abi::ABI_MINOR) && reserved.iter().any(|byte| *byte != 0) {
            problems.push(wrong("reserved", "not zero".into(), "zero"));
        }
        match version.parse() {
            Ok(version) if problems.is_empty() => Ok(Self {
                minor,
                flags: u32_at(field!(bytes, flags, 4)),
                min_host_minor,
                name,
                version,
                target,
                toolchain,
            }),
            _ => Err(problems),
        }
    }
}

/// `[a-z][a-z0-9-]{0,31}`
pub(crate) fn is_provider_id(text: &str) -> bool {
    let tail = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.len() <= 32 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(tail)
}

fn unpadded(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}

/// Printable ASCII followed by nothing but zeros, at least one.
fn padded(bytes: &[u8]) -> Option<&str> {
    let text = unpadded(bytes);
    let padding = &bytes[text.len()..];
    let is_padded = !padding.is_empty() && padding.iter().all(|byte| *byte == 0);
    let is_printable = text.iter().all(|byte| (b' '..=b'~').contains(byte));
    std::str::from_utf8(text)
        .ok()
        .filter(|_| is_padded && is_printable)
}
