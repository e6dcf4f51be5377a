//! Armed faults: what goes wrong, at which point, how often.
//!
//! A fault waits at one point for the first visitor that it fits, and is gone after `times` of them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Faults armed at a time.
const FAULTS_MAX: usize = 1_000;

/// The points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// A client connects to the WebSocket or TCP port.
    Accept,
    /// It logs in.
    Connect,
    Send,
    /// One RECV for one connection.
    Recv,
    Recvack,
    Ping,
    /// A request to OpenChat or to the server's own HTTP port.
    Http,
}

/// What is done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Do {
    /// No answer; for RECV: never sent.
    Withhold,
    Delay,
    Duplicate,
    /// Behind the next `places` RECVs.
    Reorder,
    /// Reason `reason` or status `status`.
    Refuse,
    /// The connection is closed, without a word.
    Drop,
    /// The same with a reset.
    Reset,
    /// A WebSocket close frame with `code` first.
    Close,
    /// Neither read nor written any more, and not closed.
    HalfOpen,
    /// The session is gone, the socket stays.
    Mute,
    /// Never answered and closed after `ms`.
    Unserved,
    /// Bytes that nobody knows behind the answer's fields.
    Trailing,
    /// A message key that does not fit.
    BadKey,
    /// A frame of an unknown type before it.
    Unknown,
    /// HTTP: 2xx with `success:false`, or the given `body`.
    Fail,
    /// HTTP: half of the answer.
    Truncate,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    #[serde(default)]
    pub id: u64,
    pub on: On,
    #[serde(rename = "do")]
    pub act: Do,
    /// Visitors that it strikes.
    #[serde(default = "one")]
    pub times: u32,
    /// Visitors that pass unharmed before.
    #[serde(default)]
    pub after: u32,
    /// Whether what was asked for happens all the same.
    #[serde(default = "yes")]
    pub effect: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<String>,
    /// `native` or `openchat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// End of a request's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub places: Option<usize>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

/// Who passes a point.
#[derive(Clone, Copy, Debug, Default)]
pub struct Site<'a> {
    pub uid: Option<&'a str>,
    pub transport: Option<&'a str>,
    pub channel_id: Option<&'a str>,
    pub port: Option<&'a str>,
    pub path: Option<&'a str>,
}

impl Fault {
    fn fits(&self, on: On, site: &Site) -> bool {
        let same = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| is == Some(wanted))
        };
        let path = self.path.as_deref();
        self.on == on
            && same(&self.uid, site.uid)
            && same(&self.transport, site.transport)
            && same(&self.channel_id, site.channel_id)
            && same(&self.port, site.port)
            && path.is_none_or(|end| site.path.is_some_and(|path| path.ends_with(end)))
    }

    /// Whether this can be done there.
    fn is_possible(&self) -> bool {
        use Do::{
            BadKey, Close, Delay, Drop, Duplicate, Fail, HalfOpen, Mute, Refuse, Reorder, Reset,
            Trailing, Truncate, Unknown, Unserved, Withhold,
        };
        let possible: &[Do] = match self.on {
            On::Accept => &[Refuse, Drop, Reset, HalfOpen, Unserved, Delay],
            On::Connect => &[
                Withhold, Delay, Refuse, Drop, Reset, Close, HalfOpen, Mute, Unserved,
            ],
            On::Send => &[
                Withhold, Delay, Duplicate, Refuse, Drop, Reset, Close, HalfOpen, Mute, Trailing,
            ],
            On::Recv => &[
                Withhold, Delay, Duplicate, Reorder, BadKey, Unknown, Drop, Reset, Close, HalfOpen,
                Mute,
            ],
            On::Recvack => &[Withhold, Drop, Reset, Close, HalfOpen, Mute],
            On::Ping => &[Withhold, Delay, Drop, Reset, Close, HalfOpen, Mute],
            On::Http => &[Withhold, Delay, Refuse, Drop, Fail, Truncate],
        };
        possible.contains(&self.act)
    }
}

#[derive(Debug, Default)]
pub struct Faults {
    armed: Mutex<(u64, Vec<Fault>)>,
    /// How many, so that nobody takes the lock while there are none.
    count: AtomicUsize,
}

impl Faults {
    pub fn arm(&self, fault: &Value) -> Result<u64, String> {
        let mut fault: Fault = Fault::deserialize(fault).map_err(|error| error.to_string())?;
        if !fault.is_possible() {
            let (on, act) = (json!(fault.on), json!(fault.act));
            return Err(format!(
                "{act} is nothing that can be done on {on}; see the table of faults"
            ));
        }
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        if armed.1.len() >= FAULTS_MAX {
            return Err(format!("{FAULTS_MAX} faults are armed; disarm some"));
        }
        armed.0 += 1;
        fault.id = armed.0;
        armed.1.push(fault);
        self.count.store(armed.1.len(), Ordering::Relaxed);
        Ok(armed.0)
    }

    pub fn disarm(&self, id: Option<u64>) {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        armed.1.retain(|fault| id.is_some_and(|id| fault.id != id));
        self.count.store(armed.1.len(), Ordering::Relaxed);
    }

    pub fn list(&self) -> Value {
        let armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        json!(armed.1)
    }

    /// The fault that strikes this visitor.
    pub fn strike(&self, on: On, site: &Site) -> Option<Fault> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let index = armed.1.iter().position(|fault| fault.fits(on, site))?;
        let fault = &mut armed.1[index];
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times = fault.times.saturating_sub(1);
        let struck = fault.clone();
        if struck.times == 0 {
            armed.1.remove(index);
        }
        self.count.store(armed.1.len(), Ordering::Relaxed);
        Some(struck)
    }
}
