//! Job CROSS: one 561-byte event over the plugin boundary, against a static call.
//!
//! The rows of the table differ in what is done with the event and how it crosses; making the payload (allocate and
//! copy) and dropping it is in all of them. The adapter is written in C and loaded as any plugin is. Its bursts are timed
//! on its own thread, what the core does with them on the core's: the sum is the crossing without any waiting. The rows
//! below the line are whole paths with their threads and wake-ups.

use crate::{allocations, machine};
use bytes::Bytes;
use im_bridge::loader::host::{
    Command, HostEvent, Inbox, Instance, Options, Patience, Plugin, Pool, Window,
};
use im_bridge::loader::{Loader, PluginsConfig};
use im_bridge_plugin_api::abi::{self, Outcome};
use serde::Deserialize;
use std::collections::VecDeque;
use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

/// A message as the adapters write it.
const PAYLOAD: &str = r#"{"message_id":"3498771209.PNM","channel":{"id":"48211907554@goofish","kind":"direct","title":"Trek FX 3, size M"},"sender":{"id":"2208741190","name":"moon_rabbit","avatar":"https://img.example.org/u/2208741190/64.png"},"sent_at":"2026-03-02T09:41:07.318Z","segments":[{"type":"text","text":"Is the bike still available? I could pick it up on Saturday morning, if that suits you."},{"type":"image","url":"https://img.example.org/i/O1CN01x9Yp2c.jpg","width":1280,"height":960,"bytes":184223}],"reply_to":null,"mentions":[],"client_ref":null,"sequence":9182000000}"#;
/// Events in one burst: the default window.
const BURST: u64 = 64;
/// Commands in flight.
const COMMANDS: u64 = 64;

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow)]
    message_id: &'a str,
    channel: Channel<'a>,
    sender: Sender<'a>,
    sent_at: &'a str,
    segments: Vec<Segment<'a>>,
    sequence: u64,
}
#[derive(Deserialize)]
struct Channel<'a> {
    id: &'a str,
    kind: &'a str,
}
#[derive(Deserialize)]
struct Sender<'a> {
    id: &'a str,
    name: &'a str,
}
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Segment<'a> {
    Text {
        text: std::borrow::Cow<'a, str>,
    },
    Image {
        url: std::borrow::Cow<'a, str>,
        bytes: u64,
    },
}

/// One row: nanoseconds and allocations of the host per event.
struct Row {
    name: &'static str,
    nanos: f64,
    allocations: f64,
    note: String,
}

impl Row {
    fn best(name: &'static str, runs: u32, mut run: impl FnMut() -> (f64, f64)) -> Self {
        let all: Vec<(f64, f64)> = (0..runs).map(|_| run()).collect();
        let best = all
            .into_iter()
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .unwrap_or_default();
        Self {
            name,
            nanos: best.0,
            allocations: best.1,
            note: String::new(),
        }
    }
}

/// Measures everything and prints it.
pub fn run(events: u64, runs: u32, json: bool) {
    assert_eq!(PAYLOAD.len(), 561);
    let load_before = machine::load();
    allocations::begin();
    let plugin = load();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O");
    let mut rig = runtime.block_on(Rig::start(&plugin));
    let bursts = (events / BURST).max(1);
    let mut burst = |name, each: fn(Bytes)| {
        Row::best(name, runs, || runtime.block_on(rig.bursts(bursts, each)))
    };
    let mut rows = vec![
        Row::best("static dyn call, no boundary", runs, || static_call(bursts)),
        burst("C ABI, buffer adopted", |payload| drop(black_box(payload))),
        burst("C ABI, buffer copied", |payload| {
            drop(black_box(Bytes::copy_from_slice(&payload)));
        }),
        burst("C ABI + typed JSON in the host", |payload| typed(&payload)),
        burst("C ABI + full JSON tree in the host", |payload| {
            let tree: serde_json::Value = serde_json::from_slice(&payload).expect("it is JSON");
            drop(black_box(tree));
        }),
    ];
    let crossings = rows.len();
    rows.push(Row::best("settle, to the adapter's return", runs, || {
        runtime.block_on(rig.settles(bursts))
    }));
    rows.push(Row::best("command, 64 in flight", runs, || {
        runtime.block_on(rig.commands(events / 4, COMMANDS))
    }));
    rows.push(Row::best("command, one at a time", runs, || {
        runtime.block_on(rig.commands(events / 40, 1))
    }));
    let mut cpu = 0.0;
    let mut stream = Row::best("event, emitted, received, settled", runs, || {
        let (nanos, allocations, busy) = runtime.block_on(rig.stream(&plugin, events));
        cpu = if cpu == 0.0 {
            busy
        } else {
            f64::min(cpu, busy)
        };
        (nanos, allocations)
    });
    stream.note = format!("{cpu:.0} ns CPU, all threads");
    rows.push(stream);
    runtime.block_on(rig.end());
    print(&rows, crossings, json, &load_before);
}

