//! Who may log in, and whom that throws out.

use super::channel::{KICKED, Key};
use super::codec::packets::{Connack, Connect, Packet};
use super::codec::seal::{self, Keys};
use super::ids::{MANAGER, is_name, now_ms};
use super::message::PERSON;
use super::record::Entry;
use super::session::{Identity, Out, Session};
use super::world::{AWAY_AFTER_A_CRASH, Sim, World};
use std::sync::Arc;
use std::time::Duration;

pub const NODE_ID: u64 = 1001;
const AUTH_FAILED: u8 = 2;
const BANNED: u8 = 19;
const CLIENT_KEY: u8 = 21;
const SALT_BYTES: usize = 16;
const MASTER: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Binary,
    Json,
}

pub struct Welcome {
    pub connack: Connack,
    pub keys: Option<Keys>,
    pub version: u8,
}

pub enum Login {
    Welcome(Box<Welcome>),
    /// The socket closes at once.
    Close(&'static str),
    /// How that looks is a setting.
    Refused(u8, &'static str),
}

pub fn login(sim: &Sim, session: &Arc<Session>, connect: &Connect, form: Form) -> Login {
    if !is_name(&connect.uid) {
        return Login::Close("a uid must not be blank nor hold @, # or &");
    }
    let mut world = sim.world();
    let settings = world.settings.clone();
    if connect.uid == MANAGER
        && settings
            .manager_token
            .as_ref()
            .is_some_and(|token| *token != connect.token)
    {
        drop(world);
        sim.crash(
            "a login as ____manager with a wrong token",
            AWAY_AFTER_A_CRASH,
        );
        return Login::Close("the server died");
    }
    let profile = world.channels.get(&Key::of(&connect.uid, PERSON));
    if profile.is_some_and(|profile| profile.ban) {
        return Login::Refused(BANNED, "banned");
    }
    let user = world.users.get(&*connect.uid);
    let token = user.and_then(|user| user.tokens.get(&connect.device_flag));
    let level = match token {
        _ if !settings.token_auth => 0,
        Some((token, level)) if *token == connect.token && !token.is_empty() => *level,
        Some(_) => return Login::Refused(AUTH_FAILED, "another token is registered"),
        None => return Login::Refused(AUTH_FAILED, "no token for this uid and device flag"),
    };
    let mut sealing = None;
    if settings.encryption && form == Form::Binary {
        let Some(theirs) = seal::read_public(&connect.client_key) else {
            return Login::Refused(CLIENT_KEY, "no public key of 32 bytes");
        };
        let mut secret = [0; 32];
        world.chance.fill(&mut secret);
        let chance = &mut world.chance;
        let salt: String = (0..SALT_BYTES).map(|_| chance.alphanumeric()).collect();
        let keys = Keys::agree(secret, theirs, &salt);
        sealing = keys.map(|keys| (keys, seal::public(secret), salt));
    }
    let identity = Identity {
        uid: connect.uid.as_str().into(),
        device_flag: connect.device_flag,
        device_id: connect.device_id.clone(),
        level,
    };
    let version = connect.version.min(settings.max_version);
    let begun = Entry::Begun {
        conn: session.conn,
        uid: identity.uid.clone(),
        device_flag: identity.device_flag,
        device_id: identity.device_id.clone(),
        level,
        form: if form == Form::Json { "json" } else { "binary" },
        version,
        encrypted: sealing.is_some(),
    };
    if !admit(sim, &mut world, session, identity) {
        return Login::Close("too many users");
    }
    drop(world);
    sim.note(begun);
    sim.webhooks.online(sim, session, true);
    let (keys, server_key, salt) = match sealing {
        Some((keys, public, salt)) => (Some(keys), public, salt),
        None => (None, String::new(), String::new()),
    };
    let connack = Connack {
        server_version: (connect.version > 3).then_some(version),
        time_diff_ms: now_ms().saturating_sub(connect.client_timestamp_ms),
        reason: 1,
        server_key,
        salt,
        node_id: NODE_ID,
    };
    Login::Welcome(Box::new(Welcome {
        connack,
        keys,
        version,
    }))
}

/// Makes it one of its user's connections and gives others up for it.
fn admit(sim: &Sim, world: &mut World, session: &Arc<Session>, identity: Identity) -> bool {
    let kick = Duration::from_millis(world.settings.kick_ms);
    let Some(user) = world.user(&identity.uid) else {
        return false;
    };
    for other in &user.sessions {
        let Some(old) = other.identity.get() else {
            continue;
        };
        if old.device_flag != identity.device_flag {
            continue;
        }
        if old.device_id == identity.device_id {
            kicked(sim, other, "the same device again", None, kick);
        } else if identity.level == MASTER {
            let text = "login in other device";
            kicked(sim, other, "login in other device", Some(text), kick);
        }
    }
    user.sessions.push(session.clone());
    session.identity.set(identity).is_ok()
}

/// Tells a connection to go, with these words, and drops it after this time.
pub fn kicked(
    sim: &Sim,
    session: &Arc<Session>,
    cause: &'static str,
    text: Option<&str>,
    after: Duration,
) {
    if let Some(text) = text {
        let text = text.to_owned();
        let reason = KICKED;
        session.tell(Out::Packet(Packet::Disconnect { reason, text }));
    }
    session.drop_after(after, cause);
    if let Some(uid) = session.uid() {
        sim.note(Entry::Kicked {
            conn: session.conn,
            uid: uid.clone(),
            cause,
        });
    }
}
