//! Bodies of messages: by convention JSON with an integer `type`; anything else is passed on as it is.

use im_bridge_sdk::model::{
    Json, Media, Mentions, Notice, ReplyTo, Segment, Severity,
    segment::{Audio, Contact, Content as SegmentContent, File, Image, Location, Video},
};
use serde_json::{Map, Value};

use super::mentions;

const TEXT: i64 = 1;
const IMAGE: i64 = 2;
const GIF: i64 = 3;
const VOICE: i64 = 4;
const VIDEO: i64 = 5;
const LOCATION: i64 = 6;
const CARD: i64 = 7;
const FILE: i64 = 8;
const COMMAND: i64 = 99;

/// Longest text of a segment; longer ones become several.
const TEXT_BYTES_MAX: usize = 65_536;

/// Longest body that is also kept whole beside its segments.
const REST_BYTES_MAX: usize = 64 * 1024;

/// Members of any body that the model has words for.
const COMMON: [&str; 5] = ["type", "content", "mention", "entities", "reply"];

pub enum Content {
    Message {
        segments: Vec<Segment>,
        mentions: Mentions,
        reply_to: Option<ReplyTo>,
    },
    Notice(Notice),
}

/// What was read of a body.
pub struct Read {
    pub content: Content,
    pub body_type: Option<Value>,
    /// The reply, where it says more than the model has words for.
    pub reply: Option<Value>,
    /// The whole body, likewise.
    pub rest: Option<Json>,
}

/// `is_command`: the server says that it is no chat line.
pub fn read(payload: &[u8], is_command: bool) -> Read {
    let parsed = serde_json::from_slice::<Map<String, Value>>(payload);
    let (Ok(body), Ok(text)) = (parsed, str::from_utf8(payload)) else {
        return plain(payload, is_command);
    };
    let body_type = body.get("type").cloned();
    let kind = body.get("type").and_then(Value::as_i64);
    let notice = match kind {
        Some(COMMAND) => Some(command(&body, text)),
        _ if is_command => Some(command(&body, text)),
        Some(kind @ 1000..=2000) => Some(system(kind, &body, text)),
        _ => None,
    };
    if let Some(notice) = notice {
        return Read {
            content: Content::Notice(notice),
            body_type,
            reply: None,
            rest: None,
        };
    }
    let named = mentions::named(&body);
    let (segments, known) = match (kind, body.get("type")) {
        (Some(kind), _) => by_number(kind, &body, text, &named),
        (None, Some(Value::String(kind))) => by_name(kind, &body, text),
        _ => (vec![whole("unknown", text)], None),
    };
    let reply = body.get("reply").filter(|reply| reply.is_object());
    let is_known = |name: &String| {
        COMMON.contains(&name.as_str()) || known.is_none_or(|known| known.contains(&name.as_str()))
    };
    let has_rest = !body.keys().all(is_known);
    Read {
        content: Content::Message {
            segments,
            mentions: named,
            reply_to: reply.and_then(reply_to),
        },
        reply: reply.filter(|reply| has_more(reply)).cloned(),
        rest: (has_rest && text.len() <= REST_BYTES_MAX)
            .then(|| Json::from_text(text.to_owned()).ok())
            .flatten(),
        body_type,
    }
}

/// A body as an opaque segment.
pub fn opaque(payload: &[u8]) -> Segment {
    match str::from_utf8(payload) {
        Ok(text) => match Json::from_text(text.to_owned()) {
            Ok(json) => Segment::opaque("unknown", json),
            Err(_) => Segment::opaque_text("raw", text),
        },
        Err(_) => Segment::opaque_bytes("raw", payload),
    }
}

/// No JSON object.
fn plain(payload: &[u8], is_command: bool) -> Read {
    let content = if is_command {
        Content::Notice(Notice {
            native: Some(Json::from(&*String::from_utf8_lossy(payload))),
            ..Notice::new("raw", Severity::Debug)
        })
    } else {
        Content::Message {
            segments: vec![opaque(payload)],
            mentions: Mentions::default(),
            reply_to: None,
        }
    };
    Read {
        content,
        body_type: None,
        reply: None,
        rest: None,
    }
}

