//! Each job of the bench with a handful of events, so that it does not rot: what it checks must hold, how long it takes is
//! never looked at.
//!
//! This program also plays the floor, so it has no test harness around it.

use im_bridge_test_bench::world::{Column, Programs};
use im_bridge_test_bench::{Job, Options};

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("floor") => {
            im_bridge_test_bench::main();
        }
        Some("--list") => println!("jobs_are_done_rightly: test"),
        _ => jobs_are_done_rightly(),
    }
}

fn jobs_are_done_rightly() {
    // At the same time, because most of it is waiting.
    let jobs = [
        Job::In,
        Job::Out,
        Job::Req,
        Job::Telemetry,
        Job::Idle,
        Job::Growth,
        Job::Start,
        Job::Takeover,
    ];
    let running = jobs.map(|job| (job, std::thread::spawn(move || is_done_rightly(job))));
    // All of them are waited for before one may fail: what they started ends with them.
    let done = running.map(|(job, thread)| (job, thread.join().unwrap_or(false)));
    for (job, is_right) in done {
        assert!(is_right, "{job:?} is not done rightly; see its line above");
    }
    println!("every job is done rightly");
}

fn is_done_rightly(job: Job) -> bool {
    let programs = Programs {
        bridge: env!("CARGO_BIN_EXE_im-bridge").into(),
        plugin: None,
        simulator: None,
        own: std::env::current_exe().expect("a program has a file"),
    };
    let options = Options {
        job,
        events: 64,
        runs: 1,
        columns: vec![Column::Floor, Column::Bridge],
        accounts: 3,
        seconds: 1,
        lease_s: 7,
        bridge: None,
        json: true,
    };
    im_bridge_test_bench::run(programs, &options)
}
