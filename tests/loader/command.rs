//! The command line about plugin files, as a shell sees it.

use super::{NONE, Workshop};
use std::process::{Command, Output, Stdio};

fn im_bridge(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_im-bridge"));
    command.args(args);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn list_shows_accepted_and_refused_files() {
    let shop = Workshop::new();
    let good = shop.plugin("good", NONE);
    shop.file("bad.so", "#!/bin/sh\n");
    let folder = shop.path();
    let folder = folder.to_str().unwrap();
    let listed = im_bridge(&[
        "plugin",
        "list",
        "--plugin-dir",
        folder,
        "--stage",
        "memory",
    ]);
    assert_eq!(listed.status.code(), Some(0));
    let hash = im_bridge::loader::Sha256::of(&std::fs::read(&good).unwrap());
    assert_eq!(
        text(&listed.stdout).replace(folder, "<dir>"),
        format!(
            "× cannot load <dir>/bad.so: is not an ELF shared library (begins with 23 21 2f 62); \
             build it as a cdylib   plugin_not_elf\n\
             √ zoo 1.0.0 ({})  <dir>/good.so\n",
            hash.short()
        )
    );

    let listed = im_bridge(&[
        "plugin",
        "list",
        "--plugin-dir",
        folder,
        "--stage",
        "memory",
        "--json",
    ]);
    let document: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(
        document["plugins"][0]["refusals"][0]["code"],
        "plugin_not_elf"
    );
    assert_eq!(document["plugins"][1]["sha256"], hash.to_string());
    assert_eq!(document["plugins"][1]["used"], true);
}

#[test]
fn inspect_tells_every_problem_and_runs_nothing() {
    let shop = Workshop::new();
    let good = shop.plugin("good", &["-DNULL_ENTRY"]);
    let inspected = im_bridge(&["plugin", "inspect", good.to_str().unwrap()]);
    assert_eq!(
        inspected.status.code(),
        Some(0),
        "what its code does is not looked at"
    );
    assert!(text(&inspected.stdout).contains("adapter   zoo 1.0.0\n"));
    assert!(text(&inspected.stdout).ends_with("√ trust\n√ content\n√ inspect\n"));

    let bad = shop.plugin("bad", &["-DEXTRA_EXPORTS", "-Wl,-z,execstack"]);
    let inspected = im_bridge(&["plugin", "inspect", bad.to_str().unwrap()]);
    assert_eq!(inspected.status.code(), Some(2));
    let lines = text(&inspected.stdout);
    assert!(
        lines.contains("   plugin_exports\n") && lines.contains("   plugin_hardening\n"),
        "{lines}"
    );
    let error = text(&inspected.stderr);
    assert!(
        error.starts_with("error[plugin_exports]: cannot load zoo 1.0.0 ("),
        "{error}"
    );
    assert!(
        error.ends_with("  = see: im-bridge explain plugin_exports\n"),
        "{error}"
    );
}

#[test]
fn a_pin_is_printed_or_added() {
    let shop = Workshop::new();
    let file = shop.plugin("p", NONE);
    let file = file.to_str().unwrap();
    let printed = im_bridge(&["plugin", "pin", file]);
    let hash = im_bridge::loader::Sha256::of(&std::fs::read(file).unwrap());
    assert_eq!(
        text(&printed.stdout),
        format!("\"{hash}\" = \"zoo 1.0.0\"\n")
    );

    let lock = shop.file("lock.toml", "# agreed\n[pins]\n");
    let lock = lock.to_str().unwrap();
    for _ in 0..2 {
        let added = im_bridge(&["plugin", "pin", file, "--lock", lock]);
        assert_eq!(
            (added.status.code(), text(&added.stdout).as_str()),
            (Some(0), "")
        );
    }
    let content = std::fs::read_to_string(lock).unwrap();
    assert_eq!(
        content,
        format!("# agreed\n[pins]\n{hash} = \"zoo 1.0.0\"\n")
    );

    let folder = shop.path();
    let folder = folder.to_str().unwrap();
    let required = ["--require", "pin", "--lock-file", lock, "--stage", "memory"];
    let listed = im_bridge(&[&["plugin", "list", "--plugin-dir", folder], &required[..]].concat());
    assert!(text(&listed.stdout).starts_with("√ zoo 1.0.0"));
}

#[test]
fn a_lock_file_that_is_none_is_told_with_its_code() {
    let shop = Workshop::new();
    let lock = shop.file("lock.toml", "[pin]\n");
    let listed = im_bridge(&["plugin", "list", "--lock-file", lock.to_str().unwrap()]);
    assert_eq!(listed.status.code(), Some(2));
    assert_eq!(
        text(&listed.stderr).replace(shop.path().to_str().unwrap(), "<dir>"),
        "error[config_syntax]: <dir>/lock.toml: the key `pin` is not expected here; \
         write a table [pins] with lines \"<sha256>\" = \"<note>\"\n  = see: im-bridge explain config_syntax\n"
    );
}

#[test]
fn explain_knows_its_codes_and_the_nearest_one() {
    let known = im_bridge(&["explain", "plugin_not_elf"]);
    assert_eq!(known.status.code(), Some(0));
    assert!(text(&known.stdout).starts_with("plugin_not_elf\n\nThe file is no shared library"));
    let last_of_its_group = im_bridge(&["explain", "plugin_duplicate"]);
    assert!(text(&last_of_its_group.stdout).ends_with("raise the version of one.\n"));
    let unknown = im_bridge(&["explain", "plugin_not_elve"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("did you mean `plugin_not_elf`?"));
}

#[test]
fn a_closed_pipe_is_the_readers_choice() {
    let mut child = command(&["explain", "plugin_not_elf"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!(
        (done.status.code(), text(&done.stderr).as_str()),
        (Some(0), "")
    );
}

#[test]
fn colour_is_for_those_who_ask() {
    let refused = |args: &[&str]| {
        text(&im_bridge(&[&["plugin", "inspect", "/dev/null"], args].concat()).stderr)
    };
    assert!(
        refused(&["--color", "always"]).starts_with("\x1b[1;31merror[plugin_not_a_file]\x1b[0m: ")
    );
    assert!(refused(&[]).starts_with("error[plugin_not_a_file]: "));
}

#[test]
fn nothing_starts_by_accident() {
    let bare = im_bridge(&[]);
    assert_eq!(bare.status.code(), Some(2));
    assert!(text(&bare.stderr).contains("Usage: im-bridge"));
}