fn command(body: &Map<String, Value>, text: &str) -> Notice {
    let name = body.get("cmd").and_then(Value::as_str).map(str::to_owned);
    let name = name.unwrap_or_else(|| match body.get("type") {
        Some(kind) => kind.to_string().trim_matches('"').to_owned(),
        None => "command".to_owned(),
    });
    Notice {
        native: Json::from_text(text.to_owned()).ok(),
        ..Notice::new(name, Severity::Debug)
    }
}

/// `content` with `{0}`, `{1}`, … filled from the names in `extra`.
fn system(kind: i64, body: &Map<String, Value>, text: &str) -> Notice {
    let mut shown = text_of(body, "content").unwrap_or_default();
    let extra = body.get("extra").and_then(Value::as_array);
    for (index, one) in extra.into_iter().flatten().enumerate() {
        if let Some(name) = one["name"].as_str() {
            shown = shown.replace(&format!("{{{index}}}"), name);
        }
    }
    Notice {
        text: Some(shown),
        native: Json::from_text(text.to_owned()).ok(),
        ..Notice::new(kind.to_string(), Severity::Info)
    }
}

type Found = (Vec<Segment>, Option<&'static [&'static str]>);

/// The segments, and the members that they take up; none: the segment carries the whole body.
fn by_number(kind: i64, body: &Map<String, Value>, text: &str, named: &Mentions) -> Found {
    let segment = match kind {
        TEXT => {
            let Some(content) = text_of(body, "content") else {
                return (vec![whole("1", text)], None);
            };
            return (pieces(mentions::split(&content, body, named)), Some(&[]));
        }
        IMAGE | GIF => media(body).map(|media| {
            let animated = (kind == GIF).then_some(true);
            (
                SegmentContent::Image(Image { media, animated }),
                &["url", "width", "height", "localPath"][..],
            )
        }),
        VOICE => media(body).map(|media| {
            let audio = Audio {
                media,
                duration_ms: number_of(body, "timeTrad").map(|seconds| seconds * 1000),
                title: None,
            };
            (SegmentContent::Voice(audio), &["url", "timeTrad"][..])
        }),
        VIDEO => media(body).map(|media| {
            let video = Video {
                media: sized(media, body),
                duration_ms: number_of(body, "second").map(|seconds| seconds * 1000),
                thumbnail: text_of(body, "cover").map(|cover| at(&cover)),
            };
            let known = &[
                "url",
                "cover",
                "size",
                "second",
                "width",
                "height",
                "localPath",
            ][..];
            (SegmentContent::Video(video), known)
        }),
        LOCATION => location(body).map(|place| {
            let known = &["lng", "lat", "title", "address"][..];
            (SegmentContent::Location(place), known)
        }),
        CARD => text_of(body, "uid").map(|uid| {
            let contact = Contact {
                user_id: Some(uid),
                name: text_of(body, "name"),
                avatar_url: None,
            };
            (SegmentContent::Contact(contact), &["uid", "name"][..])
        }),
        FILE => media(body).map(|media| {
            let mut media = sized(media, body);
            media.name = text_of(body, "name");
            (
                SegmentContent::File(File { media }),
                &["url", "name", "size"][..],
            )
        }),
        _ => None,
    };
    match segment {
        Some((content, known)) => (vec![content.into()], Some(known)),
        None => (vec![whole(&kind.to_string(), text)], None),
    }
}

/// The form that OpenChat's own provider code writes: `{"type":"text","content":{…}}`.
fn by_name(kind: &str, body: &Map<String, Value>, text: &str) -> Found {
    let content = body.get("content");
    let inner = content.and_then(Value::as_object);
    let segment = match (kind, content, inner) {
        ("text", Some(Value::String(words)), _) => {
            return (pieces(vec![Segment::text(words)]), Some(&[]));
        }
        ("text", _, Some(inner)) => {
            let words = text_of(inner, "text").or_else(|| text_of(inner, "content"));
            match words {
                Some(words) => return (pieces(vec![Segment::text(words)]), Some(&[])),
                None => None,
            }
        }
        ("image", _, Some(inner)) => media(inner).map(|media| {
            SegmentContent::Image(Image {
                media,
                animated: None,
            })
        }),
        ("video", _, Some(inner)) => media(inner).map(|media| {
            SegmentContent::Video(Video {
                media: sized(media, inner),
                duration_ms: None,
                thumbnail: None,
            })
        }),
        ("voice" | "audio", _, Some(inner)) => media(inner).map(|media| {
            SegmentContent::Voice(Audio {
                media: sized(media, inner),
                duration_ms: None,
                title: None,
            })
        }),
        ("file", _, Some(inner)) => media(inner).map(|media| {
            let mut media = sized(media, inner);
            media.name = text_of(inner, "name");
            SegmentContent::File(File { media })
        }),
        _ => None,
    };
    match segment {
        // What stands inside may say more: the body is kept beside.
        Some(content) => (vec![content.into()], Some(&["never"])),
        None => (vec![whole(kind, text)], None),
    }
}

