//! Measures jobs of im-bridge, each beside a floor in the same run: figures are ratios, because machines differ.
//!
//! `cargo run --release -p im-bridge-test-bench -- --job in`
//!
//! Every job also checks that the work was done rightly: nothing missing, nothing twice, order kept. Each column is a
//! process of its own, measured from outside; server and provider are the same for all.
//!
//! Reading order: `world` (what runs), `floor` (what it is compared with), `inbound`, `outbound`, `life` and `cross` (the
//! jobs), `report`. How to run it and what the columns are is README.md beside this package.
//!
//! Not here: what the figures should be. Invariant: the floor is never tuned down.

pub mod allocations;
pub mod floor;
pub mod world;

mod cross;
mod inbound;
mod life;
mod machine;
mod mark;
mod outbound;
mod process;
mod provider;
mod report;

use clap::{Parser, Subcommand, ValueEnum};
use world::{Column, Programs, World};

/// Measures one job and prints a table.
#[derive(Parser)]
pub struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    options: Options,
}

/// What the program is started as by itself.
#[derive(Subcommand)]
enum Role {
    /// Plays the floor of a job
    #[command(hide = true)]
    Floor(floor::Role),
}

/// What to measure, and how long.
#[derive(clap::Args)]
pub struct Options {
    /// What to measure
    #[arg(long, value_enum, default_value = "in")]
    pub job: Job,
    /// Events of a run
    #[arg(long, default_value_t = 20_000)]
    pub events: u64,
    /// Runs; the best of each figure counts, and the median of ratios, since others share the machine
    #[arg(long, default_value_t = 5)]
    pub runs: u32,
    /// Who does the job
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "floor,bridge"
    )]
    pub columns: Vec<Column>,
    /// Accounts, where a job has many
    #[arg(long, default_value_t = 1_000)]
    pub accounts: u64,
    /// For how long a rate, or silence, is measured
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Lease of the replicas in a takeover
    #[arg(long, default_value_t = 20)]
    pub lease_s: u64,
    /// Another bridge than the one built now, to compare them
    #[arg(long, value_name = "FILE")]
    pub bridge: Option<std::path::PathBuf>,
    /// Print only the JSON line
    #[arg(long)]
    pub json: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Job {
    /// What a provider pushes is stored, and the provider acknowledged
    In,
    /// Durable commands to results
    Out,
    /// Requests to replies
    Req,
    /// IN with and without traces, and with a collector that is away
    Telemetry,
    /// Accounts that say nothing
    Idle,
    /// The same rate over one account and over many
    Growth,
    /// From `exec` to the first event
    Start,
    /// From the end of the owner to the first event of its successor
    Takeover,
    /// One event over the plugin boundary
    Cross,
}

/// The whole program. False: a column did its job wrongly.
pub fn main() -> bool {
    let Arguments { role, options } = Arguments::parse();
    if let Some(Role::Floor(role)) = role {
        floor::play(&role);
        return true;
    }
    if options.job == Job::Cross {
        // Ten times the events of the other jobs: it takes a hundredth of the time.
        cross::run(options.events * 10, options.runs, options.json);
        return true;
    }
    run(world::built(options.bridge.as_deref()), &options)
}

/// One job with these programs.
pub fn run(programs: Programs, options: &Options) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("the system has room").block_on(async {
        let world = World::new(programs).await;
        match options.job {
            Job::In => inbound::run(&world, options).await,
            Job::Telemetry => inbound::telemetry(&world, options).await,
            Job::Growth => inbound::growth(&world, options).await,
            Job::Out => outbound::run(&world, options).await,
            Job::Req => outbound::requests(&world, options).await,
            Job::Idle => life::idle(&world, options).await,
            Job::Start => life::start(&world, options).await,
            Job::Takeover => life::takeover(&world, options).await,
            Job::Cross => unreachable!("it needs no world"),
        }
    })
}
