//! `im-bridge check`: everything that can be known without running, one line each.
//!
//! Offline it reads the configuration and the secrets, and loads every plugin file as the bridge would. Online it also
//! looks at NATS; it changes nothing there.

mod online;

use super::failure::{Exit, Failure};
use super::globals::{Full, Globals};
use super::output::{Output, Talk};
use super::parse;
use crate::app;
use crate::config::Loaded;
use crate::config::problems::Problem;
use crate::loader::nearest::hint;
use schemars::JsonSchema;
use serde::Serialize;
use std::io;
use std::time::Duration;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 1 something is wrong (with --strict: or doubtful)")]
pub(super) struct Args {
    /// Also look at NATS: server, JetStream, objects, limits, clock.
    #[arg(long)]
    online: bool,
    /// Also log every account in, and end its session. At some providers a login ends another session of the account:
    /// not while a bridge runs.
    #[arg(long)]
    login: bool,
    /// How long one login may take.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse::duration, requires = "login")]
    timeout: Duration,
    /// What is doubtful counts as wrong.
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Mark {
    /// As it should be.
    Good,
    /// A person should look.
    Doubtful,
    /// It will not work.
    Wrong,
}

/// One finding, as `--json` has it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Line<'a> {
    mark: Mark,
    /// What it is about: `config`, `plugin`, `account`, `nats`, `stream`, …
    subject: &'a str,
    finding: &'a str,
    /// Section in `docs/errors.md`; null where all is good.
    code: Option<&'a str>,
}

/// What was found, line by line.
struct Report<'o> {
    output: &'o mut Output,
    strict: bool,
    doubtful: usize,
    wrong: usize,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &mut Output) -> Result<Exit, Failure> {
    let mut report = Report {
        output,
        strict: args.strict,
        doubtful: 0,
        wrong: 0,
    };
    let full = globals.full();
    configuration(&full, &mut report)?;
    plugins(&full, &mut report)?;
    if let Ok(loaded) = &full.config {
        accounts(loaded, &full, &mut report)?;
        if args.online {
            super::client::block_on(online::check(&loaded.config, &full, &mut report))?;
        }
        if args.login {
            super::client::block_on(logins(loaded, &full, args.timeout, &mut report))?;
        }
    }
    Ok(report.end()?)
}

impl Report<'_> {
    fn good(&mut self, subject: &str, finding: &str) -> io::Result<()> {
        self.tell(Mark::Good, subject, finding, "")
    }

    fn doubtful(&mut self, subject: &str, finding: &str, code: &str) -> io::Result<()> {
        if self.strict {
            return self.wrong(subject, finding, code);
        }
        self.doubtful += 1;
        self.tell(Mark::Doubtful, subject, finding, code)
    }

    fn wrong(&mut self, subject: &str, finding: &str, code: &str) -> io::Result<()> {
        self.wrong += 1;
        self.tell(Mark::Wrong, subject, finding, code)
    }

    fn tell(&mut self, mark: Mark, subject: &str, finding: &str, code: &str) -> io::Result<()> {
        let sign = match mark {
            Mark::Good => "√",
            Mark::Doubtful => "‼",
            Mark::Wrong => "×",
        };
        if self.output.json {
            return self.output.item(&Line {
                mark,
                subject,
                finding,
                code: Some(code).filter(|code| !code.is_empty()),
            });
        }
        if mark == Mark::Good && self.output.talk == Talk::Quiet {
            return Ok(());
        }
        let code = if code.is_empty() {
            String::new()
        } else {
            format!("   {code}")
        };
        self.output
            .line(format!("{sign} {subject:<9} {finding}{code}"))
    }

    fn end(self) -> io::Result<Exit> {
        if self.wrong + self.doubtful > 0 {
            let remark = format!(
                "{} wrong, {} doubtful; im-bridge explain CODE says more",
                self.wrong, self.doubtful
            );
            self.output.remark(remark)?;
        }
        Ok(if self.wrong > 0 { Exit::No } else { Exit::Done })
    }
}