fn print(rows: &[Row], crossings: usize, json: bool, load_before: &str) {
    let floor = rows[0].nanos;
    if !json {
        let machine = machine::describe();
        println!("CROSS: one event of 561 bytes; {machine}");
        let (version, load) = (env!("CARGO_PKG_VERSION"), machine::load());
        println!("im-bridge {version}, load {load_before} before, {load} after\n");
        println!(
            "{:<36} {:>9} {:>8} {:>7}",
            "", "ns/event", "ratio", "allocs"
        );
        for (index, row) in rows.iter().enumerate() {
            if index == crossings {
                println!("{:-<64}", "");
            }
            let Row {
                name,
                nanos,
                allocations,
                note,
            } = row;
            let ratio = nanos / floor;
            println!("{name:<36} {nanos:>9.0} {ratio:>7.2}x {allocations:>7.2}  {note}");
        }
        println!();
    }
    let figures: Vec<_> = rows
        .iter()
        .map(|row| {
            serde_json::json!({"row": row.name, "ns": row.nanos, "ratio": row.nanos / floor,
                "allocations": row.allocations, "note": row.note})
        })
        .collect();
    let line = serde_json::json!({"job": "cross", "version": env!("CARGO_PKG_VERSION"), "payload_bytes": 561,
        "load_before": load_before, "load_after": machine::load(), "machine": machine::describe(), "rows": figures});
    println!("{line}");
}

fn typed(payload: &[u8]) {
    let message: Typed<'_> = serde_json::from_slice(payload).expect("it is such a message");
    let segments: usize = message
        .segments
        .iter()
        .map(|segment| match segment {
            Segment::Text { text } => text.len(),
            Segment::Image { url, bytes } => url.len() + usize::from(*bytes > 0),
        })
        .sum();
    let ids = (
        message.message_id,
        message.channel.id,
        message.channel.kind,
        message.sender.id,
    );
    black_box((
        ids,
        message.sender.name,
        message.sent_at,
        message.sequence,
        segments,
    ));
}

/// The floor: an adapter linked into the core, which hands over owned values through a trait object.
trait Sink: Send + Sync {
    fn emit(&self, event: Owned);
    fn drain(&self) -> usize;
}

struct Owned {
    token: u64,
    kind: &'static str,
    texts: Box<[u8]>,
    payload: Vec<u8>,
}

impl Owned {
    /// Looks at everything.
    fn size(&self) -> usize {
        usize::from(self.token > 0) + self.kind.len() + self.texts.len() + self.payload.len()
    }
}

struct Queue(Mutex<VecDeque<Owned>>);

impl Sink for Queue {
    fn emit(&self, event: Owned) {
        self.0.lock().expect("nobody panics").push_back(event);
    }
    fn drain(&self) -> usize {
        let events = std::mem::take(&mut *self.0.lock().expect("nobody panics"));
        events
            .into_iter()
            .map(black_box)
            .map(|event| event.size())
            .sum()
    }
}

