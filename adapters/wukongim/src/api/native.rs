//! The server's own API.
//!
//! No authentication but the `managerToken`. Refusals are 400 with a text, or 2xx with a status inside the body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use im_bridge_sdk::Context;
use im_bridge_sdk::http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::openchat::escaped;
use super::{ApiError, Call, records, successful, unwrapped};
use crate::WukongIm;
use crate::native::channel::ChannelId;
use crate::native::record::{Record, SentRecord};

pub struct Native<'a> {
    wukongim: &'a WukongIm,
    cx: &'a Context,
    api_url: &'a str,
}

/// A message that goes by HTTP.
pub struct ToSend<'a> {
    pub channel: &'a ChannelId,
    pub client_msg_no: &'a str,
    pub payload: &'a [u8],
    pub red_dot: bool,
    pub expire_s: u32,
}

/// Which part of a channel's history is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seqs {
    /// The newest ones.
    Newest,
    /// From this number on upward.
    From(u64),
    /// Below this number downward.
    Before(u64),
}

/// A page of history, ascending.
#[derive(Debug, Default)]
pub struct Page {
    pub records: Vec<Record>,
    /// Messages that could not be read.
    pub unreadable: usize,
    pub has_more: bool,
}

/// A page with the channel it is of.
pub type Reading = Result<Page, ApiError>;

/// A row of the own conversations.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Conversation {
    pub channel_id: String,
    pub channel_type: u8,
    unread: i64,
    pub timestamp: i64,
    pub last_msg_seq: u64,
    /// Its newest messages, the newest first.
    recents: Option<Vec<Box<RawValue>>>,
}

impl Conversation {
    /// A row that the list lacks, as the newest message of the channel tells it.
    pub fn of_newest(channel: ChannelId, newest: &Record) -> Self {
        Self {
            channel_id: channel.id,
            channel_type: channel.kind,
            timestamp: newest.time_ms,
            last_msg_seq: newest.message_seq,
            ..Self::default()
        }
    }

    /// The server takes two numbers from each other that are not read at the same time.
    pub fn unread(&self) -> u64 {
        u64::try_from(self.unread).unwrap_or_default()
    }

