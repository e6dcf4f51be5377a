//! The bridge as a process of its own, with its configuration, plugins and probes.

use crate::process::signal_child;
use rustix::process::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long the process may take to say where it listens.
const LISTENS_WITHIN: Duration = Duration::from_secs(30);
/// A probe is answered by a thread of its own.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// One replica. It is killed with this value, by its process id.
pub struct Bridge {
    child: Child,
    admin: SocketAddr,
    log: Arc<Log>,
    files: Arc<Files>,
}

/// What a replica is started with; several may share it.
pub struct Files {
    folder: TempDir,
    program: PathBuf,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    /// None: a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What could be read is shown.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn ended(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < within {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<Value>>,
    more: Condvar,
    /// What is no line of the log: standard error, and whatever else came out.
    other: Mutex<String>,
}

impl Log {
    fn also(&self, line: &str) {
        let mut other = self.other.lock().unwrap_or_else(|it| it.into_inner());
        other.push_str(line);
        other.push('\n');
    }
}

impl Files {
    /// `program` is `env!("CARGO_BIN_EXE_im-bridge")`. The plugin folder holds the sim adapter, which is built with it.
    pub fn new(program: &str, config: &Value) -> Arc<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let plugins = folder.path().join("plugins");
        std::fs::create_dir(&plugins).expect("the folder is new");
        std::fs::copy(sim_plugin(), plugins.join("libsim.so")).expect("the folder has room");
        let files = Self {
            folder,
            program: program.into(),
        };
        files.configure(config);
        Arc::new(files)
    }

    /// What starts a replica, for whoever expects it to end by itself.
    pub fn run(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["--set", &format!("nats.name={name}"), "--config"])
            .arg(self.folder.path().join("bridge.json"))
            .arg("run")
            .arg("--plugin-dir")
            .arg(self.folder.path().join("plugins"));
        command
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command with this configuration to its end, which must come within this time.
    pub fn run_to_end(&self, args: &[&str], within: Duration) -> Ran {
        let mut child = Command::new(&self.program)
            .arg("--config")
            .arg(self.folder.path().join("bridge.json"))
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be run");
        let out = read_all(child.stdout.take().expect("it is piped"));
        let err = read_all(child.stderr.take().expect("it is piped"));
        let status = ended(&mut child, within);
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let text = |reader: JoinHandle<String>| reader.join().expect("reading does not panic");
        let (out, err) = (text(out), text(err));
        let Some(status) = status else {
            panic!("{args:?} goes on for more than {within:?}: {out}{err}");
        };
        Ran {
            code: status.code(),
            out,
            err,
        }
    }

    /// Replaces the configuration, in one step.
    pub fn configure(&self, config: &Value) {
        self.write("bridge.json", &config.to_string());
    }

    /// Writes a file beside the configuration, in one step; where it is.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let (new, path) = (
            self.folder.path().join("new"),
            self.folder.path().join(name),
        );
        std::fs::write(&new, text).expect("the folder has room");
        std::fs::rename(&new, &path).expect("both are in one folder");
        path
    }
}

impl Files {
    /// Where plugin files are looked for.
    pub fn plugins(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }

    /// Puts a plugin file there, in one step.
    pub fn drop_plugin(&self, name: &str, content: &[u8]) {
        let new = self.folder.path().join("new.so");
        std::fs::write(&new, content).expect("the folder has room");
        std::fs::rename(&new, self.plugins().join(name)).expect("both are on one file system");
    }
}

