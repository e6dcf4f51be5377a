//! What accounts of an adapter can: its general answer, changed by what an account reported of itself.
//!
//! Accounts that can the same share one document, and so does an account that reports the same again. Bounded: what was not
//! asked for lately is made anew.
//!
//! Not here: which account shows which (`face`).

use super::plugins::Adapter;
use im_bridge_sdk::model::{Capabilities, CapabilityDocument, MODEL, ModelVersion};
use ring::digest::{SHA256, digest};
use serde_json::Value;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// Different answers of an adapter's accounts. More are rare, and cost memory instead of sharing it.
const KEPT: usize = 16;

/// What an account can, and the document that says so.
#[derive(Clone)]
pub struct Offer {
    pub capabilities: Arc<Capabilities>,
    pub document: Arc<CapabilityDocument>,
}

/// Those asked for lately, each with the change that makes it; the latest last.
#[derive(Default)]
pub struct Offers {
    kept: Mutex<Vec<(Option<Value>, Offer)>>,
}

impl Adapter {
    /// What an account can that reported this change; none: nothing of its own.
    pub fn offer(&self, patch: Option<&Value>) -> Result<Offer, serde_json::Error> {
        let kept = &self.offers.kept;
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().position(|(of, _)| of.as_ref() == patch);
        let (of, offer) = match known {
            Some(place) => kept.remove(place),
            None => (patch.cloned(), self.make(patch)?),
        };
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((of, offer.clone()));
        Ok(offer)
    }

    fn make(&self, patch: Option<&Value>) -> Result<Offer, serde_json::Error> {
        let description = &self.loaded.description;
        let mut merged = description.capabilities.document.clone();
        if let Some(patch) = patch {
            merge(&mut merged, patch);
        }
        let capabilities: Capabilities = serde_json::from_value(merged)?;
        let noise = description.operations.iter();
        let quiet = noise.filter(|(_, class)| !matches!(class.as_str(), "command" | "session"));
        let mut document = CapabilityDocument {
            adapter: self.build(),
            model: ModelVersion {
                minor: self.model_minor(),
                ..MODEL
            },
            revision: String::new(),
            capabilities: capabilities.clone(),
            noise: quiet.map(|(name, _)| name.clone()).collect(),
        };
        document.revision = revision(&document);
        Ok(Offer {
            capabilities: Arc::new(capabilities),
            document: Arc::new(document),
        })
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(members) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            members.remove(key);
        } else {
            merge(members.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

fn revision(document: &CapabilityDocument) -> String {
    let text = serde_json::to_string(document).expect("a document of the model becomes JSON");
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref()[..4]
        .iter()
        .fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_merge_patch_replaces_adds_and_removes() {
        let mut target = json!({ "a": 1, "b": { "c": 2, "d": 3 }, "e": [1] });
        merge(
            &mut target,
            &json!({ "a": null, "b": { "c": 4 }, "e": [], "f": { "g": null } }),
        );
        assert_eq!(target, json!({ "b": { "c": 4, "d": 3 }, "e": [], "f": {} }));
    }
}
