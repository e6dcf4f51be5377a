//! Two connections to NATS, and whether what is at the other end will do.
//!
//! *Data* carries events, results and commands, *control* leases, requests and state: a full data channel cannot delay a
//! renewal. Once connected, both come back by themselves for ever.
//!
//! Not here: the objects on the server (`provision`).

use super::api::{Api, ApiError, number};
use super::denied::Denied;
use super::replies::{AskError, Replies};
use super::subjects::Subjects;
use super::token::Root;
use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError, ServerInfo,
};
use serde_json::Value;
use std::error::Error;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// A frozen server is left after three of these; the library's default would take three minutes.
const PING_EVERY: Duration = Duration::from_secs(5);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const RECONNECT_FIRST_MS: u64 = 100;
const RECONNECT_LAST_MS: u64 = 4_000;
/// Commands that wait for the socket. When full, publishing waits, always with a time limit.
const CHANNEL_MESSAGES: usize = 4_096;
/// A message and its headers, as the streams take them.
const PAYLOAD_MIN: usize = 1024 * 1024;
/// JetStream of a cluster that just started has no leader for some seconds.
const JETSTREAM_WITHIN: Duration = Duration::from_secs(15);
const JETSTREAM_LOOK_EVERY: Duration = Duration::from_millis(250);
/// Denials are rare, and a reader that lags loses the oldest only.
const DENIALS: usize = 64;

/// Who this is to NATS. Has no `Debug`: it holds secrets.
#[derive(Clone, Default)]
pub enum Auth {
    #[default]
    None,
    UserPassword {
        user: String,
        password: String,
    },
    Token(String),
    /// Seed of an nkey.
    Nkey(String),
    /// Text of a credentials file.
    Creds(String),
}

impl Auth {
    /// The key of the configuration that it comes from.
    fn key(&self) -> &'static str {
        match self {
            Self::None => "nats.url",
            Self::UserPassword { .. } => "nats.user",
            Self::Token(_) => "nats.token",
            Self::Nkey(_) => "nats.nkey",
            Self::Creds(_) => "nats.creds",
        }
    }
}

/// How TLS is spoken, if at all.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    pub is_required: bool,
    /// Handshake before the server's first line.
    pub is_first: bool,
    pub ca: Option<PathBuf>,
    /// Own certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// All that connecting needs. Has no `Debug`: it holds secrets.
#[derive(Clone)]
pub struct Settings {
    pub urls: Vec<String>,
    /// `nats.name`, of this replica.
    pub name: String,
    pub root: Root,
    pub auth: Auth,
    pub tls: Tls,
    pub inbox_prefix: Option<String>,
}

/// Why NATS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no NATS at {url}: {why}; start it or set nats.url")]
    Unreachable { url: String, why: String },
    #[error("NATS at {url} is {version}, needs 2.11 for {feature}; upgrade it")]
    TooOld {
        url: String,
        version: String,
        feature: &'static str,
    },
    #[error("JetStream is off for this NATS account; enable it in the server's configuration")]
    NoJetstream,
    #[error("NATS refuses the credentials of {key}; check what it refers to")]
    Auth { key: &'static str },
    #[error("TLS with {url} failed: {why}; see nats.tls")]
    Tls { url: String, why: String },
    #[error("NATS takes {actual} bytes per message, needs {PAYLOAD_MIN}; raise max_payload")]
    Payload { actual: usize },
    #[error("{0}")]
    Permission(Denied),
    #[error("JetStream at {url} gives no account of itself: {why}; see the log of its server")]
    Jetstream { url: String, why: String },
}

impl ConnectError {
    /// Its section in the list of errors.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::Jetstream { .. } => "nats_unreachable",
            Self::TooOld { .. } => "nats_too_old",
            Self::NoJetstream => "nats_no_jetstream",
            Self::Auth { .. } => "nats_auth",
            Self::Tls { .. } => "nats_tls",
            Self::Payload { .. } => "nats_payload",
            Self::Permission(_) => "nats_permission",
        }
    }

    /// Whether waiting may help: a server that is not there yet. All else needs a person.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Connection {
    client: Client,
    api: Api,
    connects: watch::Receiver<u64>,
    denials: broadcast::Sender<Denied>,
    slow_consumers: Arc<AtomicU64>,
}

