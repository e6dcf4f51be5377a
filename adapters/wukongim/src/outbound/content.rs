//! From segments to bodies as other clients of the server read them.
//!
//! Text, mentions and what is rendered as text make one body; every other segment is a body of its own. What the provider
//! cannot carry is replaced or dropped only as the caller allows, and each change is told.

#[cfg(test)]
mod tests;
mod words;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use im_bridge_sdk::Outcome;
use im_bridge_sdk::model::{
    DegradationAction, ErrorCode, Media, MediaSource, OnUnsupported, OpaqueEncoding, Options,
    Segment, alt_text, params,
    results::Degradation,
    segment::{Audio, Content, Image, Opaque, Text, Video},
};
use serde_json::{Map, Value, json};

use crate::describe::PAYLOAD_BYTES_MAX;
use words::Words;

/// What goes out for one command.
#[derive(Debug)]
pub struct Bodies {
    /// In order; at least one.
    pub payloads: Vec<Vec<u8>>,
    pub degradations: Vec<Degradation>,
}

/// One body: members, or bytes as the caller made them.
enum Body {
    Members(Map<String, Value>),
    Bytes(Vec<u8>),
}

struct Maker<'a> {
    options: &'a Options,
    bodies: Vec<Body>,
    words: Words,
    degradations: Vec<Degradation>,
}

pub fn bodies(draft: &params::Draft, options: &Options) -> Result<Bodies, Outcome> {
    let mut maker = Maker {
        options,
        bodies: Vec::new(),
        words: Words::default(),
        degradations: Vec::new(),
    };
    for (index, segment) in draft.segments.iter().enumerate() {
        maker.segment(segment, &format!("/message/segments/{index}"))?;
    }
    maker.end_words();
    if draft.thread_id.is_some() {
        maker.degrade(
            "/message/thread_id",
            DegradationAction::Dropped,
            "the provider has no threads",
        );
    }
    let Maker {
        mut bodies,
        mut degradations,
        ..
    } = maker;
    if bodies.is_empty() {
        return Err(bad("nothing is left to send", "/message/segments"));
    }
    if bodies.len() > 1 {
        if !options.split {
            let text = "the provider carries these segments in several messages only";
            return Err(bad(text, "/message/segments")
                .hint("set options.split to true, or send them one by one"));
        }
        degradations.push(Degradation {
            path: "/message/segments".to_owned(),
            action: DegradationAction::Split,
            reason: format!("sent as {} messages", bodies.len()),
        });
    }
    if let Some(reply_to) = &draft.reply_to {
        match &mut bodies[0] {
            Body::Members(body) => {
                body.insert("reply".to_owned(), reply(reply_to));
            }
            Body::Bytes(_) => degradations.push(Degradation {
                path: "/message/reply_to".to_owned(),
                action: DegradationAction::Dropped,
                reason: "the body is not JSON".to_owned(),
            }),
        }
    }
    let payloads: Vec<Vec<u8>> = bodies.into_iter().map(written).collect();
    if let Some(most) = payloads
        .iter()
        .map(Vec::len)
        .find(|bytes| *bytes > PAYLOAD_BYTES_MAX)
    {
        let text = format!(
            "the message has {most} bytes, at most {PAYLOAD_BYTES_MAX} are readable for every client; send larger content by URL"
        );
        return Err(Outcome::error(ErrorCode::PayloadTooLarge, text).path("/params/message"));
    }
    Ok(Bodies {
        payloads,
        degradations,
    })
}

fn written(body: Body) -> Vec<u8> {
    match body {
        Body::Members(members) => Value::Object(members).to_string().into_bytes(),
        Body::Bytes(bytes) => bytes,
    }
}

fn reply(reply_to: &im_bridge_sdk::model::ReplyTo) -> Value {
    let mut reply = json!({ "message_id": reply_to.message_id });
    if let Some(sender_id) = &reply_to.sender_id {
        reply["from_uid"] = sender_id.clone().into();
    }
    let excerpt = reply_to.excerpt.clone().unwrap_or_default();
    reply["payload"] = json!({ "type": 1, "content": excerpt });
    reply
}

