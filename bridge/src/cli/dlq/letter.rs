//! One dead letter: what it says, and how it is sent again.

use crate::bus::api::{Stored, header};
use crate::bus::fetch::fetch;
use crate::bus::replies::AskError;
use crate::cli::answer;
use crate::cli::client::Client;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

const STORED_WITHIN: Duration = Duration::from_secs(5);

pub(super) struct Letter {
    pub number: u64,
    subject: String,
    headers: HeaderMap,
    body: Bytes,
    time: String,
}

/// What became of sending it again.
pub(super) enum Resent {
    Stored { subject: String, is_duplicate: bool },
    Refused(String),
}

/// A letter without its body, as `list` has it with `--json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Summary<'a> {
    /// What `show`, `resend` and `drop` take.
    number: u64,
    /// When it became one.
    stored: &'a str,
    account: String,
    /// `event` or `command`.
    kind: &'static str,
    /// Kind of the event, or the command.
    name: String,
    /// Where it was for.
    subject: Option<&'a str>,
    code: Option<&'a str>,
    /// Why, as results have it.
    error: Value,
    attempts: Option<u64>,
    /// First and last attempt.
    first: Option<&'a str>,
    last: Option<&'a str>,
    bytes: usize,
}

/// A letter as `show` has it with `--json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Whole<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    headers: BTreeMap<String, String>,
    /// A text, if it is no JSON.
    body: Value,
}