impl Connection {
    /// One connection, whatever is at its other end: for a client whose permissions may not reach JetStream's own API.
    pub async fn open(settings: &Settings) -> Result<Self, ConnectError> {
        connect(settings).await
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn api(&self) -> &Api {
        &self.api
    }

    pub fn replies(&self) -> &Replies {
        self.api.replies()
    }

    /// Counts connects: it changes when the connection came back. Notices may be lost when many come at once, so whoever
    /// rests on them also looks at [`Self::server_client`] now and then.
    pub fn connects(&self) -> watch::Receiver<u64> {
        self.connects.clone()
    }

    /// The server's number for this connection: another one is another connection.
    pub fn server_client(&self) -> Option<(String, u64)> {
        let info = self.client.try_server_info()?;
        Some((info.server_id, info.client_id))
    }

    /// How often a subscription lost messages because it was not read.
    pub fn slow_consumers(&self) -> u64 {
        self.slow_consumers.load(Ordering::Relaxed)
    }

    /// What the server takes to answer, if it does.
    pub async fn round_trip(&self) -> Option<Duration> {
        let asked = std::time::Instant::now();
        let answered = self.api.call::<Value>("INFO", &Value::Null).await;
        answered.ok().map(|_| asked.elapsed())
    }

    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// What the server forbade. A publish that it forbids does not fail.
    pub fn denials(&self) -> broadcast::Receiver<Denied> {
        self.denials.subscribe()
    }
}

/// Connected to NATS.
#[derive(Clone, Debug)]
pub struct Bus {
    pub data: Connection,
    pub control: Connection,
    pub subjects: Subjects,
    /// `nats.name`
    pub name: Arc<str>,
}

impl Bus {
    /// Connects once and looks at what answers. Fails within some seconds.
    pub async fn connect(settings: &Settings) -> Result<Self, ConnectError> {
        let (data, control) = tokio::join!(connect(settings), connect(settings));
        let data = data?;
        let info = data.client.server_info();
        check_server(&info, &settings.urls.join(","))?;
        let control = control?;
        check_jetstream(control.api(), &settings.urls.join(",")).await?;
        Ok(Self {
            data,
            control,
            subjects: Subjects::new(settings.root.clone()),
            name: settings.name.as_str().into(),
        })
    }

    /// Connects, and keeps trying while nobody answers; `tell` hears each failure, with the seconds until the next try.
    /// Cancel safe.
    pub async fn connect_patiently(
        settings: &Settings,
        mut tell: impl FnMut(&ConnectError, u64),
    ) -> Result<Self, ConnectError> {
        const LONGEST_S: u64 = 15;
        let mut wait_s = 1;
        loop {
            match Self::connect(settings).await {
                Err(error) if error.is_transient() => tell(&error, wait_s),
                done => return done,
            }
            tokio::time::sleep(Duration::from_secs(wait_s)).await;
            wait_s = (wait_s * 2).min(LONGEST_S);
        }
    }

    /// Version and limits of the server that the data connection is with.
    pub fn server(&self) -> ServerInfo {
        self.data.client.server_info()
    }

