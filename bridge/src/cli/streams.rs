//! `im-bridge streams plan | apply | permissions`: the objects on NATS as wanted and as they are, and who may do what.

use super::client;
use super::failure::{Exit, Failure};
use super::globals::Globals;
use super::output::Output;
use super::parse;
use crate::app;
use crate::bus::permissions::{self, Role};
use crate::bus::provision::{self, Action, Meaning, Plan, Step};
use crate::bus::{Account, Bus};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::io;
use std::time::Duration;

const CLOSE_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show what is as it is wanted and what `apply` would do; changes nothing.
    #[command(after_help = "Exit codes: 1 something is to be made, widened or decided")]
    Plan,
    /// Make what is missing and widen what is narrower than configured; nothing is shrunk or deleted.
    Apply,
    /// Print the permissions of a role as configuration of nats-server.
    #[command(after_help = "\
Examples:
  im-bridge streams permissions --role runtime
  im-bridge streams permissions --role app --account sim/demo --consumer desk")]
    Permissions {
        /// Whose: the bridge's own, whoever makes the objects, people, or a service.
        #[arg(long, value_name = "ROLE")]
        role: Role,
        /// Account of the service.
        #[arg(long, value_parser = parse::account, required_if_eq("role", "app"))]
        account: Option<Account>,
        /// Durable consumer of the service.
        #[arg(long, value_name = "NAME", default_value = "app")]
        consumer: String,
    },
}

pub(super) fn run(
    command: &Command,
    globals: &Globals,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let config = client::configuration(globals, output)?;
    let settings = client::settings(&config.nats)?;
    if let Command::Permissions {
        role,
        account,
        consumer,
    } = command
    {
        let inbox = config.nats.inbox_prefix.as_str();
        let allowed = permissions::of(*role, &settings.root, inbox, account.as_ref(), consumer);
        if output.json {
            output.document(&allowed.document())?;
        } else {
            output.line(allowed.server_configuration())?;
        }
        return Ok(Exit::Done);
    }
    let limits = app::settings::limits(&config.nats);
    client::block_on(async {
        let bus = Bus::connect(&settings).await?;
        let plan = provision::plan(&bus, &limits).await?;
        print(&plan, output)?;
        let exit = if matches!(command, Command::Apply) {
            provision::apply(&bus, &plan).await?;
            output.remark(if plan.is_due() {
                "applied"
            } else {
                "nothing to do"
            })?;
            if plan.differing().next().is_some() {
                Exit::No
            } else {
                Exit::Done
            }
        } else if plan.is_due() || plan.differing().next().is_some() {
            Exit::No
        } else {
            Exit::Done
        };
        bus.close(CLOSE_WITHIN).await;
        Ok(exit)
    })
}

fn print(plan: &Plan, output: &mut Output) -> io::Result<()> {
    if output.json {
        return output.document(&document(plan));
    }
    for step in &plan.steps {
        let (kind, name) = (step.wanted.kind.as_str(), &step.wanted.name);
        let differences = plan
            .differences
            .iter()
            .filter(|one| one.name == *name && one.kind == step.wanted.kind);
        let (sign, what) = match step.action {
            Action::Make => ("+", "   to be made"),
            Action::Widen(_) => ("~", "   to be widened"),
            Action::Keep => ("√", ""),
        };
        output.line(format!("{sign} {kind} {name}{what}"))?;
        for one in differences {
            let difference = &one.difference;
            let (field, actual, wanted) =
                (&difference.field, &difference.actual, &difference.wanted);
            let then = match difference.meaning {
                Meaning::Narrower => "will be widened",
                Meaning::Wider => "is wider and stays",
                Meaning::Other => "stays; decide and change it yourself   nats_object_differs",
            };
            output.line(format!("    {field} is {actual}, wanted {wanted}: {then}"))?;
        }
    }
    Ok(())
}

/// What `plan` and `apply` print with `--json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Objects {
    objects: Vec<Object>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Object {
    /// `stream`, `bucket` or `object store`.
    kind: &'static str,
    name: String,
    /// `make`, `widen` or `keep`.
    action: &'static str,
    differences: Vec<Difference>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Difference {
    /// Of the server's configuration.
    field: String,
    actual: Value,
    wanted: Value,
    /// What is there is `narrower` (and is widened), `wider` (and stays), or `other` (and a person decides).
    meaning: &'static str,
}

fn document(plan: &Plan) -> Objects {
    let object = |step: &Step| {
        let (kind, name) = (step.wanted.kind, &step.wanted.name);
        let differences = plan.differences.iter();
        Object {
            kind: kind.as_str(),
            name: name.clone(),
            action: match step.action {
                Action::Make => "make",
                Action::Widen(_) => "widen",
                Action::Keep => "keep",
            },
            differences: differences
                .filter(|one| one.name == *name && one.kind == kind)
                .map(|one| Difference {
                    field: one.difference.field.clone(),
                    actual: one.difference.actual.clone(),
                    wanted: one.difference.wanted.clone(),
                    meaning: match one.difference.meaning {
                        Meaning::Narrower => "narrower",
                        Meaning::Wider => "wider",
                        Meaning::Other => "other",
                    },
                })
                .collect(),
        }
    };
    Objects {
        objects: plan.steps.iter().map(object).collect(),
    }
}