/// The whole body, with a digest where it has one.
fn whole(native_type: &str, text: &str) -> Segment {
    let json = Json::from_text(text.to_owned()).unwrap_or_else(|_| text.into());
    let segment = Segment::opaque(native_type, json);
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let digest = ["digest", "content", "title"]
        .iter()
        .find_map(|name| body[*name].as_str());
    match digest.filter(|digest| !digest.is_empty()) {
        Some(digest) => segment.fallback(digest),
        None => segment,
    }
}

/// Texts that are too long become several.
fn pieces(segments: Vec<Segment>) -> Vec<Segment> {
    let is_short = |segment: &Segment| match &segment.content {
        SegmentContent::Text(text) => text.text.len() <= TEXT_BYTES_MAX,
        _ => true,
    };
    if segments.iter().all(is_short) {
        return segments;
    }
    let mut all = Vec::new();
    for segment in segments {
        match segment.content {
            SegmentContent::Text(text) => {
                let mut rest = text.text.as_str();
                while !rest.is_empty() {
                    let mut end = rest.len().min(TEXT_BYTES_MAX);
                    while !rest.is_char_boundary(end) {
                        end -= 1;
                    }
                    let (piece, after) = rest.split_at(end);
                    all.push(Segment::text(piece));
                    rest = after;
                }
            }
            _ => all.push(segment),
        }
    }
    all
}

fn text_of(body: &Map<String, Value>, name: &str) -> Option<String> {
    body.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// A number that is not negative, however it is written.
fn number_of(body: &Map<String, Value>, name: &str) -> Option<u64> {
    match body.get(name)? {
        Value::Number(number) => number.as_u64().or_else(|| whole_part(number.as_f64()?)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn whole_part(number: f64) -> Option<u64> {
    let is_sane = (0.0..9e15).contains(&number);
    // Within the range just checked nothing is cut but decimals.
    is_sane
        .then(|| format!("{number:.0}").parse().ok())
        .flatten()
}

fn degrees(body: &Map<String, Value>, name: &str, most: f64) -> Option<f64> {
    let number = match body.get(name)? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    (-most..=most).contains(&number).then_some(number)
}

fn location(body: &Map<String, Value>) -> Option<Location> {
    Some(Location {
        latitude: degrees(body, "lat", 90.0)?,
        longitude: degrees(body, "lng", 180.0)?,
        title: text_of(body, "title"),
        address: text_of(body, "address"),
    })
}

/// Where it is: an address, or a path that only the application knows how to fetch.
fn at(place: &str) -> Media {
    if place.starts_with("http://") || place.starts_with("https://") {
        Media::url(place)
    } else {
        Media::native(place)
    }
}

fn media(body: &Map<String, Value>) -> Option<Media> {
    let place = text_of(body, "url").filter(|url| !url.is_empty())?;
    let pixels = |name: &str| u32::try_from(number_of(body, name)?).ok();
    Some(Media {
        width: pixels("width"),
        height: pixels("height"),
        ..at(&place)
    })
}

fn sized(media: Media, body: &Map<String, Value>) -> Media {
    Media {
        size: number_of(body, "size"),
        ..media
    }
}

fn reply_to(reply: &Value) -> Option<ReplyTo> {
    let message_id = match &reply["message_id"] {
        Value::String(id) if !id.is_empty() => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => return None,
    };
    let text = |value: &Value| {
        value
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    Some(ReplyTo {
        message_id,
        sender_id: text(&reply["from_uid"]),
        excerpt: text(&reply["payload"]["content"]),
    })
}

/// The reply says more than the model has words for.
fn has_more(reply: &Value) -> bool {
    const KNOWN: [&str; 3] = ["message_id", "from_uid", "payload"];
    let members = reply.as_object().into_iter().flatten();
    members
        .into_iter()
        .any(|(name, _)| !KNOWN.contains(&name.as_str()))
}
