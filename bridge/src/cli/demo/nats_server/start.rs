//! Starts a server on a free port and ends it.

use super::error::StartError;
use crate::cli::demo::watched;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A server on two busy cores is up after some 50 ms; a cluster node that reads a large store may need seconds.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Attempts with other ports, when somebody was quicker.
const TRIES: usize = 5;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How a server is to run.
#[derive(Clone, Debug)]
pub struct Launch {
    pub program: PathBuf,
    /// Its store, its ports file and its log; made if missing.
    pub folder: PathBuf,
    /// `None`: any free one.
    pub port: Option<u16>,
    pub has_jetstream: bool,
    /// An `im-bridge` through which it is started, so that it dies with this process.
    pub watched_by: Option<PathBuf>,
    /// Further arguments: of a cluster node, or a configuration file.
    pub arguments: Vec<String>,
}

impl Launch {
    /// One server with JetStream on a free port of the loopback, its store in this folder.
    pub fn new(program: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            folder: folder.into(),
            port: None,
            has_jetstream: true,
            watched_by: None,
            arguments: Vec::new(),
        }
    }

    fn arguments(&self) -> Vec<String> {
        let folder = self.folder.display().to_string();
        let port = self.port.map_or("-1".to_owned(), |port| port.to_string());
        let mut all: Vec<String> = ["-a", "127.0.0.1", "-p", &port, "-m", "-1"]
            .map(str::to_owned)
            .into();
        if self.has_jetstream {
            all.extend([
                "-js".to_owned(),
                "-sd".to_owned(),
                format!("{folder}/store"),
            ]);
        }
        all.extend(["--ports_file_dir".to_owned(), folder.clone()]);
        all.extend(["-l".to_owned(), format!("{folder}/log")]);
        all.extend(self.arguments.iter().cloned());
        all
    }

    fn command(&self) -> Command {
        let mut command = match &self.watched_by {
            None => Command::new(&self.program),
            Some(bridge) => {
                let mut command = Command::new(bridge);
                command
                    .arg(watched::SUBCOMMAND)
                    .args(["--parent", &std::process::id().to_string(), "--"])
                    .arg(&self.program);
                command
            }
        };
        command
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// A running server; dropping it ends it at once.
#[derive(Debug)]
pub struct Server {
    child: Child,
    url: String,
    monitor_url: Option<String>,
    program: PathBuf,
    folder: PathBuf,
}

impl Server {
    /// Returns when the server takes connections; blocks for some 50 ms.
    pub fn start(launch: &Launch) -> Result<Self, StartError> {
        let in_folder = |source| StartError::Folder {
            folder: launch.folder.clone(),
            source,
        };
        std::fs::create_dir_all(&launch.folder).map_err(in_folder)?;
        let child = spawn(launch.command()).map_err(|source| StartError::Spawn {
            program: launch.program.clone(),
            source,
        })?;
        // From here on an early return ends the child: it is in the guard.
        let mut server = Self {
            child,
            url: String::new(),
            monitor_url: None,
            program: launch.program.clone(),
            folder: launch.folder.clone(),
        };
        let ports = server.wait_for_ports(launch)?;
        server.url = ports.nats.into_iter().next().unwrap_or_default();
        server.monitor_url = ports.monitoring.into_iter().next();
        Ok(server)
    }

    /// On a port that stays free while the server is down, so that it can be started again with this launch.
    pub fn start_to_return(launch: &mut Launch) -> Result<Self, StartError> {
        let mut tries = 0;
        loop {
            launch.port = Some(lasting_port());
            match Self::start(launch) {
                Err(error) if error.is_port_taken() && tries < TRIES => tries += 1,
                done => return done,
            }
        }
    }

    /// `nats://127.0.0.1:<port>`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `http://127.0.0.1:<port>`
    pub fn monitor_url(&self) -> Option<&str> {
        self.monitor_url.as_deref()
    }

    pub fn port(&self) -> Option<u16> {
        self.url.rsplit(':').next()?.parse().ok()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        log(&self.folder)
    }

    /// Ends it without warning, as a power cut would, and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks it to end, so that it closes its store and steps down as leader; kills it after `within`.
    pub fn stop(mut self, within: Duration) {
        let id = rustix::process::Pid::from_child(&self.child);
        let asked = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let until = Instant::now() + within;
        while asked.is_ok() && Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.end();
    }

    fn end(&mut self) {
        // Either fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(self.ports_file());
    }

    fn ports_file(&self) -> PathBuf {
        // The server takes the name from its own file's.
        let program = self.program.file_name().unwrap_or_default().display();
        self.folder
            .join(format!("{program}_{}.ports", self.child.id()))
    }

    fn wait_for_ports(&mut self, launch: &Launch) -> Result<Ports, StartError> {
        let file = self.ports_file();
        let until = Instant::now() + READY_WITHIN;
        loop {
            // Written in one go and renamed or not: text that does not parse yet is read again.
            if let Ok(text) = std::fs::read(&file)
                && let Ok(ports) = serde_json::from_slice::<Ports>(&text)
                && !ports.nats.is_empty()
            {
                return Ok(ports);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(StartError::Ended {
                    program: launch.program.clone(),
                    status,
                    said: last_lines(&self.log()),
                });
            }
            if Instant::now() > until {
                return Err(StartError::Silent {
                    program: launch.program.clone(),
                    within_s: READY_WITHIN.as_secs(),
                    said: last_lines(&self.log()),
                });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// A port that was free a moment ago, below the range from which the system takes ports for outgoing connections: one of
/// those would take it while the server is down.
pub fn lasting_port() -> u16 {
    const PORTS: std::ops::Range<u16> = 10_000..32_000;
    loop {
        let port = fastrand::u16(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

#[derive(serde::Deserialize)]
struct Ports {
    #[serde(default)]
    nats: Vec<String>,
    #[serde(default)]
    monitoring: Vec<String>,
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn last_lines(log: &str) -> String {
    const LINES: usize = 5;
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join(" / ")
}

type Order = (Command, SyncSender<std::io::Result<Child>>);

/// Spawns from a thread that ends with the process: the kernel's notice of a parent's death is that of the thread that
/// spawned, and a test's thread ends with its test.
fn spawn(command: Command) -> std::io::Result<Child> {
    static ORDERS: OnceLock<Mutex<SyncSender<Order>>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (orders, incoming) = sync_channel::<Order>(0);
        std::thread::spawn(move || {
            for (mut command, answer) in incoming {
                // Whoever asked waits for it.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, child) = sync_channel(1);
    let gone = |_| std::io::Error::other("the spawning thread is gone");
    let orders = orders
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    orders.send((command, answer)).map_err(|_| gone(()))?;
    child.recv().map_err(|_| gone(()))?
}
