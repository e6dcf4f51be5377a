//! Whom a text calls upon, and where in it.
//!
//! `mention` says whom, `entities` where, in UTF-16 units as JavaScript counts. Without a place that fits, the text stays
//! whole and only the list tells.

use im_bridge_sdk::model::{Mentions, Segment};
use serde_json::{Map, Value};

/// How clients write "everybody".
const EVERYBODY: [&str; 3] = ["@all", "@所有人", "@All"];

/// Segments of one text at most, of the 64 that a message may have: beyond, the text stays whole.
const PLACES_MAX: usize = 30;

pub fn named(body: &Map<String, Value>) -> Mentions {
    let Some(mention) = body.get("mention") else {
        return Mentions::default();
    };
    let uids = mention["uids"].as_array();
    let uids = uids.into_iter().flatten().filter_map(Value::as_str);
    let mut user_ids: Vec<String> = Vec::new();
    for uid in uids {
        if !uid.is_empty() && !user_ids.iter().any(|known| known == uid) {
            user_ids.push(uid.to_owned());
        }
    }
    let all = &mention["all"];
    Mentions {
        all: all == 1 || all == true,
        user_ids,
    }
}

/// One mention in a text: from byte to byte, and whom; none: everybody.
struct Place<'a> {
    from: usize,
    to: usize,
    uid: Option<&'a str>,
}

/// The text with its mentions as segments.
pub fn split(content: &str, body: &Map<String, Value>, named: &Mentions) -> Vec<Segment> {
    let mut places = told(content, body);
    if places.is_empty() {
        places = named
            .user_ids
            .iter()
            .filter_map(|uid| written(content, uid))
            .collect();
    }
    if named.all
        && let Some(place) = everybody(content)
    {
        places.push(place);
    }
    places.sort_by_key(|place| place.from);
    let overlaps = places.windows(2).any(|pair| pair[1].from < pair[0].to);
    if places.is_empty() || overlaps || places.len() > PLACES_MAX {
        return vec![Segment::text(content)];
    }
    let mut segments = Vec::new();
    let mut at = 0;
    for place in places {
        if place.from > at {
            segments.push(Segment::text(&content[at..place.from]));
        }
        segments.push(match place.uid {
            None => Segment::mention_all(),
            Some(uid) => {
                let shown = content[place.from..place.to].trim_start_matches('@').trim();
                let name = (shown != uid && !shown.is_empty()).then(|| shown.to_owned());
                Segment::mention(uid, name)
            }
        });
        at = place.to;
    }
    if at < content.len() {
        segments.push(Segment::text(&content[at..]));
    }
    segments
}

/// Places that the body names, as far as they fit the text.
fn told<'a>(content: &str, body: &'a Map<String, Value>) -> Vec<Place<'a>> {
    let entities = body.get("entities").and_then(Value::as_array);
    let mentions = entities
        .into_iter()
        .flatten()
        .filter(|one| one["type"] == "mention");
    let places = mentions.map(|one| {
        let uid = one["value"].as_str().filter(|uid| !uid.is_empty())?;
        let from = usize::try_from(one["offset"].as_u64()?).ok()?;
        let length = usize::try_from(one["length"].as_u64()?).ok()?;
        let (from, to) = (
            byte_of(content, from)?,
            byte_of(content, from.checked_add(length)?)?,
        );
        let is_mention = from < to && content[from..to].starts_with('@');
        is_mention.then_some(Place {
            from,
            to,
            uid: Some(uid),
        })
    });
    // One that does not fit says that the units are others: then none is trusted.
    places.collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// The byte at which a UTF-16 unit begins.
fn byte_of(content: &str, unit: usize) -> Option<usize> {
    let mut units = 0;
    for (byte, character) in content.char_indices() {
        if units == unit {
            return Some(byte);
        }
        units += character.len_utf16();
    }
    (units == unit).then_some(content.len())
}

/// `@<uid>` itself in the text.
fn written<'a>(content: &str, uid: &'a str) -> Option<Place<'a>> {
    let from = content.find(&format!("@{uid}"))?;
    let to = from + 1 + uid.len();
    let goes_on =
        content[to..].starts_with(|next: char| next.is_alphanumeric() || "-_".contains(next));
    (!goes_on).then_some(Place {
        from,
        to,
        uid: Some(uid),
    })
}

fn everybody(content: &str) -> Option<Place<'static>> {
    let found = EVERYBODY
        .iter()
        .find_map(|word| Some((content.find(word)?, word.len())));
    found.map(|(from, length)| Place {
        from,
        to: from + length,
        uid: None,
    })
}
