//! The command line as a shell sees it: what it prints where, and how it ends.
//!
//! Client commands meet a real NATS, on which the test writes and answers as a bridge would.
//!
//! Not here: the service itself (`operations`), plugin files (`loader`).
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod check;
mod commands;
mod config;
mod conventions;
mod dead_letters;
mod errors;
mod generated;
mod golden;
mod hostile;
mod plugins;
mod roles;
mod running;
mod tap;
mod world;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A folder of its own to work in.
pub(crate) struct Place {
    folder: TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) data: String,
    pub(crate) aside: String,
}

impl Ran {
    fn new(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            data: String::from_utf8(output.stdout).unwrap(),
            aside: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Each line of data.
    pub(crate) fn items(&self) -> Vec<serde_json::Value> {
        let lines = self.data.lines();
        lines
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }

    /// The code of the error, as text output has it.
    #[track_caller]
    pub(crate) fn failed(&self, exit: i32, code: &str) {
        let is_told = self.aside.contains(&format!("error[{code}]: "));
        let names_help = self
            .aside
            .contains(&format!("see: im-bridge explain {code}"));
        assert!(
            self.code == exit && is_told && names_help,
            "wanted {exit} {code}: {self:?}"
        );
    }

    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The real adapter of the simulated provider, in a plugin folder of its own.
    pub(crate) fn with_plugin(&self) -> PathBuf {
        let built = Path::new(env!("CARGO_BIN_EXE_im-bridge")).parent().unwrap();
        let plugin = built.join("deps/libim_bridge_adapter_sim.so");
        let folder = self.path().join("plugins");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(&plugin, folder.join("sim.so")).unwrap();
        folder
    }

    /// The command, with nothing of this process's surroundings.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_im-bridge"));
        command
            .args(args)
            .current_dir(self.path())
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("IM_BRIDGE") || name == "NO_COLOR" {
                command.env_remove(name);
            }
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::new(self.command(args).output().unwrap())
    }
}
