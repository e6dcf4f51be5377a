//! Items that come by HTTP: `POST /hooks/sim/<account>/<secret>` with `{"items": […]}`.
//!
//! Answered 200 only when every item is stored; 503 makes the sender repeat it.

use im_bridge_sdk::crypto::constant_time_eq;
use im_bridge_sdk::model::Delivery;
use im_bridge_sdk::{Context, WebhookRequest, WebhookResponse};
use serde::Deserialize;

use crate::native::Item;
use crate::{Sim, inbound};

#[derive(Deserialize)]
struct Body {
    items: Vec<Item>,
}

pub async fn webhook(sim: &Sim, cx: &Context, request: &WebhookRequest) -> WebhookResponse {
    let given = request
        .path()
        .trim_start_matches('/')
        .split('/')
        .next()
        .unwrap_or_default();
    let is_known = |secret: &im_bridge_sdk::Secret| {
        constant_time_eq(secret.expose().as_bytes(), given.as_bytes())
    };
    if !sim.config.webhook_secret.as_ref().is_some_and(is_known) {
        return WebhookResponse::status(401);
    }
    // The error's text would quote the body.
    let Ok(Body { items }) = serde_json::from_slice(request.body()) else {
        sim.pushes.add(1.0, &[1]);
        return WebhookResponse::status(400).text("expected {\"items\": […]}");
    };
    sim.pushes.add(1.0, &[0]);
    let mut sent = Vec::with_capacity(items.len());
    for item in items {
        sent.push(
            cx.send(inbound::event(sim.person(), item, Delivery::Live))
                .await,
        );
    }
    WebhookResponse::when_settled(sent, WebhookResponse::status(200)).await
}
