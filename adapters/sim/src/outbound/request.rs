//! What the provider is asked for each command.

use im_bridge_sdk::model::{self, ChannelKind, ErrorCode, Options, Scope, Segment, params};
use im_bridge_sdk::{Command, Outcome};

use crate::native::{Call, Part};
use crate::segments;

const TYPING_MS: u64 = 6_000;

/// An error is the outcome of a command that cannot be asked for: nothing was handed over.
pub fn request(name: model::Command, command: &Command) -> Result<Call, Outcome> {
    Ok(match name {
        model::Command::MessageSend => {
            let asked: params::MessageSend = command.params()?;
            let options: Options = command.options()?;
            Call::Send {
                chat: channel(command)?,
                parts: parts(&asked.message.segments)?,
                quote: asked.message.reply_to.map(segments::quote),
                thread: asked.message.thread_id,
                silent: !options.notify,
                expires_in_s: options.expires_in_s,
            }
        }
        model::Command::MessageUpdate => {
            let asked: params::MessageUpdate = command.params()?;
            Call::Edit {
                chat: asked.channel_id,
                post: asked.message_id,
                parts: parts(&asked.message.segments)?,
            }
        }
        model::Command::MessageRecall => {
            let asked: params::MessageRecall = command.params()?;
            Call::Recall {
                chat: asked.channel_id,
                post: asked.message_id,
                for_all: is_for_all(asked.scope),
            }
        }
        model::Command::MessageGet => {
            let asked: params::MessageGet = command.params()?;
            Call::Post {
                chat: asked.channel_id,
                post: asked.message_id,
            }
        }
        model::Command::MessageList => list(&command.params()?)?,
        model::Command::ReactionAdd => {
            let asked: params::ReactionAdd = command.params()?;
            Call::React {
                chat: asked.channel_id,
                post: asked.message_id,
                key: asked.key,
                on: true,
            }
        }
        model::Command::ReactionRemove => {
            let asked: params::ReactionRemove = command.params()?;
            Call::React {
                chat: asked.channel_id,
                post: asked.message_id,
                key: asked.key,
                on: false,
            }
        }
        model::Command::ReceiptRead => {
            let asked: params::ReceiptRead = command.params()?;
            Call::MarkRead {
                chat: asked.channel_id,
                up_to: asked.up_to_message_id,
                posts: asked.message_ids,
            }
        }
        model::Command::ReceiptList => {
            let asked: params::ReceiptList = command.params()?;
            Call::ReadMarks {
                chat: asked.channel_id,
                people: asked.user_ids,
            }
        }
        model::Command::TypingSet => {
            let asked: params::TypingSet = command.params()?;
            Call::Typing {
                chat: asked.channel_id,
                on: asked.on,
                ttl_ms: asked.ttl_ms.unwrap_or(TYPING_MS),
            }
        }
        model::Command::MediaUpload => {
            let asked: params::MediaUpload = command.params()?;
            Call::Upload {
                source: asked.blob,
                mime: asked.mime,
                name: asked.name,
            }
        }
        model::Command::UnreadGet => {
            let asked: params::UnreadGet = command.params()?;
            Call::Unread {
                chat: asked.channel_id,
            }
        }
        model::Command::UserGet => {
            let asked: params::UserGet = command.params()?;
            Call::Person {
                person: asked.user_id,
            }
        }
        model::Command::ContactList => {
            let asked: params::ContactList = command.params()?;
            Call::Contacts {
                after: asked.cursor,
                limit: limit(asked.limit),
            }
        }
        model::Command::ContactApprove => {
            let asked: params::ContactApprove = command.params()?;
            Call::AnswerContact {
                request: asked.request_id,
                accept: asked.accept,
            }
        }
        _ => about_chats(name, command)?,
    })
}

