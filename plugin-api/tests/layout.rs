//! `layout.snapshot` is what the Rust definitions say, and no commit can change what an older plugin relies on.
//!
//! `IM_BRIDGE_UPDATE=1` rewrites the snapshot after an addition. A change that breaks a built plugin is refused all the
//! same, by the name of what it breaks: going back is the only remedy.
//!
//! Not here: the C header, which `header.rs` proves against the same facts.

use im_bridge_plugin_api::abi::facts;
use std::collections::BTreeMap;

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/layout.snapshot");

#[test]
fn the_snapshot_says_what_the_rust_definitions_say() {
    let mut now = String::new();
    facts::write(&mut now).expect("a String takes everything");
    let before = std::fs::read_to_string(SNAPSHOT).unwrap_or_default();
    let broken = breaks(&before, &now);
    assert!(
        broken.is_empty(),
        "built plugins would break:\n  {}",
        broken.join("\n  ")
    );
    if std::env::var_os("IM_BRIDGE_UPDATE").is_some_and(|update| update == "1") {
        std::fs::write(SNAPSHOT, &now).unwrap();
    } else if before != now {
        let is_new = |line: &&str| !before.lines().any(|old| old == *line);
        let added: Vec<_> = now.lines().filter(is_new).collect();
        panic!(
            "layout.snapshot is not what the definitions say; run this test with IM_BRIDGE_UPDATE=1. New lines:\n  {}",
            added.join("\n  ")
        );
    }
}

#[test]
fn no_struct_has_a_hole_and_each_one_that_grows_is_a_multiple_of_8() {
    for of in facts::structs() {
        let mut end = 0;
        for field in of.fields {
            assert_eq!(field.offset, end, "hole before {}.{}", of.name, field.name);
            end += field.size;
        }
        assert_eq!(of.size, end, "hole at the end of {}", of.name);
        assert!(!of.grows() || of.size % 8 == 0, "{}", of.name);
    }
}

/// One line of a snapshot: what it is about, and what it says of it.
fn parse(line: &str) -> (&str, &str) {
    line.split_once(' ')
        .expect("a fact is a name, a blank and what is said of it")
}

fn parse_all(text: &str) -> BTreeMap<&str, &str> {
    text.lines().map(parse).collect()
}

/// The number behind `word`, as in `offset 16 type uint64_t`.
fn number(said: &str, word: &str) -> Option<usize> {
    let mut words = said.split(' ');
    words.find(|found| *found == word)?;
    words.next()?.parse().ok()
}

/// What `now` does to plugins that were built when `before` held, by name. Empty: nothing.
///
/// Allowed are new constants, new structs, and new fields behind the old end of a struct that tells its size; such a
/// field raises the minor.
fn breaks(before: &str, now: &str) -> Vec<String> {
    let (old, new) = (parse_all(before), parse_all(now));
    let mut found = Vec::new();
    for (name, was) in &old {
        match new.get(name) {
            None => found.push(format!("{name} is gone; nothing is removed or renamed")),
            Some(is) if was == is => {}
            Some(is) if is_growth(name, was, is, &old) => {}
            Some(is) => found.push(format!("{name} was `{was}` and would be `{is}`")),
        }
    }
    let mut appended = None;
    for (name, is) in &new {
        let (Some((of, _)), false) = (name.split_once('.'), old.contains_key(name)) else {
            continue;
        };
        let Some(end) = old.get(of).and_then(|said| number(said, "size")) else {
            continue; // a new struct
        };
        let offset = number(is, "offset").expect("a field has an offset");
        if !grows(of, &old) {
            found.push(format!(
                "{name} is new, but {of} is frozen; make a new struct"
            ));
        } else if offset < end {
            found.push(format!(
                "{name} is new at {offset}, before the end at {end}; append it"
            ));
        } else {
            appended = Some(name);
        }
    }
    if let Some(name) = appended
        && old.get(MINOR) == new.get(MINOR)
    {
        found.push(format!(
            "{name} is appended, but {MINOR} is the same; raise it by one"
        ));
    }
    found
}

const MINOR: &str = "IMB_ABI_MINOR";

/// A struct that tells its size may grow, all others are frozen.
fn grows(of: &str, facts: &BTreeMap<&str, &str>) -> bool {
    facts.contains_key(format!("{of}.size").as_str())
}

/// The two lines that may change: the size of a struct that grows, and the minor; both only rise.
fn is_growth(name: &str, was: &str, is: &str, old: &BTreeMap<&str, &str>) -> bool {
    let rises = |word| match (number(was, word), number(is, word)) {
        (Some(was), Some(is)) => is > was,
        _ => false,
    };
    if name == MINOR {
        rises("=")
    } else {
        grows(name, old) && rises("size") && number(was, "align") == number(is, "align")
    }
}

