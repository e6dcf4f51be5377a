//! Codes of the loader have their sections in `docs/errors.md`.
//!
//! Not here: that no section is unused; the tests of the command line look at all codes.

use im_bridge::cli::explain::sections;
use im_bridge::loader::Problem;
use im_bridge::loader::config_schema::ConfigSchema;
use std::collections::BTreeSet;

#[test]
fn every_code_of_the_loader_has_its_section() {
    let documented: BTreeSet<_> = sections().map(|(code, _)| code).collect();
    let pins = [
        "config_unreadable",
        "config_unwritable",
        "config_syntax",
        "config_name",
    ];
    for code in Problem::CODES
        .iter()
        .chain(ConfigSchema::CODES)
        .chain(&pins)
    {
        assert!(
            documented.contains(code),
            "docs/errors.md has no section {code}"
        );
    }
}
