//! What a message says, in the provider's words and in the model's, both ways.

use im_bridge_sdk::model::segment::{Audio, Card, Content as Model, Opaque};
use im_bridge_sdk::model::{Media, MediaSource, OpaqueEncoding, Segment};
use serde_json::Value;

use super::{NATIVE_BYTES_MAX, without_private};
use crate::native::calls;
use crate::native::content::{Content, Picture};
use crate::native::message::Message;

/// Longest text of one segment; a longer one becomes several.
const TEXT_BYTES_MAX: usize = 60 * 1024;
/// Longest text of a message, written as JSON: an event has at most 1 MiB.
const TEXT_JSON_BYTES_MAX: usize = 900 * 1024;

/// In reading order, at least one.
pub fn segments(message: &Message) -> Vec<Segment> {
    match &message.content {
        Content::Text(words) => texts(words),
        Content::Images(all) => all.iter().map(|one| Segment::image(media(one))).collect(),
        Content::Voice { url, .. } => {
            // The unit of the length is not known; it stands in `ext`.
            let audio = Audio {
                media: Media::url(url.clone()),
                duration_ms: None,
                title: None,
            };
            vec![Segment::from(Model::Voice(audio))]
        }
        Content::ItemCard {
            item,
            title,
            price,
            picture,
            tip,
        } => {
            let fields = [("item_id", item), ("price", price)];
            let fields = fields
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
            let card = Card {
                title: title.clone(),
                text: tip.clone(),
                url: None,
                image_url: picture.clone(),
                fields: fields.collect(),
                actions: Vec::new(),
            };
            let card = Segment::from(Model::Card(card));
            vec![with_summary(card, message)]
        }
        Content::Other => vec![with_summary(opaque(message), message)],
    }
}

/// Some of it does not fit into an event.
pub fn is_cut(message: &Message) -> bool {
    match &message.content {
        Content::Text(words) => fitting(words).len() < words.len(),
        Content::Other => message
            .native
            .as_ref()
            .is_some_and(|native| native.to_string().len() > NATIVE_BYTES_MAX),
        _ => false,
    }
}

/// The inner content, whatever it is.
fn opaque(message: &Message) -> Segment {
    let native_type = message
        .content_type
        .map_or_else(|| "custom".to_owned(), |number| number.to_string());
    let native = message.native.as_ref().map(without_private);
    let native = native.filter(|native| native.to_string().len() <= NATIVE_BYTES_MAX);
    Segment::opaque(native_type, native.unwrap_or(Value::Null))
}

fn with_summary(segment: Segment, message: &Message) -> Segment {
    match &message.summary {
        Some(summary) => segment.fallback(head(summary, TEXT_BYTES_MAX)),
        None => segment,
    }
}

fn texts(words: &str) -> Vec<Segment> {
    let mut rest = fitting(words);
    let mut all = Vec::new();
    loop {
        let part = head(rest, TEXT_BYTES_MAX);
        all.push(Segment::text(part));
        rest = &rest[part.len()..];
        if rest.is_empty() {
            return all;
        }
    }
}

/// As much from the beginning as fits into an event once it is written as JSON.
fn fitting(words: &str) -> &str {
    let mut bytes = 0;
    let written = |letter: char| match letter {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        '\u{0}'..='\u{1f}' => 6,
        _ => letter.len_utf8(),
    };
    let end = words.char_indices().find(|(_, letter)| {
        bytes += written(*letter);
        bytes > TEXT_JSON_BYTES_MAX
    });
    end.map_or(words, |(at, _)| &words[..at])
}

/// At most so many bytes from the beginning, cut between letters.
fn head(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn media(picture: &Picture) -> Media {
    Media {
        width: picture.width,
        height: picture.height,
        ..Media::url(picture.url.clone())
    }
}

/// The way out: the inner content as JSON text. An error is a reason for people, why this segment cannot be sent.
pub fn content(segment: &Segment) -> Result<String, &'static str> {
    match &segment.content {
        Model::Text(text) => Ok(calls::text_content(&text.text)),
        Model::Image(image) => match image.media.source() {
            Some(MediaSource::Url(url)) => Ok(calls::image_content(&Picture {
                url: url.to_owned(),
                width: image.media.width,
                height: image.media.height,
            })),
            _ => Err(
                "pictures are sent by url; what lies in the bridge's store is not reached from here",
            ),
        },
        Model::Opaque(Opaque {
            encoding: OpaqueEncoding::Json,
            native,
            ..
        }) => {
            let native: Value = native.read().map_err(|_| "its content is no JSON")?;
            if !native["contentType"].is_i64() {
                return Err("its content has no number contentType");
            }
            Ok(native.to_string())
        }
        Model::Opaque(_) => Err("the provider carries JSON; use the encoding json"),
        _ => Err("the provider cannot carry it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_becomes_several_segments_and_loses_nothing() {
        let words = "häuser ".repeat(30_000);
        let all = texts(&words);
        assert!(all.len() > 3);
        let joined: String = all
            .iter()
            .map(|segment| match &segment.content {
                Model::Text(text) => text.text.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(joined, words);
    }

    #[test]
    fn what_cannot_fit_into_an_event_is_cut() {
        assert_eq!(fitting(&"x".repeat(2_000_000)).len(), TEXT_JSON_BYTES_MAX);
        assert_eq!(
            fitting(&"\u{1}".repeat(2_000_000)).len(),
            TEXT_JSON_BYTES_MAX / 6
        );
        assert_eq!(texts("").len(), 1);
    }
}
