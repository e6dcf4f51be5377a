//! What people write, in the provider's words and in the model's, both ways.
//!
//! The two know the same things, so nothing is lost on the way; an adapter whose provider knows less answers
//! `unsupported_segment` here, or names what it changed.
//!
//! Not here: who wrote it and where (`inbound.rs`).

use im_bridge_sdk::model::segment::{
    Audio, CardAction, Contact, Emoji, Forward, Image, Link, Location, Mention, MentionAll, Opaque,
    Text, Video,
};
use im_bridge_sdk::model::{
    self, Content, MentionScope, MessageStatus, OpaqueEncoding, ReplyTo, Segment, TextFormat, Time,
};

use crate::native::{Card, Media, Part, Place, Post, PostState, Quote};

/// A message as the model shows it, in events and results alike.
pub fn message(post: Post) -> model::Message {
    let segments = post.parts.into_iter().map(segment).collect();
    model::Message {
        reply_to: post.quote.map(reply_to),
        thread_id: post.thread,
        edited_at: post.edited_ms.map(Time::from_ms),
        expires_at: post.expires_ms.map(Time::from_ms),
        status: match post.state {
            PostState::Normal => MessageStatus::Normal,
            PostState::Edited => MessageStatus::Edited,
            PostState::Recalled => MessageStatus::Recalled,
        },
        ..model::Message::new(post.id, segments, Some(Time::from_ms(post.at_ms)))
    }
}

pub fn segment(part: Part) -> Segment {
    Segment::from(match part {
        Part::Text { text, markup } => {
            let format = markup.and_then(|markup| markup.parse::<TextFormat>().ok());
            Content::Text(Text { text, format })
        }
        Part::At { person, name } => Content::Mention(Mention {
            user_id: person,
            name,
        }),
        Part::AtAll { online_only } => {
            let scope = online_only.then_some(MentionScope::Online);
            Content::MentionAll(MentionAll { scope })
        }
        Part::Smiley { unicode, id, name } => Content::Emoji(Emoji { unicode, id, name }),
        Part::Link {
            url,
            title,
            text,
            picture,
        } => Content::Link(Link {
            url,
            title,
            description: text,
            image_url: picture,
        }),
        Part::Picture { media, animated } => Content::Image(image(media, animated)),
        Part::Sticker { media, animated } => Content::Sticker(image(media, animated)),
        Part::Voice { media, length_ms } => Content::Voice(audio(media, length_ms, None)),
        Part::Sound {
            media,
            length_ms,
            title,
        } => Content::Audio(audio(media, length_ms, title)),
        Part::Film {
            media,
            length_ms,
            still,
        } => Content::Video(Video {
            media: from_native(media),
            duration_ms: length_ms,
            thumbnail: still.map(|still| from_native(*still)),
        }),
        Part::File { media } => return Segment::file(from_native(media)),
        Part::Place(Place {
            latitude,
            longitude,
            title,
            address,
        }) => Content::Location(Location {
            latitude,
            longitude,
            title,
            address,
        }),
        Part::Person { id, name, picture } => Content::Contact(Contact {
            user_id: id,
            name,
            avatar_url: picture,
        }),
        Part::Card(card) => Content::Card(model::segment::Card {
            title: card.title,
            text: card.text,
            url: card.url,
            image_url: card.picture,
            fields: card.rows.into_iter().collect(),
            actions: card
                .buttons
                .into_iter()
                .map(|(title, url)| CardAction { title, url })
                .collect(),
        }),
        Part::Bundle { posts, title } => {
            let messages = posts.into_iter().map(message).collect();
            Content::Forward(Forward { messages, title })
        }
        Part::Custom { name, body } => return Segment::opaque(name, body),
    })
}

