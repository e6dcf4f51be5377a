//! Where a command's words go: data to standard output, errors and remarks to standard error.
//!
//! Not here: what the words are.

use crate::config::Mistaken;
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

/// The two streams of a command.
#[derive(Debug)]
pub struct Output {
    /// Print one JSON document instead of text.
    pub json: bool,
    data: BufWriter<Stdout>,
    is_colored: bool,
}

/// An error as `--json` and the log have it.
#[derive(Debug, Serialize)]
pub struct Told {
    /// Anchor in `docs/errors.md`.
    pub code: &'static str,
    /// The whole sentence.
    pub message: String,
}

impl Output {
    pub(super) fn new(json: bool, color: Color) -> Self {
        let has_no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            json,
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

    /// The one document of a command with `--json`.
    pub fn document(&mut self, document: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.data, document)?;
        self.data.write_all(b"\n")
    }

    /// A remark that is not data.
    pub fn remark(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        self.data.flush()?;
        writeln!(io::stderr(), "{}", text.as_ref())
    }

    /// An error that a user can look up.
    pub fn error(&mut self, code: &str, text: &str) -> io::Result<()> {
        let (loud, plain) = if self.is_colored {
            ("\x1b[1;31m", "\x1b[0m")
        } else {
            ("", "")
        };
        self.remark(format!(
            "{loud}error[{code}]{plain}: {text}\n  = see: im-bridge explain {code}"
        ))
    }

    /// All mistakes of a configuration, each at its place.
    pub fn mistakes(&mut self, mistaken: &Mistaken) -> io::Result<()> {
        if self.json {
            for problem in mistaken.problems.sorted() {
                self.remark(problem.to_json().to_string())?;
            }
            return Ok(());
        }
        let text = mistaken.problems.render(&mistaken.texts, self.is_colored);
        self.remark(text)
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.data.flush()
    }
}
