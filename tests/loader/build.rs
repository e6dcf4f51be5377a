//! Builds plugin files from `plugin.c`, each test's own, in a folder that goes away with it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder for one test's plugin files.
pub struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("im-bridge-test-")
            .tempdir()
            .unwrap();
        Self { folder }
    }

    /// The folder, links resolved.
    pub fn path(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    /// `<name>.so` from `plugin.c`, with further arguments for the compiler.
    pub fn plugin<A: AsRef<OsStr>>(&self, name: &str, args: &[A]) -> PathBuf {
        let file = self.path().join(format!("{name}.so"));
        compile(&root().join("tests/loader/plugin.c"), &file, args);
        file
    }

    /// A file with this content.
    #[allow(
        dead_code,
        reason = "shared by two test targets, not all of it is used in both"
    )]
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.path().join(name);
        std::fs::write(&file, content).unwrap();
        file
    }
}

/// Calls the C compiler for a shared library.
pub fn compile<A: AsRef<OsStr>>(source: &Path, file: &Path, args: &[A]) {
    let output = Command::new("cc")
        .args([
            "-shared",
            "-fPIC",
            "-fvisibility=hidden",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
        ])
        .arg("-I")
        .arg(root().join("plugin-api/include"))
        .arg("-o")
        .args([file, source])
        .args(args)
        .output()
        .expect("building from source needs a C linker, which is `cc`");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cc refused:\n{complaint}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