    /// The id of its newest message; 0 where it is not told.
    pub fn last_id(&self) -> i64 {
        let newest = self.recents.as_ref().and_then(|recents| recents.first());
        let newest = newest.and_then(|newest| Record::read(newest.get()).ok());
        newest.map_or(0, |newest| newest.message_id)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Route {
    tcp_addr: String,
    ws_addr: String,
    wss_addr: String,
}

impl<'a> Native<'a> {
    pub(super) fn new(wukongim: &'a WukongIm, cx: &'a Context) -> Option<Self> {
        let api_url = wukongim.config.native.api_url.as_deref()?;
        Some(Self {
            wukongim,
            cx,
            api_url: api_url.trim_end_matches('/'),
        })
    }

    /// Address of the long connection.
    pub async fn route(&self, uid: &str, is_tcp: bool) -> Result<String, ApiError> {
        let path = format!("/route?uid={}", escaped(uid));
        let raw = self
            .call(Call::BOOTSTRAP, Method::GET, &path, None, || {})
            .await?;
        let route: Route = serde_json::from_str(raw.get())
            .map_err(|_| ApiError::Unexpected("the route is no object".into()))?;
        let found = if is_tcp {
            with_scheme("tcp", route.tcp_addr)
        } else {
            with_scheme("wss", route.wss_addr).or(with_scheme("ws", route.ws_addr))
        };
        found.ok_or_else(|| ApiError::Unexpected("the route has no address of this kind".into()))
    }

    /// Registers a token that we chose.
    pub async fn register(&self, uid: &str, token: &str) -> Result<(), ApiError> {
        let config = &self.wukongim.config;
        let body = json!({
            "uid": uid, "token": token,
            "device_flag": config.device_flag, "device_level": config.device_level,
        });
        let raw = self
            .call(
                Call::BOOTSTRAP,
                Method::POST,
                "/user/token",
                Some(&body),
                || {},
            )
            .await?;
        unwrapped(raw).map(drop)
    }

    /// Always with a sender: without one it would be the system's message.
    pub async fn send(
        &self,
        from: &str,
        message: &ToSend<'_>,
        sent: impl Fn(),
    ) -> Result<SentRecord, ApiError> {
        let body = json!({
            "header": { "red_dot": u8::from(message.red_dot) },
            "client_msg_no": message.client_msg_no, "from_uid": from,
            "channel_id": message.channel.written_by(from), "channel_type": message.channel.kind,
            "expire": message.expire_s, "payload": STANDARD.encode(message.payload),
        });
        let raw = self
            .call(Call::SEND, Method::POST, "/message/send", Some(&body), sent)
            .await?;
        let raw = unwrapped(raw)?;
        SentRecord::read(raw.get(), true).map_err(|error| ApiError::Unexpected(error.to_string()))
    }

    pub async fn history(&self, me: &str, channel: &ChannelId, seqs: Seqs, limit: u32) -> Reading {
        let (start, pull_mode) = match seqs {
            Seqs::Newest => (0, 0),
            Seqs::From(seq) => (seq, 1),
            Seqs::Before(seq) => (seq.saturating_sub(1), 0),
        };
        if seqs == Seqs::Before(1) {
            return Ok(Page::default());
        }
        let body = json!({
            "login_uid": me, "channel_id": channel.id, "channel_type": channel.kind,
            "start_message_seq": start, "end_message_seq": 0, "limit": limit, "pull_mode": pull_mode,
        });
        let raw = self
            .call(
                Call::HISTORY,
                Method::POST,
                "/channel/messagesync",
                Some(&body),
                || {},
            )
            .await?;
        page(raw, Some(limit))
    }

    /// Messages with one of these ids or client numbers.
    pub async fn messages(
        &self,
        call: Call,
        me: &str,
        channel: &ChannelId,
        ids: &[i64],
        client_msg_nos: &[&str],
    ) -> Result<Vec<Record>, ApiError> {
        let body = json!({
            "login_uid": me, "channel_id": channel.id, "channel_type": channel.kind,
            "message_ids": ids, "client_msg_nos": client_msg_nos,
        });
        let raw = self
            .call(call, Method::POST, "/messages", Some(&body), || {})
            .await?;
        Ok(page(raw, None)?.records)
    }

    /// A message by its id alone.
    pub async fn message(&self, id: i64) -> Result<Option<Record>, ApiError> {
        let body = json!({ "message_id": id });
        let raw = self
            .call(Call::REQUEST, Method::POST, "/message", Some(&body), || {})
            .await?;
        match unwrapped(raw) {
            Ok(raw) => Ok(Record::read(raw.get()).ok()),
            Err(ApiError::Refused {
                code: Some(404), ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All conversations of a user.
    pub async fn conversations(
        &self,
        call: Call,
        uid: &str,
    ) -> Result<Vec<Conversation>, ApiError> {
        // 0 messages of each would be answered with an empty list.
        let body = json!({ "uid": uid, "version": 0, "last_msg_seqs": "", "msg_count": 1 });
        let raw = self
            .call(call, Method::POST, "/conversation/sync", Some(&body), || {})
            .await?;
        if raw.get() == "null" {
            return Ok(vec![]);
        }
        serde_json::from_str(raw.get())
            .map_err(|_| ApiError::Unexpected("conversations are no list".into()))
    }

    /// A call that changes a channel. All of them may be made again without harm.
    pub async fn channel(&self, path: &str, body: &Value, sent: impl Fn()) -> Result<(), ApiError> {
        let raw = self
            .call(Call::REQUEST, Method::POST, path, Some(body), sent)
            .await?;
        unwrapped(raw).map(drop)
    }

    /// Whether it is healthy, and what it says.
    pub async fn health(&self) -> Result<(bool, Value), ApiError> {
        let raw = self
            .call(Call::HEALTH, Method::GET, "/health", None, || {})
            .await?;
        let detail: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        Ok((detail["status"] == "ok", detail))
    }

    pub async fn system_info(&self) -> Result<Value, ApiError> {
        let raw = self
            .call(Call::REQUEST, Method::GET, "/varz", None, || {})
            .await?;
        serde_json::from_str(raw.get()).map_err(|_| ApiError::Unexpected("no JSON".into()))
    }

    async fn call(
        &self,
        call: Call,
        method: Method,
        path: &str,
        body: Option<&Value>,
        sent: impl Fn(),
    ) -> Result<Box<RawValue>, ApiError> {
        let url = format!("{}{path}", self.api_url);
        let template = path.split('?').next().unwrap_or_default();
        let http = self.cx.http();
        let mut request = http
            .request(method, call.operation, call.noise, &url)
            .template(template);
        if let Some(token) = &self.wukongim.config.native.manager_token {
            request = request.header("token", token.expose());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        sent();
        let response = successful(request.send().await?)?;
        Ok(response.json()?)
    }
}

/// What an operator configured as a server's address, which may or may not begin with a scheme.
pub fn with_scheme(scheme: &str, address: String) -> Option<String> {
    let address = address.trim();
    match address {
        "" => None,
        _ if address.contains("://") => Some(address.to_owned()),
        _ => Some(format!("{scheme}://{address}")),
    }
}

fn page(raw: Box<RawValue>, limit: Option<u32>) -> Reading {
    #[derive(Deserialize)]
    struct More {
        #[serde(default)]
        more: u8,
    }
    let has_more = serde_json::from_str::<More>(raw.get()).is_ok_and(|page| page.more != 0);
    let raw = unwrapped(raw)?;
    let all = records(&raw)?;
    let count = all.len();
    let mut readable: Vec<Record> = all.into_iter().flatten().collect();
    readable.sort_by_key(|record| record.message_seq);
    // "More" says only that the page was full.
    let is_full = limit.is_some_and(|limit| count >= usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(Page {
        unreadable: count - readable.len(),
        records: readable,
        has_more: has_more || is_full,
    })
}
