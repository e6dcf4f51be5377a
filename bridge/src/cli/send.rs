//! `im-bridge send`: one command for an account, durable or as a request, and its result.
//!
//! A command is sent once and never again by itself: whoever repeats it names its key.

use super::answer;
use super::client::{self, Client};
use super::failure::{Exit, Failure};
use super::globals::Globals;
use super::output::Output;
use super::{parse, usage_error};
use crate::bus::objects::{COMMAND_BYTES_MAX, ObjectKind};
use crate::bus::replies::AskError;
use crate::bus::{Account, Kind, clock};
use crate::envelope::ulid;
use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::StreamExt;
use im_bridge_sdk::model::{Command, Effect, Options, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Results for this come back on a subject of its own.
const SOURCE: &str = "/app/im-bridge-cli";
/// The server stores or refuses at once.
const STORED_WITHIN: Duration = Duration::from_secs(5);
/// Longest deadline of a request: then the server forgets the right to answer.
const REQUEST_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  im-bridge send sim/demo --channel lobby \"hello\"
  im-bridge send sim/demo --user alice \"hello\" --request
  echo '{\"command\":\"channel.list\",\"params\":{}}' | im-bridge send sim/demo --file - --request --json

Exit codes: 1 answered with an error, 3 nobody owns the account, 4 no result in time, 5 outcome unknown")]
pub(super) struct Args {
    /// The account, as <provider>/<account>.
    #[arg(value_parser = parse::account)]
    account: Account,
    /// Text of the message.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    text: Option<String>,
    /// Send it to this channel.
    #[arg(long, value_name = "ID", conflicts_with = "file", required_unless_present_any = ["user", "file"])]
    channel: Option<String>,
    /// Send it to this user.
    #[arg(long, value_name = "ID", conflicts_with_all = ["channel", "file"])]
    user: Option<String>,
    /// Send the command in this file, `-` for standard input: {"command": "message.recall", "params": {…}}, and optionally
    /// "options" and "idempotency_key".
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Idempotency key: the same key is executed once. Default: a new one.
    #[arg(long)]
    key: Option<String>,
    /// Ask and have the answer; nothing is stored. Default: the command is stored until it is done.
    #[arg(long)]
    request: bool,
    /// How long to wait for the result; 0: only until it is stored.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse::duration)]
    wait: Duration,
    /// Check everything and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// A command as people write it into a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    command: String,
    #[serde(default)]
    params: Map<String, Value>,
    #[serde(default)]
    options: Map<String, Value>,
    #[serde(default)]
    idempotency_key: Option<String>,
}

/// What `--wait 0` prints with `--json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Stored<'a> {
    /// Of the command.
    id: &'a str,
    idempotency_key: &'a str,
    /// The server's word: stream and sequence.
    stored: Value,
}

struct Prepared {
    command: Command,
    kind: Kind,
    id: String,
    key: String,
    body: Bytes,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &mut Output) -> Result<Exit, Failure> {
    let prepared = prepare(args);
    client::block_on(async {
        let client = Client::connect(globals, output).await?;
        client.known(&args.account).await?;
        if args.request {
            request(args, &prepared, &client, output).await
        } else {
            durable(args, &prepared, &client, output).await
        }
    })
}

