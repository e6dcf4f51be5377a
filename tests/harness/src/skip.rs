//! Tests that lack something optional: they say so and pass, or fail where it is required.
//!
//! `IM_BRIDGE_REQUIRE`, a comma list, names what must be there. Every line is kept in `target/skips.txt`, too.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

/// Says that the first of `names` is skipped. Panics where one of them is required.
#[track_caller]
pub fn skip(names: &[&str], reason: &str) {
    tell(names.first().copied().unwrap_or_default(), reason);
    assert!(!is_required(names), "{names:?} is required: {reason}");
}

/// Loudly, on the handle itself, because the test runner hides what is printed.
pub(crate) fn tell(name: &str, reason: &str) {
    let line = format!("SKIP {name}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    let skips = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/skips.txt");
    let kept = OpenOptions::new().create(true).append(true).open(skips);
    let _ = kept.and_then(|mut file| file.write_all(line.as_bytes()));
}

pub(crate) fn is_required(names: &[&str]) -> bool {
    let required = std::env::var("IM_BRIDGE_REQUIRE").unwrap_or_default();
    required.split(',').any(|name| names.contains(&name))
}
