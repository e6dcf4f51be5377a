//! `im-bridge completions` and `im-bridge man`: what shells and `man` know of the command line, generated from it.

use super::output::Output;
use clap::CommandFactory;
use std::io;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell.
    shell: clap_complete::Shell,
}

pub(super) fn completions(args: &Args, output: &mut Output) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut super::Cli::command(),
        "im-bridge",
        &mut script,
    );
    output.bytes(&script)
}

/// One page for all subcommands, since there is no folder to put several into.
pub(super) fn man(output: &mut Output) -> io::Result<()> {
    let mut command = super::Cli::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    append(&command, &mut page)?;
    output.bytes(&page)
}

fn append(command: &clap::Command, page: &mut Vec<u8>) -> io::Result<()> {
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set() && below.get_name() != "help")
    {
        let man = clap_mangen::Man::new(below.clone());
        let name = below
            .get_bin_name()
            .unwrap_or(below.get_name())
            .to_uppercase();
        page.extend_from_slice(format!(".SH {name}\n").as_bytes());
        man.render_description_section(page)?;
        if below.get_arguments().next().is_some() {
            man.render_options_section(page)?;
        }
        append(below, page)?;
    }
    Ok(())
}
