//! The JSON Schemas of what commands print with `--json`: `docs/schema/cli/` has them, and only ever grows.
//!
//! Not here: results, states and other documents of the event model (`docs/schema/v1/`), which are passed on as they are.

use super::{
    account, check, config, dlq, explain, init, output, plugin, probe, send, status, streams, tap,
};
use crate::bus::permissions;
use schemars::{JsonSchema, schema_for};
use serde_json::{Value, json};

/// Name and schema; of a command that prints a line per item, the schema is that of a line.
pub fn all() -> Vec<(&'static str, Value)> {
    vec![
        one::<account::List>("account-list"),
        one::<account::Shown>("account-show"),
        one::<check::Line<'_>>("check"),
        one::<config::Diff>("config-diff"),
        one::<config::Explained<'_>>("config-explain"),
        one::<config::Shown>("config-show"),
        one::<dlq::Dropped>("dlq-drop"),
        one::<dlq::letter::Summary<'_>>("dlq-list"),
        one::<dlq::Sent>("dlq-resend"),
        one::<dlq::letter::Whole<'_>>("dlq-show"),
        one::<output::Error<'_>>("error"),
        one::<explain::Section<'_>>("explain"),
        one::<init::Written>("init"),
        one::<plugin::Inspected<'_>>("plugin-inspect"),
        one::<plugin::Listed<'_>>("plugin-list"),
        one::<plugin::orders::Told>("plugin-order"),
        one::<plugin::Pinned<'_>>("plugin-pin"),
        one::<probe::Answered<'_>>("probe"),
        one::<probe::roundtrip::Step>("probe-roundtrip"),
        one::<send::Stored<'_>>("send-stored"),
        one::<status::Status>("status"),
        one::<streams::Objects>("streams"),
        one::<permissions::Document<'_>>("streams-permissions"),
        one::<tap::Heard<'_>>("tap"),
    ]
}

fn one<T: JsonSchema>(name: &'static str) -> (&'static str, Value) {
    let mut schema = schema_for!(T).to_value();
    schema["$id"] = json!(format!("urn:im-bridge:schema:cli:{name}"));
    schema["title"] = json!(name);
    (name, schema)
}
