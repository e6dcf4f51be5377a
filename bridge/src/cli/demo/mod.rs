//! `im-bridge demo`: a NATS server, the bridge with a simulated provider's plugin, and a service, for people who look and
//! for tests.
//!
//! Nothing is played for the screen: the bridge is that of `im-bridge run`, its plugin a file that the loader loads, the
//! service a client of NATS like any other, and the verdict what is read back from the streams and from the provider. It
//! ends everything that it started.
//!
//! Reading order: `run` here, `place` (files), `server`, `play` (the course), `breaks` (what goes wrong on purpose),
//! `echo` (the service), `asking` and `audit` (the verdict); `lookout`, `notices` and `lines` are what is shown.
//! `nats_server` and `watched` are the tests', too.

mod asking;
mod audit;
mod breaks;
mod echo;
mod lines;
mod lookout;
pub mod nats_server;
mod notices;
mod place;
mod play;
mod server;
pub mod watched;

use super::failure::{Exit, Failure};
use super::output::Output;
use super::run::THREADS_WITHIN;
use super::usage_error;
use crate::app::{self, Asked, End, ServiceError, Signals};
use crate::config::Origins;
use breaks::{Break, NEIGHBOUR};
use nats_server::{FindError, Found, Sources};
use notices::Notice;
use place::{Place, PlaceError};
use play::{ACCOUNT, Play, Shown};
use server::Nats;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The whole of `--once`, and of what comes before the first message otherwise. What has to be downloaded is not in it.
const WITHIN: Duration = Duration::from_secs(60);
/// The same with a fault, which takes ten seconds where nothing else runs.
const BROKEN_WITHIN: Duration = Duration::from_secs(180);
/// The service drains for less than this by itself; then it is cut off.
const SERVICE_ENDS_WITHIN: Duration = Duration::from_secs(15);
/// A second of somebody who looks, and twenty messages while a test waits.
const RATE: f64 = 2.0;
const RATE_ONCE: f64 = 8.0;

const USERS: u32 = 3;
const ROOMS: u32 = 2;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  im-bridge demo
  im-bridge demo --once
  im-bridge demo --break nats                       its server dies and comes back
  im-bridge tap                                     in another terminal
  im-bridge send sim/demo --channel lobby \"hi\"      in another terminal

Exit codes: 1 something was lost, doubled, out of order or late")]
pub(super) struct Args {
    /// End after 20 messages and 4 answers, with the verdict.
    #[arg(long)]
    once: bool,
    /// Break something, show what happens, and say whether anything was lost.
    #[arg(long = "break", value_name = "WHAT")]
    broken: Option<Break>,
    /// Messages a second. Default: 2, with --once and nothing broken 8.
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Start this nats-server. Default: IM_BRIDGE_NATS_SERVER, the one on PATH, else a downloaded one.
    #[arg(long, value_name = "PATH")]
    nats_server: Option<PathBuf>,
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Self {
        let help = error.help().map(|help| format!("\n  = help: {help}"));
        let text = format!("{error}{}", help.unwrap_or_default());
        Self::new(Exit::Refused, error.code(), text)
    }
}

