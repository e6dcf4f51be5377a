//! A connection for commands that talk to the bridge over NATS, and what all of them read there.
//!
//! It needs no more than the operator's permissions: it makes no consumers on buckets. What the server forbids ends a
//! command at once, with the subject, instead of in a timeout.
//!
//! Not here: the connection itself (`bus`), and what each command asks.

use super::failure::{Exit, Failure};
use super::globals::Globals;
use super::output::Output;
use crate::app;
use crate::bus::api::{ApiError, number};
use crate::bus::connect::{Connection, Settings};
use crate::bus::denied::Denied;
use crate::bus::kv::{Bucket, Entry};
use crate::bus::members::{LeaseRecord, MemberRecord};
use crate::bus::objects::{Names, ObjectKind};
use crate::bus::replies::AskError;
use crate::bus::service::Endpoint;
use crate::bus::shard::{SHARDS, Shard};
use crate::bus::{Account, Subjects};
use crate::config::secret::SecretError;
use crate::config::types::{Config, Nats};
use crate::config::{self, Origins};
use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use im_bridge_sdk::model::nearest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Keys read at the same time: enough to hide the way to the server, little against what it can answer.
const READ_AT_ONCE: usize = 16;
/// A demo on this machine answers in microseconds.
const DEMO_WITHIN: Duration = Duration::from_millis(500);
/// Most names in a message.
const NAMES_MAX: usize = 8;

/// Runs a command that waits.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a process that has just started can have a runtime")
        .block_on(future)
}

/// The configuration as far as a client needs it: no plugin is looked at. Without any, the running demo's.
pub(super) fn configuration(globals: &Globals, output: &mut Output) -> Result<Config, Failure> {
    let mut origins = globals.origins();
    origins.may_be_empty = true;
    if let Some(file) = demo_file(&origins) {
        let mut demo = origins.clone();
        demo.files = vec![file];
        if let Ok(loaded) = config::load(&demo, |_| Vec::new())
            && answers(&loaded.config.nats.url)
        {
            output.remark(format!("using the demo at {}", loaded.config.nats.url))?;
            return Ok(loaded.config);
        }
    }
    Ok(config::load(&origins, |_| Vec::new())?.config)
}

/// Where a running demo keeps its configuration; none where anything else says which NATS is meant.
fn demo_file(origins: &Origins) -> Option<PathBuf> {
    let is_named = !origins.files.is_empty()
        || origins
            .variables
            .iter()
            .any(|(name, _)| name.starts_with("IM_BRIDGE__NATS__"))
        || origins.flags.iter().any(|flag| flag.starts_with("nats."));
    let has_file = || config::files::find(&[], &origins.working, &origins.system).is_ok();
    if is_named || has_file() {
        return None;
    }
    let beside = std::env::current_exe()
        .ok()?
        .parent()?
        .join("im-bridge-demo")
        .join("bridge.toml");
    beside.is_file().then_some(beside)
}

/// Whom to connect to and as whom. What the server lists is this program, not a replica.
pub(super) fn settings(nats: &Nats) -> Result<Settings, SecretError> {
    let mut settings = app::settings::connection(nats)?;
    settings.name = "cli".to_owned();
    Ok(settings)
}

fn answers(url: &str) -> bool {
    let address = url.rsplit_once("//").map_or(url, |(_, address)| address);
    let addresses = address.to_socket_addrs().into_iter().flatten();
    addresses
        .into_iter()
        .any(|address| TcpStream::connect_timeout(&address, DEMO_WITHIN).is_ok())
}

/// Connected, with the names of everything.
pub(super) struct Client {
    pub connection: Connection,
    pub subjects: Subjects,
    pub names: Names,
    pub url: String,
}

impl Client {
    pub async fn connect(globals: &Globals, output: &mut Output) -> Result<Self, Failure> {
        Self::with(&configuration(globals, output)?, output).await
    }

    pub async fn with(config: &Config, output: &mut Output) -> Result<Self, Failure> {
        let settings = settings(&config.nats)?;
        let url = settings.urls.join(",");
        output.detail(format!("connecting to {url}"))?;
        let connection = Connection::open(&settings).await?;
        Ok(Self {
            connection,
            names: Names::new(&settings.root),
            subjects: Subjects::new(settings.root),
            url,
        })
    }

    /// What is done, unless the server forbids it first.
    pub async fn permitted<T>(&self, doing: impl Future<Output = T>) -> Result<T, Failure> {
        let mut denials = self.connection.denials();
        tokio::select! {
            biased;
            // First: what is forbidden also ends as an error of its own, which says less.
            Ok(denied) = denials.recv() => Err(forbidden(&denied)),
            done = doing => Ok(done),
        }
    }

    /// One question.
    pub async fn ask(
        &self,
        subject: Subject,
        headers: Option<HeaderMap>,
        payload: Bytes,
        within: Duration,
    ) -> Result<Result<Message, AskError>, Failure> {
        self.permitted(
            self.connection
                .replies()
                .ask(subject, headers, payload, within),
        )
        .await
    }

