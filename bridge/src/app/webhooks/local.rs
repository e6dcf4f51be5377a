//! An account of this replica.

use super::answer::Answer;
use crate::app::face::Face;
use crate::loader::host::WebhookRequest;
use crate::telemetry::Telemetry;

/// Waits for the adapter's answer; given up, the adapter hears that the caller is gone.
pub async fn give(telemetry: &Telemetry, face: &Face, mut request: WebhookRequest) -> Answer {
    let span = telemetry.webhook(&telemetry.account(&face.account));
    request.trace = span.context();
    let answer = answered(face, request).await;
    span.finish(answer.status.as_u16());
    answer
}

async fn answered(face: &Face, request: WebhookRequest) -> Answer {
    // Nobody is called between two instances; the sender comes again.
    let Some(instance) = face.instance() else {
        return Answer::again();
    };
    let Some(mut reply) = instance.webhook(request) else {
        return Answer::again();
    };
    drop(instance);
    Answer::of(reply.recv().await)
}
