//! `im-bridge account …`: what an account is doing, and telling its owner what to do with it.
//!
//! Looking reads what the bridge published; everything else is a request that the account's owner answers.

use super::answer;
use super::client::{self, Client, Replicas};
use super::failure::{Exit, Failure};
use super::globals::Globals;
use super::output::Output;
use super::{parse, usage_error};
use crate::app::{self, holds::Holds};
use crate::bus::Account;
use crate::bus::replies::AskError;
use crate::bus::survey::Survey;
use im_bridge_sdk::model::ControlVerb;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show every account with its state and its owner.
    List,
    /// Show everything that is known about one account.
    Show {
        /// The account, as <provider>/<account>.
        #[arg(value_parser = parse::account)]
        account: Account,
    },
    /// Log in anew, with the credentials as they are configured now.
    Login(Target),
    /// Log out, and stay so until `login` or `reconnect`.
    Logout(Target),
    /// Connect anew; also ends `conflicted` and `failed`.
    Reconnect(Target),
    /// Fetch a new token; it is never shown.
    RefreshToken(Target),
    /// Answer what risk control asks.
    #[command(after_help = "\
Examples:
  im-bridge account answer acme/shop1 --answer 123456
  im-bridge account answer acme/shop1          solved elsewhere, try again")]
    Answer(Answer),
    /// Catch up now.
    Sync {
        #[command(flatten)]
        target: Target,
        /// This channel only.
        #[arg(long, value_name = "ID")]
        channel: Option<String>,
        /// From this time or order key on, again if it was seen.
        #[arg(long, value_name = "TIME|KEY")]
        from: Option<String>,
    },
    /// Ask whether the account works.
    Health(Target),
    /// Ask for adapter, capabilities and what the provider says of the account.
    Info(Target),
    /// Hand the account to another replica, with all that share its shard.
    Drain(Target),
}

#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// The account, as <provider>/<account>.
    #[arg(value_parser = parse::account)]
    account: Account,
    /// How long to wait for the answer.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse::duration)]
    timeout: Duration,
}

#[derive(Debug, clap::Args)]
pub(super) struct Answer {
    #[command(flatten)]
    target: Target,
    /// Kind of the challenge. Default: the one that the account waits for.
    #[arg(long)]
    kind: Option<String>,
    /// The answer.
    #[arg(long, value_name = "TEXT", conflicts_with = "answer_file")]
    answer: Option<String>,
    /// File with the answer, `-` for standard input: so it appears in no list of processes.
    #[arg(long, value_name = "FILE")]
    answer_file: Option<PathBuf>,
}

pub(super) fn run(
    command: Command,
    globals: &Globals,
    output: &mut Output,
) -> Result<Exit, Failure> {
    client::block_on(async {
        let client = Client::connect(globals, output).await?;
        let nothing = json!({});
        match command {
            Command::List => list(&client, output).await,
            Command::Show { account } => show(&account, &client, output).await,
            Command::Login(target) => {
                control(&target, ControlVerb::Login, nothing, &client, output).await
            }
            Command::Logout(target) => {
                control(&target, ControlVerb::Logout, nothing, &client, output).await
            }
            Command::Reconnect(target) => {
                control(&target, ControlVerb::Reconnect, nothing, &client, output).await
            }
            Command::RefreshToken(target) => {
                control(&target, ControlVerb::RefreshToken, nothing, &client, output).await
            }
            Command::Answer(answer) => self::answer(&answer, &client, output).await,
            Command::Sync {
                target,
                channel,
                from,
            } => {
                let mut params = nothing;
                for (name, value) in [("channel_id", channel), ("from", from)] {
                    if let Some(value) = value {
                        params[name] = value.into();
                    }
                }
                control(&target, ControlVerb::Sync, params, &client, output).await
            }
            Command::Health(target) => {
                control(&target, ControlVerb::Health, nothing, &client, output).await
            }
            Command::Info(target) => {
                control(&target, ControlVerb::Info, nothing, &client, output).await
            }
            Command::Drain(target) => {
                control(&target, ControlVerb::Drain, nothing, &client, output).await
            }
        }
    })
}

/// What `account list` prints with `--json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct List {
    accounts: Vec<Row>,
}

/// One account: its state document, and who holds its lease now. A state may be older than its writer's end.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Row {
    /// As `<provider>/<account>`.
    pub account: String,
    /// The replica that holds its lease.
    pub owner: Option<String>,
    /// Its state document.
    pub state: Value,
    /// Stored commands that are not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// What its owner has in hand at this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<Lag>,
    /// What becomes of its events and commands when something fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holds: Option<Value>,
}

/// What is on its way.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Lag {
    /// Events that the adapter has said and that are not stored.
    events_unsettled: u64,
    /// Commands that wait for their turn.
    commands_waiting: u64,
    /// Commands that the adapter works on.
    commands_in_flight: u64,
    /// When something last happened at the provider.
    last_event_at: Option<String>,
}

