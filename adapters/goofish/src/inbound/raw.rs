//! Frames as they went over the wire, decoded, for people who debug. What is private is left out before anything is kept.

use im_bridge_sdk::model::body::RawFrame;
use im_bridge_sdk::model::{Event, Frame, OpaqueEncoding, RawDirection};
use serde_json::{Value, json};

use super::without_private;
use crate::native::item;

/// Longest body of a raw frame.
const RAW_BYTES_MAX: usize = 64 * 1024;

/// The event of a frame. Text that is no JSON is told by its length only: nobody knows what is in it.
pub fn frame(me: &str, direction: RawDirection, text: &str) -> Event {
    let Ok(mut frame) = serde_json::from_str::<Value>(text) else {
        return event(
            me,
            direction,
            "no_json".to_owned(),
            json!({ "bytes": text.len() }),
        );
    };
    let items = frame.pointer_mut("/body/syncPushPackage/data");
    if let Some(items) = items.and_then(Value::as_array_mut) {
        items.iter_mut().for_each(decode);
    }
    let native_type = frame["lwp"].as_str().unwrap_or("answer").to_owned();
    event(me, direction, native_type, without_private(&frame))
}

/// Shows what an item holds in place of its bytes, which would hide what is private.
fn decode(element: &mut Value) {
    let Some(data) = element["data"].as_str() else {
        return;
    };
    let bytes = data.len();
    element["data"] = match item::decode(data) {
        None => Value::Null,
        Some(Ok(tree)) => tree,
        Some(Err(why)) => json!({ "undecodable": why, "bytes": bytes }),
    };
}

fn event(me: &str, direction: RawDirection, native_type: String, body: Value) -> Event {
    let is_too_long = body.to_string().len() > RAW_BYTES_MAX;
    let body = if is_too_long { Value::Null } else { body };
    let raw = Frame {
        direction,
        native_type,
        encoding: OpaqueEncoding::Json,
        body: body.into(),
        truncated: is_too_long,
    };
    Event::new(me, RawFrame { raw })
}
