//! What a message says: the inner content, JSON with a number for its kind.
//!
//! Kinds that are not known are contents, too: their number, JSON and summary are kept, and nothing is dropped.

use serde_json::Value;

use super::item::base64;
use super::{number, text};

pub const TEXT: i64 = 1;
pub const IMAGE: i64 = 2;
const VOICE: i64 = 3;
const ITEM_CARD: i64 = 7;

#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Text(String),
    Images(Vec<Picture>),
    Voice {
        url: String,
        /// In a unit that is not known.
        duration: Option<i64>,
    },
    ItemCard {
        item: Option<String>,
        title: Option<String>,
        price: Option<String>,
        picture: Option<String>,
        tip: Option<String>,
    },
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub url: String,
    pub width: Option<u32>,
    pub height: Option<u32>,
}

/// The inner JSON, plain or as base64.
pub fn parse(text: &str) -> Option<Value> {
    let text = text.trim();
    if text.starts_with('{') {
        return serde_json::from_str(text).ok();
    }
    serde_json::from_slice(&base64(text)?)
        .ok()
        .filter(Value::is_object)
}

impl Content {
    /// A content whose JSON lacks what its kind needs is no other kind: its summary stands in for a text, and what else
    /// there is stays in the JSON.
    pub fn read(kind: Option<i64>, native: Option<&Value>, summary: Option<&str>) -> Self {
        let null = Value::Null;
        let native = native.unwrap_or(&null);
        let read = match kind {
            Some(TEXT) => {
                let words = native["text"]["text"].as_str().or(summary);
                words.map(|words| Self::Text(words.to_owned()))
            }
            Some(IMAGE) => pictures(native).map(Self::Images),
            Some(VOICE) => web(&native["audio"]["url"]).map(|url| Self::Voice {
                url,
                duration: number(&native["audio"]["duration"]),
            }),
            Some(ITEM_CARD) => item_card(&native["itemCard"]),
            // Without a number and JSON the summary is all there is.
            None if native.is_null() => summary.map(|words| Self::Text(words.to_owned())),
            _ => None,
        };
        read.unwrap_or(Self::Other)
    }
}

/// All of them, or the message is told as it came.
fn pictures(native: &Value) -> Option<Vec<Picture>> {
    let pixels = |value: &Value| {
        number(value)
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n > 0)
    };
    let picture = |pic: &Value| {
        Some(Picture {
            url: web(&pic["url"])?,
            width: pixels(&pic["width"]),
            height: pixels(&pic["height"]),
        })
    };
    let all: Vec<Picture> = native["image"]["pics"]
        .as_array()?
        .iter()
        .map(picture)
        .collect::<Option<_>>()?;
    (!all.is_empty()).then_some(all)
}

fn item_card(card: &Value) -> Option<Content> {
    let item = card["item"].as_object()?;
    let field = |name: &str| match item.get(name) {
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(value) => text(value).map(str::to_owned),
        None => None,
    };
    Some(Content::ItemCard {
        item: field("itemId"),
        title: field("title"),
        price: field("price"),
        picture: field("mainPic"),
        tip: text(&card["itemTip"]).map(str::to_owned),
    })
}

/// An address that the model takes.
fn web(value: &Value) -> Option<String> {
    let url = text(value)?;
    // Written without a scheme by some of the provider's clients.
    if url.starts_with("//") {
        return Some(format!("https:{url}"));
    }
    (url.starts_with("http://") || url.starts_with("https://")).then(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(native: Value) -> Content {
        Content::read(
            number(&native["contentType"]),
            Some(&native),
            Some("summary"),
        )
    }

    #[test]
    fn a_text_without_words_shows_its_summary() {
        assert_eq!(
            read(json!({ "contentType": 1, "text": { "text": "hi" } })),
            Content::Text("hi".into())
        );
        assert_eq!(
            read(json!({ "contentType": 1 })),
            Content::Text("summary".into())
        );
        assert_eq!(
            Content::read(None, None, Some("s")),
            Content::Text("s".into())
        );
    }

    #[test]
    fn a_picture_without_an_address_is_told_as_it_came() {
        let pics = json!({ "contentType": 2, "image": { "pics": [{ "url": "//a/b", "width": 0, "height": "7" }] } });
        let wanted = Picture {
            url: "https://a/b".into(),
            width: None,
            height: Some(7),
        };
        assert_eq!(read(pics), Content::Images(vec![wanted]));
        for native in [
            json!({ "contentType": 2, "image": { "pics": [{ "url": "file:///etc" }] } }),
            json!({ "contentType": 2, "image": { "pics": [] } }),
            json!({ "contentType": 3, "audio": {} }),
            json!({ "contentType": 26, "dxCard": {} }),
        ] {
            assert_eq!(read(native.clone()), Content::Other, "{native}");
        }
    }

    #[test]
    fn inner_json_may_be_base64() {
        let wanted = Some(json!({ "a": 1 }));
        assert_eq!(parse(r#"{"a":1}"#), wanted);
        assert_eq!(parse("eyJhIjoxfQ"), wanted);
        assert_eq!(parse("[图片]"), None);
    }
}
