//! `cargo run --release -p im-bridge-test-bench -- --job <job>`

use im_bridge_test_bench::allocations::Counting;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    if im_bridge_test_bench::main() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
