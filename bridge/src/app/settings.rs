//! The configuration in the words of the modules that act by it.

use crate::account::seal::{SealError, Seals};
use crate::bus::connect::{Auth, Settings, Tls};
use crate::bus::lease::Timing;
use crate::bus::objects::{Limits, WhenFull};
use crate::bus::{Root, shards};
use crate::config::secret::{Reference, SecretError};
use crate::config::types::{self, Nats};
use std::time::Duration;

const HOUR_S: u64 = 60 * 60;
const MIB: u64 = 1024 * 1024;

/// A name that every process on a machine without one has.
const NAMELESS: &str = "im-bridge";

/// Who this is to NATS, its secrets read now.
///
/// # Errors
/// A secret went since the configuration was checked.
pub fn connection(nats: &Nats) -> Result<Settings, SecretError> {
    let read = |path: &str, reference: &Reference| {
        let secret = reference.resolve(path)?;
        Ok::<_, SecretError>(secret.reveal().to_owned())
    };
    let auth = if let Some(creds) = &nats.creds {
        Auth::Creds(read("nats.creds", creds)?)
    } else if let Some(nkey) = &nats.nkey {
        Auth::Nkey(read("nats.nkey", nkey)?)
    } else if let (Some(user), Some(password)) = (&nats.user, &nats.password) {
        Auth::UserPassword {
            user: read("nats.user", user)?,
            password: read("nats.password", password)?,
        }
    } else if let Some(token) = &nats.token {
        Auth::Token(read("nats.token", token)?)
    } else {
        Auth::None
    };
    let urls: Vec<String> = nats
        .url
        .split(',')
        .map(|url| url.trim().to_owned())
        .filter(|url| !url.is_empty())
        .collect();
    let tls = &nats.tls;
    Ok(Settings {
        tls: Tls {
            is_required: tls.first
                || tls.ca.is_some()
                || tls.cert.is_some()
                || urls.iter().any(|url| url.starts_with("tls://")),
            is_first: tls.first,
            ca: tls.ca.clone(),
            certificate: tls.cert.clone().zip(tls.key.clone()),
        },
        urls,
        name: name(nats),
        root: root(nats),
        auth,
        inbox_prefix: Some(nats.inbox_prefix.clone()).filter(|prefix| !prefix.is_empty()),
    })
}

/// `nats.name`, else the host's.
pub fn name(nats: &Nats) -> String {
    if !nats.name.is_empty() {
        return nats.name.clone();
    }
    let host = rustix::system::uname();
    host.nodename()
        .to_str()
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or(NAMELESS)
        .to_owned()
}

fn root(nats: &Nats) -> Root {
    nats.root
        .parse()
        .expect("the configuration's schema has the same pattern")
}

/// Limits of all objects.
pub fn limits(nats: &Nats) -> Limits {
    let hours = |hours: u64| Duration::from_secs(hours.saturating_mul(HOUR_S));
    let bytes = |mib: u64| mib.saturating_mul(MIB);
    Limits {
        replicas: u8::try_from(nats.replicas).unwrap_or(u8::MAX),
        events_max_age: hours(nats.events.max_age_h),
        events_max_bytes: bytes(nats.events.max_mib),
        events_when_full: match nats.events.when_full {
            types::WhenFull::Roll => WhenFull::Roll,
            types::WhenFull::Stop => WhenFull::Stop,
        },
        events_duplicate_window: Duration::from_secs(nats.events.duplicate_window_s),
        results_max_age: hours(nats.results.max_age_h),
        results_max_bytes: bytes(nats.results.max_mib),
        commands_max_age: hours(nats.commands.max_age_h),
        commands_max_bytes: bytes(nats.commands.max_mib),
        commands_max_waiting: nats.commands.max_waiting,
        dead_letters_max_age: hours(nats.dead_letters.max_age_h),
        dead_letters_max_bytes: bytes(nats.dead_letters.max_mib),
        ledger_max_bytes: bytes(nats.ledger.max_mib),
        kv_max_bytes: bytes(nats.kv.max_mib),
        ..Limits::default()
    }
}

/// How leases are kept.
pub fn shards(nats: &Nats) -> shards::Settings {
    shards::Settings {
        timing: Timing {
            ttl: Duration::from_secs(nats.lease.ttl_s),
            renew: Duration::from_secs(nats.lease.renew_s),
            stop: Duration::from_secs(nats.lease.stop_s),
        },
        ..shards::Settings::default()
    }
}

/// Why adapters' secrets cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealsError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl SealsError {
    /// Section in `docs/errors.md`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Secret(error) => error.code(),
            Self::Seal(_) => "nats_seal",
        }
    }
}

/// The keys of adapters' secrets, read now.
///
/// # Errors
/// One cannot be read, or is no key.
pub fn seals(nats: &Nats) -> Result<Seals, SealsError> {
    let mut keys = Vec::with_capacity(nats.seal.keys.len());
    for (name, reference) in &nats.seal.keys {
        keys.push((
            name.as_str(),
            reference.resolve(&format!("nats.seal.keys.{name}"))?,
        ));
    }
    let texts = keys.iter().map(|(name, secret)| (*name, secret.reveal()));
    Ok(Seals::new(&nats.seal.uses, texts)?)
}
