//! `im-bridge tap`: events, commands and results as they happen, and those of the last minutes.
//!
//! It only listens: it is no reader that anybody waits for, and nothing is acknowledged. Requests are not heard, because a
//! listener beside the owner would keep callers from learning that nobody owns the account.

use super::client::{self, Client};
use super::failure::{Exit, Failure};
use super::globals::Globals;
use super::output::Output;
use super::parse;
use crate::bus::clock;
use crate::bus::objects::ObjectKind;
use crate::bus::tail::Tail;
use crate::bus::{Account, Kind};
use async_nats::{Message, Subject};
use futures_util::StreamExt;
use futures_util::stream::{SelectAll, select_all};
use im_bridge_sdk::model::Time;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::io;
use std::time::Duration;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  im-bridge tap
  im-bridge tap sim/demo --kind message.created --since 10m
  im-bridge tap --json | jq .body.data.message.alt_text")]
pub(super) struct Args {
    /// Only this account, as <provider>/<account>.
    #[arg(value_parser = parse::account)]
    account: Option<Account>,
    /// Only this kind of event or this command, such as message.created or message.send.
    #[arg(long)]
    kind: Option<Kind>,
    /// Only this channel, by its id at the provider.
    #[arg(long, value_name = "ID")]
    channel: Option<String>,
    /// Also the events and results of so long ago, such as 10m.
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    since: Option<Duration>,
    /// Also raw frames, of accounts that emit them.
    #[arg(long)]
    raw: bool,
    /// End after so many lines.
    #[arg(long, value_name = "N")]
    max: Option<u64>,
}

/// What a message is to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Way {
    Event,
    Command,
    Result,
    Raw,
}

/// One message, as `--json` has it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Heard<'a> {
    what: Way,
    subject: &'a str,
    /// The envelope; a text, if it is no JSON.
    body: Value,
}

impl Way {
    /// By the third token of its subject.
    fn of(subject: &str) -> Self {
        match subject.split('.').nth(2) {
            Some("cmd") => Self::Command,
            Some("res") => Self::Result,
            Some("raw") => Self::Raw,
            _ => Self::Event,
        }
    }

    /// Seen from the service: what comes in, what goes out, and what became of it.
    fn sign(self) -> &'static str {
        match self {
            Self::Event => "in ",
            Self::Command => "out",
            Self::Result => "res",
            Self::Raw => "raw",
        }
    }
}

pub(super) fn run(args: &Args, globals: &Globals, output: &mut Output) -> Result<Exit, Failure> {
    client::block_on(async {
        let client = Client::connect(globals, output).await?;
        let mut tap = Tap {
            args,
            output,
            told: 0,
        };
        tap.listen(&client).await
    })
}

struct Tap<'a> {
    args: &'a Args,
    output: &'a mut Output,
    told: u64,
}

impl Tap<'_> {
    async fn listen(&mut self, client: &Client) -> Result<Exit, Failure> {
        let (account, kind) = (self.args.account.as_ref(), self.args.kind.as_ref());
        let events = client
            .subjects
            .events_of(account, kind, self.args.channel.as_deref());
        let results = client.subjects.results_of(account, kind);
        let mut live = vec![client.subjects.commands_of(account, kind)];
        if self.args.raw {
            live.push(client.subjects.raw_of(account));
        }
        let mut stored = None;
        match self.args.since {
            None => live.extend([events, results]),
            Some(since) => stored = Some(Stored::start(client, since, &events, &results).await?),
        }
        let mut denials = client.connection.denials();
        let mut open = live.len() + usize::from(stored.is_some());
        let mut arriving = subscribe(client, &live).await?;
        self.output.detail("listening")?;
        while self.args.max.is_none_or(|max| self.told < max) {
            tokio::select! {
                biased;
                Ok(denied) = denials.recv() => {
                    let forbidden = client::forbidden(&denied);
                    open -= 1;
                    if open == 0 {
                        return Err(forbidden);
                    }
                    if let Failure::Told { text, .. } = forbidden {
                        self.output.remark(format!("not shown: {text}"))?;
                    }
                }
                message = next(&mut stored) => match message {
                    Some(message) => self.told(&message)?,
                    None => return Err(ended(client)),
                },
                message = arriving.next() => match message {
                    Some(message) => self.told(&message)?,
                    None => return Err(ended(client)),
                },
            }
        }
        Ok(Exit::Done)
    }

    fn told(&mut self, message: &Message) -> io::Result<()> {
        let body = serde_json::from_slice::<Value>(&message.payload).unwrap_or_else(|_| {
            String::from_utf8_lossy(&message.payload)
                .into_owned()
                .into()
        });
        let way = Way::of(&message.subject);
        // A frame is the account's: nobody has looked yet which channel it is about.
        if let Some(wanted) = &self.args.channel
            && way != Way::Raw
            && channel(way, &body) != Some(wanted)
        {
            return Ok(());
        }
        self.told += 1;
        if self.output.json {
            let subject = message.subject.as_str();
            self.output.item(&Heard {
                what: way,
                subject,
                body,
            })?;
        } else {
            self.output.line(line(way, &message.subject, &body))?;
        }
        self.output.flush()
    }
}

async fn subscribe(
    client: &Client,
    subjects: &[Subject],
) -> Result<SelectAll<async_nats::Subscriber>, Failure> {
    let mut all = Vec::new();
    for subject in subjects {
        let subscribed = client.connection.client().subscribe(subject.clone()).await;
        all.push(subscribed.map_err(|_| ended(client))?);
    }
    // Until here the server may not have heard of them.
    let _ = client.connection.client().flush().await;
    Ok(select_all(all))
}