/// The sim adapter's file with texts in it replaced by others of the same length, which makes another version of it:
/// descriptor, entry and description all take theirs from the same text.
pub fn sim_with(texts: &[(&str, &str)]) -> Vec<u8> {
    let mut file = std::fs::read(sim_plugin()).expect("it was built");
    for (text, other) in texts {
        assert_eq!(text.len(), other.len(), "{text} and {other}");
        let mut from = 0;
        let mut is_there = false;
        while let Some(at) = find(&file[from..], text.as_bytes()) {
            file[from + at..from + at + text.len()].copy_from_slice(other.as_bytes());
            from += at + text.len();
            is_there = true;
        }
        assert!(is_there, "the file does not contain {text}");
    }
    file
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle[0];
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| *byte == first) {
        if haystack[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// The sim adapter, beside the test's own program.
fn sim_plugin() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a program");
    let file = own.with_file_name("libim_bridge_adapter_sim.so");
    assert!(
        file.exists(),
        "{} is not there; build with the default features",
        file.display()
    );
    file
}

impl Bridge {
    /// Starts a replica; returns when its probes are answered. `name` is `nats.name`.
    pub fn start(files: &Arc<Files>, name: &str) -> Self {
        Self::start_with(files, name, &[])
    }

    /// [`Self::start`] with variables, beside those of this process.
    pub fn start_with(files: &Arc<Files>, name: &str, variables: &[(&str, &str)]) -> Self {
        let mut child = files
            .run(name)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be run");
        let log = Arc::new(Log::default());
        let complaints = BufReader::new(child.stderr.take().expect("it is piped"));
        let heard = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in complaints.lines().map_while(Result::ok) {
                eprintln!("{line}");
                heard.also(&line);
            }
        });
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        let (telling, is_shown) = (
            Arc::clone(&log),
            std::env::var_os("IM_BRIDGE_SHOW").is_some(),
        );
        let name = name.to_owned();
        std::thread::spawn(move || {
            for text in lines.lines().map_while(Result::ok) {
                if is_shown {
                    eprintln!("{name}: {text}");
                }
                if let Ok(line) = serde_json::from_str(&text) {
                    telling
                        .lines
                        .lock()
                        .unwrap_or_else(|it| it.into_inner())
                        .push(line);
                    telling.more.notify_all();
                } else {
                    telling.also(&text);
                }
            }
        });
        let admin = wait_for_line(&log, &mut child, |line| {
            line["admin"]
                .as_str()
                .and_then(|address| address.parse().ok())
        });
        Self {
            child,
            admin,
            log,
            files: Arc::clone(files),
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its probes are.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What it was started with.
    pub fn files(&self) -> &Arc<Files> {
        &self.files
    }

    /// Lines of the log so far.
    pub fn log(&self) -> Vec<Value> {
        self.log
            .lines
            .lock()
            .unwrap_or_else(|it| it.into_inner())
            .clone()
    }

    /// Standard error, and what of standard output is no line of the log.
    pub fn other_output(&self) -> String {
        let other = self.log.other.lock();
        other.unwrap_or_else(|it| it.into_inner()).clone()
    }

    /// How many lines of the log say this.
    pub fn said(&self, text: &str) -> usize {
        let lines = self.log();
        lines
            .iter()
            .filter(|line| line.to_string().contains(text))
            .count()
    }

    /// Status and body of a GET; 0 when nobody listens any more.
    pub fn get(&self, path: &str) -> (u16, String) {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&self.admin, ANSWERS_WITHIN)?;
            stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
            write!(
                stream,
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().unwrap_or_default();
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.unwrap_or(0), body.to_owned())
    }

    /// The status document.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.get("/api/status").1).unwrap_or_default()
    }

    /// One account of the status document, if this replica owns it: `sim/demo`.
    pub fn account(&self, name: &str) -> Option<Value> {
        let status = self.status();
        let accounts = status["accounts"].as_array()?;
        let is_it = |account: &&Value| {
            let of = |key: &str| account[key].as_str().unwrap_or_default().to_owned();
            format!("{}/{}", of("provider"), of("account")) == name
        };
        accounts.iter().find(is_it).cloned()
    }

    /// An owned account's state, such as `online`.
    pub fn state(&self, name: &str) -> Option<String> {
        let account = self.account(name)?;
        account["state"]["state"].as_str().map(str::to_owned)
    }

    /// The value of a metric, with its labels as they stand in the text.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.get("/metrics").1;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line?.parse().ok()
    }

    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGSTOP: its sockets stay open and nothing in it runs.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("it is our child");
    }

    /// How it ended; none within this time.
    pub fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        ended(&mut self.child, within)
    }

    fn signal(&self, signal: Signal) {
        signal_child(&self.child, signal);
    }

    /// Memory of the process that is not shared with others, in KiB.
    pub fn memory_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("the process runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
            .expect("the kernel tells it")
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for_line<T>(log: &Log, child: &mut Child, find: impl Fn(&Value) -> Option<T>) -> T {
    let start = Instant::now();
    let mut lines = log.lines.lock().unwrap_or_else(|it| it.into_inner());
    loop {
        if let Some(found) = lines.iter().find_map(&find) {
            return found;
        }
        if let Ok(Some(status)) = child.try_wait() {
            panic!("the bridge ended at its start: {status}");
        }
        assert!(
            start.elapsed() < LISTENS_WITHIN,
            "the bridge does not say where it listens"
        );
        let waited = log.more.wait_timeout(lines, Duration::from_millis(50));
        lines = waited.map_or_else(|it| it.into_inner().0, |(lines, _)| lines);
    }
}
