//! `im-bridge run`: the service in the foreground.

use super::Exit;
use super::output::Output;
use crate::app::{self, End, ServiceError, Signals};
use crate::config::Origins;
use crate::loader::allocator;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Threads that search plugins cannot be interrupted; the process does not wait for them.
pub(super) const THREADS_WITHIN: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A further folder of plugin files, for authors: a place that others can write to only warns.
    #[arg(long, value_name = "DIR")]
    plugin_dir: Option<PathBuf>,
}

/// What a core holds is every secret of every account. Whoever needs one all the same raises the limit of the process:
/// `prlimit --core=unlimited --pid <pid>`.
fn leave_no_core() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    let none = Rlimit {
        current: Some(0),
        maximum,
    };
    Ok(setrlimit(Resource::Core, none)?)
}

pub(super) fn run(args: Args, mut origins: Origins, output: &mut Output) -> io::Result<Exit> {
    leave_no_core()?;
    allocator::settle();
    if let Some(folder) = args.plugin_dir {
        let folder = folder.display();
        origins
            .flags
            .push(format!("plugins.dirs.command_line={folder}"));
        origins.flags.push("plugins.trust.place=warn".to_owned());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("im-core")
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        // Before anything else: a signal that comes while the configuration is read must end the process, too.
        let signals = Signals::install()?;
        io::Result::Ok(app::run(origins, signals).await)
    });
    runtime.shutdown_timeout(THREADS_WITHIN);
    match ended? {
        Ok(End::Clean) => Ok(Exit::Done),
        // What was cut off stands in the log.
        Ok(End::Cut(_)) => Ok(Exit::No),
        Err(ServiceError::Config(mistaken)) => {
            output.mistakes(&mistaken)?;
            Ok(Exit::Refused)
        }
        Err(error) => {
            output.error(error.code(), &error.to_string())?;
            Ok(if error.is_of_nats() {
                Exit::Unreachable
            } else {
                Exit::Refused
            })
        }
    }
}
