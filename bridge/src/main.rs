//! Parses the command line and hands over; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    im_bridge::cli::run()
}