fn prepare(args: &Args) -> Prepared {
    let written = match &args.file {
        Some(file) => read(file),
        None => message(args),
    };
    let command: Command = written
        .command
        .parse()
        .unwrap_or_else(|error| usage_error(format!("{error}")));
    let params = Value::Object(written.params);
    if let Err(refused) = command.check(&params) {
        let hint = refused
            .nearest()
            .map(|name| format!("; did you mean `{name}`?"))
            .unwrap_or_default();
        usage_error(format!(
            "params{}: {}{hint}",
            refused.pointer(),
            refused.problem()
        ));
    }
    let mut options = Value::Object(written.options);
    if args.dry_run {
        options["dry_run"] = true.into();
    }
    if let Err(error) = Options::deserialize(&options) {
        usage_error(format!("options: {error}"));
    }
    let now = Time::from_ms(clock::unix_ms());
    let id = ulid(now);
    let key = args
        .key
        .clone()
        .or(written.idempotency_key)
        .unwrap_or_else(|| format!("cli-{id}"));
    let mut envelope = json!({
        "specversion": "1.0",
        "id": id,
        "source": SOURCE,
        "type": format!("im-bridge.cmd.{command}.v1"),
        "time": now.to_string(),
        "datacontenttype": "application/json",
        "data": { "idempotency_key": key, "params": params, "options": options },
    });
    if args.request {
        let deadline =
            i64::try_from(args.wait.min(REQUEST_MAX).as_millis()).expect("at most a minute");
        envelope["expirytime"] = Time::from_ms(now.ms() + deadline).to_string().into();
    }
    let body = envelope.to_string();
    if body.len() as u64 > COMMAND_BYTES_MAX {
        usage_error(format!(
            "the command has {} bytes; at most {COMMAND_BYTES_MAX} are taken",
            body.len()
        ));
    }
    Prepared {
        command,
        kind: command
            .as_str()
            .parse()
            .expect("a command's name is a kind"),
        id,
        key,
        body: body.into(),
    }
}

fn message(args: &Args) -> Written {
    let to = match (&args.channel, &args.user) {
        (Some(channel), _) => json!({ "channel_id": channel }),
        (None, user) => json!({ "user_id": user }),
    };
    let text = json!({ "type": "text", "data": { "text": args.text } });
    let mut params = Map::new();
    params.insert("to".to_owned(), to);
    params.insert("message".to_owned(), json!({ "segments": [text] }));
    Written {
        command: Command::MessageSend.as_str().to_owned(),
        params,
        options: Map::new(),
        idempotency_key: None,
    }
}

fn read(file: &Path) -> Written {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text
        .unwrap_or_else(|error| usage_error(format!("{} cannot be read: {error}", file.display())));
    serde_json::from_str(&text).unwrap_or_else(|error| {
        usage_error(format!(
            "{}: {error}; write {{\"command\": \"message.send\", \"params\": {{…}}}}",
            file.display()
        ))
    })
}

fn headers(prepared: &Prepared) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", "application/cloudevents+json");
    headers.insert("Nats-Msg-Id", prepared.id.as_str());
    headers
}

async fn request(
    args: &Args,
    prepared: &Prepared,
    client: &Client,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let subject = client.subjects.request(&args.account, &prepared.kind);
    let within = args.wait.min(REQUEST_MAX);
    let asked = client
        .ask(
            subject,
            Some(headers(prepared)),
            prepared.body.clone(),
            within,
        )
        .await?;
    match asked {
        Ok(answer) => Ok(answer::tell(&envelope(&answer.payload)?, output)?),
        Err(AskError::NoResponders { .. }) => Err(client.no_owner(&args.account).await),
        Err(AskError::Timeout { .. }) if prepared.command.effect() == Effect::Mutating => {
            let text = format!(
                "no answer within {} s, so it may have happened; repeat it with --key {} to learn",
                within.as_secs_f32(),
                prepared.key
            );
            Err(Failure::new(Exit::Unknown, "timeout_after_send", text))
        }
        Err(AskError::Timeout { .. }) => Err(late(within, "ask again")),
        Err(error) => Err(unreachable(client, &error)),
    }
}

