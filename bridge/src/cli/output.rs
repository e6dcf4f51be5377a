//! Where a command's words go: data to standard output, errors and remarks to standard error.
//!
//! Not here: what the words are.

use crate::config::Mistaken;
use crate::telemetry::redact::redact;
use schemars::JsonSchema;
use serde::Serialize;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Even into a file.
    Always,
    /// Nowhere.
    Never,
}

/// How much is said beside the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Talk {
    /// Errors only.
    Quiet,
    /// Remarks, too.
    Normal,
    /// What is done, too.
    Verbose,
}

/// The two streams of a command.
#[derive(Debug)]
pub struct Output {
    /// Print JSON instead of text: one document, or one line per item.
    pub json: bool,
    /// How much is said beside the data.
    pub talk: Talk,
    data: BufWriter<Stdout>,
    is_colored: bool,
}

/// An error as `--json` and the log have it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Told {
    /// Anchor in `docs/errors.md`.
    pub code: &'static str,
    /// The whole sentence.
    pub message: String,
}

/// An error on standard error with `--json`, a line each.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Error<'a> {
    /// Section in `docs/errors.md`.
    code: &'a str,
    /// The whole sentence.
    message: &'a str,
    /// The key in the configuration; empty: it is about none.
    path: &'a str,
    /// Where that is written.
    file: Option<&'a str>,
    line: Option<usize>,
    column: Option<usize>,
    /// The command that says more.
    help: &'a str,
}

impl Output {
    pub(super) fn new(json: bool, color: Color, talk: Talk) -> Self {
        let has_no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            json,
            talk,
            data: BufWriter::new(io::stdout()),
            is_colored: match color {
                Color::Auto => io::stderr().is_terminal() && !has_no_color,
                Color::Always => true,
                Color::Never => false,
            },
        }
    }

    /// One line of data.
    pub fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        self.data.write_all(text.as_ref().as_bytes())?;
        self.data.write_all(b"\n")
    }

    /// Data that is no text of lines.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.data.write_all(bytes)
    }

    /// The one document of a command with `--json`.
    pub fn document(&mut self, document: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.data, document)?;
        self.data.write_all(b"\n")
    }

    /// One item of a stream with `--json`.
    pub fn item(&mut self, item: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.data, item)?;
        self.data.write_all(b"\n")
    }

    /// What was written is on its way: before waiting for what comes next.
    pub fn flush(&mut self) -> io::Result<()> {
        self.data.flush()
    }

    /// A remark that is not data.
    pub fn remark(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        if self.talk == Talk::Quiet {
            return Ok(());
        }
        self.aside(text.as_ref())
    }

    /// What is done just now, for those who want to know.
    pub fn detail(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        if self.talk < Talk::Verbose {
            return Ok(());
        }
        self.aside(text.as_ref())
    }

    /// An error that a user can look up.
    pub fn error(&mut self, code: &str, text: &str) -> io::Result<()> {
        // An error's causes are written by strangers, who may repeat what they were told.
        let text = &*redact(text);
        if self.json {
            let help = format!("im-bridge explain {code}");
            let told = Error {
                code,
                message: text,
                path: "",
                file: None,
                line: None,
                column: None,
                help: &help,
            };
            return self.aside(&serde_json::to_string(&told)?);
        }
        let (loud, plain) = if self.is_colored {
            ("\x1b[1;31m", "\x1b[0m")
        } else {
            ("", "")
        };
        self.aside(&format!(
            "{loud}error[{code}]{plain}: {text}\n  = see: im-bridge explain {code}"
        ))
    }

    /// All mistakes of a configuration.
    pub fn mistakes(&mut self, mistaken: &Mistaken) -> io::Result<()> {
        if self.json {
            for problem in mistaken.problems.sorted() {
                self.aside(&problem.to_json().to_string())?;
            }
            return Ok(());
        }
        let text = mistaken.problems.render(&mistaken.texts, self.is_colored);
        self.aside(&text)
    }

    fn aside(&mut self, text: &str) -> io::Result<()> {
        self.data.flush()?;
        writeln!(io::stderr(), "{text}")
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.data.flush()
    }
}
