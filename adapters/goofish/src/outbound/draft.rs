//! From a draft to the provider's messages: one content each, and what had to be changed on the way.

use im_bridge_sdk::Outcome;
use im_bridge_sdk::model::params::Draft;
use im_bridge_sdk::model::results::Degradation;
use im_bridge_sdk::model::segment::Content;
use im_bridge_sdk::model::{
    DegradationAction, ErrorCode, OnUnsupported, Options, Segment, SegmentType, TextFormat,
    alt_text,
};

use crate::inbound::segments;
use crate::native::calls;

/// What is sent for a draft.
#[derive(Debug, Default)]
pub struct Planned {
    /// Inner contents as JSON text, in order.
    pub contents: Vec<String>,
    pub degradations: Vec<Degradation>,
}

enum Piece {
    /// Joined with the words beside it.
    Words(String),
    Content(String),
}

pub fn plan(draft: &Draft, options: &Options) -> Result<Planned, Outcome> {
    let mut planned = Planned::default();
    let mut pieces = Vec::new();
    if let Some(reply) = &draft.reply_to {
        let quote = reply
            .excerpt
            .as_ref()
            .map(|excerpt| format!("「{excerpt}」\n"));
        pieces.extend(planned.instead(
            "/message/reply_to",
            options,
            quote,
            "the provider has no replies",
        )?);
    }
    if draft.thread_id.is_some() {
        planned.instead(
            "/message/thread_id",
            options,
            None,
            "the provider has no threads",
        )?;
    }
    for (index, segment) in draft.segments.iter().enumerate() {
        let path = format!("/message/segments/{index}");
        pieces.extend(planned.piece(&path, segment, options)?);
    }
    planned.contents = join(pieces);
    let bad = |text: &str| {
        Err(Outcome::error(ErrorCode::BadSegment, text).path("/params/message/segments"))
    };
    match planned.contents.len() {
        0 => bad("nothing is left to be sent"),
        1 => Ok(planned),
        _ if options.split => {
            planned.degraded(
                "/message/segments",
                DegradationAction::Split,
                "one message each",
            );
            Ok(planned)
        }
        _ => {
            let failed = bad("the provider carries these segments in several messages only");
            failed.map_err(|outcome| {
                outcome.hint("set options.split to true, or send them one by one")
            })
        }
    }
}

impl Planned {
    fn piece(
        &mut self,
        path: &str,
        segment: &Segment,
        options: &Options,
    ) -> Result<Option<Piece>, Outcome> {
        if let Content::Text(text) = &segment.content {
            if matches!(text.format, Some(format) if format != TextFormat::Plain) {
                self.degraded(
                    &format!("{path}/data/format"),
                    DegradationAction::Dropped,
                    "the provider shows plain text",
                );
            }
            return Ok(Some(Piece::Words(text.text.clone())));
        }
        let reason = match segments::content(segment) {
            Ok(content) => return Ok(Some(Piece::Content(content))),
            Err(reason) => reason,
        };
        let rendered =
            has_rendering(segment.segment_type()).then(|| alt_text(std::slice::from_ref(segment)));
        self.instead(path, options, segment.fallback.clone().or(rendered), reason)
    }

    /// What stands in for something that cannot be sent.
    fn instead(
        &mut self,
        path: &str,
        options: &Options,
        words: Option<String>,
        reason: &str,
    ) -> Result<Option<Piece>, Outcome> {
        match (options.on_unsupported, words) {
            (OnUnsupported::Fallback, Some(words)) => {
                self.degraded(path, DegradationAction::Fallback, reason);
                Ok(Some(Piece::Words(words)))
            }
            (OnUnsupported::Drop, _) => {
                self.degraded(path, DegradationAction::Dropped, reason);
                Ok(None)
            }
            _ => Err(Outcome::error(ErrorCode::UnsupportedSegment, reason)
                .path(format!("/params{path}"))),
        }
    }

