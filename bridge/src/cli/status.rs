//! `im-bridge status`: replicas, accounts, what waits and what was given up, as the bridge published it.

use super::account;
use super::client::{self, Client, Replicas};
use super::failure::{Exit, Failure};
use super::globals::Globals;
use super::output::Output;
use super::parse;
use crate::bus::objects::ObjectKind;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Between two looks: people read no faster, and each look is a handful of requests.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// `--wait` is for scripts that have nothing else to do.
const WAIT_LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  im-bridge status
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

struct Seen {
    states: BTreeMap<String, Value>,
    replicas: Replicas,
    /// Commands that wait, by account.
    waiting: BTreeMap<String, u64>,
    /// Dead letters, by kind and account.
    dead: BTreeMap<String, u64>,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &mut Output) -> Result<Exit, Failure> {
    client::block_on(async {
        let client = Client::connect(globals, output).await?;
        if let Some(state) = &args.wait {
            return wait(state, args.timeout, &client, output).await;
        }
        let mut seen = look(&client).await?;
        print(&seen, &client, output)?;
        if !args.watch {
            // A bridge that is not there is what the caller wanted to know.
            return Ok(if seen.replicas.members.is_empty() {
                Exit::Unreachable
            } else {
                Exit::Done
            });
        }
        loop {
            output.flush()?;
            sleep(LOOK_EVERY).await;
            let now = look(&client).await?;
            if now.document(&client) != seen.document(&client) {
                if !output.json {
                    output.line("")?;
                }
                print(&now, &client, output)?;
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
        let others = match look(client).await {
            Ok(seen) if seen.all_are(state) => {
                print(&seen, client, output)?;
                return Ok(Exit::Done);
            }
            Ok(seen) => seen.others(state),
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

async fn look(client: &Client) -> Result<Seen, Failure> {
    let stored = client
        .counts(ObjectKind::Stream, &client.names.commands(), ">")
        .await?;
    let mut waiting = BTreeMap::new();
    for (subject, count) in &stored {
        // <root>.v1.cmdq.<shard>.<provider>.<account>.<resource>.<action>
        if let [_, _, _, _, provider, alias, ..] = subject.split('.').collect::<Vec<_>>()[..] {
            *waiting.entry(format!("{provider}/{alias}")).or_default() += count;
        }
    }
    let letters = client
        .counts(ObjectKind::Stream, &client.names.dead_letters(), ">")
        .await?;
    let mut dead = BTreeMap::new();
    for (subject, count) in &letters {
        // <root>.v1.dlq.<evt|cmd>.<provider>.<account>
        if let [_, _, _, kind, provider, alias] = subject.split('.').collect::<Vec<_>>()[..] {
            *dead
                .entry(format!("{kind} {provider}/{alias}"))
                .or_default() += count;
        }
    }
    Ok(Seen {
        states: client.states().await?,
        replicas: client.replicas().await?,
        waiting,
        dead,
    })
}

impl Seen {
    /// Accounts that ought to run.
    fn wanted(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.states
            .iter()
            .filter(|(_, state)| !(state["state"] == "stopped" && state["reason"] == "disabled"))
    }

    fn is(&self, name: &str, state: &Value, wanted: &str) -> bool {
        state["state"] == wanted && account::owner(name, &self.replicas).is_some()
    }

    fn all_are(&self, wanted: &str) -> bool {
        self.wanted().next().is_some()
            && self
                .wanted()
                .all(|(name, state)| self.is(name, state, wanted))
    }

    /// What the others are, in few words.
    fn others(&self, wanted: &str) -> String {
        let others: Vec<String> = self
            .wanted()
            .filter(|(name, state)| !self.is(name, state, wanted))
            .take(8)
            .map(|(name, state)| match account::owner(name, &self.replicas) {
                Some(_) => format!("{name} is {}", state["state"].as_str().unwrap_or("?")),
                None => format!("{name} has no owner"),
            })
            .collect();
        if others.is_empty() {
            "there is no account".to_owned()
        } else {
            others.join(", ")
        }
    }

    fn document(&self, client: &Client) -> Value {
        let replicas: Vec<Value> = self
            .replicas
            .members
            .iter()
            .map(|(owner, member)| {
                json!({
                    "owner": owner,
                    "version": member.version,
                    "draining": member.draining,
                    "providers": member.providers,
                    "shards": self.replicas.shards(owner),
                })
            })
            .collect();
        let accounts: Vec<Value> = self
            .states
            .iter()
            .map(|(name, state)| {
                let mut row = account::row(name, state, &self.replicas);
                row["waiting"] = self.waiting.get(name).copied().unwrap_or_default().into();
                row
            })
            .collect();
        json!({ "nats": client.url, "replicas": replicas, "accounts": accounts, "dead_letters": self.dead })
    }
}

fn print(seen: &Seen, client: &Client, output: &mut Output) -> io::Result<()> {
    if output.json {
        return output.item(&seen.document(client));
    }
    for (owner, member) in &seen.replicas.members {
        let draining = if member.draining { "  draining" } else { "" };
        let providers: Vec<&str> = member.providers.iter().map(String::as_str).collect();
        output.line(format!(
            "replica  {owner}  {}  {} shards  {}{draining}",
            member.version,
            seen.replicas.shards(owner),
            providers.join(", ")
        ))?;
    }
    if seen.replicas.members.is_empty() {
        output.error(
            "bridge_silent",
            &format!(
                "no bridge runs on {}; is im-bridge run running there?",
                client.url
            ),
        )?;
    }
    account::lines(&seen.states, &seen.replicas, output)?;
    for (name, count) in &seen.waiting {
        output.line(format!("waiting  {name}  {count}"))?;
    }
    for (name, count) in &seen.dead {
        output.line(format!("dead     {name}  {count}"))?;
    }
    Ok(())
}
