//! A message as plain text, for whoever does not read segments.

use super::names::TextFormat;
use super::segment::{Content, Segment, Text};
use std::borrow::Cow;
use std::fmt::Write;

/// Longest alternative text, in characters.
pub const ALT_TEXT_CHARS_MAX: usize = 4096;

/// The segments' text in order, at most [`ALT_TEXT_CHARS_MAX`] characters.
#[must_use]
pub fn alt_text(segments: &[Segment]) -> String {
    let mut out = String::new();
    for segment in segments {
        append(&mut out, segment);
        if out.len() > ALT_TEXT_CHARS_MAX {
            // Bytes say nothing about characters yet, but fewer bytes than the bound never need a look.
            if let Some((end, _)) = out.char_indices().nth(ALT_TEXT_CHARS_MAX) {
                out.truncate(end);
                break;
            }
        }
    }
    out
}

/// The rendering of one segment, also what stands in for it where it cannot be sent.
fn append(out: &mut String, segment: &Segment) {
    match &segment.content {
        Content::Text(text) => out.push_str(&plain(text)),
        Content::Mention(who) => {
            out.push('@');
            out.push_str(who.name.as_deref().unwrap_or(&who.user_id));
        }
        Content::MentionAll(_) => out.push_str("@all"),
        Content::Emoji(emoji) => match (&emoji.unicode, emoji.name.as_deref()) {
            (Some(unicode), _) => out.push_str(unicode),
            (None, name) => bracket(out, name.unwrap_or("emoji"), None),
        },
        Content::Link(link) => out.push_str(link.title.as_deref().unwrap_or(&link.url)),
        Content::Image(_) => bracket(out, "image", None),
        Content::Sticker(_) => bracket(out, "sticker", None),
        Content::Voice(_) => bracket(out, "voice", None),
        Content::Audio(_) => bracket(out, "audio", None),
        Content::Video(_) => bracket(out, "video", None),
        Content::File(file) => bracket(out, "file", file.media.name.as_deref()),
        Content::Location(place) => bracket(out, "location", place.title.as_deref()),
        Content::Contact(who) => bracket(out, "contact", who.name.as_deref()),
        Content::Card(card) => match card.title.as_deref().or(card.url.as_deref()) {
            Some(text) => out.push_str(text),
            None => bracket(out, "card", None),
        },
        Content::Forward(forward) => {
            write!(out, "[forwarded {}]", forward.messages.len())
                .expect("a string takes everything");
        }
        Content::Opaque(opaque) => match &segment.fallback {
            Some(summary) => out.push_str(summary),
            None => bracket(out, &opaque.native_type, None),
        },
    }
}

fn bracket(out: &mut String, what: &str, which: Option<&str>) {
    out.push('[');
    out.push_str(what);
    if let Some(which) = which {
        out.push(' ');
        out.push_str(which);
    }
    out.push(']');
}

fn plain(text: &Text) -> Cow<'_, str> {
    match text.format {
        None | Some(TextFormat::Plain) => Cow::Borrowed(&text.text),
        Some(TextFormat::Markdown) => Cow::Owned(without_markdown(&text.text)),
        Some(TextFormat::Html) => Cow::Owned(without_tags(&text.text)),
    }
}

/// Drops the marks that carry no words: emphasis, code, headings, quotes, and the address of a link.
fn without_markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut rest = line.trim_start_matches(['#', '>']);
        if rest.len() < line.len() {
            rest = rest.trim_start_matches(' ');
        }
        while let Some(at) = rest.find(['*', '`', '~', '[', '!', '\\']) {
            let (before, mark) = rest.split_at(at);
            out.push_str(before);
            rest = &mark[1..];
            match mark.as_bytes()[0] {
                b'\\' => {
                    let mut after = rest.chars();
                    out.extend(after.next());
                    rest = after.as_str();
                }
                b'[' => match link(rest) {
                    Some((label, after)) => {
                        out.push_str(label);
                        rest = after;
                    }
                    None => out.push('['),
                },
                b'!' if !rest.starts_with('[') => out.push('!'),
                b'~' => match rest.strip_prefix('~') {
                    Some(after) => rest = after,
                    None => out.push('~'),
                },
                // Emphasis touches a word; a star between blanks is a star.
                b'*' if rest.starts_with(' ') && out.ends_with(' ') => out.push('*'),
                _ => {}
            }
        }
        out.push_str(rest);
    }
    out
}

/// `label](address)`: the label, and what follows.
fn link(text: &str) -> Option<(&str, &str)> {
    let (label, after) = text
        .split_once("](")
        .filter(|(label, _)| !label.contains('['))?;
    let (_, after) = after.split_once(')')?;
    Some((label, after))
}

/// Drops tags and reads the usual entities.
fn without_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['<', '&']) {
        let (before, mark) = rest.split_at(at);
        out.push_str(before);
        let is_tag = mark.starts_with('<');
        let end = mark.find(if is_tag { '>' } else { ';' });
        let Some(end) = end else {
            out.push_str(mark);
            return out;
        };
        if !is_tag {
            match entity(&mark[1..end]) {
                Some(character) => out.push(character),
                None => {
                    out.push('&');
                    rest = &mark[1..];
                    continue;
                }
            }
        } else if matches!(&mark[1..end], "br" | "br/" | "br /" | "/p" | "/div" | "/li") {
            out.push('\n');
        }
        rest = &mark[end + 1..];
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    })
}

#[cfg(test)]
mod tests;
