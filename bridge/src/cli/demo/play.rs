//! A demo's course: wait until the account is online, show what happens until it is enough, ask the provider what it said,
//! and read back what is stored.

use super::audit::{Said, Stored, Truth, Verdict};
use super::echo::{self, ANSWERS_EVERY, Echo, Heard};
use crate::app::Signals;
use crate::bus::{Account, Kind, clock};
use crate::cli::client::Client;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Output, Talk};
use crate::cli::tap;
use crate::config::{self, Origins};
use im_bridge_sdk::model::Time;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

const ACCOUNT: &str = "sim/demo";
/// What `--once` waits for.
const MESSAGES_ONCE: usize = 20;
const ANSWERS_ONCE: usize = 4;
/// A look at a bucket on this machine takes a millisecond.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The provider and the server are on this machine, and perhaps busy.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// For what was said last to be stored, and what was asked last to be answered.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

/// What is told of the start.
pub(super) struct Shown {
    pub started: Instant,
    pub server_ready: Duration,
    pub is_own_server: bool,
    pub people: String,
    pub is_once: bool,
}

/// A demo under way.
pub(super) struct Play<'a> {
    pub output: &'a mut Output,
    origins: &'a Origins,
    shown: &'a Shown,
    account: Account,
    client: Option<Client>,
    since: Time,
    /// Messages by others.
    heard: usize,
    answered: usize,
    /// Sent and without a result, by their ids.
    waiting: BTreeMap<String, Waiting>,
    commands: BTreeSet<String>,
}

struct Waiting {
    sent: Instant,
    channel: String,
    text: String,
}

impl<'a> Play<'a> {
    pub(super) fn new(origins: &'a Origins, shown: &'a Shown, output: &'a mut Output) -> Self {
        Self {
            output,
            origins,
            shown,
            account: crate::cli::parse::account(ACCOUNT).expect("it is an account"),
            client: None,
            since: Time::from_ms(clock::unix_ms()),
            heard: 0,
            answered: 0,
            waiting: BTreeMap::new(),
            commands: BTreeSet::new(),
        }
    }

    /// Returns what the provider says was said, when it is enough or somebody wants to end. `within` is for all of it with
    /// `--once`, else for the start.
    pub(super) async fn run(
        &mut self,
        signals: &mut Signals,
        within: Duration,
    ) -> Result<Truth, Failure> {
        let deadline = self.shown.started + within;
        let late = |what: &str| {
            let text = format!(
                "{what} within {} s; look at the lines above",
                within.as_secs()
            );
            Failure::new(Exit::No, "deadline_exceeded", text)
        };
        let starting = timeout(left(deadline), self.start());
        let mut echo = tokio::select! {
            biased;
            () = signals.stop() => {
                return Err(Failure::new(Exit::No, "not_connected", "stopped before the account was online"));
            }
            started = starting => started.map_err(|_| late("the account was not online"))??,
        };
        let is_once = self.shown.is_once;
        let watching = self.watch(&mut echo, signals);
        if is_once {
            let watched = timeout(left(deadline), watching).await;
            watched.map_err(|_| {
                late(&format!(
                    "{} of {MESSAGES_ONCE} messages and {} of {ANSWERS_ONCE} answers came",
                    self.heard, self.answered
                ))
            })??;
        } else {
            watching.await?;
        }
        self.settle(&mut echo).await
    }

    async fn start(&mut self) -> Result<Echo, Failure> {
        self.head()?;
        let config = config::load(self.origins, |_| Vec::new())?.config;
        // The service provisions what is looked at here; until then there is nothing to see.
        let client = loop {
            match Client::with(&config, self.output).await {
                Ok(client) => break client,
                Err(Failure::Told { .. }) => sleep(LOOK_EVERY).await,
                Err(failure) => return Err(failure),
            }
        };
        let server = client.connection.client().server_info();
        let where_ = if self.shown.is_own_server {
            "JetStream in a temporary folder"
        } else {
            "somebody's, with names of our own"
        };
        let address = client.url.rsplit("//").next().unwrap_or_default();
        let line = fact(
            "nats",
            &format!("{}  {address}, {where_}", server.version),
            "ready",
            Some(self.shown.server_ready),
        );
        self.say(line)?;
        let adapter = loop {
            let state = client.document(&client.names.states(), &self.account).await;
            if state.is_ok_and(|state| state.is_some_and(|state| state["state"] == "online")) {
                let bucket = client.names.capabilities();
                if let Ok(Some(document)) = client.document(&bucket, &self.account).await {
                    break document["adapter"].clone();
                }
            }
            sleep(LOOK_EVERY).await;
        };
        let text = |name: &str| adapter[name].as_str().unwrap_or("?").to_owned();
        let plugin = format!(
            "{} {}  abi {}  sha256 {}",
            text("name"),
            text("version"),
            text("abi"),
            text("sha256")
        );
        self.say(fact("plugin", &plugin, "loaded", None))?;
        let account = format!("{ACCOUNT}  {}", self.shown.people);
        let online = self.shown.started.elapsed();
        self.say(fact("account", &account, "online", Some(online)))?;
        self.say("")?;
        let about = (&client.names, &client.subjects);
        let echo = Echo::start(&client.connection, about, &self.account, self.since).await;
        self.client = Some(client);
        echo.map_err(|error| unanswered(&error))
    }