impl Letter {
    pub fn new(stored: Stored) -> Self {
        Self {
            number: stored.sequence,
            subject: stored.subject,
            headers: stored.headers,
            body: stored.payload,
            time: stored.time,
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// `<root>.v1.dlq.<evt|cmd>.<provider>.<account>`
    fn token(&self, index: usize) -> &str {
        self.subject.split('.').nth(index).unwrap_or("?")
    }

    pub fn is_event(&self) -> bool {
        self.token(3) == "evt"
    }

    pub fn account(&self) -> String {
        format!("{}/{}", self.token(4), self.token(5))
    }

    /// What it was: the kind or the command in the original subject.
    fn name(&self) -> String {
        let original: Vec<&str> = self
            .header("Im-Dlq-Subject")
            .unwrap_or_default()
            .split('.')
            .collect();
        match original[..] {
            [_, _, _, _, _, resource, action, ..] => format!("{resource}.{action}"),
            _ => "?".to_owned(),
        }
    }

    fn error(&self) -> Value {
        let error = self
            .header("Im-Dlq-Error")
            .and_then(|text| serde_json::from_str(text).ok());
        error.unwrap_or_default()
    }

    pub fn line(&self) -> String {
        let way = if self.is_event() { "event" } else { "command" };
        let time = self.time.get(..19).unwrap_or(&self.time);
        let code = self.header("Im-Dlq-Code").unwrap_or("?");
        let attempts = self.header("Im-Dlq-Attempts").unwrap_or("?");
        let reason = answer::sentence(&self.error());
        let account = self.account();
        format!(
            "{}  {time}  {way}  {account}  {}  {reason} ({attempts} tries)   {code}",
            self.number,
            self.name()
        )
    }

    pub fn summary(&self) -> Summary<'_> {
        let attempts = self.header("Im-Dlq-Attempts");
        Summary {
            number: self.number,
            stored: &self.time,
            account: self.account(),
            kind: if self.is_event() { "event" } else { "command" },
            name: self.name(),
            subject: self.header("Im-Dlq-Subject"),
            code: self.header("Im-Dlq-Code"),
            error: self.error(),
            attempts: attempts.and_then(|text| text.parse().ok()),
            first: self.header("Im-Dlq-First"),
            last: self.header("Im-Dlq-Last"),
            bytes: self.body.len(),
        }
    }

    pub fn show(&self, output: &mut Output) -> io::Result<()> {
        let names = self.headers.iter().map(|(name, values)| {
            let text: Vec<&str> = values.iter().map(async_nats::HeaderValue::as_str).collect();
            (name.to_string(), text.join(", "))
        });
        if output.json {
            return output.document(&Whole {
                summary: self.summary(),
                headers: names.collect(),
                body: match serde_json::from_slice(&self.body) {
                    Ok(body) => body,
                    Err(_) => String::from_utf8_lossy(&self.body).into_owned().into(),
                },
            });
        }
        output.line(self.line())?;
        let mut lines: Vec<String> = names
            .map(|(name, text)| format!("{name}: {text}"))
            .collect();
        lines.sort();
        for line in lines {
            output.line(line)?;
        }
        output.line("")?;
        match serde_json::from_slice::<Value>(&self.body) {
            Ok(body) => output.document(&body),
            Err(_) => output.line(String::from_utf8_lossy(&self.body)),
        }
    }

    /// Publishes it to where it was for, with a number that the stream has not seen.
    pub async fn resend(&self, client: &Client, to: Option<&str>) -> Result<Resent, Failure> {
        if self.header("Im-Dlq-Body") == Some("payload") {
            let why = "it is the adapter's bytes and never became a message; mend the adapter, then im-bridge dlq drop";
            return Ok(Resent::Refused(why.to_owned()));
        }
        let Some(subject) = to.or(self.header("Im-Dlq-Subject")) else {
            return Ok(Resent::Refused("it names no subject; pass --to".to_owned()));
        };
        let body = match self.header("Im-Dlq-Ref") {
            None => self.body.clone(),
            Some(urn) => match whole(urn, client).await? {
                Ok(body) => body,
                Err(why) => return Ok(Resent::Refused(why)),
            },
        };
        let asked = client
            .ask(
                Subject::from(subject),
                Some(self.original_headers(to)),
                body,
                STORED_WITHIN,
            )
            .await?;
        let answer = match asked {
            Ok(answer) => answer,
            Err(AskError::NoResponders { .. }) => {
                return Ok(Resent::Refused(format!(
                    "no stream takes {subject}; see im-bridge streams plan"
                )));
            }
            Err(error) => {
                let text = format!(
                    "NATS at {} did not say whether it stored {subject}: {error}; send it again",
                    client.url
                );
                return Err(Failure::new(Exit::Unknown, "timeout_after_send", text));
            }
        };
        let ack: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        match (ack["error"]["description"].as_str(), ack["seq"].as_u64()) {
            (Some(words), _) => Ok(Resent::Refused(words.to_owned())),
            (None, None) => Ok(Resent::Refused(format!(
                "what answers on {subject} is no stream"
            ))),
            (None, Some(_)) => Ok(Resent::Stored {
                subject: subject.to_owned(),
                is_duplicate: ack["duplicate"] == true,
            }),
        }
    }

    fn original_headers(&self, to: Option<&str>) -> HeaderMap {
        const REDRIVE: &str = "Im-Redrive";
        const ID: &str = "Nats-Msg-Id";
        let mut headers = HeaderMap::new();
        let own = self.headers.iter().filter(|(name, _)| {
            let name = name.to_string().to_lowercase();
            !name.starts_with("im-dlq-") && name != "im-redrive" && !name.starts_with("nats-")
        });
        for (name, values) in own {
            for value in values {
                headers.append(name.clone(), value.clone());
            }
        }
        let times = self
            .header(REDRIVE)
            .and_then(|text| text.parse::<u32>().ok())
            .unwrap_or_default()
            + 1;
        headers.insert(REDRIVE, times.to_string());
        let old = self
            .header(ID)
            .map_or_else(|| self.number.to_string(), str::to_owned);
        // A copy that was sent elsewhere must not keep the stream from taking it where it was for.
        let elsewhere = to.map_or_else(String::new, |to| format!(".{to}"));
        headers.insert(ID, format!("{old}.r{times}{elsewhere}"));
        headers
    }
}

/// A body that was too large for a letter. The inner error says why there is none.
async fn whole(urn: &str, client: &Client) -> Result<Result<Bytes, String>, Failure> {
    let bucket = client.names.blobs();
    let fetched = client
        .permitted(fetch(client.connection.api(), &bucket, urn))
        .await?;
    let permitted = client.connection.client().server_info().max_payload;
    Ok(match fetched {
        // A publish above the server's limit is no error but the end of the connection.
        Ok(body) if body.len() >= permitted => {
            let bytes = body.len();
            Err(format!(
                "it has {bytes} bytes and NATS takes {permitted} per message; raise max_payload"
            ))
        }
        Ok(body) => Ok(body),
        Err(error) => Err(error.to_string()),
    })
}
