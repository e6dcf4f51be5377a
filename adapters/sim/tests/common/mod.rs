//! An account of sim in a mock host, and the hands of whoever plays the provider.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "tests; each binary uses a part of it"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use im_bridge_adapter_sim::Sim;
use im_bridge_sdk::test::{
    Builder, Command, CompletionRecord, EventRecord, Extension, KvStore, MockHost, Outcome,
    Settling, State, Status, entry,
};
use serde_json::{Value, json};

pub const SOON: Duration = Duration::from_secs(10);
const WINDOW_BYTES: u64 = 2 * 1024 * 1024;

/// Keys that no other command has.
pub fn key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("k-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn account(name: &str, config: Value) -> Builder {
    MockHost::builder(entry::<Sim>())
        .account(name)
        .config(config)
        .offer(Extension::Webhook)
        .auto_grant(64, WINDOW_BYTES)
        .auto_settle(Settling::Always(Outcome::STORED))
}

pub fn online(builder: Builder) -> MockHost {
    let host = builder.create().expect("sim is created");
    host.start();
    host.wait_state(State::ONLINE, SOON);
    host
}

/// Somebody else in the same world, who sees nothing and can order everything.
pub fn hands(world: &str) -> MockHost {
    online(account(
        &format!("{world}-hands"),
        json!({ "world": world }),
    ))
}

pub fn order(host: &MockHost, order: &str, body: Value) -> Value {
    let params = json!({ "method": format!("sim.{order}"), "body": body });
    let done = run(host, Command::new("native.call").params(params));
    assert_eq!(done.status, Status::OK, "{order}: {}", done.json());
    done.json()["native"].clone()
}

pub fn run(host: &MockHost, command: Command) -> CompletionRecord {
    let id = host.execute(command.key(&key()));
    host.wait_completion(id, SOON)
}

pub fn say(host: &MockHost, text: &str) -> String {
    let posts = order(
        host,
        "say",
        json!({ "chat": "lobby", "by": "alice", "text": text }),
    );
    posts["posts"][0].as_str().unwrap().to_owned()
}

pub fn send(text: &str) -> Command {
    let message = json!({ "segments": [{ "type": "text", "data": { "text": text } }] });
    Command::new("message.send")
        .channel("lobby")
        .params(json!({ "to": { "channel_id": "lobby" }, "message": message }))
}

pub fn fault(host: &MockHost, kind: &str, fault: Value) {
    order(host, "fault", json!({ "kind": kind, "fault": fault }));
}

/// Entries of the provider's record of one kind.
pub fn truth(host: &MockHost, kind: &str) -> Vec<Value> {
    let truth = order(host, "truth", json!({ "kinds": [kind] }));
    truth["entries"].as_array().unwrap().clone()
}

/// Waits until the provider's record says so: the last look before the deadline is told when it does not.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(
                std::time::Instant::now() < deadline,
                "{what}: last saw {seen}"
            ),
        }
        std::thread::yield_now();
    }
}

pub fn texts(events: &[EventRecord]) -> Vec<String> {
    let created = events
        .iter()
        .filter(|event| event.kind == "message.created");
    created
        .map(|event| {
            event.json()["message"]["alt_text"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
}

/// Waits until these messages came, in this order, whatever else came.
pub fn wait_texts(host: &MockHost, wanted: &[&str]) -> Vec<EventRecord> {
    host.wait(&format!("messages {wanted:?}"), SOON, |seen| {
        (texts(&seen.events) == wanted).then(|| seen.events.clone())
    })
}

pub fn store() -> KvStore {
    KvStore::default()
}
