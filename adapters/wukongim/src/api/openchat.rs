//! OpenChat's API.
//!
//! `{"success":true,"data":…}` or `{"success":false,"message":…}`, both with 2xx; what is raised before the handler has an
//! envelope of its own and the real status. An access token that ran out is renewed once and the call made again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use im_bridge_sdk::http::Method;
use im_bridge_sdk::{Context, KvError, KvPut, Secret};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{ApiError, Call, ToSend, cut, records, status_error, successful, unwrapped};
use crate::native::channel::ChannelId;
use crate::native::record::{Record, SentRecord};
use crate::{WukongIm, locked};

/// Kept between starts, because a login costs one of few calls a minute.
const ACCESS: &str = "session/access";

pub struct OpenChat<'a> {
    wukongim: &'a WukongIm,
    cx: &'a Context,
    base_url: &'a str,
}

/// Addresses, and who asked.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpenChatConfig {
    pub ws_url: Option<String>,
    pub tcp_addr: Option<String>,
    pub uid: Option<String>,
}

#[derive(Deserialize)]
struct Envelope {
    success: Option<bool>,
    data: Option<Box<RawValue>>,
    #[serde(default)]
    message: String,
}

impl<'a> OpenChat<'a> {
    pub(super) fn new(wukongim: &'a WukongIm, cx: &'a Context) -> Option<Self> {
        let base_url = wukongim.config.openchat.base_url.as_deref()?;
        Some(Self {
            wukongim,
            cx,
            base_url: base_url.trim_end_matches('/'),
        })
    }

    pub async fn config(&self) -> Result<(OpenChatConfig, Value), ApiError> {
        let raw = self
            .call(Call::BOOTSTRAP, Method::GET, "/config", None, || {})
            .await?;
        let unexpected = |_| ApiError::Unexpected("the configuration is no object".into());
        let config = serde_json::from_str(raw.get()).map_err(unexpected)?;
        Ok((config, serde_json::from_str(raw.get()).map_err(unexpected)?))
    }

    /// A new token for the long connection. Ends other sessions of the uid, so never while connected.
    pub async fn token(&self) -> Result<Secret, ApiError> {
        #[derive(Deserialize)]
        struct Token {
            token: String,
        }
        let raw = self
            .call(Call::BOOTSTRAP, Method::POST, "/token", None, || {})
            .await?;
        let raw = unwrapped(raw)?;
        let token: Token = serde_json::from_str(raw.get())
            .map_err(|_| ApiError::Unexpected("there is no token in it".into()))?;
        Ok(Secret::from(token.token))
    }

    pub async fn send(
        &self,
        message: &ToSend<'_>,
        sent: impl Fn(),
    ) -> Result<SentRecord, ApiError> {
        let body = json!({
            "channelId": message.channel.id,
            "channelType": message.channel.kind,
            "payload": STANDARD.encode(message.payload),
            "clientMsgNo": message.client_msg_no,
        });
        let raw = self
            .call(Call::SEND, Method::POST, "/message/send", Some(&body), sent)
            .await?;
        let raw = unwrapped(raw)?;
        SentRecord::read(raw.get(), false).map_err(|error| ApiError::Unexpected(error.to_string()))
    }

    /// Messages after a number, ascending, whatever the API made of the question.
    pub async fn history(
        &self,
        channel: &ChannelId,
        last: u64,
        limit: u32,
    ) -> Result<Vec<Record>, ApiError> {
        let mut path = format!(
            "/message/sync?channelId={}&channelType={}&limit={limit}",
            escaped(&channel.id),
            channel.kind
        );
        if last > 0 {
            path.push_str(&format!("&lastMessageSeq={last}"));
        }
        let raw = self
            .call(Call::HISTORY, Method::GET, &path, None, || {})
            .await?;
        let raw = unwrapped(raw)?;
        let mut read: Vec<Record> = records(&raw)?.into_iter().flatten().collect();
        read.retain(|record| record.message_seq > last);
        read.sort_by_key(|record| record.message_seq);
        Ok(read)
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
        match self
            .call(Call::HEALTH, Method::GET, "/health", None, || {})
            .await
        {
            Ok(raw) => {
                let detail: Value = serde_json::from_str(raw.get()).unwrap_or_default();
                let is_healthy = detail["status"]
                    .as_str()
                    .is_none_or(|status| status == "healthy");
                Ok((is_healthy, detail))
            }
            Err(ApiError::Refused { text, .. }) => Ok((false, json!({ "message": text }))),
            Err(error) => Err(error),
        }
    }

    pub async fn system_info(&self) -> Result<Value, ApiError> {
        let raw = self
            .call(Call::REQUEST, Method::GET, "/system/info", None, || {})
            .await?;
        serde_json::from_str(raw.get()).map_err(|_| ApiError::Unexpected("no JSON".into()))
    }

