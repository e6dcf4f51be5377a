//! The way round: readiness, NATS with the configured credentials, a replica's status over it, and, where an account is
//! named, a message to it and the event that it comes back as.
//!
//! No account is chosen here: nobody wants a test message at a real provider.

use super::{get, reachable};
use crate::bus::service::Endpoint;
use crate::bus::{Account, Kind};
use crate::cli::client::{self, Client};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;
use crate::config::types::Config;
use async_nats::Subscriber;
use futures_util::StreamExt;
use im_bridge_sdk::model::{Command, EventKind};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

const STATUS_WITHIN: Duration = Duration::from_secs(2);
const TEXT: &str = "im-bridge probe";

/// What `probe --roundtrip` prints with `--json`, a line for each step that was done.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Step {
    step: &'static str,
    ms: u64,
}

pub(super) struct Way<'a> {
    pub config: &'a Config,
    pub account: Option<&'a Account>,
    /// None: the account's first.
    pub channel: Option<&'a str>,
    pub within: Duration,
}

pub(super) fn run(way: &Way<'_>, output: &mut Output) -> Result<Exit, Failure> {
    client::block_on(async {
        let mut from = Instant::now();
        let mut done = |step: &'static str, output: &mut Output| {
            let ms = u64::try_from(from.elapsed().as_millis()).unwrap_or(u64::MAX);
            from = Instant::now();
            if output.json {
                output.item(&Step { step, ms })
            } else {
                output.line(format!("√ {step}  {ms} ms"))
            }
        };
        ready(way.config)?;
        done("ready", output)?;
        let client = Client::with(way.config, output).await?;
        done("nats", output)?;
        let nothing = json!({});
        let answers = client.ask_all(Endpoint::Status, &nothing, 1, STATUS_WITHIN);
        if answers.await.is_empty() {
            return Err(client.silent(STATUS_WITHIN));
        }
        done("status", output)?;
        if let Some(account) = way.account {
            there_and_back(account, way, &client).await?;
            done("message", output)?;
        }
        Ok(Exit::Done)
    })
}

fn ready(config: &Config) -> Result<(), Failure> {
    let listen = config.admin.listen.parse();
    let address = reachable(listen.expect("the configuration was validated"));
    let answer =
        get(address, "/readyz").map_err(|error| super::silent(address, "/readyz", &error))?;
    if answer.status == 200 {
        return Ok(());
    }
    let text = format!(
        "the bridge on http://{address} is not ready: {}; see im-bridge probe --ready",
        answer.body.trim_end()
    );
    Err(Failure::new(Exit::No, "bridge_silent", text))
}

async fn there_and_back(account: &Account, way: &Way<'_>, client: &Client) -> Result<(), Failure> {
    let until = Instant::now() + way.within;
    let kind: Kind = kind(EventKind::MessageCreated.as_str());
    let events = client.subjects.events_of(Some(account), Some(&kind), None);
    let arriving = client.connection.client().subscribe(events).await;
    let arriving = arriving.map_err(|_| client.silent(way.within))?;
    // The event must not be faster than the subscription.
    let _ = client.connection.client().flush().await;
    let channel = match way.channel {
        Some(channel) => channel.to_owned(),
        None => first_channel(account, way, client).await?,
    };
    let segment = json!({ "type": "text", "data": { "text": TEXT } });
    let params = json!({ "to": { "channel_id": channel }, "message": { "segments": [segment] } });
    let key = format!("probe-{:016x}", fastrand::u64(..));
    let data = json!({ "idempotency_key": key, "params": params });
    let sent = request(account, Command::MessageSend, &data, way, client).await?;
    let reference = &sent["data"]["client_ref"];
    match timeout_at(until, echo(arriving, reference)).await {
        Ok(true) => Ok(()),
        _ => {
            let text = format!(
                "the message was sent to {channel} and did not come back as an event within {} s",
                way.within.as_secs_f32()
            );
            Err(Failure::new(Exit::Late, "deadline_exceeded", text))
        }
    }
}

/// False: NATS tells no more.
async fn echo(mut arriving: Subscriber, reference: &Value) -> bool {
    while let Some(message) = arriving.next().await {
        let event: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        if event["clientref"] == *reference {
            return true;
        }
    }
    false
}

async fn first_channel(
    account: &Account,
    way: &Way<'_>,
    client: &Client,
) -> Result<String, Failure> {
    let data = json!({ "params": { "limit": 1 } });
    let listed = request(account, Command::ChannelList, &data, way, client).await?;
    let first = listed["data"]["result"]["channels"][0]["id"].as_str();
    first.map(str::to_owned).ok_or_else(|| {
        let text = format!("{account} has no channel; name one with --channel");
        Failure::new(Exit::No, "channel_not_found", text)
    })
}

async fn request(
    account: &Account,
    command: Command,
    data: &Value,
    way: &Way<'_>,
    client: &Client,
) -> Result<Value, Failure> {
    let subject = client.subjects.request(account, &kind(command.as_str()));
    let asked = client.ask(subject, None, data.to_string().into(), way.within);
    let Ok(answer) = asked.await? else {
        return Err(client.no_owner(account).await);
    };
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
    if answer["data"]["status"] == "ok" {
        return Ok(answer);
    }
    let error = &answer["data"]["error"];
    let code = error["code"].as_str().unwrap_or("core_error").to_owned();
    let text = crate::cli::answer::sentence(error);
    Err(Failure::new(Exit::No, code, text))
}

fn kind(name: &str) -> Kind {
    name.parse().expect("a name of the model is a kind")
}
