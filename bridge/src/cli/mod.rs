//! The command line: one file per subcommand.
//!
//! Data goes to standard output, everything else to standard error; a reader that closes the pipe ends the command
//! quietly. Exit codes: 0 done, 1 done and the answer is no, 2 refused before anything was done, 3 NATS or the bridge cannot
//! be reached, 101 a bug.
//!
//! Not here: what a subcommand does with NATS or with plugins; `bus` and `loader` have that.

#[cfg(feature = "demo")]
pub mod demo;
pub mod explain;
pub mod output;
pub mod plugin;
pub mod run;

use crate::config::Origins;
use clap::{CommandFactory, Parser, Subcommand};
use output::{Color, Output};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// Joins instant-messaging providers to NATS.
#[derive(Debug, Parser)]
#[command(name = "im-bridge", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// When to use colour; `auto` obeys `NO_COLOR`.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
    /// Configuration file, or folder of files; later ones win.
    #[arg(long, global = true, value_name = "PATH")]
    config: Vec<PathBuf>,
    /// One value of the configuration, above files and environment: `nats.url=nats://10.0.0.7:4222`.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Run(run::Args),
    /// Look at plugin files.
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Say what an error code means and what to do about it.
    Explain(explain::Args),
    /// Become a program that dies with the process that asked for it.
    #[cfg(feature = "demo")]
    #[command(name = demo::watched::SUBCOMMAND, hide = true)]
    DemoServer(demo::watched::WatchedArgs),
}

/// What a finished command tells the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Nothing to complain about.
    Done,
    /// Done, and the answer is no.
    No,
    /// Refused before anything was done.
    Refused,
    /// NATS or the bridge cannot be reached, or will not do.
    Unreachable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Refused => 2,
            Exit::Unreachable => 3,
        })
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output::new(cli.json, cli.color);
    let origins = Origins::of_process(&cli.config, &cli.set);
    let done = match cli.command {
        Command::Run(args) => run::run(args, origins, &mut output),
        Command::Plugin(command) => plugin::run(command, &mut output),
        Command::Explain(args) => explain::run(&args, &mut output),
        #[cfg(feature = "demo")]
        Command::DemoServer(args) => {
            eprintln!("error: {}", demo::watched::run(&args));
            Ok(Exit::Refused)
        }
    };
    match done.and_then(|exit| output.finish().map(|()| exit)) {
        Ok(exit) => exit.into(),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done.into(),
        Err(error) => {
            eprintln!("error: standard output cannot be written: {error}");
            Exit::Refused.into()
        }
    }
}

/// Ends the process as the command line's parser does: usage on standard error, exit 2.
fn usage_error(text: String) -> ! {
    Cli::command()
        .error(clap::error::ErrorKind::InvalidValue, text)
        .exit()
}