impl Row {
    /// The state, in a word.
    pub fn word(&self) -> &str {
        self.state["state"].as_str().unwrap_or("?")
    }

    /// What its owner says of it.
    pub fn heard(&mut self, own: &Value) {
        let count = |name: &str| own[name].as_u64().unwrap_or_default();
        self.lag = Some(Lag {
            events_unsettled: count("events_unsettled"),
            commands_waiting: count("commands_waiting"),
            commands_in_flight: count("commands_in_flight"),
            last_event_at: own["last_event_at"].as_str().map(str::to_owned),
        });
        self.holds = Some(own["holds"].clone()).filter(|holds| !holds.is_null());
    }
}

/// All of them, by name.
pub(super) fn rows(states: BTreeMap<String, Value>, replicas: &Replicas) -> Vec<Row> {
    let row = |(name, state): (String, Value)| Row {
        owner: owner(&name, replicas).map(str::to_owned),
        account: name,
        state,
        waiting: None,
        lag: None,
        holds: None,
    };
    states.into_iter().map(row).collect()
}

async fn list(client: &Client, output: &mut Output) -> Result<Exit, Failure> {
    let states = client.states().await?;
    let accounts = rows(states, &client.replicas().await?);
    if output.json {
        output.document(&List { accounts })?;
        return Ok(Exit::Done);
    }
    lines(&accounts, output)?;
    if accounts.is_empty() {
        output.remark("no bridge has run an account here yet")?;
    }
    Ok(Exit::Done)
}

/// The replica that holds the account's lease.
fn owner<'r>(name: &str, replicas: &'r Replicas) -> Option<&'r str> {
    let account = parse::account(name).ok()?;
    replicas.owner(&account).map(|lease| lease.owner.as_str())
}

pub(super) fn lines(rows: &[Row], output: &mut Output) -> io::Result<()> {
    let width = rows.iter().map(|row| row.account.chars().count()).max();
    let width = width.unwrap_or_default();
    for row in rows {
        let (name, word) = (&row.account, row.word());
        let owner = row.owner.as_deref().unwrap_or("no owner");
        let since = row.state["since"].as_str().unwrap_or_default();
        let mut line = format!("{name:<width$}  {word:<18}  {since}  {owner}");
        if let Some(lag) = row.lag.as_ref().and_then(Lag::words) {
            line.push_str(&format!("  {lag}"));
        }
        if let Some(why) = why(&row.state) {
            line.push_str("   ");
            line.push_str(&why);
        }
        output.line(line)?;
    }
    Ok(())
}

