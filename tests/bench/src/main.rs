//! Measures jobs of im-bridge, each beside a floor in the same run: figures are ratios, because machines differ.
//!
//! `cargo run --release -p im-bridge-test-bench -- --job cross`
//!
//! Not here: what the figures should be; the documents say that.

mod allocations;
mod cross;
mod machine;

use clap::{Parser, ValueEnum};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// Measures one job and prints a table.
#[derive(Parser)]
struct Arguments {
    /// What to measure
    #[arg(long, value_enum)]
    job: Job,
    /// Events per run and row
    #[arg(long, default_value_t = 200_000)]
    events: u64,
    /// Runs; the best one of each row counts, since others share the machine
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Print only the JSON line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Job {
    /// One event over the plugin boundary
    Cross,
}

fn main() {
    let arguments = Arguments::parse();
    match arguments.job {
        Job::Cross => cross::run(arguments.events, arguments.runs, arguments.json),
    }
}