impl From<PlaceError> for Failure {
    fn from(error: PlaceError) -> Self {
        Self::new(Exit::Refused, error.code(), error.to_string())
    }
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Exit, Failure> {
    let is_fast = args.once && args.broken.is_none();
    let rate = args.rate.unwrap_or(if is_fast { RATE_ONCE } else { RATE });
    let needs_rate = args.once || args.broken.is_some();
    if !(0.0..=1000.0).contains(&rate) || (needs_rate && rate == 0.0) {
        usage_error(format!(
            "--rate {rate}: from 0 to 1000, and with --once or --break more than 0"
        ));
    }
    // A demo without a server is refused before anything is made.
    let found = nats_server::find(&Sources::of_this_process(args.nats_server.clone()))?;
    if let (Some(Break::Nats), Found::Running { url }) = (args.broken, &found) {
        usage_error(format!(
            "--break nats kills a server of the demo's own, and {url} is somebody's; unset IM_BRIDGE__NATS__URL"
        ));
    }
    if let Found::Program { passed_over, .. } = &found {
        // A server that is there and not used makes people wonder.
        for tried in passed_over
            .iter()
            .filter(|tried| tried.why.contains("needs"))
        {
            output.remark(format!("not used: {}", tried.why))?;
        }
    }
    let started = Instant::now();
    let mut place = Place::make()?;
    let nats = Nats::start(found, &place)?;
    let (file, published) = place.configure(&configuration(&place, &nats, args.broken, rate))?;
    if let Err(error) = published {
        output.remark(format!(
            "client commands do not find this demo by themselves: {error}; use --config {}",
            file.display()
        ))?;
    }
    let origins = origins(file, &nats);
    let shown = Shown {
        started,
        server_ready: started.elapsed(),
        people: format!(
            "{USERS} users, {} rooms, {rate} messages/s",
            rooms(args.broken)
        ),
        rate,
        is_once: args.once,
        broken: args.broken,
        server: nats.own(),
    };
    let notices = notices::install();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("im-core")
        .enable_all()
        .build()?;
    let ended = runtime.block_on(course(&origins, &shown, notices, output));
    runtime.shutdown_timeout(THREADS_WITHIN);
    // The server ends before its folder goes.
    drop((shown, nats));
    drop(place);
    ended
}

/// Runs the service beside what is done with it, and ends it.
async fn course(
    origins: &Origins,
    shown: &Shown,
    notices: mpsc::Receiver<Notice>,
    output: &mut Output,
) -> Result<Exit, Failure> {
    // A signal ends the demo, which asks the provider what was said before it ends the bridge.
    let mut signals = Signals::install()?;
    let (asks, asked) = Signals::by_program();
    let mut service = tokio::spawn(app::run(origins.clone(), asked));
    let mut play = Play::new(origins, shown, notices, output);
    let within = shown.broken.map_or(WITHIN, |_| BROKEN_WITHIN);
    let played = tokio::select! {
        biased;
        ended = &mut service => return Err(ended_early(ended)),
        played = play.run(&mut signals, within) => played,
    };
    // Full only if it was asked already.
    let _ = asks.try_send(Asked::Stop);
    let ended = tokio::select! {
        ended = &mut service => ended,
        () = tokio::time::sleep(SERVICE_ENDS_WITHIN) => {
            service.abort();
            let text = format!("the bridge did not end within {} s", SERVICE_ENDS_WITHIN.as_secs());
            return Err(Failure::new(Exit::No, "deadline_exceeded", text));
        }
    };
    let judged = match played {
        Ok(truth) => play.verdict(&truth).await,
        Err(failure) => Err(failure),
    };
    play.clean().await;
    let is_good = judged?;
    let is_clean = match ended {
        Ok(Ok(End::Clean)) => true,
        Ok(Ok(End::Cut(what))) => {
            play.output
                .remark(format!("the bridge was cut off: {what}"))?;
            false
        }
        ended => return Err(ended_early(ended)),
    };
    Ok(if is_good && is_clean {
        Exit::Done
    } else {
        Exit::No
    })
}

fn ended_early(ended: Result<Result<End, ServiceError>, tokio::task::JoinError>) -> Failure {
    match ended {
        Ok(Err(ServiceError::Config(mistaken))) => Failure::Configuration(mistaken),
        Ok(Err(error)) => Failure::new(Exit::No, error.code(), error.to_string()),
        Ok(Ok(_)) => Failure::new(
            Exit::No,
            "internal_bug",
            "this is a bug: the bridge ended by itself; please report it",
        ),
        Err(error) => Failure::new(
            Exit::No,
            "internal_bug",
            format!("this is a bug: the bridge panicked: {error}; please report it"),
        ),
    }
}

/// What `im-bridge run` would be given. Storage is reserved on the server's disk, so each object asks for little.
fn configuration(place: &Place, nats: &Nats, broken: Option<Break>, rate: f64) -> String {
    let quoted = |text: &str| toml_edit::Value::from(text).to_string();
    let path = |path: PathBuf| quoted(&path.display().to_string());
    let (url, root) = (quoted(nats.url()), quoted(nats.root()));
    let mut text = format!(
        "# Written by im-bridge demo, and removed when it ends.\n[nats]\nurl ={url}\nroot ={root}\n"
    );
    for object in [
        "events",
        "results",
        "commands",
        "dead_letters",
        "ledger",
        "kv",
    ] {
        // Writing into a string does not fail.
        let _ = writeln!(text, "{object}.max_mib = 64");
    }
    let _ = write!(
        text,
        "\n[admin]\nlisten = \"127.0.0.1:0\"\n\n\
         [plugins]\nstage_dir ={}\ndirs = {{ demo ={}, extra = \"\", site = \"\", system = \"\" }}\n\n\
         {}{}",
        path(place.stage()),
        path(place.plugins()),
        account(ACCOUNT, rooms(broken), rate),
        broken.map_or("", Break::faults),
    );
    if broken.is_some_and(Break::has_neighbour) {
        text += &account(NEIGHBOUR, ROOMS, rate);
    }
    text
}

/// One account's table.
fn account(name: &str, rooms: u32, rate: f64) -> String {
    let table = name.replace('/', ".");
    format!(
        "\n[accounts.{table}]\nusers = {USERS}\nrooms = {rooms}\nrate_per_s = {rate:?}\n\
         bridge.native_calls = {{ \"sim.*\" = true }}\n"
    )
}

fn rooms(broken: Option<Break>) -> u32 {
    broken.and_then(Break::rooms).unwrap_or(ROOMS)
}

/// Only the demo's own file, and what somebody's server needs to let it in.
fn origins(file: PathBuf, nats: &Nats) -> Origins {
    let mut origins = Origins::of_process(&[file], &[]);
    let is_other = matches!(nats, Nats::Other { .. });
    origins
        .variables
        .retain(|(name, _)| is_other && name.starts_with("IM_BRIDGE__NATS__"));
    if is_other {
        origins.flags.push(format!("nats.root={}", nats.root()));
    }
    origins
}
