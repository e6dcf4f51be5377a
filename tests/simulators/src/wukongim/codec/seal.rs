//! Key agreement, sealing and message keys of the binary protocol.
//!
//! Obfuscation, not security: the exchange is not authenticated and the vector is the same for each message of a connection.

use aes::Aes128;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use x25519_dalek::{PublicKey, StaticSecret};

const BLOCK: usize = 16;

/// What one connection seals with.
#[derive(Clone)]
pub struct Keys {
    cipher: Aes128,
    vector: [u8; BLOCK],
}

impl Keys {
    /// `None` unless the salt has 16 characters.
    pub fn agree(secret: [u8; 32], theirs: [u8; 32], salt: &str) -> Option<Self> {
        let shared = StaticSecret::from(secret).diffie_hellman(&PublicKey::from(theirs));
        let digest = hex(&Md5::digest(STANDARD.encode(shared.as_bytes())));
        let key = digest.as_bytes().first_chunk::<BLOCK>()?;
        Some(Self {
            cipher: Aes128::new(&(*key).into()),
            vector: *salt.as_bytes().first_chunk()?,
        })
    }

    pub fn seal(&self, plain: &[u8]) -> String {
        let pad = BLOCK - plain.len() % BLOCK;
        let mut bytes = Vec::with_capacity(plain.len() + pad);
        bytes.extend_from_slice(plain);
        bytes.resize(plain.len() + pad, u8::try_from(pad).unwrap_or(0));
        let mut before = self.vector;
        for block in bytes.chunks_exact_mut(BLOCK) {
            let mut mixed = before;
            for (byte, plain) in mixed.iter_mut().zip(block.iter()) {
                *byte ^= plain;
            }
            let mut mixed = mixed.into();
            self.cipher.encrypt_block(&mut mixed);
            before = mixed.into();
            block.copy_from_slice(&before);
        }
        STANDARD.encode(bytes)
    }

    /// `None` for anything that [`Keys::seal`] cannot have made.
    pub fn unseal(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = STANDARD.decode(sealed).ok()?;
        if bytes.is_empty() || !bytes.len().is_multiple_of(BLOCK) {
            return None;
        }
        let mut before = self.vector;
        for block in bytes.chunks_exact_mut(BLOCK) {
            let sealed: [u8; BLOCK] = *block.first_chunk()?;
            let mut plain = sealed.into();
            self.cipher.decrypt_block(&mut plain);
            for (byte, (plain, before)) in block.iter_mut().zip(plain.iter().zip(before)) {
                *byte = plain ^ before;
            }
            before = sealed;
        }
        let pad = usize::from(*bytes.last()?);
        let plain = bytes.len().checked_sub(pad)?;
        let is_padded = (1..=BLOCK).contains(&pad);
        if !is_padded || bytes[plain..].iter().any(|&byte| usize::from(byte) != pad) {
            return None;
        }
        bytes.truncate(plain);
        Some(bytes)
    }

    /// The message key for this text to sign.
    pub fn sign(&self, text: &[u8]) -> String {
        hex(&Md5::digest(self.seal(text)))
    }
}

/// The public key of this secret, as it is sent.
pub fn public(secret: [u8; 32]) -> String {
    STANDARD.encode(PublicKey::from(&StaticSecret::from(secret)).as_bytes())
}

/// A public key as the other side sent it.
pub fn read_public(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0x0f)]));
    }
    text
}