impl Lag {
    /// Nothing, where nothing waits.
    fn words(&self) -> Option<String> {
        let counts = [
            (self.events_unsettled, "events not stored"),
            (self.commands_waiting, "commands waiting"),
            (self.commands_in_flight, "commands at work"),
        ];
        let words: Vec<String> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// Why an account is in its state, and what a person does about it.
fn why(state: &Value) -> Option<String> {
    let error = &state["error"];
    let mut text = match error["code"].as_str() {
        Some(code) => format!("{}   {code}", answer::sentence(error)),
        None => state["reason"].as_str()?.to_owned(),
    };
    match state["action"].as_str() {
        None | Some("none" | "wait") => {}
        Some(action) => text.push_str(&format!("; {}", remedy(action))),
    }
    Some(text)
}

fn remedy(action: &str) -> &str {
    match action {
        "answer_challenge" => "im-bridge account answer",
        "relogin" => "renew the credentials, then im-bridge account login",
        "fix_config" => "correct its configuration; see im-bridge check",
        "look" => "im-bridge account show",
        other => other,
    }
}

async fn show(account: &Account, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
    let state = client.known(account).await?.unwrap_or_default();
    let capabilities = client
        .document(&client.names.capabilities(), account)
        .await?;
    let replicas = client.replicas().await?;
    let lease = replicas.owner(account);
    let holds = holds(capabilities.as_ref(), client).await?;
    if output.json {
        output.document(&Shown {
            account: account.to_string(),
            state,
            lease: lease.map(|lease| Lease {
                owner: lease.owner.as_str().to_owned(),
                started: lease.started,
                epoch: lease.epoch,
                since: lease.since,
            }),
            capabilities,
            holds,
        })?;
        return Ok(Exit::Done);
    }
    let mut fact = |name: &str, value: &Value| match value {
        Value::Null => Ok(()),
        Value::String(text) => output.line(format!("{name:<21}{text}")),
        value => output.line(format!("{name:<21}{value}")),
    };
    fact("account", &account.to_string().into())?;
    fact("state", &state["state"])?;
    fact("since", &state["since"])?;
    fact("why", &why(&state).into())?;
    let owner = lease.map_or("nobody".into(), |lease| lease.owner.as_str().into());
    fact("owner", &owner)?;
    fact("user", &state["self"]["user_id"])?;
    fact("name", &state["self"]["name"])?;
    for (name, value) in state["connection"].as_object().into_iter().flatten() {
        fact(&name.replace('_', " "), value)?;
    }
    fact("challenge", &state["challenge"]["kind"])?;
    fact("url", &state["challenge"]["url"])?;
    let adapter = &state["adapter"];
    if let (Some(name), Some(version)) = (adapter["name"].as_str(), adapter["version"].as_str()) {
        let sha256 = adapter["sha256"].as_str().unwrap_or("-");
        fact(
            "adapter",
            &format!(
                "{name} {version}  abi {}  sha256 {sha256}",
                adapter["abi"].as_str().unwrap_or("?")
            )
            .into(),
        )?;
    }
    if let Some(capabilities) = &capabilities {
        for member in ["events", "commands"] {
            fact(member, &offered(&capabilities[member]).into())?;
        }
        for (name, value) in capabilities["guarantees"].as_object().into_iter().flatten() {
            fact(&name.replace('_', " "), value)?;
        }
    }
    if let Some(holds) = holds {
        fact("holds for events", &holds.incoming.into())?;
        fact("holds for commands", &holds.outgoing.into())?;
        fact("holds on NATS", &holds.bus.into())?;
    }
    Ok(Exit::Done)
}

/// Computed here from what is there now: it needs no replica.
async fn holds(capabilities: Option<&Value>, client: &Client) -> Result<Option<Holds>, Failure> {
    let guarantees = capabilities
        .map(|can| can["guarantees"].clone())
        .and_then(|can| serde_json::from_value(can).ok());
    let Some(guarantees) = guarantees else {
        return Ok(None);
    };
    let survey = Survey::take(client.connection.api(), &client.subjects);
    // Whoever may read the account's documents only still sees those.
    let Ok(Ok(survey)) = client.permitted(survey).await else {
        return Ok(None);
    };
    Ok(Some(app::holds::holds(&guarantees, &survey, &client.names)))
}

/// What `account show` prints with `--json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Shown {
    account: String,
    /// Its state document.
    state: Value,
    /// Who holds it; null: nobody.
    lease: Option<Lease>,
    /// Its capability document; null: it never had an adapter.
    capabilities: Option<Value>,
    /// What becomes of its events and commands when something fails.
    holds: Option<Holds>,
}

/// Who runs an account.
#[derive(Debug, Serialize, JsonSchema)]
struct Lease {
    owner: String,
    /// When the owner's process started, Unix ms.
    started: u64,
    epoch: u64,
    /// When it was won, Unix ms.
    since: u64,
}

/// How much of what the model has is there, by the levels that adapters give.
fn offered(levels: &Value) -> Option<String> {
    let levels = levels.as_object()?;
    let count = |least: i64, most: i64| {
        levels
            .values()
            .filter_map(Value::as_i64)
            .filter(|level| (least..=most).contains(level))
            .count()
    };
    Some(format!(
        "{} wholly, {} partly",
        count(2, i64::MAX),
        count(1, 1)
    ))
}

async fn answer(args: &Answer, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
    let account = &args.target.account;
    let state = client.known(account).await?.unwrap_or_default();
    let waiting = state["challenge"]["kind"].as_str();
    let Some(kind) = args.kind.as_deref().or(waiting) else {
        let text = format!("{account} waits for no answer; see im-bridge account show {account}");
        return Err(Failure::new(Exit::Refused, "account_no_challenge", text));
    };
    let mut params = json!({ "kind": kind });
    let text = match &args.answer_file {
        Some(file) => Some(read(file)),
        None => args.answer.clone(),
    };
    if let Some(text) = text {
        params["answer"] = text.into();
    }
    control(
        &args.target,
        ControlVerb::AnswerChallenge,
        params,
        client,
        output,
    )
    .await
}

fn read(file: &Path) -> String {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text
        .unwrap_or_else(|error| usage_error(format!("{} cannot be read: {error}", file.display())));
    text.trim_end_matches(['\n', '\r']).to_owned()
}

/// Asks the owner. The params were made here, so the owner's check of them is enough.
async fn control(
    target: &Target,
    verb: ControlVerb,
    params: Value,
    client: &Client,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let account = &target.account;
    client.known(account).await?;
    let action = verb.as_str().parse().expect("a verb is a token");
    let subject = client.subjects.control(account, &action);
    let body = json!({ "params": params }).to_string();
    let asked = client
        .ask(subject, None, body.into(), target.timeout)
        .await?;
    match asked {
        Ok(message) => match serde_json::from_slice::<Value>(&message.payload) {
            Ok(envelope) => Ok(answer::tell(&envelope, output)?),
            Err(error) => {
                let text =
                    format!("this is a bug: the answer is not JSON: {error}; please report it");
                Err(Failure::new(Exit::No, "internal_bug", text))
            }
        },
        Err(AskError::NoResponders { .. }) => Err(client.no_owner(account).await),
        Err(_) => Err(client.silent(target.timeout)),
    }
}
