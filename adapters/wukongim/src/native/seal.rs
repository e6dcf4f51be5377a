//! Key agreement and sealing of the binary protocol.
//!
//! What the protocol asks for, not more: the exchange is not authenticated and every message of a connection has the same
//! initialisation vector, so across untrusted networks the transport has to be TLS.
//!
//! Invariant: keys live as long as their connection and are printed by nobody.

use aes::Aes128;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use curve25519_dalek::MontgomeryPoint;
use md5::{Digest, Md5};
use ring::rand::{SecureRandom, SystemRandom};

use super::packet::{Recv, Send};

const KEY_BYTES: usize = 16;

/// Why nothing can be sealed, or something not be unsealed. Says nothing about keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the machine gives no random numbers")]
    NoRandom,
    #[error("the server's key is no base64 of 32 bytes")]
    ServerKey,
    #[error("the server's salt has less than {KEY_BYTES} bytes")]
    Salt,
    #[error("msgKey does not match the message")]
    MsgKey,
    #[error("the payload is not sealed as agreed")]
    Payload,
}

/// Our half of the agreement, new for each connection.
pub struct KeyPair([u8; 32]);

impl KeyPair {
    pub fn new() -> Result<Self, SealError> {
        let mut private = [0; 32];
        SystemRandom::new()
            .fill(&mut private)
            .map_err(|_| SealError::NoRandom)?;
        Ok(Self(private))
    }

    /// For the vectors, whose private keys are known.
    pub fn from_private(private: [u8; 32]) -> Self {
        Self(private)
    }

    /// Base64 of the public key, as CONNECT carries it.
    pub fn public(&self) -> String {
        STANDARD.encode(MontgomeryPoint::mul_base_clamped(self.0).as_bytes())
    }

    /// The connection's keys, from what CONNACK says.
    pub fn agree(self, server_key: &str, salt: &str) -> Result<Keys, SealError> {
        let public = STANDARD
            .decode(server_key)
            .map_err(|_| SealError::ServerKey)?;
        let public = <[u8; 32]>::try_from(public).map_err(|_| SealError::ServerKey)?;
        let shared = MontgomeryPoint(public).mul_clamped(self.0);
        // The text of the hash is the key, not its bytes.
        let hash = hex(&Md5::digest(STANDARD.encode(shared.as_bytes())));
        let mut key = [0; KEY_BYTES];
        key.copy_from_slice(&hash[..KEY_BYTES]);
        let iv = salt.as_bytes().first_chunk().ok_or(SealError::Salt)?;
        Ok(Keys { key, iv: *iv })
    }
}

/// A connection's keys.
pub struct Keys {
    key: [u8; KEY_BYTES],
    iv: [u8; KEY_BYTES],
}

impl Keys {
    pub fn new(key: [u8; KEY_BYTES], iv: [u8; KEY_BYTES]) -> Self {
        Self { key, iv }
    }

    /// Base64 of the encrypted bytes.
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let encryptor = cbc::Encryptor::<Aes128>::new(&self.key.into(), &self.iv.into());
        STANDARD
            .encode(encryptor.encrypt_padded_vec::<Pkcs7>(plain))
            .into_bytes()
    }

    pub fn unseal(&self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut bytes = STANDARD.decode(sealed).map_err(|_| SealError::Payload)?;
        let decryptor = cbc::Decryptor::<Aes128>::new(&self.key.into(), &self.iv.into());
        let plain = decryptor
            .decrypt_padded::<Pkcs7>(&mut bytes)
            .map_err(|_| SealError::Payload)?;
        let length = plain.len();
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Hex of the hash of the sealed text.
    pub fn msg_key(&self, sign_text: &[u8]) -> [u8; 32] {
        hex(&Md5::digest(self.seal(sign_text)))
    }

    /// Seals the payload and signs the packet.
    pub fn seal_send(&self, send: &mut Send) {
        send.payload = self.seal(&send.payload);
        let key = self.msg_key(&sign_text_of_send(send));
        send.msg_key = key.map(char::from).iter().collect();
    }

    /// Checks the packet and unseals its payload. A packet without a msgKey is plain.
    pub fn unseal_recv(&self, recv: &mut Recv) -> Result<(), SealError> {
        if recv.msg_key.is_empty() {
            return Ok(());
        }
        if recv.msg_key.as_bytes() != self.msg_key(&sign_text_of_recv(recv)) {
            return Err(SealError::MsgKey);
        }
        recv.payload = self.unseal(&recv.payload)?;
        Ok(())
    }
}

/// What a SEND's msgKey is made of.
pub fn sign_text_of_send(send: &Send) -> Vec<u8> {
    let (seq, kind) = (send.client_seq.to_string(), send.channel_type.to_string());
    let texts = [&*seq, &send.client_msg_no, &send.channel_id, &kind];
    joined(&texts, &send.payload)
}

/// What a RECV's msgKey is made of.
pub fn sign_text_of_recv(recv: &Recv) -> Vec<u8> {
    let numbers = [
        recv.message_id.to_string(),
        recv.message_seq.to_string(),
        recv.timestamp_s.to_string(),
        recv.channel_type.to_string(),
    ];
    let [id, seq, time, kind] = &numbers;
    let texts = [
        id,
        seq,
        &recv.client_msg_no,
        time,
        &recv.from_uid,
        &recv.channel_id,
        kind,
    ];
    joined(&texts.map(String::as_str), &recv.payload)
}

fn joined(texts: &[&str], payload: &[u8]) -> Vec<u8> {
    let bytes = texts.iter().map(|text| text.len()).sum::<usize>() + payload.len();
    let mut all = Vec::with_capacity(bytes);
    for text in texts {
        all.extend_from_slice(text.as_bytes());
    }
    all.extend_from_slice(payload);
    all
}

/// Lower-case hex of an MD5.
fn hex(hash: &[u8]) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (byte, pair) in hash.iter().zip(text.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}