fn about_chats(name: model::Command, command: &Command) -> Result<Call, Outcome> {
    Ok(match name {
        model::Command::ChannelCreate => {
            let asked: params::ChannelCreate = command.params()?;
            Call::OpenChat {
                kind: native_kind(asked.kind)?,
                chat: asked.id,
                name: asked.name,
                picture: asked.avatar_url,
                people: asked.member_ids,
            }
        }
        model::Command::ChannelUpdate => {
            let asked: params::ChannelUpdate = command.params()?;
            Call::ChangeChat {
                chat: asked.channel_id,
                name: asked.name,
                picture: asked.avatar_url,
                topic: asked.topic,
            }
        }
        model::Command::ChannelDelete => {
            let asked: params::ChannelDelete = command.params()?;
            Call::CloseChat {
                chat: asked.channel_id,
                for_all: is_for_all(asked.scope),
            }
        }
        model::Command::ChannelLeave => {
            let asked: params::ChannelLeave = command.params()?;
            Call::LeaveChat {
                chat: asked.channel_id,
            }
        }
        model::Command::ChannelGet => {
            let asked: params::ChannelGet = command.params()?;
            Call::Chat {
                chat: asked.channel_id,
            }
        }
        model::Command::ChannelList => {
            let asked: params::ChannelList = command.params()?;
            Call::Chats {
                after: asked.cursor,
                limit: limit(asked.limit),
            }
        }
        model::Command::MemberAdd => {
            let asked: params::MemberAdd = command.params()?;
            Call::AddPeople {
                chat: asked.channel_id,
                people: asked.user_ids,
            }
        }
        model::Command::MemberRemove => {
            let asked: params::MemberRemove = command.params()?;
            Call::RemovePeople {
                chat: asked.channel_id,
                people: asked.user_ids,
            }
        }
        model::Command::MemberUpdate => {
            let asked: params::MemberUpdate = command.params()?;
            Call::ChangeSeat {
                chat: asked.channel_id,
                person: asked.user_id,
                role: asked.role.map(String::from),
                alias: asked.alias,
            }
        }
        model::Command::MemberList => {
            let asked: params::MemberList = command.params()?;
            Call::Seats {
                chat: asked.channel_id,
                after: asked.cursor,
                limit: limit(asked.limit),
            }
        }
        // A batch is split by the core; anything else is newer than this adapter.
        _ => {
            return Err(Outcome::error(
                ErrorCode::NotImplemented,
                format_args!("{name} is not known here"),
            ));
        }
    })
}

/// From the newest down, or on from a place: an order key, which is also what the cursor of a page holds.
fn list(asked: &params::MessageList) -> Result<Call, Outcome> {
    let place = |key: &str, path: &str| {
        key.parse::<u64>().map_err(|_| {
            Outcome::error(ErrorCode::BadParam, "no order key of this channel")
                .path(path.to_owned())
        })
    };
    let (mut after, mut before) = (None, None);
    if let Some(key) = &asked.after {
        after = Some(place(key, "/params/after")?);
    }
    if let Some(key) = &asked.before {
        before = Some(place(key, "/params/before")?);
    }
    if let Some(cursor) = &asked.cursor {
        match cursor.split_once(':') {
            Some(("after", key)) => after = Some(place(key, "/params/cursor")?),
            Some(("before", key)) => before = Some(place(key, "/params/cursor")?),
            _ => {
                return Err(
                    Outcome::error(ErrorCode::BadParam, "no cursor of this list")
                        .path("/params/cursor"),
                );
            }
        }
    }
    Ok(Call::Posts {
        chat: asked.channel_id.clone(),
        after,
        before,
        limit: limit(asked.limit),
    })
}

/// The channel the core found, also where a user was named.
fn channel(command: &Command) -> Result<String, Outcome> {
    let missing = || Outcome::error(ErrorCode::BadParam, "no channel is named").path("/params/to");
    command.channel().map(str::to_owned).ok_or_else(missing)
}

fn parts(segments: &[Segment]) -> Result<Vec<Part>, Outcome> {
    let one = |(n, segment): (usize, &Segment)| {
        segments::part(segment).map_err(|reason| {
            Outcome::error(ErrorCode::UnsupportedSegment, reason)
                .path(format!("/params/message/segments/{n}"))
        })
    };
    segments.iter().enumerate().map(one).collect()
}

fn native_kind(kind: ChannelKind) -> Result<u8, Outcome> {
    match kind {
        ChannelKind::Dm => Ok(1),
        ChannelKind::Group => Ok(2),
        ChannelKind::Room => Ok(3),
        ChannelKind::Broadcast => Ok(4),
        ChannelKind::System | ChannelKind::Unknown => Err(Outcome::error(
            ErrorCode::BadParam,
            "nobody opens channels of this kind",
        )
        .path("/params/kind")),
    }
}

fn is_for_all(scope: Option<Scope>) -> bool {
    scope != Some(Scope::Me)
}

fn limit(asked: Option<u32>) -> usize {
    usize::try_from(asked.unwrap_or(params::PAGE_DEFAULT)).unwrap_or(usize::MAX)
}
