//! What goes wrong on purpose, and when.
//!
//! A fault waits for its kind of opportunity, lets `after` of them pass, and then strikes `times` times. Counting
//! instead of clocks keeps a test the same on a slow machine.

use std::collections::{BTreeMap, VecDeque};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a fault can strike. The opportunity it waits for stands behind each.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Push: the connection is cut, and nobody gets in for `for_ms`.
    Disconnect,
    /// Push: the connection stays open and nothing is said on it for `for_ms`; 0: never again.
    Silence,
    /// Push: it is pushed twice.
    Duplicate,
    /// Push: it changes places with the next one.
    Reorder,
    /// Push: `count` posts are written at once.
    Flood,
    /// Push: another device takes the session over.
    Replace,
    /// Push: the token expires and the provider closes.
    Expire,
    /// Request: the answer comes `for_ms` later.
    SlowAnswer,
    /// Request: it is done, and never answered.
    NoAnswer,
    /// Request: it is neither done nor answered.
    Lose,
    /// Request: refused as too fast, try again after `for_ms`.
    RateLimit,
    /// Request: refused with `code`.
    Reject,
    /// Login: refused, wrong token.
    RefuseLogin,
    /// Login: a person must answer first.
    Challenge,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Strikes this account only.
    pub account: Option<String>,
    /// Opportunities that pass unharmed.
    pub after: u64,
    /// Strikes; 0 means 1.
    pub times: u64,
    /// How long it lasts, in milliseconds, where that means something.
    pub for_ms: u64,
    /// Posts of a flood.
    pub count: u64,
    /// The provider's error code, for `reject`.
    pub code: Option<String>,
}

/// At most one fault of a kind, by kind.
pub type Faults = BTreeMap<FaultKind, Fault>;

/// Configurations that are remembered: more than the accounts of a world have.
const CONFIGURED_MAX: usize = 64;

/// Faults in force, and how far each has got.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// Seen in configurations, oldest first.
    configured: VecDeque<Faults>,
    armed: BTreeMap<FaultKind, Armed>,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    seen: u64,
}

impl Script {
    /// Faults that an account's configuration asks for. What was asked for before is not begun anew: otherwise a fault
    /// that cuts the connection would never end, because every reconnect brings the configuration again.
    pub fn configure(&mut self, faults: &Faults) {
        if self.configured.contains(faults) {
            return;
        }
        if self.configured.len() >= CONFIGURED_MAX {
            self.configured.pop_front();
        }
        self.configured.push_back(faults.clone());
        for (kind, fault) in faults {
            self.arm(*kind, fault.clone());
        }
    }

    pub fn arm(&mut self, kind: FaultKind, fault: Fault) {
        self.armed.insert(kind, Armed { fault, seen: 0 });
    }

    pub fn disarm(&mut self) {
        self.armed.clear();
    }

    /// One opportunity for `kind`: does it strike?
    pub fn strikes(&mut self, kind: FaultKind, account: &str) -> Option<Fault> {
        let is_meant = |fault: &Fault| {
            fault
                .account
                .as_deref()
                .is_none_or(|meant| meant == account)
        };
        let armed = self
            .armed
            .get_mut(&kind)
            .filter(|armed| is_meant(&armed.fault))?;
        armed.seen += 1;
        let last = armed.fault.after + armed.fault.times.max(1);
        if armed.seen <= armed.fault.after {
            return None;
        }
        if armed.seen >= last {
            return self.armed.remove(&kind).map(|armed| armed.fault);
        }
        Some(armed.fault.clone())
    }
}