    fn degraded(&mut self, path: &str, action: DegradationAction, reason: &str) {
        self.degradations.push(Degradation {
            path: path.to_owned(),
            action,
            reason: reason.to_owned(),
        });
    }
}

/// Words that stand for it even where the caller gave none: those announced at level 0.
fn has_rendering(kind: SegmentType) -> bool {
    !matches!(
        kind,
        SegmentType::Image
            | SegmentType::Sticker
            | SegmentType::Voice
            | SegmentType::Audio
            | SegmentType::Video
            | SegmentType::File
            | SegmentType::Opaque
    )
}

/// Words beside each other are one message.
fn join(pieces: Vec<Piece>) -> Vec<String> {
    let (mut contents, mut words) = (Vec::new(), String::new());
    let flush = |contents: &mut Vec<String>, words: &mut String| {
        if !words.is_empty() {
            contents.push(calls::text_content(words));
            words.clear();
        }
    };
    for piece in pieces {
        match piece {
            Piece::Words(more) => words.push_str(&more),
            Piece::Content(content) => {
                flush(&mut contents, &mut words);
                contents.push(content);
            }
        }
    }
    flush(&mut contents, &mut words);
    contents
}

#[cfg(test)]
mod tests {
    use super::*;
    use im_bridge_sdk::model::{Media, ReplyTo};

    fn draft(segments: Vec<Segment>) -> Draft {
        Draft {
            segments,
            reply_to: None,
            thread_id: None,
        }
    }

    fn options(on_unsupported: OnUnsupported, split: bool) -> Options {
        Options {
            on_unsupported,
            split,
            ..Options::default()
        }
    }

    #[test]
    fn words_beside_each_other_are_one_message() {
        let draft = draft(vec![
            Segment::text("a"),
            Segment::mention("7", Some("bob".into())),
            Segment::text("b"),
        ]);
        let planned = plan(&draft, &options(OnUnsupported::Fallback, false)).unwrap();
        assert_eq!(
            planned.contents,
            [r#"{"contentType":1,"text":{"text":"a@bobb"}}"#]
        );
        assert_eq!(planned.degradations.len(), 1);
        assert!(plan(&draft, &Options::default()).is_err());
        let planned = plan(&draft, &options(OnUnsupported::Drop, false)).unwrap();
        assert_eq!(
            planned.contents,
            [r#"{"contentType":1,"text":{"text":"ab"}}"#]
        );
    }

    #[test]
    fn several_messages_need_to_be_asked_for() {
        let draft = draft(vec![
            Segment::text("a"),
            Segment::image(Media::url("https://x/y")),
        ]);
        assert!(plan(&draft, &Options::default()).is_err());
        assert_eq!(
            plan(&draft, &options(OnUnsupported::Fail, true))
                .unwrap()
                .contents
                .len(),
            2
        );
    }

    #[test]
    fn what_lies_in_the_store_cannot_be_sent() {
        let image = || Segment::image(Media::blob("evt.x"));
        assert!(plan(&draft(vec![image()]), &options(OnUnsupported::Drop, false)).is_err());
        assert!(
            plan(
                &draft(vec![image()]),
                &options(OnUnsupported::Fallback, false)
            )
            .is_err()
        );
        let told = draft(vec![image().fallback("a picture")]);
        let planned = plan(&told, &options(OnUnsupported::Fallback, false)).unwrap();
        assert_eq!(planned.contents, [calls::text_content("a picture")]);
    }

    #[test]
    fn a_reply_becomes_a_quotation_where_that_is_wanted() {
        let reply_to = ReplyTo {
            excerpt: Some("q".into()),
            ..ReplyTo::new("1.PNM")
        };
        let draft = Draft {
            reply_to: Some(reply_to),
            ..draft(vec![Segment::text("a")])
        };
        assert!(plan(&draft, &Options::default()).is_err());
        let planned = plan(&draft, &options(OnUnsupported::Fallback, false)).unwrap();
        assert_eq!(planned.contents, [calls::text_content("「q」\na")]);
    }
}