/// Bursts as the plugin makes them: emitted on one thread, taken on another, never at the same time. Else the floor would
/// keep everything in one core's cache.
fn static_call(bursts: u64) -> (f64, f64) {
    let sink: Arc<dyn Sink> = black_box(Arc::new(Queue(Mutex::default())));
    let (adapter, go) = (Arc::clone(&sink), Arc::new(Barrier::new(2)));
    let turn = Arc::clone(&go);
    let thread = std::thread::spawn(move || {
        let mut took = Duration::ZERO;
        for burst in 0..bursts {
            turn.wait();
            let began = Instant::now();
            for n in 0..BURST {
                adapter.emit(black_box(Owned {
                    token: burst * BURST + n,
                    kind: "message.created",
                    texts: Box::from(*b"48211907554@goofishm1"),
                    payload: PAYLOAD.as_bytes().to_vec(),
                }));
            }
            took += began.elapsed();
            turn.wait();
        }
        took
    });
    let (mut took, allocated) = (Duration::ZERO, allocations::count());
    for _ in 0..bursts {
        go.wait();
        go.wait();
        let began = Instant::now();
        black_box(sink.drain());
        took += began.elapsed();
    }
    took += thread.join().expect("it only emits");
    let (_, allocations) = per_event(took, allocated, bursts * BURST);
    (ratio(took.as_nanos(), bursts * BURST), allocations)
}

fn per_event(took: Duration, allocated_before: u64, events: u64) -> (f64, f64) {
    let allocations = allocations::count() - allocated_before;
    (
        ratio(took.as_nanos(), events),
        ratio(u128::from(allocations), events),
    )
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn ratio(sum: u128, n: u64) -> f64 {
    sum as f64 / n.max(1) as f64
}

fn load() -> Arc<Plugin> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = std::env::temp_dir().join(format!("im-bridge-bench-{}.so", std::process::id()));
    let built = std::process::Command::new("cc")
        .args([
            "-std=gnu11",
            "-O2",
            "-shared",
            "-fPIC",
            "-fvisibility=hidden",
            "-pthread",
            "-I",
        ])
        .arg(root.join("plugin-api/include"))
        .arg("-o")
        .arg(&file)
        .arg(root.join("tests/zoo/c/faulty.c"))
        .status()
        .expect("a C compiler is there: Rust links with it");
    assert!(built.success(), "the C adapter is built");
    let loader = Loader::new(PluginsConfig::default()).expect("no pins are configured");
    let loaded = loader.load(&file);
    let _ = std::fs::remove_file(&file); // the loader has a copy of its own
    let loaded = loaded.unwrap_or_else(|refusal| panic!("{refusal}"));
    Plugin::new(loaded, Patience::default())
}

/// An account in the adapter.
struct Rig {
    instance: Instance,
    inbox: Inbox,
}

impl Rig {
    async fn start(plugin: &Arc<Plugin>) -> Self {
        let options = Options {
            window: Window {
                events: 64,
                bytes: 2 * 1024 * 1024,
            },
            pool: Pool::new(256 * 1024 * 1024),
            hooks: Arc::new(()),
            webhooks_max: 0,
        };
        let created = Instance::create(plugin, "bench", b"{}".to_vec(), options).await;
        let (instance, inbox) = created.unwrap_or_else(|error| panic!("{error}"));
        instance
            .start()
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        Self { instance, inbox }
    }

    fn execute(&self, name: &str, body: &'static str) -> Option<u64> {
        self.instance.execute(Command {
            name: name.into(),
            channel: Some("48211907554@goofish".into()),
            idempotency_key: "k".into(),
            body: Bytes::from_static(body.as_bytes()),
            deadline_ms: i64::MAX,
            is_redelivered: false,
            trace: abi::Trace::NONE,
        })
    }

