//! HTTP pushes of the server: `POST /hooks/wukongim/<account>/<secret>?event=<name>`.
//!
//! The server signs nothing, so the secret in the path is all that tells it from anybody else. It takes 200 alone for
//! received, sends the whole batch again otherwise, and drops a message at its fifth failure; so 200 is answered when every
//! message of a body is stored, and a message that cannot be read is emitted as a notice instead of failing its batch.

use im_bridge_sdk::crypto::constant_time_eq;
use im_bridge_sdk::model::{Delivery, Json};
use im_bridge_sdk::{Context, Secret, WebhookRequest, WebhookResponse};
use serde_json::value::RawValue;

use crate::api::records;
use crate::config::Scope;
use crate::native::channel::{ChannelId, PERSON};
use crate::native::record::Record;
use crate::session::record_message;
use crate::{WukongIm, inbound, label, locked};

pub async fn webhook(
    wukongim: &WukongIm,
    cx: &Context,
    request: &WebhookRequest,
) -> WebhookResponse {
    let given = request.path().trim_start_matches('/');
    let given = given.split('/').next().unwrap_or_default();
    let is_known = |secret: &Secret| constant_time_eq(secret.expose().as_bytes(), given.as_bytes());
    if !wukongim
        .config
        .webhook
        .secret
        .as_ref()
        .is_some_and(is_known)
    {
        return WebhookResponse::status(401);
    }
    let count = |body| wukongim.metrics.pushes.add(1.0, &[body]);
    let Some(me) = wukongim.uid() else {
        return WebhookResponse::status(503).header("retry-after", "1");
    };
    let event = request
        .query()
        .split('&')
        .find_map(|pair| pair.strip_prefix("event="));
    let read = match event {
        Some("msg.notify") => body_records(request.body()),
        Some("msg.offline") => one_record(request.body()),
        // Presence, and what is not known yet: received, and nothing to tell.
        Some(_) => {
            count(label::IGNORED);
            return WebhookResponse::status(200);
        }
        None => None,
    };
    let Some(read) = read else {
        count(label::NONSENSE);
        return WebhookResponse::status(400).text("expected ?event=<name> and its JSON body");
    };
    count(label::TAKEN);
    let mut sent = Vec::with_capacity(read.len());
    for record in read {
        let event = match record {
            Ok(record) => {
                let Some(id) = channel(wukongim, &me, &record) else {
                    continue;
                };
                let id = wukongim.book().id(id);
                let message = record_message(&id, record, Delivery::Live);
                inbound::event(&me, message, &mut locked(&wukongim.sent))
            }
            Err(raw) => inbound::unreadable(&me, Json::from(raw)),
        };
        sent.push(cx.send(event).await);
    }
    WebhookResponse::when_settled(sent, WebhookResponse::status(200)).await
}

type Records = Vec<Result<Record, Box<RawValue>>>;

fn body_records(body: &[u8]) -> Option<Records> {
    let raw: Box<RawValue> = serde_json::from_slice(body).ok()?;
    if !raw.get().starts_with('[') {
        return None;
    }
    records(&raw).ok()
}

fn one_record(body: &[u8]) -> Option<Records> {
    let raw: Box<RawValue> = serde_json::from_slice(body).ok()?;
    Some(vec![Record::read(raw.get()).map_err(|_| raw)])
}

/// Where the message stands, if it is one of this account's: the server pushes those of everybody.
fn channel(wukongim: &WukongIm, me: &str, record: &Record) -> Option<ChannelId> {
    let is_person = record.channel_type == PERSON;
    let is_own = record.from_uid == me || record.channel_id == me;
    if !is_person || is_own {
        return Some(ChannelId::of_message(
            me,
            record.channel_type,
            &record.channel_id,
            &record.from_uid,
        ));
    }
    (wukongim.config.webhook.scope == Scope::All)
        .then(|| ChannelId::of_pair(&record.from_uid, &record.channel_id))
}