fn bad(text: &str, place: &str) -> Outcome {
    Outcome::error(ErrorCode::BadSegment, text).path(format!("/params{place}"))
}

impl Maker<'_> {
    fn segment(&mut self, segment: &Segment, place: &str) -> Result<(), Outcome> {
        match &segment.content {
            Content::Text(text) => self.text(text, segment, place),
            Content::Mention(who) => self.words.mention(&who.user_id, who.name.as_deref()),
            Content::MentionAll(_) => {
                self.words.all = true;
                self.words.push("@all");
            }
            Content::Image(image) => self.image(image, place)?,
            Content::Voice(audio) | Content::Audio(audio) => self.audio(audio, place)?,
            Content::Video(video) => self.video(video, place)?,
            Content::File(file) => {
                let mut body = place_of(&file.media, place)?;
                body.insert("type".to_owned(), 8.into());
                let name = file.media.name.clone().unwrap_or_else(|| "file".to_owned());
                body.insert("name".to_owned(), name.into());
                put(&mut body, "size", file.media.size);
                self.converted(place);
                self.alone(Body::Members(body));
            }
            Content::Location(at) => {
                let mut body = Map::new();
                body.insert("type".to_owned(), 6.into());
                body.insert("lng".to_owned(), at.longitude.into());
                body.insert("lat".to_owned(), at.latitude.into());
                put(&mut body, "title", at.title.clone());
                put(&mut body, "address", at.address.clone());
                self.converted(place);
                self.alone(Body::Members(body));
            }
            Content::Contact(who) => {
                let uid = who.user_id.clone();
                let uid = uid.ok_or_else(|| bad("a contact needs a user_id here", place))?;
                let name = who.name.clone().unwrap_or_else(|| uid.clone());
                let body = json!({ "type": 7, "uid": uid, "name": name });
                self.members(body);
            }
            Content::Opaque(opaque) => {
                let body = native(opaque, place)?;
                self.alone(body);
            }
            Content::Emoji(_) | Content::Link(_) | Content::Card(_) | Content::Forward(_) => {
                self.unsupported(segment, place, true)?;
            }
            Content::Sticker(_) => self.unsupported(segment, place, false)?,
        }
        Ok(())
    }

    fn text(&mut self, text: &Text, segment: &Segment, place: &str) {
        let plain = alt_text(std::slice::from_ref(segment));
        // Its rendering is cut where alternative texts are; plain words are not.
        let has_markup = text
            .format
            .is_some_and(|format| format != im_bridge_sdk::model::TextFormat::Plain);
        if has_markup && plain.len() < text.text.len() {
            self.degrade(
                place,
                DegradationAction::Converted,
                "the provider carries no markup",
            );
            self.words.push(&plain);
        } else {
            self.words.push(&text.text);
        }
    }

    fn image(&mut self, image: &Image, place: &str) -> Result<(), Outcome> {
        let mut body = place_of(&image.media, place)?;
        let kind = if image.animated == Some(true) { 3 } else { 2 };
        body.insert("type".to_owned(), kind.into());
        body.insert("width".to_owned(), image.media.width.unwrap_or(0).into());
        body.insert("height".to_owned(), image.media.height.unwrap_or(0).into());
        self.alone(Body::Members(body));
        Ok(())
    }

    fn audio(&mut self, audio: &Audio, place: &str) -> Result<(), Outcome> {
        let mut body = place_of(&audio.media, place)?;
        body.insert("type".to_owned(), 4.into());
        body.insert("timeTrad".to_owned(), seconds(audio.duration_ms).into());
        self.alone(Body::Members(body));
        Ok(())
    }

    fn video(&mut self, video: &Video, place: &str) -> Result<(), Outcome> {
        let mut body = place_of(&video.media, place)?;
        body.insert("type".to_owned(), 5.into());
        body.insert("second".to_owned(), seconds(video.duration_ms).into());
        body.insert("width".to_owned(), video.media.width.unwrap_or(0).into());
        body.insert("height".to_owned(), video.media.height.unwrap_or(0).into());
        body.insert("size".to_owned(), video.media.size.unwrap_or(0).into());
        if let Some(thumbnail) = &video.thumbnail {
            let cover = place_of(thumbnail, &format!("{place}/data/thumbnail"))?;
            put(&mut body, "cover", cover.get("url").cloned());
        }
        self.alone(Body::Members(body));
        Ok(())
    }

    /// Of a segment that the provider has no body for.
    fn unsupported(
        &mut self,
        segment: &Segment,
        place: &str,
        has_rendering: bool,
    ) -> Result<(), Outcome> {
        let kind = segment.segment_type();
        let refused = || {
            Outcome::error(
                ErrorCode::UnsupportedSegment,
                format_args!("the provider cannot carry a segment of type {kind}"),
            )
            .path(format!("/params{place}"))
        };
        let (action, reason) = match self.options.on_unsupported {
            OnUnsupported::Fail => return Err(refused()),
            OnUnsupported::Drop => (DegradationAction::Dropped, "left out"),
            OnUnsupported::Fallback => {
                let text = match &segment.fallback {
                    Some(fallback) => fallback.clone(),
                    None if has_rendering => alt_text(std::slice::from_ref(segment)),
                    None => return Err(refused().hint("give the segment a fallback text")),
                };
                self.words.push(&text);
                (DegradationAction::Fallback, "sent as text")
            }
        };
        self.degrade(
            place,
            action,
            &format!("the provider has no {kind}; {reason}"),
        );
        Ok(())
    }

    fn converted(&mut self, place: &str) {
        self.degrade(
            place,
            DegradationAction::Converted,
            "every application has a body of its own for this; the usual one was sent",
        );
    }

    fn degrade(&mut self, place: &str, action: DegradationAction, reason: &str) {
        self.degradations.push(Degradation {
            path: place.to_owned(),
            action,
            reason: reason.to_owned(),
        });
    }

    fn members(&mut self, body: Value) {
        if let Value::Object(body) = body {
            self.alone(Body::Members(body));
        }
    }

    fn alone(&mut self, body: Body) {
        self.end_words();
        self.bodies.push(body);
    }

    fn end_words(&mut self) {
        let words = std::mem::take(&mut self.words);
        if !words.is_empty() {
            self.bodies.push(Body::Members(words.body()));
        }
    }
}

