//! Channels over the server's own API: made, changed, deleted; their members, their lists of who may and may not write.

use super::native::{bad, body, ok};
use super::{Reply, Request};
use crate::wukongim::channel::{Channel, Key};
use crate::wukongim::ids::{is_name, now_ms};
use crate::wukongim::message::PERSON;
use crate::wukongim::world::{Sim, World};
use serde::Deserialize;
use serde_json::{Value, json};

const GROUP: u8 = 2;
/// Members of one channel.
const MEMBERS_MAX: usize = 100_000;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ask {
    channel_id: String,
    channel_type: u8,
    ban: u8,
    disband: u8,
    send_ban: u8,
    reset: u8,
    temp_subscriber: u8,
    subscribers: Vec<String>,
    uids: Vec<String>,
}

pub fn handle(sim: &Sim, request: &Request) -> Result<Reply, Reply> {
    if (request.method.as_str(), request.path.as_str()) == ("GET", "/channel/whitelist") {
        return Ok(allowed(sim, request));
    }
    if request.method != "POST" {
        return Err(Reply::text(404, "404 page not found"));
    }
    let act = request.path.strip_prefix("/channel").unwrap_or_default();
    let mut world = sim.world();
    match act {
        "" => create(&mut world, &ask(request)?),
        "/info" => change(&mut world, &ask(request)?),
        "/delete" => delete(&mut world, &ask(request)?),
        "/subscriber_add" => add(&mut world, &ask(request)?),
        "/subscriber_remove" => remove(&mut world, &ask(request)?),
        "/subscriber_remove_all" => remove_all(&mut world, &ask(request)?),
        list if list.starts_with("/blacklist_") || list.starts_with("/whitelist_") => {
            lists(&mut world, list, &ask(request)?)
        }
        _ => Err(Reply::text(404, "404 page not found")),
    }
}

fn ask(request: &Request) -> Result<Ask, Reply> {
    body(request)
}

impl Ask {
    fn key(&self) -> Result<Key, Reply> {
        if !is_name(&self.channel_id) || self.channel_type == 0 {
            return Err(bad("频道ID不能为空或者包含特殊字符！"));
        }
        Ok(Key::of(&self.channel_id, self.channel_type))
    }

    fn set_flags(&self, channel: &mut Channel) {
        channel.ban = self.ban == 1;
        channel.disband = self.disband == 1;
        channel.send_ban = self.send_ban == 1;
    }
}

fn made<'a>(world: &'a mut World, key: &Key) -> Result<&'a mut Channel, Reply> {
    let channel = world.channel(key);
    let channel = channel.ok_or_else(|| bad("too many channels"))?;
    channel.is_made = true;
    Ok(channel)
}

fn join(world: &mut World, key: &Key, subscribers: &[String]) -> Result<(), Reply> {
    for uid in subscribers {
        world.user(uid).ok_or_else(|| bad("too many users"))?;
        let channel = made(world, key)?;
        if channel.members.len() >= MEMBERS_MAX {
            return Err(bad("too many members"));
        }
        channel.members.insert(uid.as_str().into());
    }
    Ok(())
}

fn create(world: &mut World, ask: &Ask) -> Result<Reply, Reply> {
    let key = ask.key()?;
    if ask.channel_type == PERSON && !ask.subscribers.is_empty() {
        return Err(bad("暂不支持个人频道！"));
    }
    let channel = made(world, &key)?;
    channel.is_deleted = false;
    ask.set_flags(channel);
    if ask.reset == 1 {
        channel.members.clear();
    }
    join(world, &key, &ask.subscribers)?;
    Ok(ok())
}

/// Whatever is not sent is reset.
fn change(world: &mut World, ask: &Ask) -> Result<Reply, Reply> {
    let key = ask.key()?;
    let channel = made(world, &key)?;
    ask.set_flags(channel);
    Ok(ok())
}

/// Closed for writing; history and members stay.
fn delete(world: &mut World, ask: &Ask) -> Result<Reply, Reply> {
    let key = ask.key()?;
    if ask.channel_type == PERSON {
        return Err(bad("个人频道不支持删除！"));
    }
    if let Some(channel) = world.channels.get_mut(&key) {
        channel.is_deleted = true;
    }
    Ok(ok())
}

fn add(world: &mut World, ask: &Ask) -> Result<Reply, Reply> {
    let channel_type = if ask.channel_type == 0 {
        GROUP
    } else {
        ask.channel_type
    };
    if !is_name(&ask.channel_id) || ask.subscribers.is_empty() {
        return Err(bad("频道ID或者订阅者不能为空！"));
    }
    if channel_type == PERSON || ask.temp_subscriber == 1 {
        return Err(bad("不支持的订阅者！"));
    }
    let key = Key::of(&ask.channel_id, channel_type);
    let channel = made(world, &key)?;
    if ask.reset == 1 {
        channel.members.clear();
    }
    join(world, &key, &ask.subscribers)?;
    Ok(ok())
}

fn remove(world: &mut World, ask: &Ask) -> Result<Reply, Reply> {
    let key = ask.key()?;
    if ask.subscribers.is_empty() {
        return Err(bad("订阅者不能为空！"));
    }
    for uid in &ask.subscribers {
        if let Some(channel) = world.channels.get_mut(&key) {
            channel.members.remove(uid.as_str());
        }
        if let Some(user) = world.users.get_mut(uid.as_str()) {
            user.conversations.remove(&key);
        }
    }
    Ok(ok())
}

fn remove_all(world: &mut World, ask: &Ask) -> Result<Reply, Reply> {
    if let Some(channel) = world.channels.get_mut(&ask.key()?) {
        channel.members.clear();
    }
    Ok(ok())
}

fn lists(world: &mut World, act: &str, ask: &Ask) -> Result<Reply, Reply> {
    let key = ask.key()?;
    let (list, act) = act.split_once('_').unwrap_or((act, ""));
    if ask.uids.is_empty() && act != "remove_all" {
        return Err(bad("uids不能为空！"));
    }
    // A list does not make a channel.
    let channel = world.channel(&key);
    let channel = channel.ok_or_else(|| bad("too many channels"))?;
    let names = if list == "/blacklist" {
        &mut channel.deny
    } else {
        &mut channel.allow
    };
    match act {
        "add" => names.extend(ask.uids.iter().cloned()),
        "set" => *names = ask.uids.iter().cloned().collect(),
        "remove" => ask.uids.iter().for_each(|uid| {
            names.remove(uid);
        }),
        "remove_all" => names.clear(),
        _ => return Err(Reply::text(404, "404 page not found")),
    }
    if names.len() > MEMBERS_MAX {
        names.clear();
        return Err(bad("too many names; the list is empty now"));
    }
    Ok(ok())
}

fn allowed(sim: &Sim, request: &Request) -> Reply {
    let channel_type = request.query.number("channel_type").unwrap_or(0);
    let key = Key::of(
        request.query.get("channel_id"),
        u8::try_from(channel_type).unwrap_or(0),
    );
    let world = sim.world();
    let names = world.channels.get(&key).map(|channel| &channel.allow);
    let at = now_ms() / 1_000;
    let shown = names.into_iter().flatten().enumerate();
    let shown = shown
        .map(|(id, uid)| json!({ "id": id + 1, "uid": uid, "created_at": at, "updated_at": at }));
    Reply::json(200, &Value::Array(shown.collect()))
}
