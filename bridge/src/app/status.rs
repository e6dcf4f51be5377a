//! The status document: what this replica is, what it has, and how each of its accounts is.
//!
//! Made of facts that are at hand; nobody is asked for it.

use super::base::{Base, Listed};
use super::figures::Parts;
use super::plan::Plan;
use super::plugins::Plugins;
use crate::loader::Loaded;
use crate::loader::error::What;
use im_bridge_sdk::model::Durable;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::Ordering;

impl Parts {
    /// The document; members that are not known yet are null.
    pub fn status(&self) -> Value {
        let base = self.base.get().and_then(Weak::upgrade);
        let plan = self.plan.get().map(|plan| Arc::clone(&plan.borrow()));
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "readiness": self.health.readiness(),
            "replica": base.as_deref().map(replica),
            "nats": base.as_deref().map(nats),
            "plugins": plan.as_deref().map(|plan| plugins(&plan.plugins)),
            "accounts": base.as_deref().map(|base| {
                let all = base.directory.all();
                all.iter().map(|listed| account(listed, base)).collect::<Vec<_>>()
            }),
            "findings": base.as_deref().map(|base| base.lookout.findings()),
            "waiting": plan.zip(base).map(|(plan, base)| waiting(&plan, &base)),
        })
    }
}

fn replica(base: &Base) -> Value {
    let owner = base.shards.owner();
    let view = base.shards.view();
    let view = view.borrow();
    let of = |one: &crate::bus::members::Owner| -> Vec<u16> {
        let leases = view.leases.iter();
        leases
            .filter(|(_, lease)| lease.record.owner == *one)
            .map(|(shard, _)| shard.number())
            .collect()
    };
    let members: Vec<Value> = view
        .members
        .iter()
        .map(|(member, seen)| {
            json!({
                "instance": member.as_str(),
                "version": seen.record.version,
                "draining": seen.record.draining,
                "providers": seen.record.providers,
                "shards": of(member).len(),
            })
        })
        .collect();
    json!({ "name": owner.name(), "instance": owner.as_str(), "shards": of(owner), "members": members })
}

fn nats(base: &Base) -> Value {
    let server = base.bus.server();
    let acks = base.acks.status();
    let troubles: Vec<Value> = acks
        .troubles
        .iter()
        .map(|it| {
            json!({
                "stream": &*it.stream,
                "code": it.code(),
                "text": it.to_string(),
                "for_s": it.lasts.as_secs(),
            })
        })
        .collect();
    let survey = base.lookout.survey();
    let objects: Vec<Value> = survey
        .objects
        .iter()
        .map(|object| {
            json!({
                "kind": object.kind.as_str(),
                "name": object.name,
                "replicas": object.replicas,
                "storage": object.storage,
                "messages": object.messages,
                "bytes": object.bytes,
                "max_bytes": object.max_bytes,
            })
        })
        .collect();
    json!({
        "server": server.server_name,
        "version": server.version,
        "connected": { "data": base.bus.data.is_connected(), "control": base.bus.control.is_connected() },
        "publishes_in_flight": acks.in_flight,
        "troubles": troubles,
        "objects": objects,
    })
}

/// The files that are used, and those that are not.
pub fn plugins(plugins: &Plugins) -> Value {
    let used: Vec<Value> = plugins
        .adapters
        .iter()
        .map(|(provider, adapter)| {
            json!({
                "provider": provider.as_str(),
                "name": adapter.loaded.description.adapter_name,
                "version": adapter.loaded.version.to_string(),
                "sha256": adapter.loaded.sha256.to_string(),
                "file": adapter.loaded.path,
            })
        })
        .collect();
    let refused: Vec<Value> = plugins
        .refused
        .iter()
        .map(|refused| {
            let provider = match refused.what.as_deref() {
                Some(What::Adapter { provider, .. }) => Some(provider),
                Some(What::Path(_)) | None => None,
            };
            json!({ "provider": provider, "file": refused.path, "code": refused.code, "text": refused.text })
        })
        .collect();
    let held: Vec<Value> = plugins
        .held
        .iter()
        .map(|held| {
            let mut held_as = file(held.loaded, held.code, &held.text);
            held_as["file"] = json!(held.path);
            held_as
        })
        .collect();
    let barred = plugins.memory.barred();
    let barred: Vec<Value> = barred
        .map(|barred| file(barred.loaded, barred.code(), &barred.text()))
        .collect();
    json!({ "used": used, "refused": refused, "held": held, "out_of_use": barred })
}

fn file(loaded: &Loaded, code: &str, text: &str) -> Value {
    json!({
        "provider": loaded.provider,
        "version": loaded.version.to_string(),
        "sha256": loaded.sha256.to_string(),
        "file": loaded.path,
        "code": code,
        "text": text,
    })
}

/// One owned account.
pub fn account(listed: &Listed, base: &Base) -> Value {
    let face = &listed.face;
    let credits = face.instance().map(|instance| instance.credits());
    let outbound = listed.outbound.as_ref();
    let capabilities = face.capability_document();
    let holds = capabilities.map(|it| base.lookout.holds(&it.capabilities.guarantees));
    json!({
        "provider": face.account.provider.as_str(),
        "account": face.account.alias.as_str(),
        "shard": listed.shard.number(),
        "state": *face.state(),
        "holds": holds,
        "last_frame_at": face.signs.last_frame(),
        "last_event_at": face.signs.last_event(),
        "events_unsettled": credits.map_or(0, |credits| credits.held_events),
        "commands_waiting": outbound.map_or(0, |figures| figures.waiting.load(Ordering::Relaxed)),
        "commands_in_flight": outbound.map_or(0, |figures| figures.in_flight.load(Ordering::Relaxed)),
        "commands_run": face.hands.view().durable() == Durable::Run,
    })
}

/// Accounts that are configured here and owned by nobody that is known.
fn waiting(plan: &Plan, base: &Base) -> Vec<String> {
    let view = base.shards.view();
    let view = view.borrow();
    let enabled = plan.accounts.values().filter(|wanted| wanted.part.enabled);
    enabled
        .filter(|wanted| !view.leases.contains_key(&wanted.shard()))
        .map(|wanted| wanted.account.to_string())
        .collect()
}
