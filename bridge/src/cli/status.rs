//! `im-bridge status`: replicas, accounts, what waits and what was given up.
//!
//! What the bridge published says how things are, and the replicas say for themselves how they are: both are asked, so
//! that one that does not answer is seen.

use super::account::{self, Row};
use super::client::{self, Client, Replicas};
use super::failure::{Exit, Failure};
use super::globals::Globals;
use super::output::Output;
use super::parse;
use crate::bus::objects::ObjectKind;
use crate::bus::service::Endpoint;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Between two looks: people read no faster, and each look is a handful of requests.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// `--wait` is for scripts that have nothing else to do.
const WAIT_LOOK_EVERY: Duration = Duration::from_millis(200);
/// A replica answers from what is at hand.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  im-bridge status
  im-bridge status --watch
  im-bridge status --wait online --timeout 60s   until every account is online; exit 4 if not in time")]
pub(super) struct Args {
    /// Wait until every account that is not switched off has this state, such as `online`, and an owner.
    #[arg(long, value_name = "STATE")]
    wait: Option<String>,
    /// How long to wait.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse::duration, requires = "wait")]
    timeout: Duration,
    /// Print it again whenever it changes.
    #[arg(long, conflicts_with = "wait")]
    watch: bool,
}

/// The document of `--json`.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Status {
    /// Address of NATS.
    nats: String,
    replicas: Vec<Replica>,
    /// By name.
    accounts: Vec<Row>,
    /// Stored commands that nobody takes, by account.
    without_owner: Vec<Orphan>,
    /// What the replicas found and a person should know.
    findings: Vec<Finding>,
    /// Dead letters by `evt` or `cmd` and account.
    dead_letters: BTreeMap<String, u64>,
}