    /// Shows and answers until it is enough, or somebody wants to end.
    async fn watch(&mut self, echo: &mut Echo, signals: &mut Signals) -> Result<(), Failure> {
        let mut is_quiet = false;
        loop {
            if self.shown.is_once && self.heard >= MESSAGES_ONCE {
                if !std::mem::replace(&mut is_quiet, true) {
                    self.order("rate", json!({ "per_s": 0 })).await?;
                }
                if self.answered >= ANSWERS_ONCE && self.waiting.is_empty() {
                    return Ok(());
                }
            }
            // What was heard is seen through: an end comes between.
            let heard = tokio::select! {
                biased;
                () = signals.stop() => return Ok(()),
                heard = echo.next() => heard,
            };
            match heard {
                Heard::Event { sequence, body } => self.on_event(sequence, &body).await?,
                Heard::Result { body } => self.on_result(&body)?,
                Heard::Nothing => return Err(ended()),
            }
        }
    }

    async fn on_event(&mut self, sequence: u64, event: &Value) -> Result<(), Failure> {
        if Said::of(event).is_none() {
            return Ok(());
        }
        self.heard += 1;
        let data = &event["data"];
        let text = |value: &Value| tap::one_line(value.as_str().unwrap_or("-"));
        let recorded: Option<Time> = event["recordedtime"]
            .as_str()
            .and_then(|it| it.parse().ok());
        let took = recorded.map_or(0, |then| (clock::unix_ms() - then.ms()).max(0));
        let channel = text(&event["subject"]);
        let said = format!(
            "{}: {}",
            text(&data["actor"]["name"]),
            text(&data["message"]["alt_text"])
        );
        let kind: Kind = "message.created".parse().expect("it is a kind");
        let subject = self
            .client()
            .subjects
            .event(&self.account, &kind, event["subject"].as_str());
        self.say(format!(
            "  {}  in   {ACCOUNT}  {channel:<8}  {said:<20}  {subject}  seq {sequence}  {took} ms",
            now()
        ))?;
        if self.heard.is_multiple_of(ANSWERS_EVERY) {
            self.answer(event).await?;
        }
        Ok(())
    }

    async fn answer(&mut self, event: &Value) -> Result<(), Failure> {
        let Some(answer) = echo::answer(event) else {
            return Ok(());
        };
        let waiting = Waiting {
            sent: Instant::now(),
            channel: event["subject"].as_str().unwrap_or("-").to_owned(),
            text: answer.text,
        };
        self.waiting.insert(answer.id.clone(), waiting);
        self.commands.insert(answer.id);
        let subject = self
            .client()
            .subjects
            .command(&self.account, &echo::command());
        let stored = self
            .client()
            .ask(subject, Some(answer.headers), answer.body, ANSWERED_WITHIN)
            .await?;
        let stored = stored.map_err(|error| unanswered(&error))?;
        let stored: Value = serde_json::from_slice(&stored.payload).unwrap_or_default();
        match stored["error"]["description"].as_str() {
            Some(words) => Err(unanswered(&words)),
            None => Ok(()),
        }
    }

    fn on_result(&mut self, result: &Value) -> Result<(), Failure> {
        let id = result["data"]["command_id"].as_str().unwrap_or_default();
        let Some(waiting) = self.waiting.remove(id) else {
            return Ok(());
        };
        self.answered += 1;
        let subject = self
            .client()
            .subjects
            .command(&self.account, &echo::command());
        let status = result["data"]["status"].as_str().unwrap_or("?");
        let code = result["data"]["error"]["code"].as_str().unwrap_or_default();
        let took = waiting.sent.elapsed().as_secs_f64() * 1000.0;
        let (channel, text) = (waiting.channel, tap::one_line(&waiting.text));
        let status = format!("{status} {code}");
        self.say(format!(
            "  {}  out  {ACCOUNT}  {channel:<8}  {text:<20}  {subject}  {}  {took:.1} ms",
            now(),
            status.trim_end()
        ))
    }

    /// Lets the provider fall silent and everything arrive; then it is asked for the truth.
    async fn settle(&mut self, echo: &mut Echo) -> Result<Truth, Failure> {
        self.order("rate", json!({ "per_s": 0 })).await?;
        let until = Instant::now() + SETTLED_WITHIN;
        let truth = loop {
            let truth = self.truth().await?;
            let stored = self.stored().await?;
            let is_settled = self.waiting.is_empty() && truth.is_covered_by(&stored);
            if is_settled || Instant::now() > until {
                break truth;
            }
            // Results are heard meanwhile; what is said now is not answered any more.
            match timeout(LOOK_EVERY, echo.next()).await {
                Ok(Heard::Result { body }) => self.on_result(&body)?,
                Ok(Heard::Nothing) => return Err(ended()),
                Ok(Heard::Event { .. }) | Err(_) => {}
            }
        };
        Ok(truth)
    }

