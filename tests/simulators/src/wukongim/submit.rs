//! A message's way: whether its sender may, its number, who hears of it.

use super::channel::{AGENT, Channel, DENIED, Key, SUCCESS, SYSTEM_ERROR, closed_reason};
use super::codec::packets::Flags;
use super::faults::{Do, On, Site};
use super::ids::{COMMAND_SUFFIX, SYSTEM, is_name, now_ms};
use super::message::{Message, PERSON};
use super::record::Entry;
use super::session::{How, Out, Session};
use super::world::{COMMANDS_MAX, Counters, Sim, User, World};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Reason for a sender who may not send at all.
const SEND_BANNED: u8 = 25;

/// Where a message came from.
#[derive(Clone, Copy)]
pub enum Via<'a> {
    /// A client's connection: its sender must be allowed, and does not hear of it there.
    Connection(&'a Arc<Session>),
    /// Over HTTP, by this port: nobody looks who may.
    Http(&'static str),
    /// A test lets a user send: as if from a connection that is not there.
    Control,
}

impl Via<'_> {
    fn source(self) -> &'static str {
        match self {
            Self::Connection(_) => "connection",
            Self::Http(port) => port,
            Self::Control => "control",
        }
    }

    fn conn(self) -> Option<u64> {
        match self {
            Self::Connection(session) => Some(session.conn),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Draft {
    pub from: Arc<str>,
    pub channel_id: Arc<str>,
    pub channel_type: u8,
    pub client_msg_no: Arc<str>,
    pub flags: Flags,
    pub setting: u8,
    pub stream_no: String,
    pub topic: String,
    pub expire_s: u32,
    pub payload: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub message_id: i64,
    pub message_seq: u64,
    pub reason: u8,
}

/// What becomes of a message; a reason given beforehand refuses it.
pub fn submit(sim: &Sim, via: Via, draft: Draft, refused: Option<u8>) -> Outcome {
    let mut world = sim.world();
    let message_id = world.ids.next();
    let sender = if draft.from.is_empty() {
        SYSTEM
    } else {
        &*draft.from
    };
    let key = Key::written(sender, &draft.channel_id, draft.channel_type);
    let reason = refused
        .or_else(|| refusal(&world, via, &draft, &key))
        .unwrap_or(SUCCESS);
    let mut outcome = Outcome {
        message_id,
        message_seq: 0,
        reason,
    };
    let sent = |message_seq, reason| Entry::Send {
        source: via.source(),
        conn: via.conn(),
        from: draft.from.clone(),
        channel_id: draft.channel_id.clone(),
        channel_type: draft.channel_type,
        client_msg_no: draft.client_msg_no.clone(),
        message_id,
        message_seq,
        reason,
    };
    if reason != SUCCESS {
        drop(world);
        sim.note(sent(0, reason));
        return outcome;
    }
    let is_command = draft.flags.sync_once && matches!(via, Via::Http(_));
    let numbered = if is_command {
        Key::of(&format!("{}{COMMAND_SUFFIX}", key.id), key.channel_type)
    } else {
        key.clone()
    };
    let history_max = world.settings.history_max;
    if world.channel(&numbered).is_none() {
        outcome.reason = SYSTEM_ERROR;
        return outcome;
    }
    if draft.channel_type == PERSON && is_name(&draft.channel_id) {
        // Whoever is written to has a conversation, also before the first login.
        world.user(&draft.channel_id);
    }
    let Some(channel) = world.channels.get_mut(&numbered) else {
        return outcome;
    };
    let is_stored = !draft.flags.no_persist;
    if is_stored {
        channel.last_seq += 1;
        outcome.message_seq = channel.last_seq;
    }
    let entry = sent(outcome.message_seq, reason);
    let message = Arc::new(Message {
        id: message_id,
        seq: outcome.message_seq,
        from: draft.from,
        channel_id: draft.channel_id,
        channel_type: draft.channel_type,
        client_msg_no: draft.client_msg_no,
        flags: draft.flags,
        setting: draft.setting,
        stream_no: draft.stream_no,
        topic: draft.topic,
        expire_s: draft.expire_s,
        timestamp_s: i32::try_from(now_ms() / 1_000).unwrap_or(i32::MAX),
        payload: draft.payload,
    });
    if is_stored && !is_command {
        channel.keep(message.clone(), history_max);
    }
    Counters::one(&sim.counters.sends);
    sim.note(entry);
    deliver(sim, &mut world, &key, &message, via, is_command);
    outcome
}

fn refusal(world: &World, via: Via, draft: &Draft, key: &Key) -> Option<u8> {
    let is_system =
        draft.from.is_empty() || *draft.from == *SYSTEM || world.system_uids.contains(&*draft.from);
    let channel = world.channels.get(key);
    if draft.channel_type == PERSON {
        let profile = |uid: &str| world.channels.get(&Key::of(uid, PERSON));
        if let Via::Http(_) = via {
            return None;
        }
        if profile(&draft.from).is_some_and(|sender| sender.send_ban) {
            return Some(SEND_BANNED);
        }
        let is_denied = |reader: &Channel| !is_system && reader.deny.contains(draft.from.as_ref());
        return profile(&draft.channel_id)
            .is_some_and(is_denied)
            .then_some(DENIED);
    }
    let sender = world.channels.get(&Key::of(&draft.from, PERSON));
    if !matches!(via, Via::Http(_)) && sender.is_some_and(|sender| sender.send_ban) {
        return Some(SEND_BANNED);
    }
    if let Some(reason) = closed_reason(channel, draft.channel_type) {
        return Some(reason);
    }
    if is_system || matches!(via, Via::Http(_)) {
        return None;
    }
    channel.and_then(|channel| channel.refusal(&draft.from, draft.channel_type))
}

/// Tells every connection of everybody in the channel, but not the one that it came from.
fn deliver(
    sim: &Sim,
    world: &mut World,
    key: &Key,
    message: &Arc<Message>,
    via: Via,
    is_command: bool,
) {
    let resend = Duration::from_millis(world.settings.resend_ms);
    let disorder = (
        world.settings.disorder_percent,
        world.settings.disorder_places,
    );
    let mut reach = Reach {
        sim,
        message,
        key,
        resend: (message.seq > 0).then_some(resend),
        disorder,
        not_on: via.conn(),
        is_command,
        offline: Vec::new(),
        tells_offline: world.settings.webhook_url.is_some() && message.channel_type != AGENT,
    };
    let (users, chance) = (&mut world.users, &mut world.chance);
    if message.channel_type == PERSON {
        // To oneself it arrives twice: as the recipient's and as the sender's copy.
        for uid in [message.channel_id.clone(), message.from.clone()] {
            reach.user(users, chance, &uid);
        }
    } else if message.channel_type == AGENT {
        for uid in key.id.split('@') {
            reach.user(users, chance, &uid.into());
        }
    } else if let Some(channel) = world.channels.get(key) {
        for uid in &channel.members {
            reach.user(users, chance, uid);
        }
    }
    let offline = reach.offline;
    if world.settings.webhook_url.is_some() {
        sim.webhooks
            .message(&world.settings, message, offline, is_command);
    }
}

struct Reach<'a> {
    sim: &'a Sim,
    message: &'a Arc<Message>,
    key: &'a Key,
    resend: Option<Duration>,
    disorder: (u8, usize),
    not_on: Option<u64>,
    is_command: bool,
    /// Who has no master device online.
    offline: Vec<Arc<str>>,
    tells_offline: bool,
}

impl Reach<'_> {
    fn user(
        &mut self,
        users: &mut HashMap<Arc<str>, User>,
        chance: &mut fastrand::Rng,
        uid: &Arc<str>,
    ) {
        // Nobody made this user: nobody reads it.
        let Some(user) = users.get_mut(uid) else {
            return;
        };
        if self.is_command {
            while user.commands.len() >= COMMANDS_MAX {
                user.commands.pop_front();
            }
            user.commands.push_back(self.message.clone());
        } else if self.message.seq > 0 {
            user.has_conversation(self.key);
        }
        let is_master = |session: &Arc<Session>| {
            let identity = session.identity.get();
            identity.is_some_and(|identity| identity.level == 1)
        };
        if self.tells_offline && *uid != self.message.from && !user.sessions.iter().any(is_master) {
            self.offline.push(uid.clone());
        }
        for session in &user.sessions {
            if Some(session.conn) != self.not_on {
                self.session(session, chance, uid);
            }
        }
    }

    fn session(&self, session: &Arc<Session>, chance: &mut fastrand::Rng, uid: &Arc<str>) {
        let seen = self.message.seen_by(uid);
        let site = Site {
            uid: Some(uid),
            transport: Some(session.transport),
            channel_id: Some(&seen.channel_id),
            ..Site::default()
        };
        let fault = self.sim.faults.strike(On::Recv, &site);
        let mut out = Out::Recv {
            message: self.message.clone(),
            seen: seen.clone(),
            attempt: 1,
            is_key_bad: false,
        };
        let (percent, places) = self.disorder;
        let mut behind = if percent > 0 && chance.u8(..100) < percent {
            chance.usize(1..=places.max(1))
        } else {
            0
        };
        let mut after = Duration::ZERO;
        if let Some(fault) = fault {
            let at = format!("recv {} on {}", self.message.id, session.conn);
            self.sim.note(Entry::Fault {
                fault: fault.id,
                at,
            });
            let ms = Duration::from_millis(fault.ms.unwrap_or(0));
            match fault.act {
                Do::Withhold => return,
                Do::Delay => after = ms,
                Do::Duplicate => session.recv(out.clone(), None, 0, Duration::ZERO),
                Do::Reorder => (behind, after) = (fault.places.unwrap_or(1).max(1), ms),
                Do::BadKey => {
                    if let Out::Recv { is_key_bad, .. } = &mut out {
                        *is_key_bad = true;
                    }
                }
                Do::Unknown => session.tell(Out::Raw(Bytes::from_static(&[0xd0, 2, 1, 2]))),
                _ => {
                    session.recv(out, self.resend, 0, Duration::ZERO);
                    if fault.act == Do::Drop {
                        // Behind it, not over it.
                        return session.close(How::End, "fault");
                    }
                    return misbehave(session, &fault.act, fault.code);
                }
            }
        }
        session.recv(out, self.resend, behind, after);
    }
}

/// What a fault does to a connection, wherever it strikes.
pub fn misbehave(session: &Arc<Session>, act: &Do, code: Option<u16>) {
    match act {
        Do::Drop => session.close(How::Drop, "fault"),
        Do::Reset => session.close(How::Reset, "fault"),
        Do::Close => session.close(How::Code(code.unwrap_or(1011)), "fault"),
        Do::HalfOpen => session.halt(true),
        Do::Mute => session.drop_after(Duration::ZERO, "fault"),
        _ => {}
    }
}
