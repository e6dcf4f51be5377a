//! A message as events and results show it.

use super::alt_text::alt_text;
use super::names::{MessageStatus, Origin};
use super::parts::User;
use super::record::record;
use super::segment::{Content, Segment};
use super::time::Time;

record! {
    /// One message.
    Message {
        /// Exact native id.
        id: String,
        /// Content in reading order, at most 64 segments; empty only when recalled.
        #[schemars(length(max = 64))]
        segments: Vec<Segment>,
        /// The content as plain text, at most 4,096 characters; always filled.
        #[schemars(length(max = 4096))]
        alt_text: String,
        /// The message that this one answers.
        reply_to: Option<ReplyTo>,
        /// The thread that it belongs to.
        thread_id?: String,
        /// Everybody it calls upon, also where the place in the text is not known.
        mentions: Mentions,
        /// When it was written, by the provider's clock; null when the provider does not say.
        created_at: Option<Time>,
        /// When it was last edited.
        edited_at?: Time,
        /// When it disappears.
        expires_at?: Time,
        /// What became of it.
        status: MessageStatus,
        /// Native ids, when one message here is several at the provider.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        parts: Vec<String>,
        /// Who wrote it; in results only, an event has its actor.
        sender?: User,
        /// Where it stands; in results only.
        channel_id?: String,
        /// Its place in the channel; in results only.
        orderkey?: String,
        /// Who caused it; in results only.
        origin?: Origin,
    }

    /// The message that another one answers.
    ReplyTo {
        /// Exact native id.
        message_id: String,
        /// Who wrote it.
        sender_id?: String,
        /// Its beginning.
        excerpt?: String,
    }

    /// Whom a message calls upon.
    #[derive(Default)]
    Mentions {
        /// Everybody.
        all: bool,
        /// These users.
        user_ids: Vec<String>,
    }
}

impl Message {
    /// A message of these segments; alternative text and mentions are taken from them.
    ///
    /// For a mention whose place is not told, add to `mentions` afterwards.
    pub fn new(id: impl Into<String>, segments: Vec<Segment>, created_at: Option<Time>) -> Self {
        Self {
            id: id.into(),
            alt_text: alt_text(&segments),
            mentions: Mentions::of(&segments),
            segments,
            reply_to: None,
            thread_id: None,
            created_at,
            edited_at: None,
            expires_at: None,
            status: MessageStatus::Normal,
            parts: Vec::new(),
            sender: None,
            channel_id: None,
            orderkey: None,
            origin: None,
        }
    }

    /// A message of plain words.
    pub fn text(id: impl Into<String>, text: impl Into<String>, created_at: Option<Time>) -> Self {
        Self::new(id, vec![Segment::text(text)], created_at)
    }

    /// What is left of a recalled message.
    pub fn recalled(id: impl Into<String>, created_at: Option<Time>) -> Self {
        Self {
            status: MessageStatus::Recalled,
            ..Self::new(id, Vec::new(), created_at)
        }
    }

    /// As an answer to another message.
    #[must_use]
    pub fn reply_to(mut self, reply_to: ReplyTo) -> Self {
        self.reply_to = Some(reply_to);
        self
    }

    /// As edited at this time.
    #[must_use]
    pub fn edited(mut self, at: Option<Time>) -> Self {
        self.edited_at = at;
        self.status = MessageStatus::Edited;
        self
    }
}

impl ReplyTo {
    /// The message with this id.
    pub fn new(message_id: impl Into<String>) -> Self {
        Self {
            message_id: message_id.into(),
            sender_id: None,
            excerpt: None,
        }
    }
}

impl Mentions {
    /// Whom these segments call upon, each once.
    #[must_use]
    pub fn of(segments: &[Segment]) -> Self {
        let mut mentions = Self::default();
        for segment in segments {
            match &segment.content {
                Content::MentionAll(_) => mentions.all = true,
                Content::Mention(who) if !mentions.user_ids.contains(&who.user_id) => {
                    mentions.user_ids.push(who.user_id.clone());
                }
                _ => {}
            }
        }
        mentions
    }
}
