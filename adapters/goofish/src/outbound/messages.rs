//! History, recall, read marks, unread counts.

use std::collections::BTreeMap;

use im_bridge_sdk::model::{self, ErrorCode, Scope, params, results};
use im_bridge_sdk::{Command, Context, Outcome};

use super::{Done, Effect, ask, channels, failed, read};
use crate::inbound::{model_message, order_key, order_ms, user};
use crate::native::answers::{Conversation, Page};
use crate::native::calls::{self, CLEAR_RED_POINT, FIRST_CURSOR, HISTORY, READ, RECALL};
use crate::native::message::Message;
use crate::sends::Author;
use crate::{Goofish, locked};

/// Pages that a list after some place goes through to get there.
const PAGES_MAX: usize = 20;
const PAGE: u32 = 50;

/// Messages of a conversation from the newest down, or on from a place; in the order in which they were written.
///
/// A cursor names the direction and the order key of the place. The provider's own cursors are times, and several messages
/// may have the same.
pub async fn list(goofish: &Goofish, cx: &Context, command: &Command) -> Done {
    let asked: params::MessageList = command.params()?;
    let limit = asked.limit.unwrap_or(params::PAGE_DEFAULT);
    let bad = |text: &str, name: &str| {
        Outcome::error(ErrorCode::BadParam, text).path(format!("/params/{name}"))
    };
    for (name, key) in [("after", &asked.after), ("before", &asked.before)] {
        if key.as_ref().is_some_and(|key| order_ms(key).is_none()) {
            return Err(bad("no order key of this channel", name));
        }
    }
    let (mut after, mut before) = (asked.after, asked.before);
    if let Some(cursor) = &asked.cursor {
        match cursor
            .split_once(':')
            .filter(|(_, key)| order_ms(key).is_some())
        {
            Some(("after", key)) => after = Some(key.to_owned()),
            Some(("before", key)) => before = Some(key.to_owned()),
            _ => return Err(bad("no cursor of this list", "cursor")),
        }
    }
    let channel = &asked.channel_id;
    match after {
        Some(after) => upwards(goofish, cx, command, channel, &after, limit).await,
        None => downwards(goofish, cx, command, channel, before.as_deref(), limit).await,
    }
}

/// From a place, or the newest, down.
async fn downwards(
    goofish: &Goofish,
    cx: &Context,
    command: &Command,
    conversation: &str,
    before: Option<&str>,
    limit: u32,
) -> Done {
    // Asked for with the place's own time, of which there may be more; what does not lie before the place is left out.
    let mut cursor = before
        .and_then(order_ms)
        .map_or(FIRST_CURSOR, |at_ms| at_ms.saturating_add(1));
    let limit_count = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut all = Vec::new();
    let mut has_more = false;
    for _ in 0..PAGES_MAX {
        let page = page(goofish, cx, command, conversation, cursor, limit).await?;
        let precedes = |message: &Message| match before {
            Some(before) => order_key(message).is_some_and(|key| *key < *before),
            None => true,
        };
        all.extend(page.all.into_iter().filter(precedes));
        let next = page.next.filter(|next| *next < cursor);
        has_more = next.is_some();
        match next {
            Some(next) if all.len() < limit_count => cursor = next,
            _ => break,
        }
    }
    in_order(&mut all);
    let surplus = all.len().saturating_sub(limit_count);
    all.drain(..surplus);
    let oldest = all.first().filter(|_| has_more || surplus > 0);
    let next_cursor = oldest
        .and_then(order_key)
        .map(|key| format!("before:{key}"));
    Ok(listed(goofish, all, next_cursor))
}

/// By order key; what pages have in common once.
fn in_order(all: &mut Vec<Message>) {
    all.reverse();
    all.sort_by_key(order_key);
    all.dedup_by(|a, b| a.id == b.id);
}

/// The provider goes down only: from the newest to the place, of which the oldest are the page.
async fn upwards(
    goofish: &Goofish,
    cx: &Context,
    command: &Command,
    conversation: &str,
    after: &str,
    limit: u32,
) -> Done {
    let (mut all, mut cursor) = (Vec::new(), FIRST_CURSOR);
    for page_number in 1.. {
        let page = page(goofish, cx, command, conversation, cursor, PAGE).await?;
        let got = page.all.len();
        let follows = |message: &Message| order_key(message).is_some_and(|key| *key > *after);
        let before = all.len();
        all.extend(page.all.into_iter().filter(follows));
        let next = page
            .next
            .filter(|next| *next < cursor && all.len() - before == got);
        match next {
            Some(_) if page_number >= PAGES_MAX => {
                let text = "the place lies too far back in the history; begin at a later one, or list from the newest down";
                return Err(Outcome::error(ErrorCode::BadParam, text).path("/params/after"));
            }
            Some(next) => cursor = next,
            None => break,
        }
    }
    in_order(&mut all);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = all.len() > limit;
    all.truncate(limit);
    let newest = all.last().filter(|_| has_more);
    let next_cursor = newest.and_then(order_key).map(|key| format!("after:{key}"));
    Ok(listed(goofish, all, next_cursor))
}