/// One that runs.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Replica {
    /// Its name, and what tells this start from others.
    owner: String,
    version: String,
    draining: bool,
    /// Providers that it has an adapter for.
    providers: BTreeSet<String>,
    /// How many it holds.
    shards: usize,
    /// Its own word; null: it did not answer.
    readiness: Option<String>,
    plugins: Vec<Plugin>,
    /// Plugin files that it does not use.
    refused: Vec<Refused>,
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Plugin {
    provider: String,
    version: String,
    sha256: String,
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Refused {
    file: String,
    /// Section in `docs/errors.md`.
    code: String,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
struct Finding {
    /// Section in `docs/errors.md`.
    code: String,
    about: String,
    text: String,
}

/// Commands for an account that nobody runs.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Orphan {
    account: String,
    waiting: u64,
    /// An account of this name was run before.
    is_known: bool,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &mut Output) -> Result<Exit, Failure> {
    client::block_on(async {
        let client = Client::connect(globals, output).await?;
        if let Some(state) = &args.wait {
            return wait(state, args.timeout, &client, output).await;
        }
        let mut seen = look(&client).await?;
        print(&seen, output)?;
        if !args.watch {
            // A bridge that is not there is what the caller wanted to know.
            return Ok(if seen.replicas.is_empty() {
                Exit::Unreachable
            } else {
                Exit::Done
            });
        }
        loop {
            output.flush()?;
            sleep(LOOK_EVERY).await;
            let now = look(&client).await?;
            if now != seen {
                if !output.json {
                    output.line("")?;
                }
                print(&now, output)?;
                seen = now;
            }
        }
    })
}

async fn wait(
    state: &str,
    timeout: Duration,
    client: &Client,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let until = Instant::now() + timeout;
    loop {
        let others = match rows(client).await {
            Ok(rows) if all_are(&rows, state) => {
                print(&look(client).await?, output)?;
                return Ok(Exit::Done);
            }
            Ok(rows) => others(&rows, state),
            // Nothing there yet: that is what is waited for.
            Err(Failure::Told { code, text, .. }) if code == "nats_object_missing" => text,
            Err(failure) => return Err(failure),
        };
        if Instant::now() >= until {
            let text = format!("not {state} within {} s: {others}", timeout.as_secs_f32());
            return Err(Failure::new(Exit::Late, "deadline_exceeded", text));
        }
        sleep(WAIT_LOOK_EVERY).await;
    }
}

/// Accounts as they were published.
async fn rows(client: &Client) -> Result<Vec<Row>, Failure> {
    let (states, replicas) = (client.states().await?, client.replicas().await?);
    Ok(account::rows(states, &replicas))
}

async fn look(client: &Client) -> Result<Status, Failure> {
    let waiting = waiting(client).await?;
    let dead_letters = dead_letters(client).await?;
    let replicas = client.replicas().await?;
    let mut accounts = account::rows(client.states().await?, &replicas);
    let told = Told::ask(client, replicas.members.len()).await;
    for row in &mut accounts {
        row.waiting = Some(waiting.get(&row.account).copied().unwrap_or_default());
        if let Some(own) = told.accounts.get(&row.account) {
            row.heard(own);
        }
    }
    let without_owner = waiting
        .into_iter()
        .filter_map(|(account, waiting)| {
            let known = accounts.iter().find(|row| row.account == account);
            // A shard has an owner also where none of its accounts is configured any more.
            let is_run = known.is_some_and(|row| {
                row.owner.is_some() && (told.accounts.contains_key(&account) || !told.is_whole)
            });
            (!is_run).then_some(Orphan {
                account,
                waiting,
                is_known: known.is_some(),
            })
        })
        .collect();
    Ok(Status {
        nats: client.url.clone(),
        replicas: told.replicas(&replicas),
        accounts,
        without_owner,
        findings: told.findings(),
        dead_letters,
    })
}

/// Commands that wait, by account.
async fn waiting(client: &Client) -> Result<BTreeMap<String, u64>, Failure> {
    let name = client.names.commands();
    let stored = client.counts(ObjectKind::Stream, &name, ">").await?;
    let mut waiting = BTreeMap::new();
    for (subject, count) in &stored {
        // <root>.v1.cmdq.<shard>.<provider>.<account>.<resource>.<action>
        if let [_, _, _, _, provider, alias, ..] = subject.split('.').collect::<Vec<_>>()[..] {
            *waiting.entry(format!("{provider}/{alias}")).or_default() += count;
        }
    }
    Ok(waiting)
}

/// Dead letters, by kind and account.
async fn dead_letters(client: &Client) -> Result<BTreeMap<String, u64>, Failure> {
    let name = client.names.dead_letters();
    let letters = client.counts(ObjectKind::Stream, &name, ">").await?;
    let mut dead = BTreeMap::new();
    for (subject, count) in &letters {
        // <root>.v1.dlq.<evt|cmd>.<provider>.<account>
        if let [_, _, _, kind, provider, alias] = subject.split('.').collect::<Vec<_>>()[..] {
            *dead
                .entry(format!("{kind} {provider}/{alias}"))
                .or_default() += count;
        }
    }
    Ok(dead)
}

/// What the replicas said for themselves.
struct Told {
    /// By instance.
    status: BTreeMap<String, Value>,
    /// By name.
    accounts: BTreeMap<String, Value>,
    /// All that run have answered.
    is_whole: bool,
}

impl Told {
    async fn ask(client: &Client, replicas: usize) -> Self {
        let ask = |endpoint, body| async move {
            client
                .ask_all(endpoint, &body, replicas, ANSWERS_WITHIN)
                .await
        };
        let answers = ask(Endpoint::Status, json!({})).await;
        let mut told = Self {
            is_whole: answers.len() >= replicas,
            status: answers
                .into_iter()
                .filter_map(|status| Some((text(&status["replica"]["instance"])?, status)))
                .collect(),
            accounts: BTreeMap::new(),
        };
        let mut offset = 0;
        loop {
            let pages = ask(Endpoint::Accounts, json!({ "offset": offset })).await;
            told.is_whole &= pages.len() >= replicas;
            let mut next = None;
            for page in pages {
                next = next.max(page["next_offset"].as_u64());
                for own in page["accounts"].as_array().into_iter().flatten() {
                    if let (Some(provider), Some(alias)) =
                        (text(&own["provider"]), text(&own["account"]))
                    {
                        let name = format!("{provider}/{alias}");
                        told.accounts.insert(name, own.clone());
                    }
                }
            }
            match next {
                Some(next) if next > offset => offset = next,
                _ => return told,
            }
        }
    }

    fn replicas(&self, replicas: &Replicas) -> Vec<Replica> {
        let own = |owner: &String| self.status.get(owner).cloned().unwrap_or_default();
        let listed = |status: &Value, what: &str| -> Vec<Value> {
            let all = status["plugins"][what].as_array();
            all.cloned().unwrap_or_default()
        };
        let words = |value: &Value| text(value).unwrap_or_default();
        replicas
            .members
            .iter()
            .map(|(owner, member)| {
                let status = own(owner);
                Replica {
                    owner: owner.clone(),
                    version: member.version.clone(),
                    draining: member.draining,
                    providers: member.providers.clone(),
                    shards: replicas.shards(owner),
                    readiness: text(&status["readiness"]),
                    plugins: listed(&status, "used")
                        .iter()
                        .map(|plugin| Plugin {
                            provider: words(&plugin["provider"]),
                            version: words(&plugin["version"]),
                            sha256: words(&plugin["sha256"]),
                        })
                        .collect(),
                    refused: listed(&status, "refused")
                        .iter()
                        .map(|refused| Refused {
                            file: words(&refused["file"]),
                            code: words(&refused["code"]),
                            text: words(&refused["text"]),
                        })
                        .collect(),
                }
            })
            .collect()
    }

    /// What several replicas found is found once.
    fn findings(&self) -> Vec<Finding> {
        let all = self.status.values().flat_map(|status| {
            let findings = status["findings"].as_array();
            findings.cloned().unwrap_or_default()
        });
        let findings: BTreeSet<Finding> = all
            .filter_map(|finding| {
                Some(Finding {
                    code: text(&finding["code"])?,
                    about: text(&finding["about"])?,
                    text: text(&finding["text"])?,
                })
            })
            .collect();
        findings.into_iter().collect()
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Accounts that ought to run.
fn wanted(rows: &[Row]) -> impl Iterator<Item = &Row> {
    rows.iter()
        .filter(|row| !(row.state["state"] == "stopped" && row.state["reason"] == "disabled"))
}

fn is(row: &Row, wanted: &str) -> bool {
    row.state["state"] == wanted && row.owner.is_some()
}

fn all_are(rows: &[Row], state: &str) -> bool {
    wanted(rows).next().is_some() && wanted(rows).all(|row| is(row, state))
}

/// What the others are, in few words.
fn others(rows: &[Row], state: &str) -> String {
    let others: Vec<String> = wanted(rows)
        .filter(|row| !is(row, state))
        .take(8)
        .map(|row| match &row.owner {
            Some(_) => format!("{} is {}", row.account, row.word()),
            None => format!("{} has no owner", row.account),
        })
        .collect();
    if others.is_empty() {
        "there is no account".to_owned()
    } else {
        others.join(", ")
    }
}

fn print(status: &Status, output: &mut Output) -> io::Result<()> {
    if output.json {
        return output.item(status);
    }
    let mut refused = BTreeSet::new();
    for replica in &status.replicas {
        output.line(line(replica))?;
        for one in &replica.refused {
            refused.insert((&one.text, &one.code));
        }
    }
    if status.replicas.is_empty() {
        let text = format!(
            "no bridge runs on {}; is im-bridge run running there?",
            status.nats
        );
        output.error("bridge_silent", &text)?;
    }
    for (text, code) in refused {
        output.line(format!("refused  {text}   {code}"))?;
    }
    for finding in &status.findings {
        output.line(format!("finding  {}   {}", finding.text, finding.code))?;
    }
    account::lines(&status.accounts, output)?;
    for row in &status.accounts {
        if let Some(waiting) = row.waiting.filter(|count| *count > 0) {
            output.line(format!("waiting  {}  {waiting}", row.account))?;
        }
    }
    for orphan in &status.without_owner {
        let why = if orphan.is_known {
            "nobody runs this account"
        } else {
            "there is no such account"
        };
        output.line(format!(
            "nobody   {}  {}  {why}; they leave by their age",
            orphan.account, orphan.waiting
        ))?;
    }
    for (name, count) in &status.dead_letters {
        output.line(format!("dead     {name}  {count}"))?;
    }
    Ok(())
}

fn line(replica: &Replica) -> String {
    let mut adapters: Vec<String> = replica
        .plugins
        .iter()
        .map(|plugin| format!("{} {}", plugin.provider, plugin.version))
        .collect();
    if adapters.is_empty() {
        adapters.extend(replica.providers.iter().cloned());
    }
    let word = match (&replica.readiness, replica.draining) {
        (_, true) => "draining",
        (None, false) => "does not answer",
        (Some(readiness), false) => readiness,
    };
    format!(
        "replica  {}  {}  {word}  {} shards  {}",
        replica.owner,
        replica.version,
        replica.shards,
        adapters.join(", ")
    )
}
