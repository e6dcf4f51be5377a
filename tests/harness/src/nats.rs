//! NATS servers as processes: one, or three as a cluster.

use crate::process::signal_id;
use crate::skip::{is_required, tell};
use im_bridge::cli::demo::nats_server::{
    Found, Launch, Server, Sources, StartError, find, lasting_port,
};
use rustix::process::Signal;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

/// A proper stop closes the store and steps down as leader.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Attempts with other ports, when somebody was quicker.
const TRIES: usize = 5;

/// Whether the server has JetStream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jetstream {
    On,
    Off,
}

/// One server. It can be killed, frozen, stopped and started again on its port with its store.
pub struct Nats {
    launch: Launch,
    server: Option<Server>,
    url: String,
    /// Holds the store; removed with this value.
    _folder: Option<TempDir>,
}

impl Nats {
    /// One server with JetStream.
    pub fn start() -> Self {
        Self::start_with(Jetstream::On, &[])
    }

    /// One server with further arguments, such as `["--max_payload", …]` or `["-c", <file>]`.
    pub fn start_with(jetstream: Jetstream, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut launch = Launch::new(program(), folder.path());
        launch.has_jetstream = jetstream == Jetstream::On;
        launch.arguments = arguments.iter().map(|&one| one.to_owned()).collect();
        Self::launched(launch, Some(folder))
    }

    fn launched(launch: Launch, folder: Option<TempDir>) -> Self {
        Self::attempted(launch, folder).unwrap_or_else(|error| panic!("{error}"))
    }

    fn attempted(mut launch: Launch, folder: Option<TempDir>) -> Result<Self, StartError> {
        let server = Server::start_to_return(&mut launch)?;
        Ok(Self {
            url: server.url().to_owned(),
            launch,
            server: Some(server),
            _folder: folder,
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it wrote to its log since it was first started.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.launch.folder.join("log")).unwrap_or_default()
    }

    pub fn is_running(&self) -> bool {
        self.server.is_some()
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// SIGTERM; returns when it is gone.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop(STOP_WITHIN);
        }
    }

    /// SIGSTOP: its sockets stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Starts it again on its port with its store.
    pub fn restart(&mut self) {
        self.try_restart().unwrap_or_else(|error| panic!("{error}"));
    }

    fn try_restart(&mut self) -> Result<(), StartError> {
        self.kill();
        let server = Server::start(&self.launch)?;
        self.url = server.url().to_owned();
        self.launch.port = server.port();
        self.server = Some(server);
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        let Some(server) = &self.server else { return };
        signal_id(server.id(), signal);
    }
}

/// Three servers that replicate.
pub struct Cluster {
    pub nodes: Vec<Nats>,
    _folder: TempDir,
}

impl Cluster {
    /// Returns when the three run; they meet by themselves.
    pub fn start() -> Self {
        let mut tries = 0;
        loop {
            match Self::attempted() {
                Err(error) if error.is_port_taken() && tries < TRIES => tries += 1,
                Err(error) => panic!("{error}"),
                Ok(cluster) => return cluster,
            }
        }
    }

    fn attempted() -> Result<Self, StartError> {
        const NODES: usize = 3;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        // The nodes name each other before they run, so they cannot choose.
        let ports: Vec<u16> = (0..NODES).map(|_| lasting_port()).collect();
        let routes: Vec<String> = ports
            .iter()
            .map(|port| format!("nats://127.0.0.1:{port}"))
            .collect();
        let nodes: Result<Vec<Nats>, StartError> = ports
            .iter()
            .enumerate()
            .map(|(index, port)| {
                let name = format!("n{index}");
                let mut launch = Launch::new(program(), folder.path().join(&name));
                launch.arguments = [
                    "-n",
                    &name,
                    "--cluster_name",
                    "harness",
                    "--cluster",
                    &format!("nats://127.0.0.1:{port}"),
                    "--routes",
                    &routes.join(","),
                ]
                .map(str::to_owned)
                .into();
                Nats::attempted(launch, None)
            })
            .collect();
        Ok(Self {
            nodes: nodes?,
            _folder: folder,
        })
    }

    /// All addresses, comma-separated, as clients take them.
    pub fn urls(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|node| node.url().to_owned())
            .collect()
    }

    /// The node with this name, as the server calls itself.
    pub fn node(&mut self, name: &str) -> &mut Nats {
        let index: usize = name
            .strip_prefix('n')
            .and_then(|index| index.parse().ok())
            .unwrap_or_else(|| panic!("no node is called {name}"));
        &mut self.nodes[index]
    }
}

/// The program to start; found once in a test process.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM
        .get_or_init(|| {
            let mut sources = Sources::of_this_process(None);
            // Tests that kill a server cannot use somebody else's.
            sources.url = None;
            match find(&sources) {
                Ok(Found::Program { program, .. }) => program,
                Ok(Found::Running { .. }) => unreachable!("no URL was given"),
                Err(error) => skip(&format!("{error}"), error.help().unwrap_or_default()),
            }
        })
        .clone()
}

/// Every test that asks for a server is one of a target whose tests all do: without one there is nothing to test, and the
/// target ends here, as a failure where the server is required.
fn skip(reason: &str, remedy: &str) -> ! {
    let reason = reason.lines().next().unwrap_or_default();
    let remedy = remedy.lines().next().unwrap_or_default();
    tell("nats", &format!("{reason}; {remedy}"));
    std::process::exit(i32::from(is_required(&["nats"])))
}