async fn page(
    goofish: &Goofish,
    cx: &Context,
    command: &Command,
    conversation: &str,
    cursor: i64,
    limit: u32,
) -> Result<Page<Message>, Outcome> {
    let reply = read(
        goofish,
        cx,
        command,
        HISTORY,
        &calls::history(conversation, cursor, limit),
    )
    .await?;
    Ok(Page::messages(&reply.body))
}

fn listed(goofish: &Goofish, all: Vec<Message>, next_cursor: Option<String>) -> Outcome {
    let me = goofish.me();
    let messages = all
        .iter()
        .map(|message| stored(goofish, &me, message))
        .collect();
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
fn stored(goofish: &Goofish, me: &str, message: &Message) -> model::Message {
    let is_own = message.sender.as_deref() == Some(me);
    let origin = is_own.then(|| match locked(&goofish.sends).author(message) {
        Author::Command(_) => model::Origin::Bridge,
        Author::Elsewhere => model::Origin::SelfOtherDevice,
    });
    model::Message {
        sender: user(message),
        channel_id: Some(message.conversation.clone()),
        orderkey: order_key(message),
        origin,
        ..model_message(message)
    }
}

pub async fn recall(goofish: &Goofish, cx: &Context, command: &Command) -> Done {
    let asked: params::MessageRecall = command.params()?;
    if asked.scope == Some(Scope::Me) {
        let text = "the provider takes messages back for everyone only";
        return Err(Outcome::error(ErrorCode::BadParam, text).path("/params/scope"));
    }
    let body = calls::recall(&asked.message_id);
    ask(goofish, cx, command, Effect::Changes, RECALL, &body)
        .await
        .map_err(|error| failed(&error, Effect::Changes))?;
    Ok(Outcome::done())
}

/// The other one gets a receipt, and the conversation's unread mark goes up to the newest message named.
pub async fn mark_read(goofish: &Goofish, cx: &Context, command: &Command) -> Done {
    let asked: params::ReceiptRead = command.params()?;
    let mut messages = asked.message_ids;
    if let Some(up_to) = asked.up_to_message_id
        && !messages.contains(&up_to)
    {
        messages.push(up_to);
    }
    // Ids count up, so the longest and greatest is the newest.
    let newest = messages
        .iter()
        .max_by_key(|id| (id.len(), (*id).clone()))
        .cloned();
    let Some(newest) = newest else {
        let text = "name up_to_message_id or message_ids";
        return Err(Outcome::error(ErrorCode::BadParam, text).path("/params"));
    };
    let unsuccessful = |error| failed(&error, Effect::Changes);
    let body = calls::read(&messages);
    ask(goofish, cx, command, Effect::Changes, READ, &body)
        .await
        .map_err(unsuccessful)?;
    let body = calls::clear_red_point(&asked.channel_id, &newest);
    ask(
        goofish,
        cx,
        command,
        Effect::Changes,
        CLEAR_RED_POINT,
        &body,
    )
    .await
    .map_err(unsuccessful)?;
    let result = results::ReceiptRead {
        // The provider does not say how many.
        updated: None,
        degradations: vec![],
    };
    Ok(Outcome::ok("", &result))
}

/// Unread messages by conversation, as last told.
pub type Unread = BTreeMap<String, u64>;

/// Never fails for want of the provider: then the last known count is told, and that it is old.
pub async fn unread(goofish: &Goofish, cx: &Context, command: &Command) -> Done {
    let asked: params::UnreadGet = command.params()?;
    let is_stale = match channels::all(goofish, cx, command).await {
        Ok(all) => {
            let count = |one: &Conversation| Some((one.id.clone(), one.unread?));
            *locked(&goofish.unread) = all
                .iter()
                .filter_map(count)
                .filter(|(_, unread)| *unread > 0)
                .collect();
            false
        }
        Err(_) => true,
    };
    let known = locked(&goofish.unread).clone();
    let (total, channels) = match &asked.channel_id {
        Some(one) => (known.get(one).copied().unwrap_or(0), None),
        None => (known.values().sum(), Some(known)),
    };
    Ok(Outcome::ok(
        "",
        &results::UnreadGet {
            total,
            channels,
            stale: is_stale,
            degradations: vec![],
        },
    ))
}
