//! Reading messages: one, or a page of a channel.

use im_bridge_sdk::model::{ErrorCode, ids, params, results};
use im_bridge_sdk::{Command, Context, Outcome};

use super::{Done, channel, own};
use crate::api::{ApiError, Call, Seqs};
use crate::native::channel::ChannelId;
use crate::native::record::Record;
use crate::session::{read_history, record_message};
use crate::{WukongIm, inbound, locked};
use im_bridge_sdk::model::Delivery;

pub async fn get(wukongim: &WukongIm, cx: &Context, command: &Command) -> Done {
    let asked: params::MessageGet = command.params()?;
    let me = own(wukongim)?;
    let native = wukongim
        .native(cx)
        .ok_or_else(|| ApiError::NotConfigured.outcome())?;
    let not_found = || Outcome::error(ErrorCode::MessageNotFound, "no such message");
    let id: i64 = asked.message_id.parse().map_err(|_| {
        Outcome::error(ErrorCode::MessageNotFound, "expected a number").path("/params/message_id")
    })?;
    let found = match &asked.channel_id {
        Some(channel_id) => {
            let channel = super::parse(channel_id, "/params/channel_id")?;
            let found = native
                .messages(Call::REQUEST, &me, &channel, &[id], &[])
                .await;
            found.map(|found| found.into_iter().find(|record| record.message_id == id))
        }
        None => match native.message(id).await {
            // Only older servers find a message by its id alone.
            Err(ApiError::Status { status: 400, .. }) => {
                let text = "this server finds a message only inside its channel; name the channel";
                return Err(Outcome::error(ErrorCode::BadParam, text).path("/params/channel_id"));
            }
            found => found,
        },
    };
    let record = found
        .map_err(|error| error.outcome())?
        .ok_or_else(not_found)?;
    let message = shown(wukongim, &me, record);
    Ok(Outcome::ok(
        "",
        &results::MessageGet {
            message,
            degradations: vec![],
        },
    ))
}

fn shown(wukongim: &WukongIm, me: &str, record: Record) -> im_bridge_sdk::model::Message {
    let id = ChannelId::of_message(
        me,
        record.channel_type,
        &record.channel_id,
        &record.from_uid,
    );
    let id = wukongim.book().id(id);
    let message = record_message(&id, record, Delivery::Backfill);
    inbound::stored(me, message, &locked(&wukongim.sent))
}

/// A page goes up from a place or down from one; in it, messages ascend.
struct Wanted {
    seqs: Seqs,
    is_upward: bool,
}

pub async fn list(wukongim: &WukongIm, cx: &Context, command: &Command) -> Done {
    let asked: params::MessageList = command.params()?;
    let channel = channel(wukongim, command)?;
    let me = own(wukongim)?;
    let limit = asked.limit.unwrap_or(params::PAGE_DEFAULT);
    let wanted = wanted(&asked)?;
    let page = read_history(wukongim, cx, &me, &channel, wanted.seqs, limit)
        .await
        .map_err(|error| error.outcome())?;
    let mut records = page.records;
    let mut has_more = page.has_more;
    if !wukongim.config.has_native() {
        has_more = cut(&mut records, &wanted, limit);
    }
    let edge = if wanted.is_upward {
        records
            .last()
            .map(|last| format!("after:{}", ids::order_key(last.message_seq)))
    } else {
        records
            .first()
            .filter(|first| first.message_seq > 1)
            .map(|first| format!("before:{}", ids::order_key(first.message_seq)))
    };
    let next_cursor = edge.filter(|_| has_more);
    let messages = records.into_iter();
    let messages = messages
        .map(|record| shown(wukongim, &me, record))
        .collect();
    Ok(Outcome::ok(
        "",
        &results::MessageList {
            messages,
            next_cursor,
            degradations: vec![],
        },
    ))
}

/// OpenChat has no word for "before" and may give more than asked: keep what was asked for.
fn cut(records: &mut Vec<Record>, wanted: &Wanted, limit: u32) -> bool {
    if let Seqs::Before(seq) = wanted.seqs {
        records.retain(|record| record.message_seq < seq);
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = records.len() > limit || wanted.is_upward && !records.is_empty();
    if records.len() > limit {
        if wanted.is_upward {
            records.truncate(limit);
        } else {
            records.drain(..records.len() - limit);
        }
    }
    has_more
}

/// From the newest down, or on from a place: an order key, which is also what the cursor of a page holds.
fn wanted(asked: &params::MessageList) -> Result<Wanted, Outcome> {
    let place = |key: &str, path: &str| {
        key.parse::<u64>().map_err(|_| {
            Outcome::error(ErrorCode::BadParam, "no order key of this channel").path(path)
        })
    };
    let up = |seq: u64| Wanted {
        seqs: Seqs::From(seq.saturating_add(1)),
        is_upward: true,
    };
    let down = |seqs| Wanted {
        seqs,
        is_upward: false,
    };
    if let Some(cursor) = &asked.cursor {
        let path = "/params/cursor";
        return match cursor.split_once(':') {
            Some(("after", key)) => Ok(up(place(key, path)?)),
            Some(("before", key)) => Ok(down(Seqs::Before(place(key, path)?))),
            _ => Err(Outcome::error(ErrorCode::BadParam, "no cursor of this list").path(path)),
        };
    }
    match (&asked.after, &asked.before) {
        (Some(key), _) => Ok(up(place(key, "/params/after")?)),
        (None, Some(key)) => Ok(down(Seqs::Before(place(key, "/params/before")?))),
        (None, None) => Ok(down(Seqs::Newest)),
    }
}
