//! The command line: one file per subcommand.
//!
//! Data goes to standard output, everything else to standard error; a reader that closes the pipe ends the command
//! quietly. Exit codes: 0 done, 1 done and the answer is no, 2 refused before anything was done, 3 NATS or the bridge
//! cannot be reached, 4 not in time, 5 outcome unknown, 101 a bug.
//!
//! Not here: what a subcommand does with NATS or with plugins; `bus` and `loader` have that.

mod account;
mod answer;
mod check;
mod client;
mod completions;
mod config;
#[cfg(feature = "demo")]
pub mod demo;
mod dlq;
pub mod explain;
pub mod failure;
mod globals;
mod init;
pub mod output;
mod parse;
pub mod plugin;
mod probe;
pub mod run;
pub mod schemas;
mod send;
mod status;
mod streams;
mod tap;

use clap::{CommandFactory, Parser, Subcommand};
use failure::{Exit, Failure};
use globals::Globals;
use output::Output;
use std::io;
use std::process::ExitCode;

/// Joins instant-messaging providers to NATS.
#[derive(Debug, Parser)]
#[command(name = "im-bridge", version, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    globals: Globals,
}

const AFTER_HELP: &str = "\
Environment:
  IM_BRIDGE_CONFIG           configuration files, separated by colons
  IM_BRIDGE__SECTION__KEY    one key, such as IM_BRIDGE__NATS__URL
  NO_COLOR                   no colour

Exit codes: 0 done, 1 done and the answer is no, 2 refused, 3 not reachable, 4 not in time, 5 outcome unknown";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Run(run::Args),
    /// Write a configuration to begin with; never overwrites.
    Init(init::Args),
    /// Check everything that can be known without running.
    Check(check::Args),
    /// Say what may be configured, and what is.
    #[command(subcommand)]
    Config(config::Command),
    /// Look at plugin files, and tell replicas which to use.
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Say what an error code means and what to do about it.
    Explain(explain::Args),
    /// Send a message or any other command, and wait for its result.
    Send(send::Args),
    /// Look at accounts, and tell their owners what to do with them.
    #[command(subcommand)]
    Account(account::Command),
    /// Show replicas, accounts, waiting commands and dead letters.
    Status(status::Args),
    /// Ask the admin port whether the bridge lives, or is ready.
    Probe(probe::Args),
    /// Show events, commands and results as they happen.
    Tap(tap::Args),
    /// Look at dead letters, send them again or drop them.
    #[command(subcommand)]
    Dlq(dlq::Command),
    /// Compare and make the objects on NATS, print permissions.
    #[command(subcommand)]
    Streams(streams::Command),
    /// Print a completion script for a shell.
    Completions(completions::Args),
    /// Print the manual page.
    Man,
    /// Show messages flowing, with a NATS server and a simulated provider.
    #[cfg(feature = "demo")]
    Demo(demo::Args),
    /// Built without; says where there is one.
    #[cfg(not(feature = "demo"))]
    #[command(hide = true)]
    Demo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        _anything: Vec<String>,
    },
    /// Become a program that dies with the process that asked for it.
    #[cfg(feature = "demo")]
    #[command(name = demo::watched::SUBCOMMAND, hide = true)]
    DemoServer(demo::watched::WatchedArgs),
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let mut output = cli.globals.output();
    let done = match dispatch(cli.command, &cli.globals, &mut output) {
        Ok(exit) => Ok(exit),
        Err(failure) => failure.tell(&mut output),
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

fn dispatch(command: Command, globals: &Globals, output: &mut Output) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => Ok(run::run(args, globals.origins(), output)?),
        Command::Init(args) => init::run(&args, globals, output),
        Command::Check(args) => check::run(&args, globals, output),
        Command::Dlq(command) => dlq::run(command, globals, output),
        Command::Config(command) => config::run(command, globals, output),
        Command::Plugin(command) => plugin::run(command, globals, output),
        Command::Explain(args) => Ok(explain::run(&args, output)?),
        Command::Send(args) => send::run(&args, globals, output),
        Command::Account(command) => account::run(command, globals, output),
        Command::Status(args) => status::run(&args, globals, output),
        Command::Probe(args) => probe::run(&args, globals, output),
        Command::Tap(args) => tap::run(&args, globals, output),
        Command::Streams(command) => streams::run(&command, globals, output),
        Command::Completions(args) => {
            completions::completions(&args, output)?;
            Ok(Exit::Done)
        }
        Command::Man => {
            completions::man(output)?;
            Ok(Exit::Done)
        }
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(&args, output),
        #[cfg(not(feature = "demo"))]
        Command::Demo { .. } => usage_error(
            "this im-bridge was built without the demo; `cargo run -- demo` in a clone has it"
                .to_owned(),
        ),
        #[cfg(feature = "demo")]
        Command::DemoServer(args) => {
            eprintln!("error: {}", demo::watched::run(&args));
            Ok(Exit::Refused)
        }
    }
}

/// Ends the process as the command line's parser does: usage on standard error, exit 2.
fn usage_error(text: String) -> ! {
    Cli::command()
        .error(clap::error::ErrorKind::InvalidValue, text)
        .exit()
}