    /// One call, made again once when the access token had run out. Answers `data`.
    async fn call(
        &self,
        call: Call,
        method: Method,
        path: &str,
        body: Option<&Value>,
        sent: impl Fn(),
    ) -> Result<Box<RawValue>, ApiError> {
        let mut has_renewed = self.access().await?;
        loop {
            let failed = match self.once(call, method.clone(), path, body, &sent).await {
                Ok(data) => return Ok(data),
                Err(failed) => failed,
            };
            let is_expired = matches!(failed, ApiError::Status { status: 401, .. });
            if !is_expired || has_renewed || !self.renew().await? {
                return Err(failed);
            }
            has_renewed = true;
        }
    }

    async fn once(
        &self,
        call: Call,
        method: Method,
        path: &str,
        body: Option<&Value>,
        sent: impl Fn(),
    ) -> Result<Box<RawValue>, ApiError> {
        let url = format!("{}{path}", self.base_url);
        let template = path.split('?').next().unwrap_or_default();
        let http = self.cx.http();
        let mut request = http
            .request(method, call.operation, call.noise, &url)
            .template(format!("/im{template}"));
        if let Some(token) = self.wukongim.access() {
            request = request.header("authorization", &format!("Bearer {}", token.expose()));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        sent();
        let response = successful(request.send().await?)?;
        let envelope: Envelope = response.json()?;
        match envelope {
            Envelope {
                success: Some(false),
                message,
                ..
            } => Err(ApiError::Refused {
                code: None,
                text: cut(message),
            }),
            Envelope { data, .. } => Ok(data.unwrap_or_else(null)),
        }
    }

    /// Sees to it that there is an access token where one can be had; true when it was fetched just now.
    async fn access(&self) -> Result<bool, ApiError> {
        if self.wukongim.access().is_some() || self.wukongim.config.openchat.username.is_none() {
            return Ok(false);
        }
        if let Ok(Some(kept)) = self.cx.kv().get::<String>(ACCESS).await {
            self.wukongim.set_access(Secret::from(kept.value));
            return Ok(false);
        }
        self.renew().await
    }

    /// A new access token; false where none can be had.
    async fn renew(&self) -> Result<bool, ApiError> {
        let config = &self.wukongim.config.openchat;
        let refresh = locked(&self.wukongim.login).refresh.clone();
        let refresh = refresh.as_ref().or(config.refresh_token.as_ref());
        if let Some(refresh) = refresh {
            let body = json!({ "refreshToken": refresh.expose() });
            match self.authenticate("refresh", &body).await {
                Ok(()) => return Ok(true),
                Err(error) => tracing::warn!(%error, "the access token was not renewed"),
            }
        }
        match (&config.username, &config.password) {
            (Some(username), Some(password)) => {
                let body = json!({ "username": username, "password": password.expose() });
                self.authenticate("login", &body).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn authenticate(&self, what: &'static str, body: &Value) -> Result<(), ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Tokens {
            token: Option<String>,
            access_token: Option<String>,
            refresh_token: Option<String>,
        }
        let default = || match self.base_url.rsplit_once('/') {
            Some((api, _)) => format!("{api}/auth"),
            None => self.base_url.to_owned(),
        };
        let config = &self.wukongim.config.openchat;
        let url = config.auth_url.clone().unwrap_or_else(default);
        let url = format!("{}/{what}", url.trim_end_matches('/'));
        let request = self
            .cx
            .http()
            .post(Call::BOOTSTRAP.operation, Call::BOOTSTRAP.noise, &url)
            .template(format!("/auth/{what}"))
            .json(body);
        let response = request.send().await?;
        if !response.is_success() {
            return Err(status_error(&response));
        }
        let raw: Box<RawValue> = response.json()?;
        let envelope: Option<Envelope> = serde_json::from_str(raw.get()).ok();
        let inner = match envelope {
            Some(Envelope {
                success: Some(false),
                message,
                ..
            }) => {
                return Err(ApiError::Refused {
                    code: None,
                    text: cut(message),
                });
            }
            Some(Envelope {
                data: Some(data), ..
            }) => data,
            _ => raw,
        };
        let no_token = || ApiError::Unexpected("there is no token in it".into());
        let tokens: Tokens = serde_json::from_str(inner.get()).map_err(|_| no_token())?;
        let token = tokens.token.or(tokens.access_token).ok_or_else(no_token)?;
        let kept = keep_access(self.cx, &token).await;
        if let Err(error) = kept {
            tracing::debug!(%error, "the access token is kept in memory only");
        }
        self.wukongim.set_access(Secret::from(token));
        if let Some(refresh) = tokens.refresh_token {
            locked(&self.wukongim.login).refresh = Some(Secret::from(refresh));
        }
        Ok(())
    }
}

async fn keep_access(cx: &Context, token: &str) -> Result<u64, KvError> {
    let secret = KvPut {
        is_secret: true,
        ..KvPut::default()
    };
    cx.kv().put_with(ACCESS, &token, secret).await
}

fn null() -> Box<RawValue> {
    RawValue::from_string("null".to_owned()).expect("null is JSON")
}

/// For a query.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