    /// A question to the service that every replica answers. Whoever may not ask hears nothing.
    pub async fn ask_all(
        &self,
        endpoint: Endpoint,
        body: &Value,
        expected: usize,
        within: Duration,
    ) -> Vec<Value> {
        let subject = self.subjects.service(&endpoint.action());
        let answers = self.ask_every(subject, body, expected, within).await;
        answers.unwrap_or_default()
    }

    /// A question that every replica answers, until so many have or the time is over.
    pub async fn ask_every(
        &self,
        subject: Subject,
        body: &Value,
        expected: usize,
        within: Duration,
    ) -> Result<Vec<Value>, Failure> {
        let client = self.connection.client();
        let mut denials = self.connection.denials();
        let inbox = client.new_inbox();
        let Ok(mut answers) = client.subscribe(inbox.clone()).await else {
            return Ok(Vec::new()); // the connection ends
        };
        let body = body.to_string().into();
        let asked = client.publish_with_reply(subject, inbox, body).await;
        if asked.is_err() {
            return Ok(Vec::new());
        }
        let until = Instant::now() + within;
        let mut all = Vec::new();
        while all.len() < expected {
            tokio::select! {
                answer = timeout_at(until, answers.next()) => match answer {
                    // Without a body: that nobody is there.
                    Ok(Some(answer)) if answer.payload.is_empty() => break,
                    Ok(Some(answer)) => all.extend(serde_json::from_slice::<Value>(&answer.payload)),
                    Ok(None) | Err(_) => break,
                },
                Ok(words) = denials.recv() => return Err(forbidden(&words)),
            }
        }
        Ok(all)
    }

