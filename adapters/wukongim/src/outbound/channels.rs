//! Channels, their members, and the own conversations.
//!
//! Everything that changes here does the same thing twice without harm, so a failed call may be made again.

use std::collections::BTreeMap;

use im_bridge_sdk::model::{
    Channel, ChannelKind, DegradationAction, ErrorCode, Scope, Time, params, results,
};
use im_bridge_sdk::{Command, Context, Outcome};
use serde_json::{Value, json};

use super::{Done, channel, own};
use crate::api::{ApiError, Call, Conversation};
use crate::native::channel::{ChannelId, PERSON, is_uid};
use crate::native::record::time_ms;
use crate::{WukongIm, locked};

/// The last unread counts known.
#[derive(Debug, Clone, Default)]
pub struct Unread {
    by_channel: BTreeMap<String, u64>,
}

pub async fn create(wukongim: &WukongIm, cx: &Context, command: &Command) -> Done {
    let asked: params::ChannelCreate = command.params()?;
    let mut degradations = Vec::new();
    for (path, value) in [("/name", &asked.name), ("/avatar_url", &asked.avatar_url)] {
        if value.is_some() {
            let what = path.trim_start_matches('/').trim_end_matches("_url");
            degradations.push(results::Degradation {
                path: path.to_owned(),
                action: DegradationAction::Dropped,
                reason: format!("the provider stores no {what}"),
            });
        }
    }
    let members = &asked.member_ids;
    if let Some(bad) = members.iter().position(|uid| !is_uid(uid)) {
        let path = format!("/params/member_ids/{bad}");
        return Err(Outcome::error(ErrorCode::UserNotFound, "no such user").path(path));
    }
    if asked.kind == ChannelKind::Dm {
        let [peer] = members.as_slice() else {
            return Err(bad(
                "a direct conversation has exactly one member id",
                "/member_ids",
            ));
        };
        let channel = ChannelId::person(peer.as_str()).model();
        return Ok(created(channel, false, degradations));
    }
    let id = asked.id.as_deref().ok_or_else(|| {
        bad(
            "the provider wants the id to be chosen, for example 2-team",
            "/id",
        )
    })?;
    let id = super::parse(id, "/params/id")?;
    if id.model().kind != asked.kind {
        return Err(bad("the id is one of another kind of channel", "/id"));
    }
    if !is_uid(&id.id) {
        return Err(bad("the id must not have @, # or &", "/id"));
    }
    let command_sent = || command.sent();
    let call = match (wukongim.native(cx), wukongim.openchat(cx)) {
        (Some(native), _) => {
            let mut body = json!({ "channel_id": id.id, "channel_type": id.kind });
            if !members.is_empty() {
                body["subscribers"] = members.clone().into();
            }
            native.channel("/channel", &body, command_sent).await
        }
        (None, Some(openchat)) => {
            let body = json!({ "channelId": id.id, "channelType": id.kind });
            let made = openchat
                .channel("/channel/create", &body, command_sent)
                .await;
            match made {
                Ok(()) if !members.is_empty() => {
                    let body = subscribers_openchat(&id, members);
                    openchat
                        .channel("/channel/subscriber/add", &body, command_sent)
                        .await
                }
                made => made,
            }
        }
        (None, None) => Err(ApiError::NotConfigured),
    };
    call.map_err(|error| error.outcome())?;
    let mut channel = id.model();
    channel.member_count = u64::try_from(members.len()).ok();
    Ok(created(channel, true, degradations))
}

fn created(channel: Channel, created: bool, degradations: Vec<results::Degradation>) -> Outcome {
    Outcome::ok(
        channel.id.clone(),
        &results::ChannelCreate {
            channel,
            created,
            degradations,
        },
    )
}

pub async fn delete(wukongim: &WukongIm, cx: &Context, command: &Command) -> Done {
    let asked: params::ChannelDelete = command.params()?;
    if asked.scope == Some(Scope::Me) {
        let text = "the provider deletes channels for everyone only";
        return Err(Outcome::error(ErrorCode::UnsupportedCommand, text).path("/params/scope"));
    }
    let id = channel(wukongim, command)?;
    if id.kind == PERSON {
        return Err(bad("direct conversations cannot be deleted", "/channel_id"));
    }
    change(
        wukongim,
        cx,
        command,
        "/channel/delete",
        "/channel/delete",
        &id,
        None,
    )
    .await?;
    Ok(Outcome::done())
}

pub async fn add(wukongim: &WukongIm, cx: &Context, command: &Command) -> Done {
    let asked: params::MemberAdd = command.params()?;
    let id = group(wukongim, command)?;
    let paths = ("/channel/subscriber_add", "/channel/subscriber/add");
    change(
        wukongim,
        cx,
        command,
        paths.0,
        paths.1,
        &id,
        Some(&asked.user_ids),
    )
    .await?;
    Ok(Outcome::ok(
        "",
        &results::MemberAdd {
            added: asked.user_ids,
            ..results::MemberAdd::default()
        },
    ))
}

pub async fn remove(wukongim: &WukongIm, cx: &Context, command: &Command) -> Done {
    let asked: params::MemberRemove = command.params()?;
    let id = group(wukongim, command)?;
    let paths = ("/channel/subscriber_remove", "/channel/subscriber/remove");
    change(
        wukongim,
        cx,
        command,
        paths.0,
        paths.1,
        &id,
        Some(&asked.user_ids),
    )
    .await?;
    Ok(Outcome::ok(
        "",
        &results::MemberRemove {
            removed: asked.user_ids,
            ..results::MemberRemove::default()
        },
    ))
}