fn ended(client: &Client) -> Failure {
    let text = format!("NATS at {} tells no more; start it again", client.url);
    Failure::new(Exit::Unreachable, "nats_unreachable", text)
}

/// Two streams as one: the older message first, as long as both have stored ones.
struct Stored {
    tails: [Tail; 2],
    ready: [Option<Message>; 2],
}

impl Stored {
    async fn start(
        client: &Client,
        since: Duration,
        events: &Subject,
        results: &Subject,
    ) -> Result<Self, Failure> {
        let ago = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let from = Time::from_ms(clock::unix_ms().saturating_sub(ago));
        let (event_stream, result_stream) = (client.names.events(), client.names.results());
        let events = Tail::start(&client.connection, &event_stream, events, from);
        let results = Tail::start(&client.connection, &result_stream, results, from);
        let tails = [
            client
                .api((ObjectKind::Stream, &event_stream), events)
                .await?,
            client
                .api((ObjectKind::Stream, &result_stream), results)
                .await?,
        ];
        Ok(Self {
            tails,
            ready: [None, None],
        })
    }

    /// Cancel safe: what was taken is kept until it is told.
    async fn next(&mut self) -> Option<Message> {
        loop {
            let lacks = |index: usize| self.ready[index].is_none() && self.tails[index].is_behind();
            let from = match (lacks(0), lacks(1), &self.ready) {
                (true, _, _) => Some(0),
                (_, true, _) => Some(1),
                (_, _, [None, None]) => None,
                (_, _, [first, second]) => {
                    let is_second = match (first, second) {
                        (Some(first), Some(second)) => time(second) < time(first),
                        (first, _) => first.is_none(),
                    };
                    return self.ready[usize::from(is_second)].take();
                }
            };
            let [events, results] = &mut self.tails;
            let (index, message) = match from {
                Some(0) => (0, events.next().await),
                Some(_) => (1, results.next().await),
                None => tokio::select! {
                    message = events.next() => (0, message),
                    message = results.next() => (1, message),
                },
            };
            self.ready[index] = Some(message?);
        }
    }
}

async fn next(stored: &mut Option<Stored>) -> Option<Message> {
    match stored {
        Some(stored) => stored.next().await,
        None => std::future::pending().await,
    }
}

/// When the bridge wrote it; such texts are in the order of their times.
fn time(message: &Message) -> Option<String> {
    let body: Value = serde_json::from_slice(&message.payload).ok()?;
    written(&body).map(str::to_owned)
}

fn written(body: &Value) -> Option<&str> {
    body["recordedtime"].as_str().or(body["time"].as_str())
}

fn channel(way: Way, body: &Value) -> Option<&str> {
    match way {
        Way::Command => {
            let params = if body["data"].is_object() {
                &body["data"]["params"]
            } else {
                &body["params"]
            };
            params["to"]["channel_id"]
                .as_str()
                .or(params["channel_id"].as_str())
        }
        _ => body["subject"].as_str(),
    }
}

fn line(way: Way, subject: &str, body: &Value) -> String {
    let tokens: Vec<&str> = subject.split('.').collect();
    let token = |index: usize| tokens.get(index).copied().unwrap_or("?");
    let time = match written(body) {
        Some(text) => text.get(11..23).unwrap_or(text).to_owned(),
        None => Time::from_ms(clock::unix_ms()).to_string()[11..23].to_owned(),
    };
    let account = format!("{}/{}", token(3), token(4));
    let channel = channel(way, body).unwrap_or("-");
    let kind = match way {
        Way::Raw => "raw.frame".to_owned(),
        _ => format!("{}.{}", token(5), token(6)),
    };
    format!(
        "{time}  {}  {account}  {channel}  {}   {kind}",
        way.sign(),
        said(way, body)
    )
}

/// What a person wants to know of it.
fn said(way: Way, body: &Value) -> String {
    let data = &body["data"];
    match way {
        Way::Event => {
            let actor = &data["actor"];
            let who = actor["name"]
                .as_str()
                .or(actor["id"].as_str())
                .unwrap_or("-");
            match data["message"]["alt_text"].as_str() {
                Some(text) => format!("{who}: {}", one_line(text)),
                None => who.to_owned(),
            }
        }
        Way::Command => {
            let params = if data.is_object() {
                &data["params"]
            } else {
                &body["params"]
            };
            let segments = params["message"]["segments"]
                .as_array()
                .into_iter()
                .flatten();
            let texts: Vec<&str> = segments
                .filter_map(|segment| segment["data"]["text"].as_str())
                .collect();
            if texts.is_empty() {
                params.to_string()
            } else {
                one_line(&texts.concat())
            }
        }
        Way::Result => {
            let status = data["status"].as_str().unwrap_or("?");
            let rest = match data["error"]["code"].as_str() {
                Some(code) => code,
                None => data["result"]["message"]["id"].as_str().unwrap_or_default(),
            };
            format!("{status} {rest}").trim_end().to_owned()
        }
        Way::Raw => {
            let raw = &data["raw"];
            let direction = raw["direction"].as_str().unwrap_or("?");
            format!("{direction} {}", one_line(&raw["body"].to_string()))
        }
    }
}

/// Messages come from strangers: no line of theirs begins a line here, and no control character reaches the terminal.
pub(super) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
