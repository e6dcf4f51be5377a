//! Rules about Rust sources.

use crate::tree::{File, files, lines, none};

fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn is_test(file: &File) -> bool {
    file.is_below("tests") || file.path.contains("/tests/") || file.path.ends_with("/tests.rs")
}

#[test]
fn every_index_has_a_front_page() {
    let missing: Vec<String> = files(&["lib.rs", "mod.rs"])
        .into_iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.path)
        .collect();
    none(
        "lib.rs and mod.rs begin with `//! <what it is>`, so that a reader knows whether to read on",
        &missing,
    );
}

#[test]
fn unsafe_code_stays_in_the_contract_and_the_loader() {
    let sources = files(&[".rs"]);
    let others = sources.iter().filter(|file| {
        !file.is_below("plugin-api")
            && !file.is_below("bridge/src/loader")
            && !file.is_below("tests/tidy")
    });
    let wrong = lines(others, |file, line| {
        let code = code(line);
        // What tests do to a plugin, they do through raw pointers, too; each says so at its top.
        let may = is_test(file) && allows_unsafe(&file.text);
        !may && (code.contains("unsafe {")
            || code.contains("unsafe fn")
            || code.contains("unsafe impl"))
    });
    none(
        "unsafe code lives in plugin-api/ and bridge/src/loader/ only",
        &wrong,
    );
}

fn allows_unsafe(text: &str) -> bool {
    let dense: String = text.split_whitespace().collect();
    dense.contains("#![allow(unsafe_code")
}

#[test]
fn adapters_forbid_unsafe_code() {
    let wrong: Vec<String> = files(&["src/lib.rs"])
        .into_iter()
        .filter(|file| file.is_below("adapters") && !file.text.contains("#![forbid(unsafe_code)]"))
        .map(|file| file.path)
        .collect();
    none("an adapter's lib.rs says #![forbid(unsafe_code)]", &wrong);
}

#[test]
fn adapters_have_the_same_six_files() {
    let sources = files(&[".rs"]);
    let mut wrong = Vec::new();
    let adapters = sources
        .iter()
        .filter(|file| file.is_below("adapters") && file.path.ends_with("/src/lib.rs"));
    for adapter in adapters {
        let folder = adapter.path.strip_suffix("lib.rs").expect("filtered by it");
        for name in ["config", "session", "inbound", "outbound", "native"] {
            let file = format!("{folder}{name}.rs");
            let module = format!("{folder}{name}/mod.rs");
            if !sources
                .iter()
                .any(|source| source.path == file || source.path == module)
            {
                wrong.push(format!("{file} is missing"));
            }
        }
    }
    none(
        "whoever knows one adapter finds the same six files in each",
        &wrong,
    );
}

#[test]
fn the_core_names_no_provider() {
    let sources = files(&[".rs"]);
    let core = sources.iter().filter(|file| {
        file.is_below("bridge/src") && !file.is_below("bridge/src/cli/demo") && !is_test(file)
    });
    let wrong = lines(core, |_, line| {
        ["goofish", "wukongim", "volcengine", "dromara", "\"sim\""]
            .iter()
            .any(|name| code(line).contains(name))
    });
    none(
        "the core never sees a provider's protocol, so it has no reason to know one by name",
        &wrong,
    );
}

#[test]
fn only_the_bus_spells_a_subject() {
    let sources = files(&[".rs"]);
    let others = sources
        .iter()
        .filter(|file| file.is_below("bridge/src") && !file.is_below("bridge/src/bus"));
    let wrong = lines(others, |file, line| {
        let code = code(line);
        !is_test(file) && (code.contains(".v1.") || code.contains("$JS.") || code.contains("$KV."))
    });
    none(
        "subjects are spelt in bridge/src/bus/ only, so that there is one place to look",
        &wrong,
    );
}

#[test]
fn only_telemetry_names_opentelemetry() {
    let sources = files(&[".rs"]);
    let others = sources
        .iter()
        .filter(|file| file.is_below("bridge/src") && !file.is_below("bridge/src/telemetry"));
    let wrong = lines(others, |_, line| code(line).contains("opentelemetry"));
    none(
        "OpenTelemetry's API changes a few times a year; one folder follows it",
        &wrong,
    );
}

#[test]
fn tests_wait_for_conditions_and_never_sleep() {
    let sources = files(&[".rs"]);
    let tests = sources.iter().filter(|file| {
        is_test(file)
            && !file.is_below("tests/tidy")
            && !file.is_below("tests/simulators")
            && !file.is_below("tests/harness")
    });
    let wrong = lines(tests, |_, line| {
        // An adapter waits by its host's clock, which tests move.
        code(line).replace("cx.sleep(", "").contains("sleep(")
    });
    none(
        "a sleep is too short on a busy day and too long on all others: wait for a condition",
        &wrong,
    );
}

#[test]
fn files_can_be_read_in_one_sitting() {
    const LINES_MAX: usize = 700;
    let wrong: Vec<String> = files(&[".rs"])
        .into_iter()
        .map(|file| (file.text.lines().count(), file.path))
        .filter(|(count, _)| *count > LINES_MAX)
        .map(|(count, path)| format!("{path}: {count} lines"))
        .collect();
    none(
        "a file above 700 lines hides a seam; 150 to 300 are normal",
        &wrong,
    );
}

#[test]
fn nothing_is_left_to_do() {
    let sources = files(&[".rs"]);
    let wrong = lines(
        sources.iter().filter(|file| !file.is_below("tests/tidy")),
        |_, line| {
            ["TODO", "FIXME", "todo!(", "unimplemented!(", "dbg!("]
                .iter()
                .any(|mark| line.contains(mark))
        },
    );
    none("work left over is an issue, not a comment", &wrong);
}