/// Whole seconds, rounded up: what lasts is not nothing.
fn seconds(ms: Option<u64>) -> u64 {
    ms.unwrap_or(0).div_ceil(1000)
}

fn put(body: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), value.into());
    }
}

/// A body with the place of its media.
fn place_of(media: &Media, place: &str) -> Result<Map<String, Value>, Outcome> {
    let url = match media.source() {
        Some(MediaSource::Url(url)) => url,
        // A path of the application's own, as it came.
        Some(MediaSource::Native(path)) => path,
        _ => {
            return Err(bad(
                "the provider takes media by address only; give media.url",
                place,
            ));
        }
    };
    let mut body = Map::new();
    body.insert("url".to_owned(), url.into());
    Ok(body)
}

fn native(opaque: &Opaque, place: &str) -> Result<Body, Outcome> {
    match opaque.encoding {
        OpaqueEncoding::Json => match opaque.native.read::<Map<String, Value>>() {
            // As it was written: large numbers and the order of members stay.
            Ok(body) if body.contains_key("type") => {
                Ok(Body::Bytes(opaque.native.as_str().as_bytes().to_vec()))
            }
            _ => Err(bad("a body is a JSON object with a member type", place)),
        },
        OpaqueEncoding::Utf8 | OpaqueEncoding::Base64 => {
            let text: String = opaque
                .native
                .read()
                .map_err(|_| bad("this encoding wants a string", place))?;
            let bytes = if opaque.encoding == OpaqueEncoding::Utf8 {
                text.into_bytes()
            } else {
                STANDARD
                    .decode(&text)
                    .map_err(|_| bad("no base64", place))?
            };
            if bytes.is_empty() {
                return Err(bad("the provider refuses an empty body", place));
            }
            Ok(Body::Bytes(bytes))
        }
    }
}