    /// Sends what is buffered and closes both connections.
    pub async fn close(&self, within: Duration) {
        for connection in [&self.data, &self.control] {
            // Closing is a courtesy: what had to arrive was acknowledged before.
            let _ = tokio::time::timeout(within, connection.client.flush()).await;
            let _ = connection.client.drain().await;
        }
    }
}

async fn connect(settings: &Settings) -> Result<Connection, ConnectError> {
    let url = settings.urls.join(",");
    let addresses: Vec<ServerAddr> = settings
        .urls
        .iter()
        .map(|url| url.parse())
        .collect::<Result<_, std::io::Error>>()
        .map_err(|error| ConnectError::Unreachable {
            url: url.clone(),
            why: error.to_string(),
        })?;
    let (connected, connects) = watch::channel(0);
    let (denials, _) = broadcast::channel(DENIALS);
    let itself: Arc<OnceLock<Client>> = Arc::default();
    let slow_consumers: Arc<AtomicU64> = Arc::default();
    let was_there: Arc<OnceLock<()>> = Arc::default();
    let delay = {
        let was_there = Arc::clone(&was_there);
        // The library asks before the very first attempt, too; who waits between those is `connect_patiently`.
        move |attempt| match was_there.get() {
            Some(()) => reconnect_delay(attempt),
            None => Duration::ZERO,
        }
    };
    let options = options(settings)?.reconnect_delay_callback(delay);
    let options = options.event_callback({
        let (itself, denials) = (Arc::clone(&itself), denials.clone());
        let slow = Arc::clone(&slow_consumers);
        move |event| {
            match &event {
                Event::Connected => connected.send_modify(|count| *count += 1),
                Event::SlowConsumer(_) => {
                    slow.fetch_add(1, Ordering::Relaxed);
                }
                Event::ServerError(ServerError::Other(text)) => {
                    if let Some(denied) = Denied::read(text) {
                        // Nobody may be listening any more.
                        let _ = denials.send(denied);
                    }
                }
                _ => {}
            }
            let itself = Arc::clone(&itself);
            async move {
                if event == Event::LameDuckMode
                    && let Some(client) = itself.get()
                {
                    // Now, while the others have room, not with everybody else when the server goes.
                    let _ = client.force_reconnect().await;
                }
            }
        }
    });
    let client = options
        .connect(addresses)
        .await
        .map_err(|error| refused(&error, &url, settings))?;
    // Empty until here.
    let _ = (was_there.set(()), itself.set(client.clone()));
    let replies = Replies::start(client.clone(), denials.subscribe(), connects.clone())
        .await
        .map_err(|error| ConnectError::Unreachable {
            url,
            why: error.to_string(),
        })?;
    Ok(Connection {
        client,
        api: Api::new(replies),
        connects,
        denials,
        slow_consumers,
    })
}

fn options(settings: &Settings) -> Result<ConnectOptions, ConnectError> {
    let mut options = ConnectOptions::new()
        .name(format!("im-bridge/{}", settings.name))
        .ping_interval(PING_EVERY)
        .connection_timeout(CONNECT_WITHIN)
        .request_timeout(Some(CONNECT_WITHIN))
        .client_capacity(CHANNEL_MESSAGES)
        .require_tls(settings.tls.is_required);
    if settings.tls.is_first {
        options = options.tls_first();
    }
    if let Some(ca) = &settings.tls.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some((certificate, key)) = &settings.tls.certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    if let Some(prefix) = &settings.inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    Ok(match &settings.auth {
        Auth::None => options,
        Auth::UserPassword { user, password } => {
            options.user_and_password(user.clone(), password.clone())
        }
        Auth::Token(token) => options.token(token.clone()),
        Auth::Nkey(seed) => options.nkey(seed.clone()),
        Auth::Creds(text) => {
            // The library wants a line end behind the last line, which is cut from secrets.
            let text = format!("{text}\n");
            options.credentials(&text).map_err(|_| ConnectError::Auth {
                key: settings.auth.key(),
            })?
        }
    })
}

/// Doubles, with jitter, so that the clients of a server that went do not come back together.
fn reconnect_delay(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(10);
    let longest = (RECONNECT_FIRST_MS << doublings).min(RECONNECT_LAST_MS);
    Duration::from_millis(longest / 2 + fastrand::u64(0..=longest / 2))
}

fn refused(error: &async_nats::ConnectError, url: &str, settings: &Settings) -> ConnectError {
    let mut is_tls = error.kind() == ConnectErrorKind::Tls;
    let why = {
        // The library's own text names the kind twice and the cause last.
        let mut cause: &dyn Error = error;
        loop {
            // A handshake or a certificate that fails later comes as an error of the socket.
            is_tls |= cause
                .downcast_ref::<std::io::Error>()
                .and_then(std::io::Error::get_ref)
                .is_some_and(|inner| inner.is::<async_nats::rustls::Error>());
            let Some(source) = cause.source() else { break };
            cause = source;
        }
        one_line(&cause.to_string())
    };
    let url = url.to_owned();
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            ConnectError::Auth {
                key: settings.auth.key(),
            }
        }
        _ if is_tls => ConnectError::Tls { url, why },
        _ => ConnectError::Unreachable { url, why },
    }
}

