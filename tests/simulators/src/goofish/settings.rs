//! What nobody knows about the provider, or what differs by time: set by tests.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Echo {
    After,
    Before,
    None,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub access_token_ms: u64,
    pub signing_token_ms: u64,
    pub sign_failure: String,
    pub connections_per_account: usize,
    pub same_device: SameDevice,
    pub replay: bool,
    pub redeliver: bool,
    pub hints: bool,
    pub echo: Echo,
    pub receipts: Receipts,
    pub dedupe_uuid: bool,
    pub recall_within_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SameDevice {
    Both,
    Replace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Receipts {
    One,
    Batch,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access_token_ms: 86_400_000,
            signing_token_ms: 3_600_000,
            sign_failure: "FAIL_SYS_ILLEGAL_ACCESS".to_owned(),
            connections_per_account: 8,
            same_device: SameDevice::Both,
            replay: true,
            redeliver: false,
            hints: true,
            echo: Echo::After,
            receipts: Receipts::One,
            dedupe_uuid: false,
            recall_within_ms: 120_000,
        }
    }
}

impl World {
    pub fn set(&mut self, changes: Value) -> Result<Value, String> {
        let as_json = |settings: &Settings| serde_json::to_value(settings).unwrap_or_default();
        let mut all = as_json(&self.settings);
        let Value::Object(changes) = changes else {
            return Err("settings are an object".to_owned());
        };
        for (key, value) in changes {
            all[key] = value;
        }
        self.settings = serde_json::from_value(all).map_err(|error| error.to_string())?;
        Ok(as_json(&self.settings))
    }
}