    /// A call of JetStream's API that must succeed.
    pub async fn api<T>(
        &self,
        about: (ObjectKind, &str),
        call: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, Failure> {
        let answer = self.permitted(call).await?;
        answer.map_err(|error| self.api_failure(about, &error))
    }

    fn api_failure(&self, (kind, name): (ObjectKind, &str), error: &ApiError) -> Failure {
        let (code, text) = match error {
            ApiError::Ask(AskError::NoResponders { .. }) => (
                "nats_no_jetstream",
                "JetStream is off for this NATS account; enable it in the server's configuration"
                    .to_owned(),
            ),
            ApiError::Ask(AskError::Forbidden(denied)) => return forbidden(denied),
            error if error.is(number::STREAM_NOT_FOUND) => return missing(kind, name),
            error => (
                "nats_unreachable",
                format!(
                    "NATS at {} gives no answer about {} {name}: {error}; try again",
                    self.url,
                    kind.as_str()
                ),
            ),
        };
        Failure::new(Exit::Unreachable, code, text)
    }

    /// How many messages each subject of a stream has.
    pub async fn counts(
        &self,
        kind: ObjectKind,
        name: &str,
        filter: &str,
    ) -> Result<BTreeMap<String, u64>, Failure> {
        let call = format!("STREAM.INFO.{}", kind.stream_of(name));
        let mut counts = BTreeMap::new();
        loop {
            let request = json!({ "subjects_filter": filter, "offset": counts.len() });
            let info: Value = self
                .api((kind, name), self.connection.api().call(&call, &request))
                .await?;
            let page = info["state"]["subjects"].as_object().into_iter().flatten();
            let before = counts.len();
            counts.extend(
                page.map(|(subject, count)| (subject.clone(), count.as_u64().unwrap_or_default())),
            );
            let total = info["total"].as_u64().unwrap_or_default();
            if counts.len() == before || counts.len() as u64 >= total {
                return Ok(counts);
            }
        }
    }

    /// Every value of a bucket whose key matches.
    pub async fn entries(&self, name: &str, filter: &str) -> Result<Vec<Entry>, Failure> {
        let bucket = Bucket::new(&self.connection, name);
        let counts = self
            .counts(ObjectKind::Bucket, name, &bucket.subject(filter))
            .await?;
        let reads = counts
            .keys()
            .filter_map(|subject| bucket.key(subject))
            .map(|key| bucket.get(key));
        let read = stream::iter(reads)
            .buffered(READ_AT_ONCE)
            .try_collect::<Vec<Option<Entry>>>();
        let entries = self.api((ObjectKind::Bucket, name), read).await?;
        Ok(entries
            .into_iter()
            .flatten()
            .filter(|entry| entry.value.is_some())
            .collect())
    }

    /// The document that a bucket has for an account, if any.
    pub async fn document(&self, name: &str, account: &Account) -> Result<Option<Value>, Failure> {
        let bucket = Bucket::new(&self.connection, name);
        let key = account.key();
        let entry = self
            .api((ObjectKind::Bucket, name), bucket.get(&key))
            .await?;
        Ok(entry.and_then(|entry| document(&entry)))
    }

    /// Accounts with a state, in order.
    pub async fn states(&self) -> Result<BTreeMap<String, Value>, Failure> {
        let entries = self.entries(&self.names.states(), ">").await?;
        let named = entries
            .iter()
            .filter_map(|entry| Some((entry.key.replacen('.', "/", 1), document(entry)?)));
        Ok(named.collect())
    }

    /// Replicas and the shards they hold.
    pub async fn replicas(&self) -> Result<Replicas, Failure> {
        let mut replicas = Replicas::default();
        for entry in self.entries(&self.names.leases(), ">").await? {
            let value = entry.value.unwrap_or_default();
            if let Some(shard) = entry
                .key
                .strip_prefix("shard.")
                .and_then(|shard| shard.parse().ok())
            {
                if let Ok(lease) = serde_json::from_slice(&value) {
                    replicas.leases.insert(Shard::new(shard), lease);
                }
            } else if let Some(owner) = entry
                .key
                .strip_prefix("member.")
                .and_then(crate::bus::token::unescaped)
                && let Ok(member) = serde_json::from_slice(&value)
            {
                replicas.members.insert(owner, member);
            }
        }
        Ok(replicas)
    }

    /// Fails if nobody ever ran this account. `None`: this client may not know.
    pub async fn known(&self, account: &Account) -> Result<Option<Value>, Failure> {
        match self.document(&self.names.states(), account).await {
            Ok(Some(state)) => Ok(Some(state)),
            Ok(None) => Err(self.unknown(account).await),
            // Services may not read the bucket; and without it the next step tells better what is missing.
            Err(Failure::Told { code, .. })
                if code == "nats_permission" || code == "nats_object_missing" =>
            {
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn unknown(&self, account: &Account) -> Failure {
        let known: Vec<String> = match self.states().await {
            Ok(states) => states.into_keys().collect(),
            Err(failure) => return failure,
        };
        let wanted = account.to_string();
        let hint = match nearest(&wanted, known.iter().map(String::as_str)) {
            Some(name) => format!("did you mean {name}?"),
            None if known.is_empty() => "known: none; is im-bridge run running there?".to_owned(),
            None => {
                let more = if known.len() > NAMES_MAX { ", …" } else { "" };
                let named: Vec<&str> = known.iter().take(NAMES_MAX).map(String::as_str).collect();
                format!("known: {}{more}", named.join(", "))
            }
        };
        Failure::new(
            Exit::Refused,
            "account_unknown",
            format!("no account {account}; {hint}"),
        )
    }

    /// Why nobody answers for this account.
    pub async fn no_owner(&self, account: &Account) -> Failure {
        if let Err(
            unknown @ Failure::Told {
                exit: Exit::Refused,
                ..
            },
        ) = self.known(account).await
        {
            return unknown;
        }
        let why = match self.replicas().await {
            Ok(replicas) if replicas.members.is_empty() => "no replica runs",
            Ok(replicas) if replicas.owner(account).is_some() => {
                "its owner has not begun to listen, or has just stopped"
            }
            Ok(_) => "no running replica has taken it",
            Err(_) => "nobody listens for it",
        };
        let text =
            format!("no replica owns {account}: {why}; see im-bridge account show {account}");
        Failure::new(Exit::Unreachable, "account_no_owner", text)
    }

    pub fn silent(&self, within: Duration) -> Failure {
        let text = format!(
            "no bridge answered within {} s on {}; is im-bridge run running there?",
            within.as_secs_f32(),
            self.url
        );
        Failure::new(Exit::Unreachable, "bridge_silent", text)
    }
}

/// Replicas that run, by owner id, and who holds which shard.
#[derive(Default)]
pub(super) struct Replicas {
    pub members: BTreeMap<String, MemberRecord>,
    pub leases: BTreeMap<Shard, LeaseRecord>,
}

impl Replicas {
    /// Who holds the shard of this account.
    pub fn owner(&self, account: &Account) -> Option<&LeaseRecord> {
        self.leases.get(&Shard::of(account, SHARDS))
    }

    /// How many shards a replica holds.
    pub fn shards(&self, owner: &str) -> usize {
        self.leases
            .values()
            .filter(|lease| lease.owner.as_str() == owner)
            .count()
    }
}

/// `data` of a stored envelope.
fn document(entry: &Entry) -> Option<Value> {
    let mut envelope: Value = serde_json::from_slice(entry.value.as_ref()?).ok()?;
    envelope.get_mut("data").map(Value::take)
}

pub(super) fn missing(kind: ObjectKind, name: &str) -> Failure {
    let text = format!(
        "{} {name} does not exist; run im-bridge streams apply",
        kind.as_str()
    );
    Failure::new(Exit::Unreachable, "nats_object_missing", text)
}

pub(super) fn forbidden(denied: &Denied) -> Failure {
    Failure::new(Exit::Unreachable, "nats_permission", denied.to_string())
}
