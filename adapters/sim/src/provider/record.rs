//! What the provider was told and did, in order: the truth that tests ask for.
//!
//! Entries are numbered without holes. When the record is full the oldest go, and `dropped` tells how many, so that a
//! test cannot mistake a trimmed record for a short one.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub n: u64,
    pub at_ms: i64,
    #[serde(flatten)]
    pub deed: Deed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "deed", rename_all = "snake_case")]
pub enum Deed {
    /// `others`: sessions of the account that were open already.
    Login {
        account: String,
        session: u64,
        device: String,
        others: Vec<u64>,
    },
    LoginRefused {
        account: String,
        code: String,
    },
    SessionEnded {
        account: String,
        session: u64,
        why: String,
    },
    /// Somebody wrote: what a bridge has to bring.
    Said {
        chat: String,
        post: String,
        seq: u64,
        by: String,
    },
    Pushed {
        account: String,
        session: u64,
        push: u64,
        seq: u64,
        redelivered: bool,
    },
    Acked {
        account: String,
        session: u64,
        push: u64,
        seq: u64,
    },
    /// `done`: false when the reference was known and nothing was done again.
    Sent {
        account: String,
        client_ref: Option<String>,
        post: String,
        done: bool,
    },
    Asked {
        account: String,
        call: String,
        client_ref: Option<String>,
        ok: bool,
    },
    Fault {
        kind: super::FaultKind,
    },
    Ordered {
        order: String,
    },
}

#[derive(Debug, Default)]
pub struct Record {
    entries: VecDeque<Entry>,
    next: u64,
    keep: usize,
    /// Counted apart, because it must be exact after entries are gone.
    sends: BTreeMap<String, u64>,
    most_sessions: BTreeMap<String, usize>,
}

/// Some entries, and where to go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Excerpt {
    pub entries: Vec<Entry>,
    /// Give this as `after` to go on.
    pub next: u64,
    /// Entries that are no longer kept.
    pub dropped: u64,
}

/// What can be said in a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub entries: u64,
    /// How often each client reference was carried out.
    pub sends: BTreeMap<String, u64>,
    /// Most sessions that each account had at one time.
    pub most_sessions: BTreeMap<String, usize>,
    /// Items pushed and not yet acknowledged, by account.
    pub unacknowledged: BTreeMap<String, usize>,
    /// Posts that are kept, by chat.
    pub posts: BTreeMap<String, usize>,
}

impl Record {
    #[must_use]
    pub fn new(keep: usize) -> Self {
        Self {
            keep,
            ..Self::default()
        }
    }

    pub fn note(&mut self, at_ms: i64, deed: Deed) {
        match &deed {
            Deed::Sent {
                client_ref: Some(reference),
                done: true,
                ..
            } => {
                // Bounded: beyond, only those that are known are counted on.
                if let Some(times) = self.sends.get_mut(reference) {
                    *times += 1;
                } else if self.sends.len() < self.keep {
                    self.sends.insert(reference.clone(), 1);
                }
            }
            Deed::Login {
                account, others, ..
            } => {
                let most = self.most_sessions.entry(account.clone()).or_default();
                *most = (*most).max(others.len() + 1);
            }
            _ => {}
        }
        if self.entries.len() >= self.keep {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            n: self.next,
            at_ms,
            deed,
        });
        self.next += 1;
    }

    /// Entries numbered from `after` on, of the named kinds (none named: all).
    #[must_use]
    pub fn excerpt(&self, after: u64, limit: usize, kinds: &[String]) -> Excerpt {
        let dropped = self.entries.front().map_or(self.next, |first| first.n);
        let mut next = after.max(dropped);
        let mut entries = Vec::new();
        for entry in self
            .entries
            .iter()
            .skip(usize::try_from(next - dropped).unwrap_or(usize::MAX))
        {
            if entries.len() >= limit {
                break;
            }
            next = entry.n + 1;
            if kinds.is_empty() || kinds.iter().any(|kind| kind == entry.deed.kind()) {
                entries.push(entry.clone());
            }
        }
        Excerpt {
            entries,
            next,
            dropped,
        }
    }

    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            entries: self.next,
            sends: self.sends.clone(),
            most_sessions: self.most_sessions.clone(),
            ..Summary::default()
        }
    }
}

impl Deed {
    /// The name it has in JSON.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Login { .. } => "login",
            Self::LoginRefused { .. } => "login_refused",
            Self::SessionEnded { .. } => "session_ended",
            Self::Said { .. } => "said",
            Self::Pushed { .. } => "pushed",
            Self::Acked { .. } => "acked",
            Self::Sent { .. } => "sent",
            Self::Asked { .. } => "asked",
            Self::Fault { .. } => "fault",
            Self::Ordered { .. } => "ordered",
        }
    }
}
