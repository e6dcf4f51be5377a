//! What stands for an account's alias in spans and lines, where its owner wants nobody to read it there.

use crate::config::secret::Secret;
use ring::hmac;

/// Digits of a name, two for each byte.
const BYTES: usize = 6;

/// The same alias is the same name for whoever has the key.
pub struct Hidden(hmac::Key);

impl Hidden {
    pub fn new(key: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.reveal().as_bytes()))
    }

    pub fn name(&self, alias: &str) -> String {
        let tag = hmac::sign(&self.0, alias.as_bytes());
        format!("h_{}", super::context::hex_of(&tag.as_ref()[..BYTES]))
    }
}