    /// What the provider was told and did.
    async fn truth(&self) -> Result<Truth, Failure> {
        let mut truth = Truth::default();
        let mut after = json!(0);
        loop {
            let page = json!({ "after": after, "kinds": ["said"] });
            let page = self.order("truth", page).await?;
            let entries = page["entries"].as_array().cloned().unwrap_or_default();
            for entry in &entries {
                let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
                // The account itself is called by its alias.
                if text("by") != self.account.alias.as_str() {
                    truth.said.push(Said {
                        channel: text("chat"),
                        message: text("post"),
                    });
                }
            }
            if entries.is_empty() || page["next"] == after {
                break;
            }
            after = page["next"].clone();
        }
        let summary = self.order("summary", json!({})).await?;
        let sends = summary["sends"].as_object().into_iter().flatten();
        let count = |value: &Value| value.as_u64().unwrap_or_default();
        truth.sends = sends
            .map(|(reference, times)| (reference.clone(), count(times)))
            .collect();
        Ok(truth)
    }

    /// What stands in the streams, read anew.
    async fn stored(&self) -> Result<Stored, Failure> {
        let client = self.client();
        let about = (&client.names, &client.subjects);
        let echo = Echo::start(&client.connection, about, &self.account, self.since).await;
        let mut echo = echo.map_err(|error| unanswered(&error))?;
        let mut stored = Stored::default();
        while echo.is_behind() {
            let heard = timeout(ANSWERED_WITHIN, echo.next()).await;
            match heard.map_err(|_| unanswered(&"a stream tells less than it has"))? {
                Heard::Event { body, .. } => stored.events.extend(Said::of(&body)),
                Heard::Result { body } => {
                    let text = |name: &str| body["data"][name].as_str().unwrap_or("?").to_owned();
                    stored.results.push((text("command_id"), text("status")));
                }
                Heard::Nothing => return Err(ended()),
            }
        }
        Ok(stored)
    }

    /// After the service has ended: what is stored now is all.
    pub(super) async fn verdict(&mut self, truth: &Truth) -> Result<Verdict, Failure> {
        let stored = self.stored().await?;
        let took = self.shown.started.elapsed();
        Ok(Verdict::new(truth, &stored, &self.commands, took))
    }

    /// Leaves nothing on a server that is somebody's, however the demo went. Without the server there is nothing to do.
    pub(super) async fn clean(&self) {
        if let (false, Some(client)) = (self.shown.is_own_server, &self.client) {
            let _ = timeout(ANSWERED_WITHIN, Self::remove_objects(client)).await;
        }
    }

    async fn remove_objects(client: &Client) {
        let limits = crate::bus::objects::Limits::default();
        for object in crate::bus::objects::wanted(&client.subjects, &limits) {
            let call = format!("STREAM.DELETE.{}", object.stream());
            // What was never made cannot be removed.
            let _: Result<Value, _> = client.connection.api().call(&call, &json!({})).await;
        }
    }

    /// Tells the provider to do something, or asks it.
    async fn order(&self, order: &str, body: Value) -> Result<Value, Failure> {
        let call: Kind = "native.call".parse().expect("it is a kind");
        let client = self.client();
        let subject = client.subjects.request(&self.account, &call);
        let key = format!("demo-{:016x}", fastrand::u64(..));
        let params = json!({ "method": format!("sim.{order}"), "body": body });
        let data = json!({ "idempotency_key": key, "params": params }).to_string();
        let answer = client
            .ask(subject, None, data.into(), ANSWERED_WITHIN)
            .await?;
        let answer = answer.map_err(|error| unanswered(&error))?;
        let mut answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        let data = &mut answer["data"];
        if data["status"] != "ok" {
            let text = format!("the provider refuses {order}: {}", data["error"]["message"]);
            return Err(Failure::new(Exit::No, "provider_error", text));
        }
        Ok(data["result"]["native"].take())
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("`start` came before")
    }

    fn head(&mut self) -> Result<(), Failure> {
        let name = format!("im-bridge {} demo", env!("CARGO_PKG_VERSION"));
        self.say(format!("{name:<72} Ctrl-C stops"))
    }

    fn say(&mut self, line: impl AsRef<str>) -> Result<(), Failure> {
        if self.output.talk > Talk::Quiet {
            self.output.line(line)?;
            self.output.flush()?;
        }
        Ok(())
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn fact(name: &str, what: &str, state: &str, took: Option<Duration>) -> String {
    let took = took.map(|took| format!("{:.1} s", took.as_secs_f32()));
    let line = format!(
        "  {name:<8}  {what:<60}  {state:<7}  {}",
        took.unwrap_or_default()
    );
    line.trim_end().to_owned()
}

/// Of the day, as logs have it.
fn now() -> String {
    Time::from_ms(clock::unix_ms()).to_string()[11..23].to_owned()
}

fn ended() -> Failure {
    unanswered(&"the server ended a subscription")
}

fn unanswered(error: &dyn std::fmt::Display) -> Failure {
    let text = format!("NATS gives no answer to the demo: {error}; run it again");
    Failure::new(Exit::No, "nats_unreachable", text)
}
