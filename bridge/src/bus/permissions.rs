//! What each role needs of NATS, one subject by one: wildcards match whole tokens, so no prefix covers all objects.
//!
//! Not here: who has which role; the server's configuration says that.

use super::objects::{Limits, Names, ObjectKind, Wanted, wanted};
use super::subjects::Subjects;
use super::token::{Account, Root};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// The bridge itself.
    Runtime,
    /// Whoever makes streams and buckets.
    Provision,
    /// People with this command line.
    Operator,
    /// A service that reads events of one account and sends commands.
    App,
}

/// Subjects that a role may use.
pub struct Allowed {
    role: &'static str,
    publish: Vec<String>,
    subscribe: Vec<String>,
    /// Answers once, within two minutes, wherever it was asked from.
    answers: bool,
}

const CONSUMER_CALLS: [&str; 4] = ["CREATE", "INFO", "DELETE", "MSG.NEXT"];

/// Of a service, `account` and its durable `consumer`; without account, of all.
pub fn of(
    role: Role,
    root: &Root,
    inbox: &str,
    account: Option<&Account>,
    consumer: &str,
) -> Allowed {
    let names = Names::new(root);
    let version = format!("{root}.v1");
    let mut allowed = Allowed {
        role: match role {
            Role::Runtime => "runtime",
            Role::Provision => "provision",
            Role::Operator => "operator",
            Role::App => "app",
        },
        publish: Vec::new(),
        subscribe: vec![format!("{inbox}.>")],
        answers: role == Role::Runtime,
    };
    match role {
        Role::Provision => provision(&mut allowed, root),
        Role::Runtime => runtime(&mut allowed, root, &version, &names),
        Role::Operator => operator(&mut allowed, root, &version, &names),
        Role::App => {
            let of = account.map_or("*.*".to_owned(), Account::key);
            app(&mut allowed, &version, &names, &of, consumer);
        }
    }
    allowed
}

/// Names of the streams that all objects are to the server.
fn streams(root: &Root) -> Vec<String> {
    let all = wanted(&Subjects::new(root.clone()), &Limits::default());
    all.iter().map(Wanted::stream).collect()
}

fn provision(allowed: &mut Allowed, root: &Root) {
    allowed
        .publish
        .extend(["$JS.API.INFO", "$JS.API.STREAM.NAMES"].map(str::to_owned));
    for stream in streams(root) {
        allowed.publish.extend(
            ["INFO", "CREATE", "UPDATE"].map(|call| format!("$JS.API.STREAM.{call}.{stream}")),
        );
    }
}

fn runtime(allowed: &mut Allowed, root: &Root, version: &str, names: &Names) {
    let publish = &mut allowed.publish;
    publish.extend(
        ["evt", "res", "state", "dlq", "raw", "hook", "req", "svc"]
            .map(|kind| format!("{version}.{kind}.>")),
    );
    publish.extend(["$JS.API.INFO", "$JS.API.STREAM.NAMES"].map(str::to_owned));
    publish.extend(
        streams(root)
            .iter()
            .map(|stream| format!("$JS.API.STREAM.INFO.{stream}")),
    );
    let commands = names.commands();
    publish.extend(CONSUMER_CALLS.map(|call| format!("$JS.API.CONSUMER.{call}.{commands}.>")));
    publish.push(format!("$JS.API.CONSUMER.NAMES.{commands}"));
    publish.push(format!("$JS.API.DIRECT.GET.{commands}"));
    publish.push(format!("$JS.ACK.{commands}.>"));
    let events = names.events();
    publish.push(format!("$JS.API.CONSUMER.LIST.{events}"));
    publish.push(format!("$JS.API.STREAM.MSG.GET.{events}"));
    let watched = [names.leases(), names.kv()];
    for bucket in [
        names.leases(),
        names.states(),
        names.capabilities(),
        names.ledger(),
        names.kv(),
    ] {
        let stream = ObjectKind::Bucket.stream_of(&bucket);
        publish.push(format!("$KV.{bucket}.>"));
        read(publish, &stream);
        if watched.contains(&bucket) {
            watch(publish, &stream);
        }
    }
    let blobs = names.blobs();
    let stream = ObjectKind::ObjectStore.stream_of(&blobs);
    publish.push(format!("$O.{blobs}.>"));
    read(publish, &stream);
    watch(publish, &stream);
    allowed
        .subscribe
        .extend(["req", "ctl", "hook", "svc", "evt"].map(|kind| format!("{version}.{kind}.>")));
    allowed.subscribe.push("$SRV.>".to_owned());
}

