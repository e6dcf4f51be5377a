//! `im-bridge plugin upgrade | rollback | clear`: what people want done about the files of replicas that run.
//!
//! Each replica has files of its own, does what is asked and answers for itself. One that should answer and does not is
//! named.
//!
//! Not here: what is done (`app::reload`).

use crate::bus::Provider;
use crate::cli::answer;
use crate::cli::client::{self, Client};
use crate::cli::failure::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::Output;
use crate::cli::parse;
use im_bridge_sdk::model::AdapterVerb;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Target {
    /// The provider whose file it is about.
    provider: Provider,
    /// How long to wait for the answers.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse::duration)]
    timeout: Duration,
}

/// What `plugin upgrade`, `rollback` and `clear` print with `--json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Told {
    provider: String,
    /// `adapter.upgrade`, `adapter.rollback` or `adapter.clear`.
    command: String,
    /// Those that answered.
    replicas: Vec<Replica>,
    /// Those that run and did not.
    silent: Vec<String>,
}

/// What one replica answered.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
struct Replica {
    instance: String,
    /// `ok`: done; `error`: nothing was done.
    status: String,
    /// State of the provider's newest file there.
    state: Option<String>,
    /// Version of that file.
    version: Option<String>,
    /// Why it is in that state.
    reason: Option<String>,
    /// Why nothing was done.
    error: Option<Refusal>,
}

/// Why nothing was done.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
struct Refusal {
    code: String,
    message: String,
}

impl Replica {
    fn new(envelope: &Value) -> Self {
        let data = &envelope["data"];
        let (result, error) = (&data["result"], &data["error"]);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            instance: text(&result["instance"]).unwrap_or_else(|| "?".to_owned()),
            status: text(&data["status"]).unwrap_or_else(|| "error".to_owned()),
            state: text(&result["state"]),
            version: text(&result["version"]),
            reason: text(&result["reason"]),
            error: error.is_object().then(|| Refusal {
                code: text(&error["code"]).unwrap_or_else(|| "core_error".to_owned()),
                message: answer::sentence(error),
            }),
        }
    }
}

pub(super) fn upgrade(
    target: &Target,
    is_one_way: bool,
    globals: &Globals,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let params = if is_one_way {
        json!({ "one_way": true })
    } else {
        json!({})
    };
    ask(target, AdapterVerb::Upgrade, params, globals, output)
}

pub(super) fn rollback(
    target: &Target,
    globals: &Globals,
    output: &mut Output,
) -> Result<Exit, Failure> {
    ask(target, AdapterVerb::Rollback, json!({}), globals, output)
}

pub(super) fn clear(
    target: &Target,
    sha256: Option<String>,
    globals: &Globals,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let params = sha256.map_or_else(|| json!({}), |sha256| json!({ "sha256": sha256 }));
    ask(target, AdapterVerb::Clear, params, globals, output)
}

/// Asks every replica. The params were made here, so the replicas' check of them is enough.
fn ask(
    target: &Target,
    verb: AdapterVerb,
    params: Value,
    globals: &Globals,
    output: &mut Output,
) -> Result<Exit, Failure> {
    client::block_on(async {
        let client = Client::connect(globals, output).await?;
        let running = client.replicas().await?.members;
        let action = verb.as_str().parse().expect("a verb is a token");
        let subject = client.subjects.plugin_control(&target.provider, &action);
        let body = json!({ "params": params });
        // Whoever has only just come is not listed yet.
        let expected = running.len().max(1);
        let answers = client
            .ask_every(subject, &body, expected, target.timeout)
            .await?;
        if answers.is_empty() {
            return Err(client.silent(target.timeout));
        }
        let mut replicas: Vec<Replica> = answers.iter().map(Replica::new).collect();
        replicas.sort();
        let heard: BTreeSet<&str> = replicas.iter().map(|it| it.instance.as_str()).collect();
        let silent = running.into_keys();
        let silent = silent.filter(|owner| !heard.contains(owner.as_str()));
        let told = Told {
            provider: target.provider.to_string(),
            command: format!("adapter.{action}"),
            silent: silent.collect(),
            replicas,
        };
        Ok(tell(&told, target.timeout, output)?)
    })
}

fn tell(told: &Told, within: Duration, output: &mut Output) -> io::Result<Exit> {
    let is_any_refused = told.replicas.iter().any(|replica| replica.status != "ok");
    let exit = match (is_any_refused, told.silent.is_empty()) {
        (true, _) => Exit::No,
        (false, false) => Exit::Unreachable,
        (false, true) => Exit::Done,
    };
    if output.json {
        output.document(told)?;
        return Ok(exit);
    }
    for replica in &told.replicas {
        let Replica { instance, .. } = replica;
        if let Some(Refusal { code, message }) = &replica.error {
            output.error(code, &format!("{instance}: {message}"))?;
            continue;
        }
        let mut line = format!("{}  {}  {instance}", replica.status, told.command);
        line.push_str(&format!("  {}", told.provider));
        let words = [&replica.version, &replica.state, &replica.reason];
        for word in words.into_iter().flatten() {
            line.push_str(&format!("  {word}"));
        }
        output.line(line)?;
    }
    if !told.silent.is_empty() {
        let text = format!(
            "no answer within {} s from {}; ask again, or see im-bridge status",
            within.as_secs_f32(),
            told.silent.join(", ")
        );
        output.error("bridge_silent", &text)?;
    }
    Ok(exit)
}