fn group(wukongim: &WukongIm, command: &Command) -> Result<std::sync::Arc<ChannelId>, Outcome> {
    let id = channel(wukongim, command)?;
    if id.kind == PERSON {
        return Err(bad(
            "a direct conversation has no members to change",
            "/channel_id",
        ));
    }
    Ok(id)
}

async fn change(
    wukongim: &WukongIm,
    cx: &Context,
    command: &Command,
    native_path: &str,
    openchat_path: &str,
    id: &ChannelId,
    uids: Option<&[String]>,
) -> Result<(), Outcome> {
    if let Some(bad) = uids.unwrap_or_default().iter().position(|uid| !is_uid(uid)) {
        let path = format!("/params/user_ids/{bad}");
        return Err(Outcome::error(ErrorCode::UserNotFound, "no such user").path(path));
    }
    let sent = || command.sent();
    let changed = match (wukongim.native(cx), wukongim.openchat(cx)) {
        (Some(native), _) => {
            let mut body = json!({ "channel_id": id.id, "channel_type": id.kind });
            if let Some(uids) = uids {
                body["subscribers"] = uids.into();
            }
            native.channel(native_path, &body, sent).await
        }
        (None, Some(openchat)) => {
            let body = match uids {
                Some(uids) => subscribers_openchat(id, uids),
                None => json!({ "channelId": id.id, "channelType": id.kind }),
            };
            openchat.channel(openchat_path, &body, sent).await
        }
        (None, None) => Err(ApiError::NotConfigured),
    };
    changed.map_err(|error| error.outcome())
}

fn subscribers_openchat(id: &ChannelId, uids: &[String]) -> Value {
    json!({ "channelId": id.id, "channelType": id.kind, "subscribers": uids })
}

pub async fn list(wukongim: &WukongIm, cx: &Context, command: &Command) -> Done {
    let asked: params::ChannelList = command.params()?;
    let mut rows = conversations(wukongim, cx)
        .await
        .map_err(|error| error.outcome())?;
    rows.sort_by(|a, b| (b.timestamp, &a.channel_id).cmp(&(a.timestamp, &b.channel_id)));
    let begin = match asked.cursor.as_deref() {
        None => 0,
        Some(cursor) => cursor
            .parse::<usize>()
            .map_err(|_| bad("no cursor of this list", "/cursor"))?,
    };
    let limit = usize::try_from(asked.limit.unwrap_or(params::PAGE_DEFAULT)).unwrap_or(usize::MAX);
    let end = begin.saturating_add(limit);
    let next_cursor = (rows.len() > end).then(|| end.to_string());
    let page = rows.into_iter().skip(begin).take(limit);
    let channels = page.map(|row| {
        let unread = row.unread();
        let mut channel = ChannelId::new(row.channel_type, row.channel_id).model();
        channel.unread = Some(unread);
        channel.last_message_at =
            (row.timestamp > 0).then(|| Time::from_ms(time_ms(row.timestamp)));
        channel
    });
    Ok(Outcome::ok(
        "",
        &results::ChannelList {
            channels: channels.collect(),
            next_cursor,
            degradations: vec![],
        },
    ))
}

async fn conversations(wukongim: &WukongIm, cx: &Context) -> Result<Vec<Conversation>, ApiError> {
    let native = wukongim.native(cx).ok_or(ApiError::NotConfigured)?;
    let me = wukongim.uid().ok_or(ApiError::NotConfigured)?;
    let mut rows = native.conversations(Call::REQUEST, &me).await?;
    rows.retain(|row| !row.channel_id.is_empty() && !row.channel_id.ends_with("____cmd"));
    Ok(rows)
}

/// Never fails for want of the provider: the last counts known are better than none.
pub async fn unread(wukongim: &WukongIm, cx: &Context, command: &Command) -> Done {
    let asked: params::UnreadGet = command.params()?;
    own(wukongim)?;
    let (counts, stale) = match conversations(wukongim, cx).await {
        Ok(rows) => {
            let by_channel = rows
                .into_iter()
                .map(|row| {
                    let unread = row.unread();
                    let id = ChannelId::new(row.channel_type, row.channel_id);
                    (id.to_string(), unread)
                })
                .collect();
            let counts = Unread { by_channel };
            *locked(&wukongim.unread) = Some(counts.clone());
            (counts, false)
        }
        Err(error) => {
            tracing::debug!(%error, "unread counts are the last ones known");
            (locked(&wukongim.unread).clone().unwrap_or_default(), true)
        }
    };
    let (total, channels) = match &asked.channel_id {
        Some(id) => (counts.by_channel.get(id).copied().unwrap_or(0), None),
        None => {
            let total = counts.by_channel.values().sum();
            let unread = counts
                .by_channel
                .into_iter()
                .filter(|(_, count)| *count > 0);
            (total, Some(unread.collect()))
        }
    };
    Ok(Outcome::ok(
        "",
        &results::UnreadGet {
            total,
            channels,
            stale,
            degradations: vec![],
        },
    ))
}

fn bad(text: &str, place: &str) -> Outcome {
    Outcome::error(ErrorCode::BadParam, text).path(format!("/params{place}"))
}