fn read(publish: &mut Vec<String>, stream: &str) {
    publish.push(format!("$JS.API.DIRECT.GET.{stream}.>"));
    publish.push(format!("$JS.API.STREAM.MSG.GET.{stream}"));
}

fn watch(publish: &mut Vec<String>, stream: &str) {
    // Without a further token, too: client libraries make unnamed consumers.
    publish.push(format!("$JS.API.CONSUMER.CREATE.{stream}"));
    publish.extend(CONSUMER_CALLS.map(|call| format!("$JS.API.CONSUMER.{call}.{stream}.>")));
    publish.push(format!("$JS.FC.{stream}.>"));
}

fn operator(allowed: &mut Allowed, root: &Root, version: &str, names: &Names) {
    let publish = &mut allowed.publish;
    publish.extend(["cmd", "req", "ctl", "svc", "evt"].map(|kind| format!("{version}.{kind}.>")));
    publish.extend(["$SRV.>", "$JS.API.INFO", "$JS.API.STREAM.NAMES"].map(str::to_owned));
    for stream in streams(root) {
        publish.push(format!("$JS.API.STREAM.INFO.{stream}"));
        publish.push(format!("$JS.API.STREAM.MSG.GET.{stream}"));
    }
    publish.push(format!(
        "$JS.API.STREAM.MSG.DELETE.{}",
        names.dead_letters()
    ));
    for stream in [names.events(), names.results(), names.dead_letters()] {
        publish.extend(CONSUMER_CALLS.map(|call| format!("$JS.API.CONSUMER.{call}.{stream}.>")));
        publish.push(format!("$JS.ACK.{stream}.>"));
    }
    // Commands for `tap`. Not requests: a listener beside the owner would hide that nobody owns an account.
    let heard = ["evt", "cmd", "res", "state", "cap", "raw", "dlq"];
    allowed
        .subscribe
        .extend(heard.map(|kind| format!("{version}.{kind}.>")));
}

fn app(allowed: &mut Allowed, version: &str, names: &Names, of: &str, consumer: &str) {
    allowed
        .publish
        .extend(["cmd", "req"].map(|kind| format!("{version}.{kind}.{of}.>")));
    for (stream, kind) in [(names.events(), "evt"), (names.results(), "res")] {
        let publish = &mut allowed.publish;
        publish.push(format!("$JS.ACK.{stream}.{consumer}.>"));
        publish.extend(
            ["INFO", "MSG.NEXT"].map(|call| format!("$JS.API.CONSUMER.{call}.{stream}.{consumer}")),
        );
        publish.push(format!("$JS.API.STREAM.INFO.{stream}"));
        // The server compares the filter at the end with the request, so others' messages stay others'.
        publish.push(format!(
            "$JS.API.CONSUMER.CREATE.{stream}.{consumer}.{version}.{kind}.{of}.>"
        ));
    }
    allowed
        .subscribe
        .extend(["res", "state", "cap"].map(|kind| format!("{version}.{kind}.{of}.>")));
}

impl Allowed {
    pub fn document(&self) -> Value {
        let mut document = json!({
            "publish": { "allow": self.publish },
            "subscribe": { "allow": self.subscribe },
        });
        if self.answers {
            document["allow_responses"] = json!({ "max": 1, "expires": "2m" });
        }
        document
    }

    /// To stand in a user's block.
    pub fn server_configuration(&self) -> String {
        let mut text = format!("# role {} of im-bridge\npermissions: {{\n", self.role);
        for (verb, subjects) in [("publish", &self.publish), ("subscribe", &self.subscribe)] {
            let _ = writeln!(text, "  {verb}: {{ allow: [");
            for subject in subjects {
                let _ = writeln!(text, "    \"{subject}\"");
            }
            text.push_str("  ] }\n");
        }
        if self.answers {
            text.push_str("  allow_responses: { max: 1, expires: \"2m\" }\n");
        }
        text.push('}');
        text
    }
}
