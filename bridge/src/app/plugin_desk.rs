//! What people do about plugins of a replica that runs, and what the replica publishes about them.
//!
//! Every replica answers every verb and says who it is: each has its own files. A state is published on transitions and
//! kept nowhere; `info` tells it to whoever asks.
//!
//! Not here: what is done (`reload`), which file is used (`choice`).

use super::base::Base;
use super::choice::Why;
use super::plan::Plan;
use super::plugins::Plugins;
use super::reload::{NotDone, Order, Orders};
use crate::bus::clock::unix_ms;
use crate::bus::subjects::ControlSubject;
use crate::bus::{Action, Bus, Provider};
use crate::envelope::{self, Attributes, Data, ModelMinor};
use crate::loader::error::What;
use crate::loader::{Loaded, Sha256};
use async_nats::Message;
use futures_util::StreamExt;
use im_bridge_plugin_api::abi::{self, Trace};
use im_bridge_sdk::model::params::adapter as params;
use im_bridge_sdk::model::{
    AdapterState, AdapterStateDocument, AdapterVerb, ErrorCode, ErrorObject, Json, MODEL,
    ResultData, ResultStatus, Time, Timing, results,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A message that cannot be sent within this time reaches nobody who still waits.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// Digits of a hash that are told apart by people.
const HASH_MIN: usize = 4;

/// Answers and publishes until `tasks` is dropped. What cannot be subscribed costs nothing else.
pub(super) async fn serve(
    base: &Arc<Base>,
    plan: watch::Receiver<Arc<Plan>>,
    orders: Orders,
    tasks: &mut JoinSet<()>,
) {
    tasks.spawn(publish(Arc::downgrade(base), plan.clone()));
    let client = base.bus.control.client();
    let subject = base.bus.subjects.all_plugin_controls();
    let mut asked = match client.subscribe(subject).await {
        Ok(asked) => asked,
        Err(error) => return tracing::warn!(%error, "plugins cannot be controlled over NATS"),
    };
    let base = Arc::downgrade(base);
    tasks.spawn(async move {
        // One after the other: two people may not pull a provider both ways at once.
        while let Some(message) = asked.next().await {
            let Some(base) = base.upgrade() else { return };
            answer(&base, &plan, &orders, message).await;
        }
    });
}

async fn answer(
    base: &Arc<Base>,
    plan: &watch::Receiver<Arc<Plan>>,
    orders: &Orders,
    message: Message,
) {
    let Some(reply) = message
        .reply
        .filter(|reply| base.bus.subjects.may_be_answered(reply))
    else {
        return;
    };
    let subject = base.bus.subjects.parse_control(&message.subject);
    let Ok(ControlSubject::Plugin { provider, verb }) = subject else {
        return;
    };
    let done = match order(&provider, &verb, &message.payload) {
        Ok(None) => Ok(()),
        Ok(Some(order)) => {
            tracing::info!(%provider, verb = verb.as_str(), "asked about the plugin");
            orders.give(order).await.map(drop).map_err(not_done)
        }
        Err(error) => Err(error),
    };
    let plan = Arc::clone(&plan.borrow());
    let plugins = &plan.plugins;
    // Beside an error, too: it says whose answer this is.
    let result = match verb.as_str() {
        "info" => json(&info(base, plugins, &provider)),
        _ => json(&newest(base, plugins, &provider)),
    };
    let now = Time::from_ms(unix_ms());
    let id = envelope::ulid(now);
    let (status, error) = match done {
        Ok(()) => (ResultStatus::Ok, None),
        Err(error) => (ResultStatus::Error, Some(error)),
    };
    let data = ResultData::<Json> {
        command_id: id.to_string(),
        command: format!("adapter.{verb}"),
        idempotency_key: None,
        client_ref: None,
        status,
        duplicate: false,
        dry_run: false,
        timing: Timing::default(),
        error,
        result: Some(result),
    };
    let data = serde_json::to_vec(&data).expect("a result has a JSON form");
    let of = attributes(&id, now);
    let body = envelope::plugin_result(&provider, &verb, &of, Data::Inline(&data))
        .expect("a result is an object");
    let client = base.bus.control.client();
    // The asker has a deadline of its own and asks again.
    let _ = timeout(SEND_WITHIN, client.publish(reply, body.into())).await;
}

fn json<T: serde::Serialize>(value: &T) -> Json {
    Json::new(value).expect("the model's maps have string keys")
}

/// What the verb asks for; none: only to be told.
fn order(provider: &Provider, verb: &Action, payload: &[u8]) -> Result<Option<Order>, ErrorObject> {
    let provider = provider.clone();
    let order = match verb.as_str().parse() {
        Ok(AdapterVerb::Info) => {
            let _: params::Info = read(payload)?;
            return Ok(None);
        }
        Ok(AdapterVerb::Reload) => {
            let _: params::Reload = read(payload)?;
            Order::Reload
        }
        Ok(AdapterVerb::Upgrade) => {
            let params::Upgrade { one_way } = read(payload)?;
            Order::Upgrade { provider, one_way }
        }
        Ok(AdapterVerb::Rollback) => {
            let _: params::Rollback = read(payload)?;
            Order::Rollback { provider }
        }
        Ok(AdapterVerb::Clear) => {
            let params::Clear { sha256 } = read(payload)?;
            let is_hash = |hash: &String| {
                hash.len() >= HASH_MIN && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
            };
            if !sha256.as_ref().is_none_or(is_hash) {
                let text = format!("sha256 must have at least {HASH_MIN} hexadecimal digits");
                return Err(ErrorObject::new(ErrorCode::BadParam, true, text));
            }
            let hash = sha256.map(|hash| hash.to_ascii_lowercase());
            Order::Clear { provider, hash }
        }
        Err(_) => {
            let text = format!(
                "a plugin has no verb {verb}; there are {}",
                AdapterVerb::NAMES.join(", ")
            );
            return Err(ErrorObject::new(ErrorCode::UnsupportedCommand, true, text));
        }
    };
    Ok(Some(order))
}

fn read<P: Default + DeserializeOwned>(payload: &[u8]) -> Result<P, ErrorObject> {
    #[derive(Deserialize)]
    struct Question<P> {
        #[serde(default)]
        params: P,
    }
    if payload.is_empty() {
        return Ok(P::default());
    }
    let question = serde_json::from_slice::<Question<P>>(payload);
    question
        .map(|question| question.params)
        .map_err(|error| ErrorObject::new(ErrorCode::BadParam, true, error.to_string()))
}

fn not_done(error: NotDone) -> ErrorObject {
    let code = match &error {
        NotDone::Ends => ErrorCode::NotConnected,
        _ => ErrorCode::BadParam,
    };
    ErrorObject::new(code, true, error.to_string())
}

fn info(base: &Base, plugins: &Plugins, provider: &Provider) -> results::AdapterInfo {
    let owned = base.directory.all();
    let of_it = owned
        .iter()
        .filter(|listed| listed.face.account.provider == *provider)
        .filter(|listed| listed.face.instance().is_some());
    let used = plugins.adapters.get(provider).map(|used| used.loaded);
    let retired = plugins.retired(provider).map(|it| results::RetiredImage {
        version: it.version.to_string(),
        sha256: it.sha256.short(),
        instances: Vec::new(),
    });
    results::AdapterInfo {
        instance: base.shards.owner().as_str().to_owned(),
        file: used.map(|used| used.path.display().to_string()),
        version: used.map(|used| used.version.to_string()),
        sha256: used.map(|used| used.sha256.short()),
        instances: of_it
            .map(|listed| listed.face.account.alias.to_string())
            .collect(),
        retired: retired.collect(),
        degradations: Vec::new(),
    }
}

fn newest(base: &Base, plugins: &Plugins, provider: &Provider) -> results::AdapterReload {
    let states = states(plugins);
    let own = states.values().filter(|file| file.provider == *provider);
    // What is in use, unless something better waits.
    let newest = own.max_by_key(|file| match file.state {
        AdapterState::Held | AdapterState::Quarantined => 2,
        AdapterState::Loaded => 1,
        _ => 0,
    });
    results::AdapterReload {
        instance: base.shards.owner().as_str().to_owned(),
        state: newest.map_or(AdapterState::Refused, |file| file.state),
        version: newest.map(|file| file.version.clone()),
        reason: newest.and_then(|file| file.reason.map(str::to_owned)),
        degradations: Vec::new(),
    }
}

/// How one file is.
#[derive(Clone, PartialEq, Eq)]
struct FileState {
    provider: Provider,
    version: String,
    abi: String,
    state: AdapterState,
    reason: Option<&'static str>,
}

fn abi_of(minor: u16) -> String {
    format!("{}.{minor}", abi::ABI_MAJOR)
}

fn states(plugins: &Plugins) -> BTreeMap<Sha256, FileState> {
    let mut states = BTreeMap::new();
    let of = |loaded: &Loaded, state, reason| {
        let provider = loaded.provider.parse().ok()?;
        let version = loaded.version.to_string();
        let abi = abi_of(loaded.minor);
        let state = FileState {
            provider,
            version,
            abi,
            state,
            reason,
        };
        Some((loaded.sha256, state))
    };
    for (_, former) in plugins.memory.former() {
        states.extend(
            former
                .iter()
                .filter_map(|it| of(it, AdapterState::Retired, None)),
        );
    }
    let used = plugins.adapters.values();
    states.extend(used.filter_map(|it| of(it.loaded, AdapterState::Loaded, None)));
    let held = plugins.held.iter();
    states.extend(held.filter_map(|it| of(it.loaded, AdapterState::Held, Some(it.code))));
    states.extend(plugins.memory.barred().filter_map(|it| {
        let state = match it.why {
            Why::Quarantined => AdapterState::Quarantined,
            Why::RolledBack => AdapterState::Held,
        };
        of(it.loaded, state, Some(it.code()))
    }));
    for refused in &plugins.refused {
        let Some(What::Adapter {
            provider,
            version,
            sha256,
            ..
        }) = refused.what.as_deref()
        else {
            continue; // nobody knows whose it is
        };
        if let Ok(provider) = provider.parse() {
            let state = FileState {
                provider,
                version: version.to_string(),
                // Nobody asked it for another.
                abi: abi_of(abi::ABI_MINOR),
                state: AdapterState::Refused,
                reason: Some(refused.code),
            };
            states.insert(*sha256, state);
        }
    }
    states
}

/// Publishes what is different, whenever the plan is.
async fn publish(base: Weak<Base>, mut plan: watch::Receiver<Arc<Plan>>) {
    let mut told = BTreeMap::new();
    loop {
        let now = states(&plan.borrow_and_update().plugins);
        {
            let Some(base) = base.upgrade() else { return };
            for (sha256, state) in &now {
                if told.get(sha256) != Some(state) {
                    tell(&base.bus, base.shards.owner().as_str(), sha256, state).await;
                }
            }
        }
        told = now;
        if plan.changed().await.is_err() {
            return;
        }
    }
}

async fn tell(bus: &Bus, instance: &str, sha256: &Sha256, file: &FileState) {
    let document = AdapterStateDocument {
        instance: instance.to_owned(),
        provider: file.provider.to_string(),
        version: file.version.clone(),
        abi: file.abi.clone(),
        sha256: sha256.short(),
        state: file.state,
        reason: file.reason.map(str::to_owned),
    };
    let data = serde_json::to_vec(&document).expect("a document of the model becomes JSON");
    let now = Time::from_ms(unix_ms());
    let id = envelope::ulid(now);
    let of = attributes(&id, now);
    let written = envelope::plugin_state(&file.provider, &of, Data::Inline(&data));
    let written = written.expect("a document is an object");
    let client = bus.control.client();
    let sent = client.publish(bus.subjects.plugin_state(&file.provider), written.into());
    // Whoever needs it for certain asks for it.
    let _ = timeout(SEND_WITHIN, sent).await;
}

fn attributes(id: &str, time: Time) -> Attributes<'_> {
    Attributes {
        id,
        time,
        channel: None,
        correlation_id: None,
        causation_id: None,
        trace: Trace::NONE,
        model: ModelMinor(MODEL.minor),
    }
}
