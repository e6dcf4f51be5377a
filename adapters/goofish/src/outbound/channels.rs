//! Conversations and who is in them, from the provider's list.

use im_bridge_sdk::model::{
    ChannelKind, ErrorCode, Member, MemberRole, User, UserKind, params, results,
};
use im_bridge_sdk::{Command, Context, Noise, Outcome};

use super::{Done, Effect, ask, failed, option, read};
use crate::inbound::listed_channel;
use crate::native::answers::{Conversation, Page};
use crate::native::calls::{self, CREATE, FIRST_CURSOR, LIST};
use crate::native::mtop::{self, USER_QUERY};
use crate::native::text;
use crate::sends::CLOCK_MS;
use crate::{Goofish, locked, login};

/// Pages of the list that are looked through for a conversation, and conversations of a page.
const PAGES_MAX: usize = 20;
const PAGE: u32 = 50;

pub async fn list(goofish: &Goofish, cx: &Context, command: &Command) -> Done {
    let asked: params::ChannelList = command.params()?;
    let cursor = match &asked.cursor {
        Some(cursor) => cursor.parse().map_err(|_| {
            Outcome::error(ErrorCode::BadParam, "no cursor of this list").path("/params/cursor")
        })?,
        None => FIRST_CURSOR,
    };
    let page = page(
        goofish,
        cx,
        command,
        cursor,
        asked.limit.unwrap_or(params::PAGE_DEFAULT),
    )
    .await?;
    let result = results::ChannelList {
        channels: page.all.iter().map(listed_channel).collect(),
        next_cursor: page.next.map(|next| next.to_string()),
        degradations: vec![],
    };
    Ok(Outcome::ok("", &result))
}

pub async fn get(goofish: &Goofish, cx: &Context, command: &Command) -> Done {
    let asked: params::ChannelGet = command.params()?;
    let found = known(goofish, cx, command, &asked.channel_id).await?;
    let result = results::ChannelGet {
        channel: listed_channel(&found),
        degradations: vec![],
    };
    Ok(Outcome::ok(found.id.clone(), &result))
}

/// With `ext.goofish.item_id` the conversation about that item, made if there is none; without, one that is there.
pub async fn create(goofish: &Goofish, cx: &Context, command: &Command) -> Done {
    let asked: params::ChannelCreate = command.params()?;
    let bad = |text: &str, path: &'static str| Outcome::error(ErrorCode::BadParam, text).path(path);
    if asked.kind != ChannelKind::Dm {
        return Err(bad(
            "the provider has conversations of two only: kind dm",
            "/params/kind",
        ));
    }
    let [peer] = &asked.member_ids[..] else {
        return Err(bad(
            "name exactly one member, the other one",
            "/params/member_ids",
        ));
    };
    let me = goofish.me();
    if **peer == *me {
        return Err(bad(
            "name the other one, not the account itself",
            "/params/member_ids",
        ));
    }
    let Some(item) = option::<String>(&asked.ext, "item_id")? else {
        let is_with = |one: &Conversation| one.peer(&me) == Some(peer);
        let Some(found) = find(goofish, cx, command, is_with).await? else {
            let text = "there is no conversation with this user";
            let hint =
                "call channel.create with ext.goofish.item_id: conversations are about an item";
            return Err(Outcome::error(ErrorCode::ChannelNotFound, text).hint(hint));
        };
        return Ok(created(&found, false));
    };
    let asked_ms = goofish.provider_ms(cx);
    let body = calls::create(&me, peer, &item);
    let reply = ask(goofish, cx, command, Effect::Changes, CREATE, &body)
        .await
        .map_err(|error| failed(&error, Effect::Changes))?;
    let Some(one) = Conversation::read(&reply.body) else {
        // It is there now; asking again finds it.
        let text = "the answer names no conversation; ask again";
        return Err(Outcome::error(ErrorCode::ProviderUnavailable, text).certain(true));
    };
    locked(&goofish.peers).learn(&me, &one);
    // The provider does not say which of the two it did; its clock does.
    let is_new = one
        .created_ms
        .is_some_and(|at_ms| at_ms >= asked_ms - CLOCK_MS);
    Ok(created(&one, is_new))
}

fn created(one: &Conversation, is_new: bool) -> Outcome {
    let result = results::ChannelCreate {
        channel: listed_channel(one),
        created: is_new,
        degradations: vec![],
    };
    Outcome::ok(one.id.clone(), &result)
}

/// The two of a conversation.
pub async fn members(goofish: &Goofish, cx: &Context, command: &Command) -> Done {
    let asked: params::MemberList = command.params()?;
    let both = both(goofish, cx, command, &asked.channel_id).await?;
    let member = |id: String| Member::new(User::new(id, UserKind::Human), MemberRole::Member);
    let result = results::MemberList {
        members: both.into_iter().map(member).collect(),
        next_cursor: None,
        degradations: vec![],
    };
    Ok(Outcome::ok("", &result))
}

