//! What the provider's answer to each command means.

use im_bridge_sdk::model::{
    self, Channel, ErrorObject, Json, NativeError, Origin, Time, ids, params, results,
};
use im_bridge_sdk::{Command, Outcome};

use crate::native::{
    Changed, Chat, Chats, Contacts, Media, Opened, People, Person, Post, Posts, ReadMark, Seat,
    Seats, Unread,
};
use crate::{inbound, segments};

/// An error means that the answer is not what the protocol says.
pub fn result(
    name: model::Command,
    command: &Command,
    answer: &Json,
) -> Result<Outcome, serde_json::Error> {
    Ok(match name {
        model::Command::MessageSend | model::Command::MessageUpdate => sent(answer.read()?),
        model::Command::MessageGet => {
            let post: Post = answer.read()?;
            let id = post.id.clone();
            Outcome::ok(
                id,
                &results::MessageGet {
                    message: stored(post),
                    degradations: vec![],
                },
            )
        }
        model::Command::MessageList => listed(command, answer.read()?),
        model::Command::ReceiptRead => {
            let Changed { changed } = answer.read()?;
            Outcome::ok(
                "",
                &results::ReceiptRead {
                    updated: Some(changed),
                    degradations: vec![],
                },
            )
        }
        model::Command::ReceiptList => {
            let marks: Vec<ReadMark> = answer.read()?;
            let read = |mark: ReadMark| results::ReadUpTo {
                user_id: mark.person,
                up_to_orderkey: ids::order_key(mark.seq),
            };
            let receipts = marks.into_iter().map(read).collect();
            Outcome::ok(
                "",
                &results::ReceiptList {
                    receipts,
                    degradations: vec![],
                },
            )
        }
        model::Command::ChannelCreate => {
            let Opened { chat, created } = answer.read()?;
            let channel = inbound::channel(chat);
            Outcome::ok(
                channel.id.clone(),
                &results::ChannelCreate {
                    channel,
                    created,
                    degradations: vec![],
                },
            )
        }
        model::Command::ChannelUpdate | model::Command::ChannelGet => {
            let channel = inbound::channel(answer.read::<Chat>()?);
            Outcome::ok(
                channel.id.clone(),
                &results::ChannelGet {
                    channel,
                    degradations: vec![],
                },
            )
        }
        model::Command::ChannelList => {
            let Chats { chats, more } = answer.read()?;
            let channels: Vec<Channel> = chats.into_iter().map(inbound::channel).collect();
            let next_cursor = channels.last().filter(|_| more).map(|last| last.id.clone());
            Outcome::ok(
                "",
                &results::ChannelList {
                    channels,
                    next_cursor,
                    degradations: vec![],
                },
            )
        }
        model::Command::MemberAdd => {
            let (added, failed) = people(answer.read()?);
            Outcome::ok(
                "",
                &results::MemberAdd {
                    added,
                    failed,
                    degradations: vec![],
                },
            )
        }
        model::Command::MemberRemove => {
            let (removed, failed) = people(answer.read()?);
            Outcome::ok(
                "",
                &results::MemberRemove {
                    removed,
                    failed,
                    degradations: vec![],
                },
            )
        }
        model::Command::MemberUpdate => {
            let member = inbound::member(answer.read::<Seat>()?);
            Outcome::ok(
                member.user.id.clone(),
                &results::MemberUpdate {
                    member,
                    degradations: vec![],
                },
            )
        }
        model::Command::MemberList => {
            let Seats { seats, more } = answer.read()?;
            let members: Vec<model::Member> = seats.into_iter().map(inbound::member).collect();
            let next_cursor = members
                .last()
                .filter(|_| more)
                .map(|last| last.user.id.clone());
            Outcome::ok(
                "",
                &results::MemberList {
                    members,
                    next_cursor,
                    degradations: vec![],
                },
            )
        }
        model::Command::UserGet => {
            let user = inbound::user(answer.read::<Person>()?);
            Outcome::ok(
                user.id.clone(),
                &results::UserGet {
                    user,
                    degradations: vec![],
                },
            )
        }
        model::Command::ContactList => {
            let Contacts { people, more } = answer.read()?;
            let contacts: Vec<model::User> = people.into_iter().map(inbound::user).collect();
            let next_cursor = contacts.last().filter(|_| more).map(|last| last.id.clone());
            Outcome::ok(
                "",
                &results::ContactList {
                    contacts,
                    next_cursor,
                    degradations: vec![],
                },
            )
        }
        model::Command::UnreadGet => {
            let Unread { total, chats } = answer.read()?;
            let channels = Some(chats.into_iter().collect());
            Outcome::ok(
                "",
                &results::UnreadGet {
                    total,
                    channels,
                    stale: false,
                    degradations: vec![],
                },
            )
        }
        model::Command::MediaUpload => {
            let media = segments::from_native(answer.read::<Media>()?);
            let id = media.native_id.clone().unwrap_or_default();
            Outcome::ok(
                id,
                &results::MediaUpload {
                    media,
                    degradations: vec![],
                },
            )
        }
        _ => Outcome::done(),
    })
}

fn sent(post: Post) -> Outcome {
    let message = results::SentMessage {
        parts: vec![post.id.clone()],
        created_at: Some(Time::from_ms(post.at_ms)),
        orderkey: Some(ids::order_key(post.seq)),
        id: post.id,
        channel_id: post.chat,
    };
    Outcome::ok(
        message.id.clone(),
        &results::MessageSend {
            message,
            degradations: vec![],
        },
    )
}

fn listed(command: &Command, Posts { posts, more }: Posts) -> Outcome {
    // Asked for before: the page is the newest part, so the next one lies before its first post.
    let goes_up = command.params::<params::MessageList>().is_ok_and(|asked| {
        asked.after.is_some()
            || asked
                .cursor
                .is_some_and(|cursor| cursor.starts_with("after:"))
    });
    let next_cursor = if goes_up {
        posts
            .last()
            .map(|last| format!("after:{}", ids::order_key(last.seq)))
    } else {
        posts
            .first()
            .map(|first| format!("before:{}", ids::order_key(first.seq)))
    };
    let messages = posts.into_iter().map(stored).collect();
    let next_cursor = next_cursor.filter(|_| more);
    Outcome::ok(
        "",
        &results::MessageList {
            messages,
            next_cursor,
            degradations: vec![],
        },
    )
}

/// A message in a result, where nothing else says who wrote it and where.
fn stored(post: Post) -> model::Message {
    let (sender, channel_id, seq) = (
        inbound::user(post.from.clone()),
        post.chat.clone(),
        post.seq,
    );
    let origin = post.client_ref.is_some().then_some(Origin::Bridge);
    model::Message {
        sender: Some(sender),
        channel_id: Some(channel_id),
        orderkey: Some(ids::order_key(seq)),
        origin,
        ..segments::message(post)
    }
}

fn people(People { done, failed }: People) -> (Vec<String>, Vec<results::FailedUser>) {
    let failed = failed.into_iter().map(|(user_id, refusal)| {
        let mut error = ErrorObject::new(super::code(&refusal.code), true, "the provider refused");
        error.native = Some(NativeError::new(refusal.code, refusal.text));
        results::FailedUser { user_id, error }
    });
    (done, failed.collect())
}