async fn durable(
    args: &Args,
    prepared: &Prepared,
    client: &Client,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let results = client
        .subjects
        .result(&args.account, &prepared.kind, Some(SOURCE));
    let mut denials = client.connection.denials();
    let mut arriving = subscribe(client, results.as_str()).await?;
    let stored = store(args, prepared, client).await?;
    output.detail(format!(
        "stored as {} of {}, key {}",
        stored["seq"], stored["stream"], prepared.key
    ))?;
    if args.wait.is_zero() {
        if output.json {
            output.document(&Stored {
                id: &prepared.id,
                idempotency_key: &prepared.key,
                stored,
            })?;
        } else {
            output.line(format!(
                "stored  {}  key {}",
                prepared.command, prepared.key
            ))?;
        }
        return Ok(Exit::Done);
    }
    let ours = async {
        loop {
            tokio::select! {
                biased;
                message = arriving.next() => {
                    let Some(message) = message else {
                        return Err(late(args.wait, "the connection to NATS was closed"));
                    };
                    let envelope = envelope(&message.payload)?;
                    if envelope["data"]["command_id"] == prepared.id.as_str() || envelope["causationid"] == prepared.id.as_str() {
                        return Ok::<Value, Failure>(envelope);
                    }
                }
                Ok(denied) = denials.recv() => return Err(client::forbidden(&denied)),
            }
        }
    };
    match tokio::time::timeout(args.wait, ours).await {
        Ok(envelope) => Ok(answer::tell(&envelope?, output)?),
        Err(_) => {
            let then = format!(
                "the command stays stored, and its result will be on {results}{}",
                why(args, client).await
            );
            Err(late(args.wait, &then))
        }
    }
}

/// What the account's state says about commands that wait.
async fn why(args: &Args, client: &Client) -> String {
    match client.known(&args.account).await {
        Ok(Some(state)) => format!(
            "; {} is {}",
            args.account,
            state["state"].as_str().unwrap_or("?")
        ),
        _ => String::new(),
    }
}

async fn subscribe(client: &Client, subject: &str) -> Result<async_nats::Subscriber, Failure> {
    let subscribed = client
        .connection
        .client()
        .subscribe(subject.to_owned())
        .await;
    let subscriber = subscribed.map_err(|error| {
        let text = format!(
            "NATS at {} takes no subscription: {error}; try again",
            client.url
        );
        Failure::new(Exit::Unreachable, "nats_unreachable", text)
    })?;
    // The result must not be faster than the subscription.
    let _ = client.connection.client().flush().await;
    Ok(subscriber)
}

async fn store(args: &Args, prepared: &Prepared, client: &Client) -> Result<Value, Failure> {
    let subject = client.subjects.command(&args.account, &prepared.kind);
    let asked = client
        .ask(
            subject,
            Some(headers(prepared)),
            prepared.body.clone(),
            STORED_WITHIN,
        )
        .await?;
    let stream = client.names.commands();
    let ack = match asked {
        Ok(answer) => envelope(&answer.payload)?,
        Err(AskError::NoResponders { .. }) => {
            return Err(client::missing(ObjectKind::Stream, &stream));
        }
        Err(AskError::Timeout { .. }) => {
            let text = format!(
                "{stream} did not say whether it stored the command; repeat it with --key {}",
                prepared.key
            );
            return Err(Failure::new(Exit::Unknown, "timeout_after_send", text));
        }
        Err(error) => return Err(unreachable(client, &error)),
    };
    match ack["error"]["description"].as_str() {
        None => Ok(ack),
        Some(words) => {
            let text = format!("{stream} refuses the command: {words}; see im-bridge status");
            Err(Failure::new(Exit::No, "overloaded", text))
        }
    }
}

fn envelope(payload: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(payload).map_err(|error| {
        let text = format!("this is a bug: the answer is not JSON: {error}; please report it");
        Failure::new(Exit::No, "internal_bug", text)
    })
}

fn late(within: Duration, then: &str) -> Failure {
    let text = format!("no result within {} s; {then}", within.as_secs_f32());
    Failure::new(Exit::Late, "deadline_exceeded", text)
}

fn unreachable(client: &Client, error: &AskError) -> Failure {
    let text = format!("NATS at {} took nothing: {error}; try again", client.url);
    Failure::new(Exit::Unreachable, "nats_unreachable", text)
}