/// Nick and picture of the other one in a conversation.
pub async fn user(goofish: &Goofish, cx: &Context, command: &Command) -> Done {
    let asked: params::UserGet = command.params()?;
    let Some(conversation) = &asked.channel_id else {
        let text = "the provider tells of users only within a conversation";
        return Err(Outcome::error(ErrorCode::BadParam, text).path("/params/channel_id"));
    };
    let both = both(goofish, cx, command, conversation).await?;
    if !both.contains(&asked.user_id) {
        return Err(Outcome::error(
            ErrorCode::UserNotFound,
            "this user is not in that conversation",
        ));
    }
    let mut user = User::new(asked.user_id, UserKind::Human);
    if *user.id != *goofish.me() {
        let data = mtop::user_data(conversation);
        let asking = login::call(goofish, cx, USER_QUERY, "user", Noise::Command, &data);
        let answer = asking
            .await
            .map_err(|error| login::outcome(&error).certain(true))?;
        let info = &answer["userInfo"];
        let first = |names: [&str; 3]| {
            names
                .iter()
                .find_map(|name| text(&info[*name]))
                .map(str::to_owned)
        };
        // Named differently by its versions.
        user.name = first(["nick", "fishNick", "userNick"]);
        user.avatar_url = first(["logo", "avatar", "userLogo"]);
    }
    Ok(Outcome::ok(
        user.id.clone(),
        &results::UserGet {
            user,
            degradations: vec![],
        },
    ))
}

/// The account and the other one, in ascending order.
pub async fn both(
    goofish: &Goofish,
    cx: &Context,
    command: &Command,
    conversation: &str,
) -> Result<Vec<String>, Outcome> {
    let me = goofish.me().to_string();
    let learnt = locked(&goofish.peers).of(conversation).map(str::to_owned);
    let peer = match learnt {
        Some(peer) => peer,
        None => {
            let found = known(goofish, cx, command, conversation).await?;
            let peer = found.peer(&me).map(str::to_owned);
            peer.ok_or_else(|| {
                Outcome::error(
                    ErrorCode::NotMember,
                    "the account is not in this conversation",
                )
            })?
        }
    };
    let mut both = vec![me, peer];
    both.sort_by_key(|id| (id.len(), id.clone()));
    Ok(both)
}

async fn known(
    goofish: &Goofish,
    cx: &Context,
    command: &Command,
    conversation: &str,
) -> Result<Conversation, Outcome> {
    let found = find(goofish, cx, command, |one| one.id == conversation).await?;
    found.ok_or_else(|| {
        let text = "the provider's list has no such conversation";
        Outcome::error(ErrorCode::ChannelNotFound, text)
            .hint("call channel.list; channel.create makes one about an item")
    })
}

/// The first that fits, from the newest down.
async fn find(
    goofish: &Goofish,
    cx: &Context,
    command: &Command,
    fits: impl Fn(&Conversation) -> bool,
) -> Result<Option<Conversation>, Outcome> {
    let mut found = None;
    walk(goofish, cx, command, |one| {
        if found.is_none() && fits(&one) {
            found = Some(one);
        }
        found.is_none()
    })
    .await?;
    Ok(found)
}

/// All conversations, as far as a list is looked through.
pub async fn all(
    goofish: &Goofish,
    cx: &Context,
    command: &Command,
) -> Result<Vec<Conversation>, Outcome> {
    let mut all = Vec::new();
    walk(goofish, cx, command, |one| {
        all.push(one);
        true
    })
    .await?;
    Ok(all)
}

/// Shows conversations until that answers false.
async fn walk(
    goofish: &Goofish,
    cx: &Context,
    command: &Command,
    mut goes_on: impl FnMut(Conversation) -> bool,
) -> Result<(), Outcome> {
    let mut cursor = FIRST_CURSOR;
    for _ in 0..PAGES_MAX {
        let page = page(goofish, cx, command, cursor, PAGE).await?;
        let is_to_go_on = page.all.into_iter().all(&mut goes_on);
        match page.next.filter(|next| is_to_go_on && *next < cursor) {
            Some(next) => cursor = next,
            None => break,
        }
    }
    Ok(())
}

async fn page(
    goofish: &Goofish,
    cx: &Context,
    command: &Command,
    cursor: i64,
    limit: u32,
) -> Result<Page<Conversation>, Outcome> {
    let reply = read(goofish, cx, command, LIST, &calls::list(cursor, limit)).await?;
    let page = Page::conversations(&reply.body);
    let me = goofish.me();
    for one in &page.all {
        locked(&goofish.peers).learn(&me, one);
    }
    Ok(page)
}
