//! What the provider is told to get wrong: each fault hits a counted number of times, and says so.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// More are a test that never clears.
const FAULTS_MAX: usize = 1_000;

/// Where a fault can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    Mtop,
    Upload,
    Handshake,
    Request,
    Push,
}

/// What it does there. Which go where is in [`Do::fits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Do {
    Ret,
    Status,
    Text,
    Withhold,
    Delay,
    Drop,
    Refuse,
    Ignore,
    Answer,
    Duplicate,
    WrongMid,
    Swap,
    Close,
    Cut,
    HalfOpen,
    Invalidate,
    Again,
    Lwp,
    Binary,
    MidOfRequest,
    Extra,
    Spoil,
}

impl Do {
    fn fits(self, on: On) -> bool {
        let places: &[On] = match self {
            Self::Ret | Self::Status => &[On::Mtop, On::Upload],
            Self::Text => &[On::Mtop, On::Upload, On::Request],
            Self::Withhold => &[On::Mtop, On::Upload, On::Handshake, On::Request, On::Push],
            Self::Drop => &[On::Mtop, On::Upload, On::Handshake, On::Request, On::Push],
            Self::Delay => &[On::Mtop, On::Upload, On::Request, On::Push],
            Self::Refuse => &[On::Handshake, On::Request],
            Self::Ignore | Self::Answer | Self::WrongMid => &[On::Request],
            Self::Duplicate | Self::Swap => &[On::Request, On::Push],
            Self::Close | Self::Cut | Self::HalfOpen | Self::Invalidate => &[On::Request, On::Push],
            Self::Again | Self::Lwp | Self::Binary => &[On::Push],
            Self::MidOfRequest | Self::Extra | Self::Spoil => &[On::Push],
        };
        places.contains(&on)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    Before,
    #[default]
    After,
}

/// A fault as it is ordered; the fields after `after` belong to some of what it can do.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub on: On,
    #[serde(rename = "do")]
    pub what: Do,
    pub uid: Option<String>,
    pub of: Option<String>,
    #[serde(default = "once")]
    pub times: u64,
    #[serde(default)]
    pub after: u64,
    #[serde(default)]
    pub at: At,
    pub code: Option<Value>,
    pub body: Option<Value>,
    pub reason: Option<String>,
    pub ret: Option<Vec<String>>,
    pub data: Option<Value>,
    #[serde(default)]
    pub set_cookie: bool,
    pub status: Option<u16>,
    pub text: Option<String>,
    pub ms: Option<u64>,
    pub lwp: Option<String>,
    #[serde(rename = "type")]
    pub extra: Option<u8>,
}

fn once() -> u64 {
    1
}

impl Fault {
    /// Why it cannot be armed.
    fn mistake(&self) -> Option<String> {
        let Self { on, what, .. } = self;
        let needs = |is_there: bool, field: &str| {
            (!is_there).then(|| format!("{what:?} on {on:?} needs `{field}`"))
        };
        if !what.fits(*on) {
            return Some(format!(
                "{what:?} does not go with {on:?}; see the table of faults"
            ));
        }
        if self.times == 0 {
            return Some("`times` is 1 at least".to_owned());
        }
        match what {
            Do::Ret => needs(self.ret.is_some() || self.code.is_some(), "ret` or `code"),
            Do::Delay => needs(self.ms.is_some(), "ms"),
            Do::Text => needs(self.text.is_some(), "text"),
            Do::Status => needs(self.status.is_some(), "status"),
            Do::Lwp => needs(self.lwp.is_some(), "lwp"),
            Do::Extra => needs(self.extra.is_some(), "type"),
            Do::Refuse | Do::Answer if *on == On::Request => {
                let code = self.code_u16();
                needs(code.is_some(), "code` (a number")
            }
            _ => None,
        }
    }

    pub fn code_u16(&self) -> Option<u16> {
        self.code.as_ref()?.as_u64()?.try_into().ok()
    }
}

#[derive(Default)]
pub struct Faults {
    armed: Vec<(u64, Fault)>,
    last_id: u64,
}

impl Faults {
    pub fn arm(&mut self, fault: Fault) -> Result<u64, String> {
        if let Some(mistake) = fault.mistake() {
            return Err(mistake);
        }
        if self.armed.len() == FAULTS_MAX {
            return Err(format!("{FAULTS_MAX} faults are armed; clear them"));
        }
        self.last_id += 1;
        self.armed.push((self.last_id, fault));
        Ok(self.last_id)
    }

    pub fn clear(&mut self) -> usize {
        std::mem::take(&mut self.armed).len()
    }

    /// The one that hits this, if any: the oldest that fits and has let pass what it lets pass.
    pub fn hit(&mut self, on: On, uid: Option<&str>, of: &str) -> Option<(u64, Fault)> {
        let mut hit = None;
        for (at, (id, fault)) in self.armed.iter_mut().enumerate() {
            let fits = fault.on == on
                && fault
                    .uid
                    .as_deref()
                    .is_none_or(|wanted| Some(wanted) == uid)
                && fault.of.as_deref().is_none_or(|wanted| wanted == of);
            if !fits {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            fault.times = fault.times.saturating_sub(1);
            hit = Some((at, *id, fault.clone()));
            break;
        }
        let (at, id, fault) = hit?;
        if fault.times == 0 {
            self.armed.remove(at);
        }
        Some((id, fault))
    }

    pub fn list(&self) -> Value {
        let armed = self.armed.iter().map(|(id, fault)| {
            json!({
                "id": id, "on": fault.on, "do": fault.what, "uid": fault.uid, "of": fault.of,
                "left": fault.times, "after": fault.after,
            })
        });
        armed.collect()
    }

    pub fn count(&self) -> usize {
        self.armed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(order: Value) -> Fault {
        serde_json::from_value(order).unwrap()
    }

    #[test]
    fn a_fault_lets_pass_then_hits_then_is_gone() {
        let mut faults = Faults::default();
        let order =
            json!({ "on": "request", "do": "withhold", "of": "/reg", "after": 1, "times": 2 });
        faults.arm(fault(order)).unwrap();
        let mut hits = |of| faults.hit(On::Request, Some("1"), of).is_some();
        assert!(!hits("/!"));
        assert_eq!([(); 4].map(|()| hits("/reg")), [false, true, true, false]);
        assert_eq!(faults.count(), 0);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_reason() {
        let mut faults = Faults::default();
        let mut why = |order| faults.arm(fault(order)).unwrap_err();
        assert!(why(json!({ "on": "push", "do": "ret" })).contains("Ret does not go with Push"));
        assert!(why(json!({ "on": "mtop", "do": "drop", "times": 0 })).contains("`times`"));
        assert!(why(json!({ "on": "mtop", "do": "delay" })).contains("`ms`"));
        assert!(why(json!({ "on": "request", "do": "refuse" })).contains("`code`"));
    }
}
