//! What each role needs of NATS, one subject by one: wildcards match whole tokens, so no prefix covers all objects.
//!
//! Not here: who has which role; the server's configuration says that.

use super::objects::{Limits, Names, ObjectKind, Wanted, wanted};
use super::replies::{AskError, Replies};
use super::subjects::Subjects;
use super::token::{Account, Root};
use async_nats::Subject;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::time::Duration;

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

/// As the server's configuration has it in a user's block.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Document<'a> {
    publish: Rule<'a>,
    subscribe: Rule<'a>,
    /// Answers, wherever it was asked from.
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_responses: Option<Responses>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Rule<'a> {
    /// Subjects.
    allow: &'a [String],
}

#[derive(Debug, Serialize, JsonSchema)]
struct Responses {
    max: u32,
    /// How long after the question.
    expires: &'static str,
}

/// The server tells whoever asks what he may.
const USER_INFO: &str = "$SYS.REQ.USER.INFO";
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
    publish.extend(["$JS.API.INFO", "$JS.API.STREAM.NAMES", USER_INFO].map(str::to_owned));
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

/// What the server grants whoever is connected, as it says itself.
#[derive(Debug, Default, Deserialize)]
pub struct Granted {
    /// None: everything.
    publish: Option<Rules>,
    subscribe: Option<Rules>,
}

#[derive(Debug, Default, Deserialize)]
struct Rules {
    #[serde(default)]
    allow: Option<Vec<String>>,
    #[serde(default)]
    deny: Option<Vec<String>>,
}

impl Granted {
    /// Asks the server.
    ///
    /// # Errors
    /// It does not answer that.
    pub async fn ask(replies: &Replies, within: Duration) -> Result<Self, AskError> {
        #[derive(Deserialize)]
        struct Answer {
            data: Option<User>,
        }
        #[derive(Deserialize)]
        struct User {
            permissions: Option<Granted>,
        }
        let answer = replies
            .ask(Subject::from_static(USER_INFO), None, Bytes::new(), within)
            .await?;
        let answer: Option<Answer> = serde_json::from_slice(&answer.payload).ok();
        let user = answer.and_then(|answer| answer.data);
        Ok(user.and_then(|user| user.permissions).unwrap_or_default())
    }
}

impl Rules {
    fn grant(&self, subject: &str) -> bool {
        // A rule of a subscription may name a queue group behind its subject.
        let bare = |rule: &String| rule.split(' ').next().unwrap_or_default().to_owned();
        let allow = self.allow.as_ref().filter(|allow| !allow.is_empty());
        let is_allowed =
            allow.is_none_or(|allow| allow.iter().any(|rule| covers(&bare(rule), subject)));
        let mut deny = self.deny.iter().flatten();
        is_allowed && !deny.any(|rule| meets(&bare(rule), subject))
    }
}

/// Every subject of `other` is one of `rule`.
fn covers(rule: &str, other: &str) -> bool {
    let (mut rule, mut other) = (rule.split('.'), other.split('.'));
    loop {
        match (rule.next(), other.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// Some subject is one of both.
fn meets(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

impl Allowed {
    /// What of this is not granted, as the beginning of a sentence.
    pub fn lacking(&self, granted: &Granted) -> Vec<String> {
        let ways = [
            ("publishing to", &self.publish, &granted.publish),
            ("subscribing to", &self.subscribe, &granted.subscribe),
        ];
        let lacks = ways.into_iter().flat_map(|(doing, subjects, rules)| {
            let forbidden = subjects
                .iter()
                .filter(move |subject| rules.as_ref().is_some_and(|rules| !rules.grant(subject)));
            forbidden.map(move |subject| format!("{doing} {subject}"))
        });
        lacks.collect()
    }

    pub fn document(&self) -> Document<'_> {
        Document {
            publish: Rule {
                allow: &self.publish,
            },
            subscribe: Rule {
                allow: &self.subscribe,
            },
            allow_responses: self.answers.then_some(Responses {
                max: 1,
                expires: "2m",
            }),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_covers_what_is_below_it() {
        for (rule, other) in [
            ("a.>", "a.b.>"),
            ("a.*.c", "a.b.c"),
            ("a.*.>", "a.*.c"),
            (">", "a"),
            ("a.b", "a.b"),
        ] {
            assert!(covers(rule, other), "{rule} {other}");
        }
        for (rule, other) in [
            ("a.*", "a.>"),
            ("a.b", "a.*"),
            ("a.>", "a"),
            ("a.*", "a.b.c"),
            ("a.b.c", "a.b"),
        ] {
            assert!(!covers(rule, other), "{rule} {other}");
        }
        assert!(meets("a.*.c", "a.b.>") && meets("a.>", "*.b"));
        assert!(!meets("a.b", "a.c.>") && !meets("a", "a.>"));
    }

    #[test]
    fn what_a_role_lacks_is_named() {
        let root: Root = "im".parse().unwrap();
        let role = of(Role::Runtime, &root, "_INBOX_im-bridge", None, "app");
        assert!(
            role.lacking(&Granted::default()).is_empty(),
            "no rules grant everything"
        );
        let mut granted: Granted =
            serde_json::from_value(serde_json::to_value(role.document()).unwrap()).unwrap();
        assert!(role.lacking(&granted).is_empty());
        let publish = granted.publish.as_mut().unwrap();
        publish.deny = Some(vec!["im.v1.evt.acme.>".to_owned()]);
        let subscribe = granted.subscribe.as_mut().unwrap();
        subscribe
            .allow
            .as_mut()
            .unwrap()
            .retain(|rule| rule != "$SRV.>");
        assert_eq!(
            role.lacking(&granted),
            ["publishing to im.v1.evt.>", "subscribing to $SRV.>"]
        );
    }
}
