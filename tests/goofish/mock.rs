//! An account of the adapter in a mock host, and the simulated provider that it talks to.

use im_bridge_adapter_goofish::Goofish;
use im_bridge_sdk::test::{
    Builder, Command, CompletionRecord, EventRecord, MockHost, Outcome, Settling, State, Status,
    entry,
};
use im_bridge_test_harness::{Control, Simulator};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

pub const SOON: Duration = Duration::from_secs(20);
const WINDOW_BYTES: u64 = 16 * 1024 * 1024;

/// The own user, the other one, and the conversation that the simulator begins with.
pub const ME: &str = "1000000001";
pub const PEER: &str = "2000000002";
pub const CHAT: &str = "30000000001";

/// The provider, and the hands of whoever plays it.
pub struct World {
    runtime: Runtime,
    simulator: Simulator,
    control: Control,
}

impl World {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let simulator = Simulator::of("goofish", &["--http", "127.0.0.1:0", "--ws", "127.0.0.1:0"]);
        let control = simulator.control();
        Self {
            runtime,
            simulator,
            control,
        }
    }

    /// Configuration of an account: short intervals, so that a fault takes no longer than it must.
    pub fn config(&self, uid: &str, patch: Value) -> Value {
        let mut config = json!({
            "cookies": format!("unb={uid}; cookie2=a-secret-cookie"),
            "mtop_url": self.simulator.address("http"),
            "ws_url": self.simulator.address("ws"),
            "heartbeat_interval_ms": 200, "reconnect_interval_ms": 50, "request_timeout_ms": 2_000,
        });
        for (key, value) in patch.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    }

    pub fn account(&self, uid: &str, patch: Value) -> Builder {
        MockHost::builder(entry::<Goofish>())
            .account(&format!("u{uid}"))
            .config(self.config(uid, patch))
            .auto_grant(64, WINDOW_BYTES)
            .auto_settle(Settling::Always(Outcome::STORED))
    }

    /// The own account, online.
    pub fn online(&self, patch: Value) -> MockHost {
        online(self.account(ME, patch))
    }

    pub fn act(&self, act: &str, body: Value) -> Value {
        self.runtime.block_on(self.control.act(act, body))
    }

    /// Arms a fault for the next fitting one.
    pub fn fault(&self, on: &str, what: &str, of: &str, more: Value) {
        let mut fault = json!({ "on": on, "do": what });
        if !of.is_empty() {
            fault["of"] = of.into();
        }
        for (key, value) in more.as_object().unwrap() {
            fault[key] = value.clone();
        }
        self.act("fault", fault);
    }

    /// The other one says something; its message id.
    pub fn say(&self, text: &str) -> String {
        let said = self.act("say", json!({ "from": PEER, "cid": CHAT, "text": text }));
        said["message_ids"][0].as_str().unwrap().to_owned()
    }

    pub fn record(&self, kinds: &[&str]) -> Vec<Value> {
        self.runtime.block_on(self.control.record(kinds))
    }

    /// Waits until the record has so many entries of a kind; all of them.
    pub fn recorded(&self, kind: &str, count: usize) -> Vec<Value> {
        self.until(&format!("{count} of {kind}"), || {
            let all = self.record(&[kind]);
            if all.len() >= count {
                Ok(all)
            } else {
                Err(format!("{all:?}"))
            }
        })
    }

    /// Waits until everything that was pushed to an account is acknowledged.
    pub fn all_acknowledged(&self) {
        self.until("everything is acknowledged", || {
            let state = self.runtime.block_on(self.control.get("state"));
            let open = |session: &Value| session["unacknowledged"].as_u64().unwrap();
            let open: u64 = state["sessions"].as_array().unwrap().iter().map(open).sum();
            if open == 0 {
                Ok(())
            } else {
                Err(state.to_string())
            }
        });
    }

    pub fn until<T>(&self, what: &str, look: impl FnMut() -> Result<T, String>) -> T {
        until(what, look)
    }
}

/// Waits for a condition: the last look before the deadline is told when it does not come.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "{what}: last saw {seen}"),
        }
        std::thread::yield_now();
    }
}

pub fn online(builder: Builder) -> MockHost {
    let host = builder.create().expect("goofish is created");
    host.start();
    host.wait_state(State::ONLINE, SOON);
    host
}

/// What a core hears of a send that it does not know of: 1 if it happened, 0 if it surely did not.
pub fn truth(host: &MockHost, sending: &Command, key: &str) -> usize {
    until("the truth", || {
        let id = host.verify(sending.clone().key(key));
        let verdict = host.wait_completion(id, SOON);
        match (verdict.status, verdict.code.as_deref()) {
            (Status::OK, _) => Ok(1),
            (_, Some("message_not_found")) => Ok(0),
            _ => Err(format!("{verdict:?}")),
        }
    })
}

/// Keys that no other command has.
pub fn key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("k-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn run(host: &MockHost, command: Command) -> CompletionRecord {
    let id = host.execute(command.key(&key()).within(SOON));
    host.wait_completion(id, SOON)
}

pub fn send(text: &str) -> Command {
    send_segments(json!([{ "type": "text", "data": { "text": text } }]))
}

pub fn send_segments(segments: Value) -> Command {
    Command::new("message.send")
        .channel(CHAT)
        .params(json!({ "to": { "channel_id": CHAT }, "message": { "segments": segments } }))
        .within(SOON)
}

pub fn of_kind(events: &[EventRecord], kind: &str) -> Vec<EventRecord> {
    events
        .iter()
        .filter(|event| event.kind == kind)
        .cloned()
        .collect()
}

pub fn texts(events: &[EventRecord]) -> Vec<String> {
    let text = |event: &EventRecord| {
        event.json()["message"]["alt_text"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    of_kind(events, "message.created")
        .iter()
        .map(text)
        .collect()
}

/// Waits for messages of these texts, in this order, whatever else comes.
pub fn wait_texts(host: &MockHost, wanted: &[&str]) -> Vec<EventRecord> {
    until(&format!("messages {wanted:?}"), || {
        let events = host.recording().events;
        let seen = texts(&events);
        if seen == wanted {
            Ok(of_kind(&events, "message.created"))
        } else {
            Err(format!("{seen:?}"))
        }
    })
}

/// Waits for so many events of a kind.
pub fn wait_kind(host: &MockHost, kind: &str, count: usize) -> Vec<EventRecord> {
    until(&format!("{count} of {kind}"), || {
        let seen = of_kind(&host.recording().events, kind);
        if seen.len() >= count {
            Ok(seen)
        } else {
            Err(format!("{seen:?}"))
        }
    })
}

/// Waits until the account was in this state so many times.
pub fn wait_times(host: &MockHost, state: State, times: usize) {
    until(&format!("{state:?} {times} times"), || {
        let states: Vec<State> = host
            .recording()
            .reports
            .iter()
            .map(|report| report.state)
            .collect();
        let seen = states.iter().filter(|seen| **seen == state).count();
        if seen >= times {
            Ok(())
        } else {
            Err(format!("{states:?}"))
        }
    });
}

/// Waits for so many heartbeats from now on.
pub fn wait_beats(host: &MockHost, beats: usize) {
    let before = host.recording().ops_named("heartbeat").len();
    host.wait_ops("heartbeat", before + beats, SOON);
}
