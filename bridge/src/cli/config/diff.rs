//! What a reload would do: accounts whose part is the same keep their connection.

use crate::app::AT_START_ONLY;
use crate::cli::output::Output;
use crate::config::types::{Account, Config};
use crate::config::{Loaded, show_json};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// What `--json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Diff {
    /// What becomes of each.
    accounts: BTreeMap<String, &'static str>,
    changes: Vec<Change>,
}

/// A key outside the accounts that changes.
#[derive(Debug, Serialize, JsonSchema)]
struct Change {
    key: String,
    from: Option<Value>,
    to: Option<Value>,
    /// It is read at start only.
    needs_restart: bool,
}

fn needs_restart(key: &str) -> bool {
    AT_START_ONLY.iter().any(|part| {
        let rest = key.strip_prefix(part);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

pub(super) fn print(now: &Loaded, then: &Loaded, output: &mut Output) -> io::Result<()> {
    let (accounts, changes) = (accounts(&now.config, &then.config), changes(now, then));
    if output.json {
        return output.document(&Diff { accounts, changes });
    }
    let width = accounts
        .keys()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or_default();
    for (account, effect) in &accounts {
        output.line(format!("{account:<width$}  {effect}"))?;
    }
    for change in &changes {
        let shown = |value: &Option<Value>| {
            value
                .as_ref()
                .map_or("nothing".to_owned(), Value::to_string)
        };
        let when = if change.needs_restart {
            "   needs a restart of im-bridge"
        } else {
            ""
        };
        output.line(format!(
            "{}: {} becomes {}{when}",
            change.key,
            shown(&change.from),
            shown(&change.to)
        ))?;
    }
    if accounts.values().all(|effect| *effect == KEEPS) && changes.is_empty() {
        output.remark("nothing would change")?;
    }
    Ok(())
}

const KEEPS: &str = "keeps its connection";
const ADAPTS: &str = "keeps its connection, with other commands or another pace";

/// What becomes of each account. One that is off before and after is not worth a line.
fn accounts(now: &Config, then: &Config) -> BTreeMap<String, &'static str> {
    let (now, then) = (enabled(now), enabled(then));
    let names: BTreeSet<&String> = now.keys().chain(then.keys()).collect();
    let effect = |name: &String| match (now.get(name), then.get(name)) {
        (Some(a), Some(b)) if a.bridge == b.bridge && a.adapter == b.adapter => KEEPS,
        (Some(a), Some(b))
            if a.bridge.without_terms() == b.bridge.without_terms() && a.adapter == b.adapter =>
        {
            ADAPTS
        }
        (Some(_), Some(_)) => "restarts",
        (None, _) => "starts",
        (_, None) => "stops",
    };
    names
        .into_iter()
        .map(|name| (name.clone(), effect(name)))
        .collect()
}

fn enabled(config: &Config) -> BTreeMap<String, &Account> {
    let all = config.accounts.iter().flat_map(|(provider, accounts)| {
        accounts
            .iter()
            .map(move |(alias, account)| (format!("{provider}/{alias}"), account))
    });
    all.filter(|(_, account)| account.bridge.enabled).collect()
}

fn changes(now: &Loaded, then: &Loaded) -> Vec<Change> {
    let values = |loaded: &Loaded| -> BTreeMap<String, Value> {
        show_json(loaded)
            .into_iter()
            .filter(|(key, _)| !key.starts_with("accounts."))
            .map(|(key, shown)| (key, shown.value))
            .collect()
    };
    let (now, then) = (values(now), values(then));
    let keys: BTreeSet<&String> = now.keys().chain(then.keys()).collect();
    keys.into_iter()
        .filter(|key| now.get(*key) != then.get(*key))
        .map(|key| Change {
            key: key.clone(),
            needs_restart: needs_restart(key),
            from: now.get(key).cloned(),
            to: then.get(key).cloned(),
        })
        .collect()
}
