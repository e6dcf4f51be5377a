//! One message's way: in from the provider, through a service in another language, and out to the provider again.

use crate::world::{World, only};
use im_bridge_test_harness::{WITHIN, eventually, skip};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, sync_channel};

/// As published, pinned.
const PACKAGES: [&str; 5] = [
    "nats-py==2.16.0",
    "opentelemetry-api==1.45.2",
    "opentelemetry-exporter-otlp-proto-http==1.45.2",
    "opentelemetry-proto==1.45.2",
    "opentelemetry-sdk==1.45.2",
];

/// A Python with the packages, made once below `target`; else why there is none.
pub fn python() -> Result<PathBuf, String> {
    // Tests run at the same time, and only one may make it.
    static MADE: LazyLock<Result<PathBuf, String>> = LazyLock::new(make_python);
    MADE.clone()
}

fn make_python() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("telemetry-python");
    let python = folder.join("bin/python");
    if run(Command::new(&python).args([
        "-c",
        "import nats, opentelemetry.exporter.otlp.proto.http",
    ]))
    .is_ok()
    {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    run(Command::new(&python).args(pip).args(PACKAGES))?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or("it fails").to_owned())
}

/// The service as a process; it ends with this value.
struct Service {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    fn start(python: &Path, nats: &str, collector: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/telemetry/service.py");
        let mut child = Command::new(python)
            .arg(script)
            .args([nats, collector])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = sync_channel(16);
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let service = Self { child, lines };
        assert_eq!(service.says(), json!({ "ready": true }));
        service
    }

    fn says(&self) -> Value {
        let line = self.lines.recv_timeout(WITHIN);
        serde_json::from_str(&line.expect("the service says something in time")).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_from_message_to_reply() {
    travels("http/protobuf").await;
}

#[cfg(feature = "otlp-grpc")]
#[tokio::test(flavor = "multi_thread")]
async fn one_trace_from_message_to_reply_over_grpc() {
    travels("grpc").await;
}

async fn travels(protocol: &str) {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => {
            return skip(
                &["python"],
                &format!("one_trace_from_message_to_reply: {reason}"),
            );
        }
    };
    let account = json!({ "bridge": { "native_calls": { "sim.*": true } } });
    let mut world = World::new(json!({ "sim": { "demo": account } }), |config| {
        config["telemetry"]["otlp"]["protocol"] = json!(protocol);
    })
    .await;
    let service = Service::start(&python, world.nats.url(), &world.collector.url());
    let said = json!({ "chat": "lobby", "by": "alice", "text": "hi" });
    let order = json!({
        "idempotency_key": "say-1", "params": { "method": "sim.say", "body": said },
    });
    let asked = world
        .client
        .request("im.v1.req.sim.demo.native.call", order.to_string().into());
    asked.await.unwrap();
    let told = service.says();
    world.stored("IM_RES", 2).await;
    eventually("the service told its spans", || async {
        (!world.collector.named("handle").is_empty()).then_some(())
    })
    .await;
    let spans = world.ended();
    let id = |of: &str, key: &str| told[of][key].as_str().unwrap().to_owned();
    let trace = id("reply", "trace");
    let ours: Vec<_> = spans
        .iter()
        .filter(|span| span.trace == trace)
        .cloned()
        .collect();
    let event = only(&ours, "process sim message.created");
    let publish = only(&ours, "publish im.v1.evt.sim.message.created");
    let command = only(&ours, "process message.send");
    let call = only(&ours, "request");
    let result = only(&ours, "publish im.v1.res.sim.message.send");
    assert!(event.is_root() && publish.is_below(event));
    // What the service thinks, and what it told the collector by its own exporter.
    let (handle, reply) = (only(&ours, "handle"), only(&ours, "reply"));
    assert!(handle.is_below(publish) && reply.is_below(handle));
    assert!(command.is_below(reply));
    assert_eq!(handle.resource["service.name"], "service");
    assert_eq!(id("parent", "id"), publish.id);
    assert_eq!(id("parent", "trace"), trace);
    assert_eq!(command.parent, id("reply", "id"));
    assert!(call.is_below(command) && result.is_below(command));
    let roots: Vec<_> = ours.iter().filter(|span| span.is_root()).collect();
    assert_eq!(roots.len(), 1, "{roots:#?}");
    assert_eq!(ours.len(), 7, "and nothing else is in it: {ours:#?}");
    assert!(ours.iter().all(|span| span.links.is_empty()));
    // The echo of the reply is an event of its own.
    for span in &spans {
        assert!(span.error.is_none(), "{span:#?}");
    }
}