/// The way out. An error is a reason for people, why this segment cannot be sent.
pub fn part(segment: &Segment) -> Result<Part, &'static str> {
    Ok(match segment.content.clone() {
        Content::Text(Text { text, format }) => Part::Text {
            text,
            markup: format.map(String::from),
        },
        Content::Mention(Mention { user_id, name }) => Part::At {
            person: user_id,
            name,
        },
        Content::MentionAll(MentionAll { scope }) => Part::AtAll {
            online_only: scope == Some(MentionScope::Online),
        },
        Content::Emoji(Emoji { unicode, id, name }) => Part::Smiley { unicode, id, name },
        Content::Link(Link {
            url,
            title,
            description,
            image_url,
        }) => Part::Link {
            url,
            title,
            text: description,
            picture: image_url,
        },
        Content::Image(image) => Part::Picture {
            animated: is_animated(&image),
            media: to_native(image.media)?,
        },
        Content::Sticker(image) => Part::Sticker {
            animated: is_animated(&image),
            media: to_native(image.media)?,
        },
        Content::Voice(Audio {
            media, duration_ms, ..
        }) => Part::Voice {
            media: to_native(media)?,
            length_ms: duration_ms,
        },
        Content::Audio(Audio {
            media,
            duration_ms,
            title,
        }) => Part::Sound {
            media: to_native(media)?,
            length_ms: duration_ms,
            title,
        },
        Content::Video(Video {
            media,
            duration_ms,
            thumbnail,
        }) => Part::Film {
            media: to_native(media)?,
            length_ms: duration_ms,
            still: thumbnail.map(to_native).transpose()?.map(Box::new),
        },
        Content::File(file) => Part::File {
            media: to_native(file.media)?,
        },
        Content::Location(Location {
            latitude,
            longitude,
            title,
            address,
        }) => Part::Place(Place {
            latitude,
            longitude,
            title,
            address,
        }),
        Content::Contact(Contact {
            user_id,
            name,
            avatar_url,
        }) => Part::Person {
            id: user_id,
            name,
            picture: avatar_url,
        },
        Content::Card(card) => Part::Card(Card {
            title: card.title,
            text: card.text,
            url: card.url,
            picture: card.image_url,
            rows: card.fields.into_iter().collect(),
            buttons: card
                .actions
                .into_iter()
                .map(|action| (action.title, action.url))
                .collect(),
        }),
        Content::Forward(Forward { messages, title }) => Part::Bundle {
            posts: messages.into_iter().map(post).collect::<Result<_, _>>()?,
            title,
        },
        Content::Opaque(Opaque {
            native_type,
            encoding,
            native,
        }) => match encoding {
            OpaqueEncoding::Json | OpaqueEncoding::Utf8 => {
                let body = native.read().map_err(|_| "its content is no JSON")?;
                Part::Custom {
                    name: native_type,
                    body,
                }
            }
            OpaqueEncoding::Base64 => return Err("the provider carries JSON and text, not bytes"),
        },
    })
}

pub fn reply_to(quote: Quote) -> ReplyTo {
    ReplyTo {
        message_id: quote.post,
        sender_id: quote.person,
        excerpt: quote.excerpt,
    }
}

pub fn quote(reply_to: ReplyTo) -> Quote {
    Quote {
        post: reply_to.message_id,
        person: reply_to.sender_id,
        excerpt: reply_to.excerpt,
    }
}

/// A message that is passed on: the provider shows it as it is told, so only what people see is kept.
fn post(message: model::Message) -> Result<Post, &'static str> {
    let from = message
        .sender
        .unwrap_or_else(|| model::User::new("", model::UserKind::Unknown));
    Ok(Post {
        id: message.id,
        chat: message.channel_id.unwrap_or_default(),
        seq: 0,
        at_ms: message.created_at.map_or(0, Time::ms),
        version: 1,
        edited_ms: message.edited_at.map(Time::ms),
        expires_ms: None,
        from: crate::outbound::person(from),
        client_ref: None,
        parts: message
            .segments
            .iter()
            .map(part)
            .collect::<Result<_, _>>()?,
        quote: message.reply_to.map(quote),
        thread: message.thread_id,
        state: PostState::Normal,
    })
}

fn image(media: Media, animated: bool) -> Image {
    Image {
        media: from_native(media),
        animated: animated.then_some(true),
    }
}

fn is_animated(image: &Image) -> bool {
    image.animated.unwrap_or_default()
}

fn audio(media: Media, duration_ms: Option<u64>, title: Option<String>) -> Audio {
    Audio {
        media: from_native(media),
        duration_ms,
        title,
    }
}

pub fn from_native(media: Media) -> model::Media {
    model::Media {
        // Where the provider gives both, the id stays valid for longer.
        url: if media.id.is_some() { None } else { media.url },
        native_id: media.id,
        mime: media.mime,
        name: media.name,
        size: media.bytes,
        width: media.width,
        height: media.height,
        ..model::Media::default()
    }
}

fn to_native(media: model::Media) -> Result<Media, &'static str> {
    if media.blob.is_some() {
        return Err("the provider does not read the bridge's store; use media.upload first");
    }
    Ok(Media {
        id: media.native_id,
        url: media.url,
        mime: media.mime,
        name: media.name,
        bytes: media.size,
        width: media.width,
        height: media.height,
    })
}
