//! An `im-bridge` of the test's own, so that demos that run side by side do not meet: what a demo leaves for client commands
//! lies beside the executable.

use im_bridge::cli::demo::nats_server::{FindError, Found, Sources, find};
use im_bridge_test_harness::{eventually_within, skip};
use std::fs;
use std::future::ready;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Far above what anything takes on a busy machine.
pub const WITHIN: Duration = Duration::from_secs(120);
const PLUGIN: &str = "libim_bridge_adapter_sim.so";

/// The server to start, fetched at most once; `None` after saying loudly why nothing is tested.
pub fn server(test: &str) -> Option<PathBuf> {
    let mut sources = Sources::of_this_process(None);
    sources.url = None;
    match find(&sources) {
        Ok(Found::Program { program, .. }) => Some(program),
        Ok(Found::Running { .. }) => None,
        Err(error @ (FindError::None { .. } | FindError::Download { .. })) => {
            let help = error.help().unwrap_or_default();
            let reason = format!("no NATS server ({}); {help}", error.code());
            skip(&[test, "nats", "demo"], &reason);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A folder with an executable, its plugin, and a temporary folder for demos.
pub struct Home {
    folder: TempDir,
}

impl Home {
    pub fn new() -> Self {
        // Where the executable is, so that it need not be copied.
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let built = Path::new(env!("CARGO_BIN_EXE_im-bridge"));
        let link = |from: &Path, to: &Path| {
            if fs::hard_link(from, to).is_err() {
                fs::copy(from, to).unwrap();
            }
        };
        link(built, &folder.path().join("im-bridge"));
        fs::create_dir(folder.path().join("deps")).unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        let plugin = built.with_file_name("deps").join(PLUGIN);
        link(&plugin, &folder.path().join("deps").join(PLUGIN));
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where demos put their folders.
    pub fn temporary(&self) -> PathBuf {
        self.path().join("tmp")
    }

    /// What is left there.
    pub fn leavings(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.temporary()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.path().join("im-bridge"));
        command
            .args(args)
            .current_dir(self.path())
            .env("TMPDIR", self.temporary())
            .env_remove("IM_BRIDGE__NATS__URL")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// A program of the test's own, at the front of a PATH that has nothing else.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let folder = self.path().join("bin");
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join(name);
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

    /// Starts a demo that runs until it is told to end.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut command = self.command(&[&["demo"], args].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Running {
            child,
            lines,
            seen: Vec::new(),
        }
    }
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub said: String,
    pub aside: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            said: String::from_utf8(output.stdout).unwrap(),
            aside: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.said, self.aside);
        self
    }

    /// Lines of output with this in them.
    pub fn lines(&self, part: &str) -> usize {
        self.said.lines().filter(|line| line.contains(part)).count()
    }

    pub fn last(&self) -> &str {
        self.said.lines().last().unwrap_or_default()
    }
}

/// The numbers before these words.
#[track_caller]
pub fn number(line: &str, words: &str) -> usize {
    let before = line
        .split_once(words)
        .unwrap_or_else(|| panic!("no `{words}` in {line}"))
        .0;
    let digits = before.rsplit([' ', ';', ',']).next().unwrap();
    digits.parse().unwrap_or_else(|_| panic!("{line}"))
}

/// A demo under way; killed when dropped.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Waits for a line with all of these in it, after those that were waited for.
    #[track_caller]
    pub fn until(&mut self, parts: &[&str]) -> String {
        let until = Instant::now() + WITHIN;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line with {parts:?} in\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
        }
    }

    /// Waits for a line that is the same but for what the pattern takes out of it.
    #[track_caller]
    pub fn until_like(&mut self, line: &str, pattern: fn(&str) -> String) {
        let wanted = pattern(line);
        let until = Instant::now() + WITHIN;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line like `{wanted}` in\n{}", self.seen.join("\n"));
            };
            let is_it = pattern(&line) == wanted;
            self.seen.push(line);
            if is_it {
                return;
            }
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        // Our own child, not yet waited for: its id is nobody else's.
        rustix::process::kill_process(id, signal).unwrap();
    }

    pub fn ended(&mut self) -> ExitStatus {
        until("the demo's end", || self.child.try_wait().unwrap())
    }
}

/// Waits until the look returns `Some`.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(eventually_within(WITHIN, what, || ready(look())))
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