const BEFORE: &str = "\
IMB_ABI_MINOR = 0
IMB_OK = 0
imb_status type int32_t
imb_str size 16 align 8
imb_str.ptr offset 0 type const uint8_t *
imb_str.len offset 8 type size_t
imb_op size 16 align 8
imb_op.size offset 0 type uint32_t
imb_op.flags offset 4 type uint32_t
imb_op.id offset 8 type uint64_t
";

/// `BEFORE` after replacing one text by another.
fn changed(from: &str, to: &str) -> Vec<String> {
    assert!(BEFORE.contains(from), "{from:?} is in the example");
    breaks(BEFORE, &BEFORE.replace(from, to))
}

#[test]
fn the_same_facts_in_another_order_break_nothing() {
    let mut lines: Vec<_> = BEFORE.lines().collect();
    lines.reverse();
    assert_eq!(breaks(BEFORE, &lines.join("\n")), [""; 0]);
    assert_eq!(breaks("", BEFORE), [""; 0]);
}

#[test]
fn new_constants_and_new_structs_break_nothing() {
    let more = "IMB_E_NEW = -13\nimb_new size 8 align 8\nimb_new.id offset 0 type uint64_t\n";
    assert_eq!(breaks(BEFORE, &format!("{BEFORE}{more}")), [""; 0]);
}

#[test]
fn a_field_appended_to_a_growing_struct_breaks_nothing_when_the_minor_rises() {
    let grown = BEFORE.replace("imb_op size 16", "imb_op size 24");
    let grown = format!("{grown}imb_op.more offset 16 type uint64_t\n");
    let same_minor = breaks(BEFORE, &grown);
    assert_eq!(
        same_minor,
        ["imb_op.more is appended, but IMB_ABI_MINOR is the same; raise it by one"]
    );
    let grown = grown.replace("IMB_ABI_MINOR = 0", "IMB_ABI_MINOR = 1");
    assert_eq!(breaks(BEFORE, &grown), [""; 0]);
}

#[test]
fn a_removed_or_renamed_fact_is_refused_by_name() {
    assert_eq!(
        changed("IMB_OK = 0\n", ""),
        ["IMB_OK is gone; nothing is removed or renamed"]
    );
    let renamed = changed("imb_op.id", "imb_op.ident");
    assert_eq!(
        renamed[0],
        "imb_op.id is gone; nothing is removed or renamed"
    );
}

#[test]
fn another_value_type_or_offset_is_refused_by_name() {
    assert_eq!(
        changed("IMB_OK = 0", "IMB_OK = 1"),
        ["IMB_OK was `= 0` and would be `= 1`"]
    );
    assert_eq!(
        changed(
            "imb_op.id offset 8 type uint64_t",
            "imb_op.id offset 8 type int64_t"
        ),
        ["imb_op.id was `offset 8 type uint64_t` and would be `offset 8 type int64_t`"]
    );
    let moved = changed("imb_op.flags offset 4", "imb_op.flags offset 12");
    assert!(moved[0].starts_with("imb_op.flags was "), "{moved:?}");
    let typed = changed("imb_status type int32_t", "imb_status type int64_t");
    assert!(typed[0].starts_with("imb_status was "), "{typed:?}");
}

#[test]
fn a_field_put_before_the_end_of_a_growing_struct_is_refused_by_name() {
    let inserted = format!("{BEFORE}imb_op.more offset 12 type uint32_t\n");
    assert_eq!(
        breaks(BEFORE, &inserted),
        ["imb_op.more is new at 12, before the end at 16; append it"]
    );
}

#[test]
fn a_frozen_struct_never_changes() {
    let longer = changed("imb_str size 16", "imb_str size 24");
    assert!(longer[0].starts_with("imb_str was "), "{longer:?}");
    let more = format!("{BEFORE}imb_str.hash offset 16 type uint64_t\n");
    assert_eq!(
        breaks(BEFORE, &more),
        ["imb_str.hash is new, but imb_str is frozen; make a new struct"]
    );
}

#[test]
fn a_growing_struct_never_shrinks_nor_changes_its_alignment() {
    let shorter = changed("imb_op size 16", "imb_op size 8");
    assert!(shorter[0].starts_with("imb_op was "), "{shorter:?}");
    let wider = changed("imb_op size 16 align 8", "imb_op size 32 align 16");
    assert!(wider[0].starts_with("imb_op was "), "{wider:?}");
}

#[test]
fn the_minor_never_falls() {
    let risen = BEFORE.replace("IMB_ABI_MINOR = 0", "IMB_ABI_MINOR = 3");
    assert_eq!(breaks(BEFORE, &risen), [""; 0]);
    assert_eq!(
        breaks(&risen, BEFORE),
        ["IMB_ABI_MINOR was `= 3` and would be `= 0`"]
    );
}

#[test]
fn two_facts_never_share_a_name() {
    let mut now = String::new();
    facts::write(&mut now).expect("a String takes everything");
    assert_eq!(parse_all(&now).len(), now.lines().count());
}
