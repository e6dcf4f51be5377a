//! `im-bridge dlq list | show | resend | drop`: what could not be done or stored, and what to do with it now.
//!
//! A letter is the whole message, so sending again is publishing it to where it was for. It gets a number of its own, so
//! that the stream takes it, and its command or event id guards against doing it twice. Only what was stored again is
//! removed here.

pub(super) mod letter;

use super::client::{self, Client};
use super::failure::{Exit, Failure};
use super::globals::Globals;
use super::output::Output;
use super::{parse, usage_error};
use crate::bus::Account;
use crate::bus::api::{Stored, Which};
use crate::bus::objects::ObjectKind;
use letter::{Letter, Resent};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

/// Letters shown without being asked for more.
const LISTED: &str = "100";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show dead letters, oldest first.
    List {
        #[command(flatten)]
        filter: Filter,
        /// At most so many.
        #[arg(long, value_name = "N", default_value = LISTED)]
        max: u64,
    },
    /// Show one letter whole.
    Show {
        /// Its number, as `list` shows it.
        number: u64,
    },
    /// Publish letters to where they were for, and remove those that were stored.
    #[command(after_help = "\
Examples:
  im-bridge dlq resend 17 18
  im-bridge dlq resend --all --account sim/demo --code provider_unavailable --rate 5")]
    Resend {
        #[command(flatten)]
        chosen: Chosen,
        /// Publish to this subject, whatever the letter says.
        #[arg(long, value_name = "SUBJECT", value_parser = parse::subject)]
        to: Option<String>,
        /// At most so many a second.
        #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..))]
        rate: u32,
        /// At most so many.
        #[arg(long, value_name = "N")]
        max: Option<u64>,
        /// Do not remove what was sent again.
        #[arg(long)]
        keep: bool,
    },
    /// Remove letters for ever; asks first.
    Drop {
        #[command(flatten)]
        chosen: Chosen,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Filter {
    /// Only of this account, as <provider>/<account>.
    #[arg(long, value_parser = parse::account)]
    account: Option<Account>,
    /// Only events, or only commands.
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Only those that failed with this code.
    #[arg(long)]
    code: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// From the provider.
    Event,
    /// To the provider.
    Command,
}

#[derive(Debug, clap::Args)]
pub(super) struct Chosen {
    /// Numbers of the letters, as `list` shows them.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    numbers: Vec<u64>,
    /// All there are now that match the filters.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

impl Filter {
    fn takes(&self, letter: &Letter) -> bool {
        let account = self.account.as_ref().map(Account::to_string);
        account.is_none_or(|account| account == letter.account())
            && self
                .kind
                .is_none_or(|kind| (kind == Kind::Event) == letter.is_event())
            && self
                .code
                .as_deref()
                .is_none_or(|code| Some(code) == letter.header("Im-Dlq-Code"))
    }
}

pub(super) fn run(
    command: Command,
    globals: &Globals,
    output: &mut Output,
) -> Result<Exit, Failure> {
    client::block_on(async {
        let client = Client::connect(globals, output).await?;
        let letters = Letters {
            client: &client,
            stream: client.names.dead_letters(),
        };
        match command {
            Command::List { filter, max } => letters.list(&filter, max, output).await,
            Command::Show { number } => {
                letters.one(number).await?.show(output)?;
                Ok(Exit::Done)
            }
            Command::Resend {
                chosen,
                to,
                rate,
                max,
                keep,
            } => {
                let pause = Duration::from_secs(1) / rate;
                let how = How {
                    to: to.as_deref(),
                    pause,
                    max: max.unwrap_or(u64::MAX),
                    keep,
                };
                letters.resend(&chosen, &how, output).await
            }
            Command::Drop { chosen, yes } => letters.remove(&chosen, yes, output).await,
        }
    })
}

/// What `drop` prints with `--json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Dropped {
    /// Numbers of the letters.
    dropped: Vec<u64>,
}

/// What became of one letter, as `resend` says with `--json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Sent {
    number: u64,
    /// Where it was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// The stream had it already.
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<bool>,
    /// Why it was not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

struct How<'a> {
    to: Option<&'a str>,
    pause: Duration,
    max: u64,
    keep: bool,
}

struct Letters<'c> {
    client: &'c Client,
    stream: String,
}

