//! OpenChat's access tokens (HS256 JWT) and the tokens that it makes for the server's long connection.

use crate::wukongim::ids::now_ms;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

fn signature(secret: &str, text: &str) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(&key(secret), text.as_bytes()))
}

/// A token of this user from now on, until tokens of its generation are withdrawn.
pub fn access(secret: &str, uid: &str, ttl_s: i64, generation: u64) -> String {
    let now_s = now_ms() / 1_000;
    let head = json!({ "alg": "HS256", "typ": "JWT" });
    let claims = json!({
        "sub": uid, "userId": uid, "iat": now_s, "exp": now_s + ttl_s, "generation": generation,
    });
    let parts = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let text = parts.join(".");
    format!("{text}.{}", signature(secret, &text))
}

/// Whose token it is; `None` unless it is signed with this secret, of this time and not withdrawn.
pub fn subject(secret: &str, token: &str, generation: u64) -> Option<String> {
    let (text, signature) = token.rsplit_once('.')?;
    let (head, claims) = text.split_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    hmac::verify(&key(secret), text.as_bytes(), &signature).ok()?;
    let read = |part: &str| -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    };
    if read(head)?["alg"] != "HS256" {
        return None;
    }
    let claims = read(claims)?;
    let is_old = claims["exp"]
        .as_i64()
        .is_some_and(|at| at <= now_ms() / 1_000);
    // Those that others sign say none: they are of the first.
    if is_old || claims["generation"].as_u64().unwrap_or(0) < generation {
        return None;
    }
    let uid = claims["sub"].as_str().or(claims["userId"].as_str())?;
    (!uid.is_empty()).then(|| uid.to_owned())
}

/// For the long connection: `wk1.<claims>.<signature>`.
pub fn connection(secret: &str, uid: &str, nonce: u64) -> String {
    let claims = json!({ "uid": uid, "iat": now_ms() / 1_000, "nonce": format!("{nonce:016x}") });
    let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
    let signature = signature(secret, &claims);
    format!("wk1.{claims}.{signature}")
}
