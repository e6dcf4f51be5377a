//! What an adapter says of itself: the `describe` document, built from types and the configuration's schema.
//!
//! Not here: name, version and target, which are constants of the build (`export`).

use crate::model::{Capabilities, InboundAck, MODEL};
use crate::{Adapter, Noise, config};
use im_bridge_plugin_api::abi;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Built in [`Adapter::describe`].
#[derive(Clone, Debug)]
#[must_use = "describe returns it"]
pub struct Description {
    capabilities: Capabilities,
    title: Option<&'static str>,
    homepage: Option<&'static str>,
    operations: Map<String, Value>,
    meta: Vec<&'static str>,
    session: Session,
    repeats_for_s: Option<u32>,
    required: Vec<String>,
    optional: Vec<String>,
    examples: Vec<Value>,
    state_version: u32,
    keeps_secrets: bool,
}

/// How an account's session behaves.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// Two sessions of one account may exist at the same time.
    pub overlap: bool,
    /// What the provider is told about events received; equal to `guarantees.inbound_ack`.
    pub ack: InboundAck,
    /// Unsettled events wished for, 1–1024; none: the core's default.
    pub window_events: Option<u16>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            overlap: false,
            ack: InboundAck::None,
            window_events: None,
        }
    }
}

impl Description {
    /// What the provider can do through this adapter.
    pub fn new(capabilities: Capabilities) -> Self {
        let session = Session {
            ack: capabilities.guarantees.inbound_ack,
            ..Session::default()
        };
        Self {
            capabilities,
            title: None,
            homepage: None,
            operations: Map::new(),
            meta: Vec::new(),
            session,
            repeats_for_s: None,
            required: Vec::new(),
            optional: vec![abi::EXT_KV.to_owned(), abi::EXT_METRICS.to_owned()],
            examples: Vec::new(),
            state_version: 1,
            keeps_secrets: false,
        }
    }

    /// The provider's name, for people.
    pub fn title(mut self, title: &'static str) -> Self {
        self.title = Some(title);
        self
    }

    /// Where people find more.
    pub fn homepage(mut self, homepage: &'static str) -> Self {
        self.homepage = Some(homepage);
        self
    }

    /// An operation's name with its usual noise. An undeclared one is counted as `other`.
    pub fn operation(mut self, name: &str, noise: Noise) -> Self {
        let class = noise.usual().as_str();
        self.operations.insert(name.to_owned(), class.into());
        self
    }

    /// A key that events may carry in their meta.
    pub fn meta(mut self, key: &'static str) -> Self {
        self.meta.push(key);
        self
    }

    /// How an account's session behaves; without this as [`Session::default`], acknowledging as the guarantees say.
    pub fn session(mut self, session: Session) -> Self {
        self.session = session;
        self
    }

    /// The longest time after which the provider may say again what it was not told to be stored. The bridge compares it
    /// with how long it remembers ids, and warns.
    pub fn repeats_for_s(mut self, seconds: u32) -> Self {
        self.repeats_for_s = Some(seconds);
        self
    }

    /// An extension of the host without which the adapter is of no use.
    pub fn requires(mut self, extension: &str) -> Self {
        self.optional.retain(|name| name != extension);
        self.required.push(extension.to_owned());
        self
    }

    /// Offers [`Adapter::verify`].
    pub fn verify(mut self) -> Self {
        self.optional.push(abi::EXT_VERIFY.to_owned());
        self
    }

    /// Offers [`Adapter::webhook`].
    pub fn webhook(mut self) -> Self {
        self.optional.push(abi::EXT_WEBHOOK.to_owned());
        self
    }

    /// An account's configuration that validates; the probe and the check use the first.
    ///
    /// # Panics
    /// When it is no JSON; `plugin check` finds that before anybody else.
    pub fn example(mut self, config: impl Serialize) -> Self {
        let config = serde_json::to_value(config).expect("an example is JSON");
        self.examples.push(config);
        self
    }

    /// Raised when an older version of the adapter cannot read what this one keeps; 1 unless said otherwise.
    pub fn state_version(mut self, version: u32) -> Self {
        self.state_version = version;
        self
    }

    /// Says that secrets are put among the account's keys, such as a session's token. Without a key that seals them they are
    /// kept in memory only, and `check` tells so.
    pub fn keeps_secrets(mut self) -> Self {
        self.keeps_secrets = true;
        self
    }

    /// The extension of this name is offered or used.
    pub(crate) fn lists(&self, extension: &str) -> bool {
        let mut all = self.required.iter().chain(&self.optional);
        all.any(|name| name == extension)
    }

    /// The document.
    pub(crate) fn to_json<A: Adapter>(&self, package: &str, version: &str) -> String {
        let mut session = json!({ "overlap": self.session.overlap, "ack": self.session.ack });
        if let Some(window_events) = self.session.window_events {
            session["window_events"] = window_events.into();
        }
        if let Some(seconds) = self.repeats_for_s {
            session["repeats_for_s"] = seconds.into();
        }
        let mut document = json!({
            "describe": 1,
            "provider": A::PROVIDER,
            "adapter": { "name": package, "version": version },
            "model": MODEL,
            "capabilities": self.capabilities,
            "operations": self.operations,
            "meta": self.meta,
            "session": session,
            "extensions": { "required": self.required, "optional": self.optional },
            "config_schema": config::schema::<A::Config>(),
            "config_examples": self.examples,
            "state_version": self.state_version,
        });
        for (key, value) in [("title", self.title), ("homepage", self.homepage)] {
            if let Some(value) = value {
                document[key] = value.into();
            }
        }
        if self.keeps_secrets {
            document["keeps_secrets"] = true.into();
        }
        document.to_string()
    }
}