fn configuration(full: &Full, report: &mut Report<'_>) -> io::Result<()> {
    if let Some(error) = &full.pins {
        report.wrong("plugin", &error.to_string(), error.code())?;
    }
    match &full.config {
        Err(mistaken) => {
            for problem in mistaken.problems.sorted() {
                report.wrong(subject(problem), &placed(problem), problem.code)?;
            }
            Ok(())
        }
        Ok(loaded) => {
            let files: Vec<String> = loaded
                .files
                .iter()
                .map(|file| file.display().to_string())
                .collect();
            let accounts = &loaded.config.accounts;
            let count: usize = accounts.values().map(|accounts| accounts.len()).sum();
            let finding = format!(
                "{}: {} of {}",
                files.join(", "),
                counted(count, "account"),
                counted(accounts.len(), "provider")
            );
            report.good("config", &finding)
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A code begins with what it is about.
fn subject(problem: &Problem) -> &'static str {
    match problem.code.split('_').next() {
        Some("secret") => "secret",
        Some("nats") => "nats",
        _ => "config",
    }
}

fn placed(problem: &Problem) -> String {
    match &problem.place {
        Some(place) => format!("{place}: {}", problem.sentence()),
        None => problem.sentence(),
    }
}

fn plugins(full: &Full, report: &mut Report<'_>) -> io::Result<()> {
    for outcome in &full.outcomes {
        if let Err(refusal) = &outcome.result {
            for (code, sentence) in refusal.sentences() {
                report.wrong("plugin", &sentence, code)?;
            }
        }
        for warning in &outcome.warnings {
            report.doubtful("plugin", &warning.to_string(), warning.code())?;
        }
    }
    if !full.plugins.is_empty() {
        let used: Vec<String> = full
            .plugins
            .values()
            .map(|plugin| format!("{} {}", plugin.provider, plugin.version))
            .collect();
        report.good("plugin", &used.join(", "))?;
    }
    Ok(())
}

fn accounts(loaded: &Loaded, full: &Full, report: &mut Report<'_>) -> io::Result<()> {
    let found: Vec<&str> = full.plugins.keys().copied().collect();
    for (provider, accounts) in &loaded.config.accounts {
        let enabled: Vec<&str> = accounts
            .iter()
            .filter(|(_, account)| account.bridge.enabled)
            .map(|(alias, _)| alias.as_str())
            .collect();
        if enabled.is_empty() {
            continue;
        }
        if !full.plugins.contains_key(provider.as_str()) {
            report.wrong(
                "account",
                &no_provider(provider, &found, full),
                "config_no_provider",
            )?;
            continue;
        }
        for alias in &enabled {
            report.good("account", &format!("{provider}/{alias}"))?;
        }
        let keeps_secrets = full.plugins[provider.as_str()].description.keeps_secrets;
        if keeps_secrets && loaded.config.nats.seal.uses.is_empty() {
            let names: Vec<String> = enabled
                .iter()
                .map(|alias| format!("{provider}/{alias}"))
                .collect();
            let finding = format!(
                "no key seals what {} keeps secret, so whoever takes over logs in anew; set nats.seal.use",
                names.join(", ")
            );
            report.doubtful("account", &finding, "nats_seal")?;
        }
    }
    Ok(())
}

async fn logins(
    loaded: &Loaded,
    full: &Full,
    within: Duration,
    report: &mut Report<'_>,
) -> io::Result<()> {
    for tried in app::login::try_all(loaded, &full.plugins, within).await {
        let account = &tried.account;
        match tried.outcome {
            Ok(Some(own)) => report.good("login", &format!("{account} as {own}"))?,
            Ok(None) => report.good("login", account)?,
            Err((code, text)) => report.wrong("login", &format!("{account}: {text}"), &code)?,
        }
    }
    Ok(())
}

/// Why an account can have no adapter.
pub(super) fn no_provider(provider: &str, found: &[&str], full: &Full) -> String {
    format!(
        "accounts.{provider}: no file in {} provides it; {}",
        counted(full.folders.len(), "folder"),
        hint(provider, found, "found")
    )
}
