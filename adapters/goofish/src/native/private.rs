//! What must never leave the adapter: peers' addresses and device fingerprints, tokens, session ids.
//!
//! Pushes carry the address and the device of whoever wrote. They are dropped here, before anything else looks at a tree that
//! may be published.

use serde_json::Value;

/// Members by name, at any depth, compared without case.
const PRIVATE: &[&str] = &[
    // Of peers.
    "clientip",
    "port",
    "utdid",
    "umid",
    "umidtoken",
    "imei",
    "imsi",
    "mac",
    // Of the account's session.
    "token",
    "accesstoken",
    "refreshtoken",
    "cookie",
    "did",
    "deviceid",
    "sid",
    "reg-sid",
    "real-ip",
    "ip-digest",
    "ip-region-digest",
];

/// Removes them, also from JSON that stands in a string.
pub fn strip(tree: &mut Value) {
    match tree {
        Value::Object(map) => {
            map.retain(|key, _| !is_private(key));
            map.values_mut().for_each(strip);
        }
        Value::Array(all) => all.iter_mut().for_each(strip),
        Value::String(text) if text.starts_with(['{', '[']) => {
            if let Ok(mut inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text)
                && mentions(&inner)
            {
                strip(&mut inner);
                *text = inner.to_string();
            }
        }
        _ => {}
    }
}

fn is_private(key: &str) -> bool {
    PRIVATE
        .iter()
        .any(|private| key.eq_ignore_ascii_case(private))
}

/// Something in it is private; then, and only then, it is written anew.
fn mentions(tree: &Value) -> bool {
    match tree {
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| is_private(key) || mentions(value)),
        Value::Array(all) => all.iter().any(mentions),
        Value::String(text) if text.starts_with(['{', '[']) => serde_json::from_str::<Value>(text)
            .is_ok_and(|inner| !inner.is_string() && mentions(&inner)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn private_members_go_at_any_depth_and_inside_strings() {
        let mut tree = json!({
            "1": { "10": { "clientIp": "192.0.2.1", "port": "1", "umidToken": "t", "keep": 1 } },
            "extJson": "{\"utdid\":\"u\",\"tag\":\"x\"}", "text": "{not json", "all": [{ "UMID": 1 }, "{ \"a\": 1 }"],
        });
        strip(&mut tree);
        let wanted = json!({
            "1": { "10": { "keep": 1 } }, "extJson": "{\"tag\":\"x\"}", "text": "{not json", "all": [{}, "{ \"a\": 1 }"],
        });
        assert_eq!(tree, wanted);
    }
}