/// A text that may be a stranger's: whatever answers there, a line of it is enough.
fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    let words = text.split(|c: char| c.is_control() || c.is_whitespace());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(CHARS_MAX).collect()
}

fn check_server(info: &ServerInfo, url: &str) -> Result<(), ConnectError> {
    let mut numbers = info.version.split(['.', '-']).map(str::parse::<u64>);
    let is_new_enough = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (2, 11),
        _ => false,
    };
    if !is_new_enough {
        return Err(ConnectError::TooOld {
            url: url.to_owned(),
            version: info.version.clone(),
            feature: "a TTL per message",
        });
    }
    if info.max_payload < PAYLOAD_MIN {
        return Err(ConnectError::Payload {
            actual: info.max_payload,
        });
    }
    Ok(())
}

async fn check_jetstream(api: &Api, url: &str) -> Result<(), ConnectError> {
    let look = async {
        loop {
            match api.call::<Value>("INFO", &Value::Null).await {
                Ok(_) => return Ok(()),
                Err(ApiError::Ask(AskError::NoResponders { .. })) => {
                    return Err(ConnectError::NoJetstream);
                }
                Err(error)
                    if error.is(number::JETSTREAM_OFF)
                        || error.is(number::JETSTREAM_OFF_FOR_ACCOUNT) =>
                {
                    return Err(ConnectError::NoJetstream);
                }
                Err(error) if error.is_transient() => {
                    tokio::time::sleep(JETSTREAM_LOOK_EVERY).await;
                }
                Err(ApiError::Ask(AskError::Forbidden(denied))) => {
                    return Err(ConnectError::Permission(denied));
                }
                Err(error) => {
                    return Err(ConnectError::Jetstream {
                        url: url.to_owned(),
                        why: error.to_string(),
                    });
                }
            }
        }
    };
    tokio::time::timeout(JETSTREAM_WITHIN, look)
        .await
        .unwrap_or_else(|_| {
            Err(ConnectError::Unreachable {
                url: "$JS.API.INFO".to_owned(),
                why: format!(
                    "JetStream did not answer within {} s",
                    JETSTREAM_WITHIN.as_secs()
                ),
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_ttl_per_message_is_refused() {
        let server = |version: &str, max_payload| ServerInfo {
            version: version.to_owned(),
            max_payload,
            ..ServerInfo::default()
        };
        for version in ["2.11.0", "2.15.1", "2.12.0-RC.1", "3.0.0"] {
            assert!(
                check_server(&server(version, PAYLOAD_MIN), "nats://x").is_ok(),
                "{version}"
            );
        }
        for version in ["2.10.29", "2.9.10", "", "abc"] {
            let error = check_server(&server(version, PAYLOAD_MIN), "nats://x").unwrap_err();
            assert_eq!(error.code(), "nats_too_old", "{version}");
        }
        let error = check_server(&server("2.11.0", 1000), "nats://x").unwrap_err();
        assert_eq!(error.code(), "nats_payload");
    }

    #[test]
    fn a_strangers_text_is_one_line() {
        assert_eq!(one_line("a\r\nb\u{1b}[31m\t c "), "a b [31m c");
        assert_eq!(one_line(&"x".repeat(10_000)).len(), 200);
    }

    #[test]
    fn reconnecting_slows_down_to_four_seconds() {
        for attempt in 0..200 {
            let delay = reconnect_delay(attempt);
            assert!(
                (50..=4_000).contains(&delay.as_millis()),
                "{attempt}: {delay:?}"
            );
        }
    }
}
