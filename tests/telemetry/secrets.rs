//! Secrets in every place that has one, and every way out of the process.

use crate::world::{config, files, instruct};
use async_nats::jetstream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use im_bridge_test_harness::otlp::Collector;
use im_bridge_test_harness::{Bridge, Jetstream, Nats, eventually};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const PASSWORD: &str = "nats/pass=word+51f0c2";
const HEADER: &str = "collector key: 8d03be!";
const SEAL: [u8; 32] = *b"a seal key of thirty-two bytes!!";
const TOKEN: &str = "provider&token/77aa10==";
const HOOK: &str = "webhook~path.secret-4410";
const HASH: &str = "hash-key/of accounts 90ab";
/// Known to nobody as a secret: it stands where secrets stand.
const USER: &str = "userpart4242marker";
const QUERY: &str = "querypart4343marker";

/// As it is, percent-encoded, and as it stands within any base64.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let percent = secret.iter().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    });
    let mut forms = vec![secret.to_vec(), percent.to_lowercase().into_bytes()];
    forms.push(percent.into_bytes());
    for before in 0..3 {
        // The characters at both ends depend on what stands beside.
        let text = STANDARD.encode([&b"xx"[..before], secret].concat());
        let (start, end) = ((before * 8).div_ceil(6), (before + secret.len()) * 8 / 6);
        let part = &text[start..end];
        forms.push(part.as_bytes().to_vec());
        forms.push(part.replace('+', "-").replace('/', "_").into_bytes());
    }
    forms
}

/// Every form of every marker that is found, with where.
fn leaks(place: &str, body: &[u8]) -> Vec<String> {
    let secrets: [&[u8]; 8] = [
        PASSWORD.as_bytes(),
        HEADER.as_bytes(),
        &SEAL,
        TOKEN.as_bytes(),
        HOOK.as_bytes(),
        HASH.as_bytes(),
        USER.as_bytes(),
        QUERY.as_bytes(),
    ];
    let mut found = Vec::new();
    for form in secrets.iter().flat_map(|secret| forms(secret)) {
        let mut windows = body.windows(form.len());
        if let Some(at) = windows.position(|part| part == form) {
            let around = &body[at.saturating_sub(200)..body.len().min(at + 200)];
            let (form, around) = (
                String::from_utf8_lossy(&form),
                String::from_utf8_lossy(around),
            );
            found.push(format!("{place}: {form}: {around}"));
        }
    }
    found
}

#[test]
fn a_leak_would_be_found() {
    let inside = STANDARD.encode(format!("{{\"password\":\"{PASSWORD}\"}}"));
    for text in [PASSWORD, "nats%2Fpass%3Dword%2B51f0c2", &inside] {
        assert!(!leaks("here", text.as_bytes()).is_empty(), "{text}");
    }
    assert!(leaks("here", b"nothing").is_empty());
}

fn post(address: &str, path: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    let body = r#"{"items":[]}"#;
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {USER}\r\nauthorization: Bearer {QUERY}\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
}

/// Bodies of all messages that a stream has.
async fn stored(context: &jetstream::Context, stream: &str) -> Vec<Vec<u8>> {
    let stream = context.get_stream(stream).await.unwrap();
    let last = stream.get_info().await.unwrap().state.last_sequence;
    let mut bodies = Vec::new();
    for sequence in 1..=last {
        // What was replaced is gone.
        if let Ok(message) = stream.get_raw_message(sequence).await {
            bodies.push(message.payload.to_vec());
        }
    }
    assert!(!bodies.is_empty());
    bodies
}

