//! What is asked of the replica itself over NATS: its status and its accounts.
//!
//! Not here: offering the service (`bus::service`), what accounts are asked (`outbound`).

use super::base::Base;
use super::figures::Parts;
use super::status;
use crate::bus::service::{Asked, Endpoint, Service};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Arc, Weak};
use tokio::task::JoinSet;

/// Accounts in one answer: a message has room for them.
const PAGE: usize = 500;

/// What may be asked of `accounts`.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Page {
    /// How many to pass over.
    offset: usize,
}

/// Answers until `tasks` is dropped. A service that cannot be offered costs nothing else.
pub(super) async fn serve(base: &Arc<Base>, parts: &Arc<Parts>, tasks: &mut JoinSet<()>) {
    let (service, mut questions) = match Service::start(&base.bus, env!("CARGO_PKG_VERSION")).await
    {
        Ok(started) => started,
        Err(error) => return tracing::warn!("{error}"),
    };
    let (base, parts) = (Arc::downgrade(base), Arc::clone(parts));
    tasks.spawn(async move {
        let _service = service;
        while let Some(asked) = questions.recv().await {
            let answer = answer(&asked, &base, &parts);
            asked.answer(answer.to_string().into()).await;
        }
    });
}

fn answer(asked: &Asked, base: &Weak<Base>, parts: &Parts) -> Value {
    match asked.endpoint {
        Endpoint::Status => {
            let mut status = parts.status();
            // Those may be more than a message holds; they have an endpoint of their own.
            let count = status["accounts"].as_array().map_or(0, Vec::len);
            status["accounts"] = json!({ "owned": count });
            status
        }
        Endpoint::Accounts => {
            let Page { offset } = serde_json::from_slice(asked.payload()).unwrap_or_default();
            let Some(base) = base.upgrade() else {
                return json!({ "instance": null, "accounts": [], "next_offset": null });
            };
            let all = base.directory.all();
            let page: Vec<Value> = all
                .iter()
                .skip(offset)
                .take(PAGE)
                .map(|listed| status::account(listed, &base))
                .collect();
            let next = (offset + page.len() < all.len()).then_some(offset + page.len());
            let instance = base.shards.owner().as_str();
            json!({ "instance": instance, "accounts": page, "next_offset": next })
        }
    }
}
