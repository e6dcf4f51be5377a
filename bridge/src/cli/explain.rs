//! `im-bridge explain CODE`: a section of `docs/errors.md`, which is built in.

use super::output::Output;
use super::{Exit, usage_error};
use crate::loader::nearest::hint;
use schemars::JsonSchema;
use serde::Serialize;
use std::io;

const ERRORS: &str = include_str!("../../../docs/errors.md");

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The word in brackets: `plugin_not_elf` of `error[plugin_not_elf]: …`.
    code: String,
}

/// What `--json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Section<'a> {
    code: &'a str,
    /// Markdown: the cause, then what to do.
    text: &'a str,
}

pub(super) fn run(args: &Args, output: &mut Output) -> io::Result<Exit> {
    let Some((_, text)) = sections().find(|(code, _)| *code == args.code) else {
        let codes: Vec<&str> = sections().map(|(code, _)| code).collect();
        let hint = hint(
            &args.code,
            &codes,
            "all of them are in docs/errors.md, such as",
        );
        usage_error(format!("no error has the code `{}`; {hint}", args.code));
    };
    if output.json {
        output.document(&Section {
            code: &args.code,
            text,
        })?;
    } else {
        output.line(format!("{}\n\n{text}", args.code))?;
    }
    Ok(Exit::Done)
}

/// Every code with its section.
pub fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    ERRORS.split("\n## ").skip(1).map(|section| {
        let (code, text) = section.split_once('\n').unwrap_or((section, ""));
        // A section ends where the next group begins.
        let text = text.split("\n# ").next().unwrap_or(text);
        (code.trim(), text.trim())
    })
}
