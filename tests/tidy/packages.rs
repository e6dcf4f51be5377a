//! Rules about packages and what they depend on.

use crate::tree::{File, files, none, root};
use std::process::Command;
use toml_edit::DocumentMut;

fn manifests() -> Vec<(File, DocumentMut)> {
    files(&["Cargo.toml"])
        .into_iter()
        .filter(|file| file.path != "Cargo.toml")
        .map(|file| {
            let manifest = file.text.parse().expect("cargo reads it, too");
            (file, manifest)
        })
        .collect()
}

/// Names of our own packages that this one builds with, tests aside.
fn own_dependencies(manifest: &DocumentMut) -> Vec<String> {
    manifest
        .get("dependencies")
        .and_then(|table| table.as_table_like())
        .into_iter()
        .flat_map(|table| {
            table
                .iter()
                .map(|(name, _)| name.to_owned())
                .collect::<Vec<_>>()
        })
        .filter(|name| name.starts_with("im-bridge"))
        .collect()
}

#[test]
fn packages_use_only_those_of_ours_that_they_may() {
    let mut wrong = Vec::new();
    for (file, manifest) in manifests() {
        let may: &[&str] = match file.path.as_str() {
            "plugin-api/Cargo.toml" => &[],
            "plugin-api/sdk/Cargo.toml" => &["im-bridge-plugin-api"],
            "bridge/Cargo.toml" => &[
                "im-bridge-plugin-api",
                "im-bridge-sdk",
                "im-bridge-adapter-sim",
            ],
            // Sim is no stranger's protocol: the provider that its adapter talks to is the one that it brings.
            // Its test compares the process with the plugin in a mock host, which the SDK has.
            "tests/simulators/Cargo.toml" => &["im-bridge-adapter-sim", "im-bridge-sdk"],
            path if path.starts_with("adapters/") => &["im-bridge-sdk"],
            _ => continue,
        };
        for name in own_dependencies(&manifest) {
            if !may.contains(&name.as_str()) {
                wrong.push(format!("{}: {name}", file.path));
            }
        }
    }
    none(
        "adapters use the SDK only, the contract uses nothing, simulators share no code with adapters",
        &wrong,
    );
}

#[test]
fn the_contract_depends_on_nothing() {
    let wrong: Vec<String> = manifests()
        .into_iter()
        .filter(|(file, _)| file.path == "plugin-api/Cargo.toml")
        .flat_map(|(_, manifest)| {
            ["dependencies", "build-dependencies"]
                .into_iter()
                .filter(|table| manifest.contains_key(table))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    none("plugin-api must outlive every library", &wrong);
}

#[test]
fn every_package_takes_the_workspace_lints() {
    let wrong: Vec<String> = manifests()
        .into_iter()
        // Foreign clients are no part of the workspace.
        .filter(|(file, _)| !file.is_below("tests/foreign"))
        .filter(|(_, manifest)| manifest["lints"]["workspace"].as_bool() != Some(true))
        .map(|(file, _)| file.path)
        .collect();
    none("[lints] workspace = true", &wrong);
}

#[test]
fn no_manifest_enables_the_test_hooks() {
    let wrong: Vec<String> = manifests()
        .into_iter()
        .filter(|(file, _)| file.path != "plugin-api/sdk/Cargo.toml")
        .filter(|(file, _)| file.text.contains("test-hooks"))
        .map(|(file, _)| file.path)
        .collect();
    none(
        "unified into `cargo test`, the feature would mark every plugin there as a test build",
        &wrong,
    );
}

#[test]
fn building_needs_rust_and_a_c_linker_only() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let tree = Command::new(cargo)
        .args([
            "tree",
            "--workspace",
            "--locked",
            "--offline",
            "-e",
            "normal,build,dev",
            "--prefix",
            "none",
            "-f",
            "{p}",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs this test");
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let banned = [
        "openssl-sys",
        "aws-lc-sys",
        "aws-lc-rs",
        "cmake",
        "prost-build",
        "protoc",
        "native-tls",
        "bindgen",
    ];
    let wrong: Vec<String> = String::from_utf8_lossy(&tree.stdout)
        .lines()
        .filter(|line| {
            line.split(' ')
                .next()
                .is_some_and(|name| banned.contains(&name))
        })
        .map(str::to_owned)
        .collect();
    none(
        "these need a program or a library that Rust does not bring",
        &wrong,
    );
}
