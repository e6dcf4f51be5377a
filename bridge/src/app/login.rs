//! Logs accounts in and ends their sessions again, to learn whether they can: what `im-bridge check --login` does.
//!
//! The adapter is the real one, and so are provider and credentials. Nothing is stored, nothing is acknowledged to the
//! provider, and what the adapter keeps is kept in memory until the session ends: it begins without its former state.
//!
//! Not here: running accounts (`owned`, `account`).

use super::plan::{Plan, Wanted};
use super::plugins::{Adapter, Plugins};
use crate::config::Loaded;
use crate::loader::Loaded as File;
use crate::loader::host::{Hooks, HostEvent, Instance, KvRequest, Options, Pool, Report, Window};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use im_bridge_plugin_api::abi::{KvVerb, Status};
use im_bridge_sdk::model::AccountState;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Accounts that log in at the same time.
const AT_ONCE: usize = 4;
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// What became of one account's login.
pub struct Tried {
    pub account: String,
    /// The own user id at the provider, if it said one; else code and sentence.
    pub outcome: Result<Option<String>, (String, String)>,
}

/// Tries every account that is switched on and has an adapter.
pub async fn try_all(
    loaded: &Loaded,
    files: &BTreeMap<&'static str, &'static File>,
    within: Duration,
) -> Vec<Tried> {
    let plan = Plan::new(loaded, Plugins::of(files, &loaded.config.plugins));
    let accounts = plan.accounts.values().filter(|wanted| wanted.part.enabled);
    let tried = accounts.filter_map(|wanted| {
        let adapter = wanted.adapter.clone()?;
        let wanted = Arc::clone(wanted);
        Some(async move {
            Tried {
                account: wanted.account.to_string(),
                outcome: log_in(&wanted, &adapter, within).await,
            }
        })
    });
    stream::iter(tried).buffered(AT_ONCE).collect().await
}

struct Quiet;

impl Hooks for Quiet {}

type Outcome = Result<Option<String>, (String, String)>;

fn no(code: &str, text: impl Into<String>) -> Outcome {
    Err((code.to_owned(), text.into()))
}

async fn log_in(wanted: &Arc<Wanted>, adapter: &Adapter, within: Duration) -> Outcome {
    let made_of = Arc::clone(wanted);
    let config = match tokio::task::spawn_blocking(move || made_of.instance_config()).await {
        Ok(Ok(config)) => config,
        Ok(Err(error)) => return no(error.code, error.message),
        Err(_) => {
            return no(
                "internal_bug",
                "this is a bug: reading the secrets panicked; please report it",
            );
        }
    };
    let window = Window::default();
    let options = Options {
        window,
        pool: Pool::new(window.bytes),
        hooks: Arc::new(Quiet),
        webhooks_max: 0,
    };
    let alias = wanted.account.alias.as_str();
    let (instance, mut inbox) =
        match Instance::create(&adapter.plugin, alias, config, options).await {
            Ok(made) => made,
            Err(error) => return no("adapter_error", error.to_string()),
        };
    if let Err(error) = instance.start().await {
        return no("adapter_error", error.to_string());
    }
    let until = Instant::now() + within;
    let mut kept = Kept::default();
    let mut last = "nothing was heard of it".to_owned();
    let outcome = loop {
        let Ok(event) = timeout_at(until, inbox.recv()).await else {
            break no(
                "deadline_exceeded",
                format!("not online within {} s: {last}", within.as_secs()),
            );
        };
        match event {
            HostEvent::Report(report) => match judged(&report) {
                Some(outcome) => break outcome,
                None => last = words(&report),
            },
            HostEvent::Kv(request) => kept.answer(request),
            HostEvent::Fault(fault) => {
                break no("adapter_panic", format!("the adapter is lost: {fault:?}"));
            }
            // An event that is dropped is one that nobody stored: the provider keeps it.
            _ => {}
        }
    };
    // A session that cannot be ended ends with this process.
    let _ = instance.stop(STOP_WITHIN).await;
    let _ = instance.destroy().await;
    outcome
}

/// None: that is not the end of it.
fn judged(report: &Report) -> Option<Outcome> {
    let state = AccountState::from_abi(report.state.0);
    let code = match state {
        AccountState::Online | AccountState::CatchingUp | AccountState::Degraded => {
            let own = Some(report.self_id().to_owned()).filter(|own| !own.is_empty());
            return Some(Ok(own));
        }
        AccountState::ChallengeRequired => "challenge_required",
        AccountState::BadCredentials => "bad_credentials",
        AccountState::Conflicted => "kicked",
        AccountState::Failed | AccountState::LoggedOut | AccountState::Unconfigured => {
            "adapter_error"
        }
        _ => return None,
    };
    Some(no(code, words(report)))
}

/// The state and why.
fn words(report: &Report) -> String {
    let state = AccountState::from_abi(report.state.0);
    let detail: Value = serde_json::from_str(report.detail()).unwrap_or_default();
    match (detail["error"]["message"].as_str(), report.reason()) {
        (Some(message), _) => format!("{state}: {message}"),
        (None, "") => state.to_string(),
        (None, reason) => format!("{state}: {reason}"),
    }
}

/// What an adapter keeps, for one session.
#[derive(Default)]
struct Kept {
    values: BTreeMap<String, (u64, Bytes)>,
    revision: u64,
}

impl Kept {
    fn answer(&mut self, request: KvRequest) {
        let key = request.key().to_owned();
        let (status, revision, value) = match request.verb {
            KvVerb::GET => match self.values.get(&key) {
                Some((revision, value)) => (Status::OK, *revision, value.clone()),
                None => (Status::E_NOT_FOUND, 0, Bytes::new()),
            },
            KvVerb::PUT => {
                self.revision += 1;
                let value = (self.revision, request.value.clone());
                self.values.insert(key, value);
                (Status::OK, self.revision, Bytes::new())
            }
            KvVerb::DELETE => {
                self.values.remove(&key);
                (Status::OK, 0, Bytes::new())
            }
            KvVerb::LIST => {
                let listed: BTreeMap<&str, u64> = self
                    .values
                    .iter()
                    .filter(|(name, _)| name.starts_with(&key))
                    .map(|(name, (revision, _))| (name.as_str(), *revision))
                    .collect();
                let listed = serde_json::to_vec(&listed).expect("names and numbers are JSON");
                (Status::OK, 0, listed.into())
            }
            _ => (Status::E_UNSUPPORTED, 0, Bytes::new()),
        };
        request.reply.answer(status, revision, value);
    }
}
