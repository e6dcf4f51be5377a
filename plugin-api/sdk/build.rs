//! Tells the descriptor what it was built for and with: the target triple and the compiler's version.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").expect("cargo sets TARGET for build scripts");
    println!("cargo::rustc-env=IM_BRIDGE_SDK_TARGET={target}");
    let rustc = std::env::var("RUSTC").expect("cargo sets RUSTC for build scripts");
    let version = Command::new(rustc)
        .arg("-V")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_default();
    // "rustc 1.95.0 (59807616e 2026-04-14)": the first two words are what messages need.
    let words: Vec<&str> = version.split_whitespace().take(2).collect();
    println!("cargo::rustc-env=IM_BRIDGE_SDK_RUSTC={}", words.join(" "));
}
