//! Text with its mentions: words that make one body.

use serde_json::{Map, Value, json};

/// Text with its mentions, not finished yet.
#[derive(Default)]
pub struct Words {
    content: String,
    units: usize,
    entities: Vec<Value>,
    uids: Vec<String>,
    pub all: bool,
}

impl Words {
    pub fn push(&mut self, text: &str) {
        self.content.push_str(text);
        self.units += text.encode_utf16().count();
    }

    pub fn mention(&mut self, uid: &str, name: Option<&str>) {
        let shown = format!("@{}", name.unwrap_or(uid));
        let length = shown.encode_utf16().count();
        self.entities.push(
            json!({ "offset": self.units, "length": length, "type": "mention", "value": uid }),
        );
        self.push(&shown);
        if !self.uids.iter().any(|known| known == uid) {
            self.uids.push(uid.to_owned());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    pub fn body(self) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("type".to_owned(), 1.into());
        body.insert("content".to_owned(), self.content.into());
        if !self.entities.is_empty() {
            body.insert("entities".to_owned(), self.entities.into());
        }
        if self.all || !self.uids.is_empty() {
            let mut mention = Map::new();
            if self.all {
                mention.insert("all".to_owned(), 1.into());
            }
            if !self.uids.is_empty() {
                mention.insert("uids".to_owned(), self.uids.into());
            }
            body.insert("mention".to_owned(), mention.into());
        }
        body
    }
}