    /// Bursts of the adapter: its time of emitting, and ours of taking and of `each`. Settling is not in it.
    async fn bursts(&mut self, bursts: u64, each: fn(Bytes)) -> (f64, f64) {
        let (mut took, mut allocated) = (Duration::ZERO, 0);
        let mut tickets = Vec::new();
        for _ in 0..bursts {
            let before = allocations::count();
            let id = self.burst();
            let began = Instant::now();
            let mut taken = 0;
            while taken < BURST {
                if let Some(HostEvent::Event(event)) = self.inbox.try_recv() {
                    black_box((event.kind(), event.channel(), event.native_id()));
                    tickets.push(event.ticket);
                    each(event.payload);
                    taken += 1;
                }
            }
            took += began.elapsed();
            allocated += allocations::count() - before;
            took += self.completed(id).await;
            for ticket in tickets.drain(..) {
                ticket.settle(Outcome::STORED);
            }
        }
        (
            ratio(took.as_nanos(), bursts * BURST),
            ratio(u128::from(allocated), bursts * BURST),
        )
    }

    /// From the first settle of a burst until the adapter had all of them and answered a command after them.
    async fn settles(&mut self, bursts: u64) -> (f64, f64) {
        let (mut took, mut allocated) = (Duration::ZERO, 0);
        for _ in 0..bursts {
            let id = self.burst();
            let mut tickets = Vec::new();
            while tickets.len() < usize::try_from(BURST).expect("small") {
                if let Some(HostEvent::Event(event)) = self.inbox.try_recv() {
                    tickets.push(event.ticket);
                }
            }
            self.completed(id).await;
            let (before, began) = (allocations::count(), Instant::now());
            for ticket in tickets {
                ticket.settle(Outcome::STORED);
            }
            let ping = self.execute("ping", "{}");
            self.completed(ping).await;
            took += began.elapsed();
            allocated += allocations::count() - before;
        }
        (
            ratio(took.as_nanos(), bursts * BURST),
            ratio(u128::from(allocated), bursts * BURST),
        )
    }

    /// Commands that the adapter completes at once.
    async fn commands(&mut self, commands: u64, in_flight: u64) -> (f64, f64) {
        let (began, allocated) = (Instant::now(), allocations::count());
        let (mut sent, mut done) = (0, 0);
        while done < commands {
            while sent < commands && sent - done < in_flight {
                self.execute("ping", "{}");
                sent += 1;
            }
            if let HostEvent::Completed(_) = self.inbox.recv().await {
                done += 1;
            }
        }
        per_event(began.elapsed(), allocated, commands)
    }

    /// The whole path: a thread of the plugin emits as fast as its credit allows, each event is settled when received.
    async fn stream(&mut self, plugin: &Arc<Plugin>, events: u64) -> (f64, f64, f64) {
        let mut other = Self::start(plugin).await;
        other.execute("stream", PAYLOAD);
        for _ in 0..BURST {
            other.inbox.recv().await;
        }
        let (began, allocated, cpu) = (Instant::now(), allocations::count(), machine::cpu());
        let mut received = 0;
        while received < events {
            if let HostEvent::Event(event) = other.inbox.recv().await {
                event.ticket.settle(Outcome::STORED);
                received += 1;
            }
        }
        let busy = machine::cpu() - cpu;
        let (nanos, allocations) = per_event(began.elapsed(), allocated, events);
        other.end().await;
        (nanos, allocations, ratio(busy.as_nanos(), events))
    }

    /// Lets the adapter emit one window of events, and waits until they are here.
    fn burst(&self) -> Option<u64> {
        let id = self.execute("burst", PAYLOAD);
        while u64::from(self.instance.credits().held_events) < BURST {
            std::thread::yield_now();
        }
        id
    }

    /// The nanoseconds that a burst took in the adapter.
    async fn completed(&mut self, id: Option<u64>) -> Duration {
        loop {
            match self.inbox.recv().await {
                HostEvent::Completed(completed) if Some(completed.id) == id => {
                    let nanos = std::str::from_utf8(&completed.body).ok();
                    let nanos = nanos.and_then(|nanos| nanos.parse().ok());
                    return Duration::from_nanos(nanos.unwrap_or(0));
                }
                HostEvent::Fault(fault) => panic!("the adapter is lost: {fault:?}"),
                _ => {}
            }
        }
    }

    async fn end(self) {
        let stopped = self.instance.stop(Duration::from_secs(5)).await;
        stopped.unwrap_or_else(|error| panic!("{error}"));
        let _ = self.instance.destroy().await;
    }
}