impl Letters<'_> {
    async fn list(&self, filter: &Filter, max: u64, output: &mut Output) -> Result<Exit, Failure> {
        let mut from = 1;
        let mut told = 0;
        while let Some(letter) = self.next(from, filter).await? {
            if told == max {
                output.remark(format!("more from number {} on; see --max", letter.number))?;
                return Ok(Exit::Done);
            }
            from = letter.number + 1;
            told += 1;
            if output.json {
                output.item(&letter.summary())?;
            } else {
                output.line(letter.line())?;
            }
        }
        if told == 0 {
            output.remark("no dead letters")?;
        }
        Ok(Exit::Done)
    }

    async fn resend(
        &self,
        chosen: &Chosen,
        how: &How<'_>,
        output: &mut Output,
    ) -> Result<Exit, Failure> {
        let (mut sent, mut refused) = (0_u64, 0_u64);
        let mut choice = self.choose(chosen).await?;
        while sent + refused < how.max {
            let Some(letter) = choice.next(self).await? else {
                break;
            };
            if sent + refused > 0 {
                // Whoever ends it on the way knows what was done.
                output.flush()?;
                tokio::time::sleep(how.pause).await;
            }
            let number = letter.number;
            match letter.resend(self.client, how.to).await? {
                Resent::Stored {
                    subject,
                    is_duplicate,
                } => {
                    sent += 1;
                    if !how.keep {
                        self.delete(number).await?;
                    }
                    let how = if is_duplicate {
                        "was sent before"
                    } else {
                        "sent"
                    };
                    if output.json {
                        output.item(&Sent {
                            number,
                            subject: Some(subject),
                            duplicate: Some(is_duplicate),
                            refused: None,
                        })?;
                    } else {
                        output.line(format!("{number}  {how}  {subject}"))?;
                    }
                }
                Resent::Refused(why) => {
                    refused += 1;
                    if output.json {
                        output.item(&Sent {
                            number,
                            subject: None,
                            duplicate: None,
                            refused: Some(why),
                        })?;
                    } else {
                        output.line(format!("{number}  not sent: {why}"))?;
                    }
                }
            }
        }
        output.remark(format!("{sent} sent, {refused} not"))?;
        Ok(if refused > 0 { Exit::No } else { Exit::Done })
    }

    async fn remove(
        &self,
        chosen: &Chosen,
        is_agreed: bool,
        output: &mut Output,
    ) -> Result<Exit, Failure> {
        let mut numbers = Vec::new();
        let mut choice = self.choose(chosen).await?;
        while let Some(letter) = choice.next(self).await? {
            numbers.push(letter.number);
        }
        if !is_agreed && !numbers.is_empty() && !agrees(numbers.len())? {
            output.remark("nothing was dropped")?;
            return Ok(Exit::No);
        }
        for &number in &numbers {
            self.delete(number).await?;
        }
        if output.json {
            output.document(&Dropped { dropped: numbers })?;
        } else {
            output.remark(format!("{} dropped", numbers.len()))?;
        }
        Ok(Exit::Done)
    }

    async fn delete(&self, number: u64) -> Result<(), Failure> {
        let call = format!("STREAM.MSG.DELETE.{}", self.stream);
        let request = json!({ "seq": number, "no_erase": true });
        let deleted = self.client.connection.api().call::<Value>(&call, &request);
        self.client
            .api((ObjectKind::Stream, &self.stream), deleted)
            .await
            .map(drop)
    }

    async fn get(&self, which: Which<'_>) -> Result<Option<Letter>, Failure> {
        let read = self.client.connection.api().message(&self.stream, which);
        let stored: Option<Stored> = self
            .client
            .api((ObjectKind::Stream, &self.stream), read)
            .await?;
        Ok(stored.map(Letter::new))
    }

    async fn choose<'c>(&self, chosen: &'c Chosen) -> Result<Choice<'c>, Failure> {
        let object = (ObjectKind::Stream, self.stream.as_str());
        let asked = self.client.connection.api().stream(&self.stream);
        let there = self.client.api(object, asked).await?;
        Ok(Choice {
            chosen,
            named: 0,
            from: 1,
            until: there.map_or(0, |there| there.state.last_seq),
        })
    }

    async fn one(&self, number: u64) -> Result<Letter, Failure> {
        match self.get(Which::Sequence(number)).await? {
            Some(letter) => Ok(letter),
            None => usage_error(format!(
                "{} has no letter {number}; see im-bridge dlq list",
                self.stream
            )),
        }
    }

    /// The first from this number on that the filter takes.
    async fn next(&self, mut from: u64, filter: &Filter) -> Result<Option<Letter>, Failure> {
        let subjects = self.client.subjects.dead_letters();
        while let Some(letter) = self.get(Which::NextOf(from, &subjects)).await? {
            if filter.takes(&letter) {
                return Ok(Some(letter));
            }
            from = letter.number + 1;
        }
        Ok(None)
    }
}

/// Goes through what was chosen, one letter at a time: all of them may be more than memory holds.
struct Choice<'c> {
    chosen: &'c Chosen,
    named: usize,
    from: u64,
    /// The last there was at the start: what fails again comes back as a new letter, and must not be sent for ever.
    until: u64,
}

impl Choice<'_> {
    async fn next(&mut self, letters: &Letters<'_>) -> Result<Option<Letter>, Failure> {
        if self.chosen.all {
            let letter = letters.next(self.from, &self.chosen.filter).await?;
            let letter = letter.filter(|letter| letter.number <= self.until);
            self.from = letter
                .as_ref()
                .map_or(self.from, |letter| letter.number + 1);
            return Ok(letter);
        }
        let Some(&number) = self.chosen.numbers.get(self.named) else {
            return Ok(None);
        };
        self.named += 1;
        letters.one(number).await.map(Some)
    }
}

fn agrees(count: usize) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        usage_error("nobody is there to ask; pass --yes".to_owned());
    }
    write!(io::stderr(), "drop {count} dead letters for ever? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
