//! What subjects and keys are made of: each kind of token is a type that only parsing makes.
//!
//! No text of a provider's reaches a subject or a key unescaped.
//!
//! Not here: tokens of channels and callers; they are part of the event model (`im_bridge_sdk::model`).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{text}` does not match {pattern}; rename it")]
pub struct TokenError {
    pub what: &'static str,
    pub text: String,
    pub pattern: &'static str,
}

macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $what:literal, $pattern:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = TokenError;

            fn from_str(text: &str) -> Result<Self, TokenError> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    return Ok(Self(text.into()));
                }
                Err(TokenError { what: $what, text: text.to_owned(), pattern: $pattern })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

token!(
    /// First token of every subject; what two installations in one NATS account differ in.
    Root, "nats.root", "[a-z][a-z0-9-]{0,15}", |text| matches(text, 16, lower, |b| lower(b) || digit(b) || b == b'-')
);
token!(
    /// Id of a provider.
    Provider, "provider", "[a-z][a-z0-9-]{0,31}", |text| matches(text, 32, lower, |b| lower(b) || digit(b) || b == b'-')
);
token!(
    /// The operator's name for an account: safe in a subject, a key and a label.
    Alias, "account", "[a-z0-9][a-z0-9_-]{0,31} without __", |text| {
        !text.contains("__")
            && matches(text, 32, |b| lower(b) || digit(b), |b| lower(b) || digit(b) || b == b'_' || b == b'-')
    }
);
token!(
    /// What an event or a command is about.
    Resource, "resource", "[a-z][a-z0-9-]{0,31}", |text| matches(text, 32, lower, |b| lower(b) || digit(b) || b == b'-')
);
token!(
    /// What happened, what to do, or the verb of a control request.
    Action, "action", "[a-z][a-z_]{0,31}", |text| matches(text, 32, lower, |b| lower(b) || b == b'_')
);

fn lower(byte: u8) -> bool {
    byte.is_ascii_lowercase()
}

fn digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

fn matches(text: &str, max: usize, first: fn(u8) -> bool, rest: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= max
        && bytes.first().is_some_and(|&byte| first(byte))
        && bytes.iter().skip(1).all(|&byte| rest(byte))
}

impl Root {
    /// What the names of all streams and buckets begin with: `IM` for `im`.
    pub fn object_prefix(&self) -> String {
        self.0.to_ascii_uppercase().replace('-', "_")
    }
}

/// One account of one provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    pub provider: Provider,
    pub alias: Alias,
}

impl Account {
    pub fn new(provider: Provider, alias: Alias) -> Self {
        Self { provider, alias }
    }

    /// `<provider>.<account>`, its key in the buckets.
    pub fn key(&self) -> String {
        format!("{}.{}", self.provider, self.alias)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.alias)
    }
}

/// `<resource>.<action>`: the kind of an event or the name of a command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    pub resource: Resource,
    pub action: Action,
}

impl Kind {
    /// Its text, in one allocation of its size.
    pub fn name(&self) -> String {
        [self.resource.as_str(), self.action.as_str()].join(".")
    }
}

impl FromStr for Kind {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (resource, action) = text.split_once('.').ok_or_else(|| TokenError {
            what: "kind",
            text: text.to_owned(),
            pattern: "<resource>.<action>",
        })?;
        Ok(Self {
            resource: resource.parse()?,
            action: action.parse()?,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.resource, self.action)
    }
}

/// Bytes outside `[A-Za-z0-9_-]` become `=` and two upper-case hex digits: valid in subjects and in keys, of any length.
pub fn escaped(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            token.push(char::from(byte));
        } else {
            token.push('=');
            token.push(char::from(HEX[usize::from(byte >> 4)]));
            token.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    token
}

/// What [`escaped`] was given; `None` if it made no such token.
pub fn unescaped(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'=' {
            let hex = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_escaped_comes_back() {
        for text in ["", "plain", "a/b.c=d", "群聊", "\u{0}\u{7f}"] {
            assert_eq!(unescaped(&escaped(text)).as_deref(), Some(text));
        }
        assert_eq!(unescaped("=4"), None);
        assert_eq!(unescaped("=zz"), None);
    }

    #[test]
    fn names_outside_their_pattern_are_refused() {
        assert!("a".parse::<Provider>().is_ok());
        for text in ["", "A", "1a", "a.b", "a_b", &"a".repeat(33)] {
            assert!(text.parse::<Provider>().is_err(), "{text}");
        }
        assert!("1_a-b".parse::<Alias>().is_ok());
        for text in ["", "_a", "a__b", "a b", "-"] {
            assert!(text.parse::<Alias>().is_err(), "{text}");
        }
        assert!("message.created".parse::<Kind>().is_ok());
        for text in ["message", "message.", "message.a.b", "message.a-b"] {
            assert!(text.parse::<Kind>().is_err(), "{text}");
        }
        assert_eq!("a-b".parse::<Root>().unwrap().object_prefix(), "A_B");
    }
}