#[test]
fn an_error_on_the_terminal_holds_no_secret() {
    let nats = Nats::start_with(Jetstream::On, &["--user", "im", "--pass", "another one"]);
    let mut config = config(&nats, "", &json!({}));
    let address = nats.url().strip_prefix("nats://").unwrap().to_owned();
    config["nats"]["url"] = json!(nats.url());
    config["nats"]["user"] = json!({ "env": "NATS_USER" });
    config["nats"]["password"] = json!({ "env": "NATS_PASSWORD" });
    for (endpoint, args) in [
        (String::new(), &["streams", "list"][..]),
        (String::new(), &["status"]),
        (String::new(), &["check", "--online"]),
        (format!("{USER}:x@{address}?key={QUERY}"), &["run"]),
        (format!("ftp://{USER}:x@{address}?key={QUERY}"), &["run"]),
    ] {
        config["telemetry"]["otlp"]["endpoint"] = json!(endpoint);
        for is_json in [false, true] {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_im-bridge"));
            let files = files(&config);
            command
                .arg("--config")
                .arg(files.path().join("bridge.json"));
            if is_json {
                command.arg("--json");
            }
            let output = command
                .args(args)
                .env("NATS_USER", "im")
                .env("NATS_PASSWORD", PASSWORD)
                .output()
                .unwrap();
            assert!(!output.status.success(), "{args:?} {endpoint}");
            assert!(!output.stderr.is_empty() || !output.stdout.is_empty());
            let place = format!("{args:?} {endpoint}");
            let mut found = leaks(&place, &output.stderr);
            found.extend(leaks(&place, &output.stdout));
            assert!(found.is_empty(), "{}", found.join("\n"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_secrets_are_nowhere() {
    let nats = Nats::start_with(Jetstream::On, &["--user", "im", "--pass", PASSWORD]);
    let collector = Collector::start();
    let accounts = json!({
        "sim": { "demo": { "token": { "env": "SIM_TOKEN" }, "webhook_secret": { "env": "SIM_HOOK" } } },
        "c-poller": { "shop": { "script": "none" } },
    });
    let mut config = config(&nats, &collector.url(), &accounts);
    config["nats"]["user"] = json!({ "env": "NATS_USER" });
    config["nats"]["password"] = json!({ "env": "NATS_PASSWORD" });
    config["nats"]["seal"] = json!({ "use": "k1", "keys": { "k1": { "env": "SEAL" } } });
    config["plugins"] = json!({ "webhook": { "listen": "127.0.0.1:0" } });
    config["telemetry"]["hash_key"] = json!({ "env": "HASH" });
    config["telemetry"]["otlp"]["headers"] = json!({ "api-key": { "env": "HEADER" } });
    config["telemetry"]["metrics"] = json!({ "otlp": true, "interval_s": 5 });
    config["telemetry"]["logs"] = json!({ "otlp": true, "level": "trace" });
    config["telemetry"]["traces"] = json!({ "poll_hit_spans": true });
    let seal = STANDARD.encode(SEAL);
    let mut bridge = Bridge::start_with(
        &files(&config),
        "a",
        &[
            ("NATS_USER", "im"),
            ("NATS_PASSWORD", PASSWORD),
            ("SEAL", &seal),
            ("SIM_TOKEN", TOKEN),
            ("SIM_HOOK", HOOK),
            ("HASH", HASH),
            ("HEADER", HEADER),
        ],
    );
    for account in ["sim/demo", "c-poller/shop"] {
        eventually(&format!("{account} is online"), || async {
            bridge.state(account).filter(|state| state == "online")
        })
        .await;
    }

    // What adapters and providers say.
    let login = async_nats::ConnectOptions::with_user_and_password("im".into(), PASSWORD.into());
    let client = login.connect(nats.url()).await.unwrap();
    let context = jetstream::new(client.clone());
    let every: [&str; 6] = [
        PASSWORD,
        HEADER,
        std::str::from_utf8(&SEAL).unwrap(),
        TOKEN,
        HOOK,
        HASH,
    ];
    let mut said: Vec<String> = Vec::new();
    for secret in every {
        // The seal's key comes as text, so its base64 is what is known.
        let secret = if secret.as_bytes() == SEAL {
            &seal
        } else {
            secret
        };
        said.push(secret.to_owned());
        let percent = forms(secret.as_bytes()).swap_remove(2);
        said.push(String::from_utf8(percent).unwrap());
        said.push(STANDARD.encode(format!("a{secret}")));
        said.push(STANDARD.encode(format!("Bearer {secret}")));
    }
    said.push(format!(
        "https://{USER}:x@api.example/v1/any?sign={QUERY}&x=1"
    ));
    for (number, text) in said.iter().enumerate() {
        for (verb, text) in [
            ("log", format!("refused: {text}")),
            ("ail", text.clone()),
            ("refuse", text.clone()),
            (
                "call",
                format!("https://api.example/v1?token={QUERY}&t={text}"),
            ),
        ] {
            let data = instruct(&format!("{verb}-{number}"), &format!("{verb}|5|{text}"));
            let subject = "im.v1.cmd.c-poller.shop.message.send";
            let published = context.publish(subject, data.to_string().into()).await;
            published.unwrap().await.unwrap();
        }
    }

    // What comes to the webhook listener: with the secret, with a wrong one that is nearly right, with a query.
    let address = eventually("it says where it listens", || async {
        let lines = bridge.log();
        let mut told = lines.iter().filter_map(|line| line["webhooks"].as_str());
        told.next().map(str::to_owned)
    })
    .await;
    for path in [
        format!("/hooks/sim/demo/{HOOK}?sign={QUERY}"),
        format!("/hooks/sim/demo/{HOOK}x"),
        format!("/hooks/sim/demo/wrong?access_token={QUERY}"),
        format!("/hooks/sim/nobody/{HOOK}"),
        format!("/{HOOK}?{QUERY}"),
    ] {
        post(&address, &path);
    }

    let wanted = u64::try_from(said.len() * 4).unwrap();
    eventually("all commands are answered", || async {
        let stream = context.get_stream("IM_RES").await.ok()?;
        let last = stream.get_info().await.ok()?.state.last_sequence;
        (last >= wanted).then_some(())
    })
    .await;
    eventually("values were pushed", || async {
        (!collector.points().is_empty()).then_some(())
    })
    .await;
    let mut found = Vec::new();
    for path in ["/metrics", "/api/status", "/healthz", "/readyz"] {
        found.extend(leaks(path, bridge.get(path).1.as_bytes()));
    }
    let status = bridge.get("/api/status").1;
    assert!(status.contains(" says [redacted]"), "{status}");
    for body in stored(&context, "KV_IM_STATE").await {
        found.extend(leaks("a state document", &body));
    }
    for body in stored(&context, "IM_RES").await {
        // The rest of it is what the service asked with.
        let result: Value = serde_json::from_slice(&body).unwrap();
        let error = result["data"]["error"]["message"].as_str();
        found.extend(leaks("a result", error.unwrap_or_default().as_bytes()));
    }
    // A core would hold all of them.
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", bridge.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let soft = core.unwrap().split_whitespace().nth(4);
    assert_eq!(soft, Some("0"), "{limits}");
    bridge.terminate();
    assert!(bridge.ended(Duration::from_secs(60)).unwrap().success());
    collector.check();
    let log = bridge.log();
    assert!(bridge.said("plugin.c-poller") >= 1, "adapters were heard");
    assert!(
        bridge.said("[redacted]") >= 1,
        "there was something to hide"
    );
    for line in &log {
        found.extend(leaks("standard output", line.to_string().as_bytes()));
        // As it is meant, too, and not only as JSON writes it.
        let texts = line.as_object().unwrap().values().filter_map(Value::as_str);
        for text in texts {
            found.extend(leaks("a field", text.as_bytes()));
        }
    }
    found.extend(leaks("standard error", bridge.other_output().as_bytes()));
    for taken in collector.taken() {
        found.extend(leaks(&taken.path, &taken.body));
    }
    found.sort();
    found.dedup();
    assert!(found.is_empty(), "{}", found.join("\n\n"));
    assert!(!collector.spans().is_empty() && !collector.lines().is_empty());
}
