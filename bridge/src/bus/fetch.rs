//! Reading a body that was too large for its message, with no more than reads of single messages.
//!
//! Not here: storing it (`blobs`).

use super::api::{Api, ApiError, Which};
use super::objects::ObjectKind;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use ring::digest::{SHA256, digest};
use serde_json::Value;

/// No message was ever larger, so nothing larger is read.
const BYTES_MAX: u64 = 2 << 20;
const URN: &str = "urn:im-bridge:blob:";

/// Why there is no body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("`{urn}` is no name of a stored body")]
    Name { urn: String },
    #[error("{bucket} has {name} no more")]
    Gone { bucket: String, name: String },
    #[error("{name} has {bytes} bytes; no message has so many")]
    TooLarge { name: String, bytes: u64 },
    #[error("{name} is damaged: its digest is another one")]
    Damaged { name: String },
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// The body that this URN names, whole and with its digest checked.
pub async fn fetch(api: &Api, bucket: &str, urn: &str) -> Result<Bytes, FetchError> {
    let name = urn
        .strip_prefix(URN)
        .ok_or_else(|| FetchError::Name {
            urn: urn.to_owned(),
        })?
        .to_owned();
    let gone = || FetchError::Gone {
        bucket: bucket.to_owned(),
        name: name.clone(),
    };
    let stream = ObjectKind::ObjectStore.stream_of(bucket);
    let description = format!("$O.{bucket}.M.{}", URL_SAFE.encode(&name));
    let found = api
        .message(&stream, Which::LastOf(&description))
        .await?
        .ok_or_else(gone)?;
    let found: Value = serde_json::from_slice(&found.payload).unwrap_or_default();
    let (Some(number), Some(bytes)) = (found["nuid"].as_str(), found["size"].as_u64()) else {
        return Err(gone());
    };
    if bytes > BYTES_MAX {
        return Err(FetchError::TooLarge { name, bytes });
    }
    let chunks = format!("$O.{bucket}.C.{number}");
    let mut body = Vec::new();
    let mut from = 1;
    while (body.len() as u64) < bytes {
        let chunk = api
            .message(&stream, Which::NextOf(from, &chunks))
            .await?
            .ok_or_else(gone)?;
        from = chunk.sequence + 1;
        body.extend_from_slice(&chunk.payload);
    }
    // Libraries disagree on padding.
    let theirs = found["digest"]
        .as_str()
        .unwrap_or_default()
        .trim_end_matches('=');
    let ours = format!("SHA-256={}", URL_SAFE.encode(digest(&SHA256, &body)));
    if theirs != ours.trim_end_matches('=') {
        return Err(FetchError::Damaged { name });
    }
    Ok(body.into())
}
