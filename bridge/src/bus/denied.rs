//! What the server forbids.
//!
//! A publish or subscription that is not permitted is never answered: it looks like a silent server. The server tells it
//! apart from that, in a line of its own, which is joined to whoever waits by the subject.

use std::fmt;

/// The server's words, read: `Permissions Violation for Publish to "x"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    pub is_publish: bool,
    pub subject: String,
}

impl Denied {
    /// None: it speaks of something else.
    pub fn read(words: &str) -> Option<Self> {
        let lower = words.to_ascii_lowercase();
        let is_publish = lower.contains("permissions violation for publish");
        if !is_publish && !lower.contains("permissions violation for subscription") {
            return None;
        }
        Some(Self {
            is_publish,
            subject: words.split('"').nth(1)?.to_owned(),
        })
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = match self.is_publish {
            true => "publishing to",
            false => "subscribing to",
        };
        write!(
            f,
            "NATS forbids {doing} {}; see im-bridge streams permissions",
            self.subject
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read_and_nothing_else() {
        let of = |words| Denied::read(words).map(|it| it.to_string());
        let publish = of(r#"Permissions Violation for Publish to "a.b""#);
        assert_eq!(
            publish.as_deref(),
            Some("NATS forbids publishing to a.b; see im-bridge streams permissions")
        );
        let subscribe = of(r#"permissions violation for subscription to "a.>" using queue "q""#);
        assert_eq!(
            subscribe.as_deref(),
            Some("NATS forbids subscribing to a.>; see im-bridge streams permissions")
        );
        assert_eq!(of("maximum subscriptions exceeded"), None);
        assert_eq!(of("Permissions Violation for Publish to"), None);
    }
}
