//! `im-bridge demo-server`, hidden: becomes the program it is told, and dies with whoever started it.
//!
//! A demo that is killed cannot end its server. The kernel can: this process asks for SIGKILL at its parent's death, then
//! turns into the server; the setting survives `exec`. That needs no code between fork and exec, hence no `unsafe`.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Arguments of the hidden subcommand.
#[derive(clap::Args, Debug)]
pub struct WatchedArgs {
    /// Process whose death ends the program.
    #[arg(long)]
    parent: u32,
    /// Program to become.
    program: PathBuf,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Name of the subcommand on the command line.
pub const SUBCOMMAND: &str = "demo-server";

/// Returns only if the program cannot be started.
pub fn run(args: &WatchedArgs) -> std::io::Error {
    if let Err(error) = die_with_parent() {
        return error;
    }
    // A parent that died before the signal was set will never send it.
    if std::os::unix::process::parent_id() != args.parent {
        return std::io::Error::other(format!("process {} is gone already", args.parent));
    }
    Command::new(&args.program).args(&args.arguments).exec()
}

#[cfg(target_os = "linux")]
fn die_with_parent() -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(())
}

/// Only Linux tells a process of its parent's death; elsewhere a killed demo leaves its server behind.
#[cfg(not(target_os = "linux"))]
fn die_with_parent() -> std::io::Result<()> {
    Ok(())
}
