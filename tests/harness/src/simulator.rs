//! Providers as processes of their own, and whoever plays them: a director for the sim adapter's, a control for each other.

use crate::Control;
use crate::process::signal_child;
use futures_util::{SinkExt, StreamExt};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// The provider answers orders at once, whatever happens to bridges and servers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// Entries of the record at a time: as many as the provider gives.
const PAGE: usize = 10_000;
/// The sim adapter's provider, on a free port.
const SIM: [&str; 3] = ["sim", "--ws", "127.0.0.1:0"];

/// A provider in a process of its own, which outlives bridges. It ends with this value.
pub struct Simulator {
    child: Child,
    /// What it printed: where each of its protocols listens.
    told: Value,
}

impl Simulator {
    /// The sim adapter's provider, built if it has to be.
    pub fn start() -> Self {
        Self::started(program().args(SIM))
    }

    /// Any provider's, by its subcommand: `Simulator::of("goofish", &["--http", "127.0.0.1:0", "--ws", "127.0.0.1:0"])`.
    pub fn of(provider: &str, arguments: &[&str]) -> Self {
        Self::started(program().arg(provider).args(arguments))
    }

    /// The same from this file.
    pub fn start_program(program: &Path) -> Self {
        Self::started(Command::new(program).args(SIM))
    }

    fn started(command: &mut Command) -> Self {
        let mut child = command
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program can be run");
        let mut line = String::new();
        let told = BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line);
        told.expect("it says where it listens");
        let told = serde_json::from_str(&line).expect("it says where it listens, in JSON");
        Self { child, told }
    }

    pub fn url(&self) -> &str {
        self.address("ws")
    }

    /// Where it listens for this: `http`, `ws`, ... as it printed them.
    pub fn address(&self, of: &str) -> &str {
        let address = self.told[of].as_str();
        address.unwrap_or_else(|| panic!("no address for {of} in {}", self.told))
    }

    /// Steers a simulator that serves `/_sim/` on its HTTP address.
    pub fn control(&self) -> Control {
        Control::new(self.address("http"))
    }

    /// SIGSTOP: its connections stay open, it is told things and answers nothing.
    pub fn freeze(&self) {
        signal_child(&self.child, Signal::STOP);
    }

    /// SIGCONT
    pub fn thaw(&self) {
        signal_child(&self.child, Signal::CONT);
    }
}

/// The simulators' program: the one that was built with this test, else cargo makes it. Not always cargo: it would wait for
/// every other build of this folder, and one package alone is built with other features than all of them.
fn program() -> Command {
    let test = std::env::current_exe().expect("a test has a file");
    let built = test.ancestors().nth(2).map(|profile| {
        let program = profile.join("im-bridge-test-simulators");
        let adapter = profile.join("deps/libim_bridge_adapter_sim.so");
        (program, adapter)
    });
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../simulators/src");
    if let Some((program, adapter)) = built
        && changed(&program)
            .is_some_and(|made| Some(made) >= changed(&adapter) && Some(made) >= newest(&sources))
    {
        return Command::new(program);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "-q", "-p", "im-bridge-test-simulators", "--"]);
    command
}

fn changed(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|it| it.modified()).ok()
}

/// When the youngest file below this folder was written. Nothing depends on the program, so an edited simulator is built
/// only where this is looked at.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries
        .filter_map(|entry| match entry.file_type().ok()?.is_dir() {
            true => newest(&entry.path()),
            false => changed(&entry.path()),
        })
        .max()
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // Frozen it would not see its end.
        self.thaw();
        // It ends when its standard input does.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Plays the provider of one world over a connection of its own, so that its record can be read while no bridge runs.
pub struct Director {
    desk: Mutex<Desk>,
}

/// One order at a time.
struct Desk {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last_id: u64,
}

impl Director {
    /// Makes the world, with these settings: they count, not those of accounts that come later.
    pub async fn new(simulator: &Simulator, world: &str, settings: &Value) -> Self {
        let connected = tokio_tungstenite::connect_async(simulator.url()).await;
        let (socket, _) = connected.expect("the simulator listens");
        let mut desk = Desk { socket, last_id: 0 };
        let hello = json!({
            "type": "hello", "world": world, "by": "the director", "settings": settings
        });
        desk.say(&hello).await;
        Self {
            desk: Mutex::new(desk),
        }
    }

    /// Gives an order; its answer.
    pub async fn order(&self, order: &str, mut body: Value) -> Value {
        body["type"] = json!("order");
        body["do"] = json!(order);
        let mut desk = self.desk.lock().await;
        let answer = tokio::time::timeout(ANSWERS_WITHIN, desk.ask(body)).await;
        let mut answer = answer.unwrap_or_else(|_| panic!("{order}: no answer"));
        assert!(answer["error"].is_null(), "{order}: {answer}");
        answer["ok"].take()
    }

    /// All entries of these kinds in the provider's record, in order. Fails if some are no longer kept.
    pub async fn record(&self, kinds: &[&str]) -> Vec<Value> {
        self.record_after(&mut 0, kinds).await
    }

    /// Those numbered from `after` on, which then stands behind the last one.
    pub async fn record_after(&self, after: &mut u64, kinds: &[&str]) -> Vec<Value> {
        let mut entries = Vec::new();
        loop {
            let mut page = self
                .order(
                    "truth",
                    json!({ "after": *after, "kinds": kinds, "limit": PAGE }),
                )
                .await;
            assert_eq!(page["dropped"], 0, "the record was too short");
            let Value::Array(new) = page["entries"].take() else {
                panic!("an excerpt has entries");
            };
            let next = page["next"]
                .as_u64()
                .expect("an excerpt says where it ends");
            entries.extend(new);
            if std::mem::replace(after, next) == next {
                return entries;
            }
        }
    }

    pub async fn summary(&self) -> Value {
        self.order("summary", json!({})).await
    }
}

impl Desk {
    async fn say(&mut self, frame: &Value) {
        let said = self.socket.send(Message::text(frame.to_string())).await;
        said.expect("the simulator lives as long as the test");
    }

    /// The frame that answers.
    async fn ask(&mut self, mut frame: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        frame["id"] = json!(id);
        self.say(&frame).await;
        loop {
            let frame = self.socket.next().await.expect("the simulator lives");
            let Message::Text(text) = frame.expect("the simulator lives") else {
                continue;
            };
            let frame: Value = serde_json::from_str(&text).expect("frames are JSON");
            if frame["type"] == "answer" && frame["id"] == id {
                return frame;
            }
        }
    }
}
