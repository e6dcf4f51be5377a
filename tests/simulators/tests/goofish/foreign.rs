//! Programs of others, and one in another language, against the simulator.

use crate::client::Provider;
use im_bridge_test_harness::skip;
use std::path::{Path, PathBuf};
use std::process::Command;

const CLIENT: &str = "goofish-client";
/// As published, pinned.
const VERSION: &str = "1.4.0";

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../foreign/goofish")
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}\n{said}{why}", output.status))
}

/// A folder with the client, made once below `target`; else why there is none.
fn installed() -> Result<PathBuf, String> {
    run(Command::new("node").arg("--version"))?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{CLIENT}-{VERSION}"));
    if folder.join("installed").exists() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    std::fs::write(folder.join("package.json"), r#"{ "private": true }"#)
        .map_err(|error| error.to_string())?;
    let quietly = ["install", "--no-audit", "--no-fund", "--ignore-scripts"];
    let npm = run(Command::new("npm")
        .args(quietly)
        .arg(format!("{CLIENT}@{VERSION}"))
        .current_dir(&folder));
    npm.map_err(|error| error.lines().last().unwrap_or("npm fails").to_owned())?;
    std::fs::write(folder.join("installed"), "").map_err(|error| error.to_string())?;
    Ok(folder)
}

#[tokio::test]
async fn the_public_client_talks_through_it() {
    let folder = match installed() {
        Ok(folder) => folder,
        Err(reason) => {
            let reason = format!("{reason}; install node and npm, with a registry in reach");
            return skip(&["npm", "the_public_client_talks_through_it"], &reason);
        }
    };
    let provider = Provider::start();
    let talk = scripts().join("talk.cjs");
    let mut command = Command::new("node");
    command
        .arg(talk)
        .arg(folder)
        .args([&provider.http, &provider.ws]);
    let said = tokio::task::spawn_blocking(move || run(&mut command))
        .await
        .unwrap();
    let said = said.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        said.lines().filter(|line| line.starts_with("ok ")).count(),
        14,
        "{said}"
    );
}

#[tokio::test]
async fn a_script_that_follows_the_page_talks_through_it() {
    if let Err(reason) = run(Command::new("python3").arg("--version")) {
        return skip(&["python", "a_script_that_follows_the_page"], &reason);
    }
    let provider = Provider::start();
    let mut command = Command::new("python3");
    command
        .arg(scripts().join("page.py"))
        .args([&provider.http, &provider.ws]);
    let said = tokio::task::spawn_blocking(move || run(&mut command))
        .await
        .unwrap();
    let said = said.unwrap_or_else(|error| panic!("{error}"));
    assert!(said.ends_with("all is as the page says\n"), "{said}");
}
