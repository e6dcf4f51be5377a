//! The login: calls of mtop with the account's cookies, the token for the WebSocket, and what of both is kept.
//!
//! Cookies are taken from every answer and kept sealed with the account, together with the token and the device id that it is
//! bound to; all of it belongs to the cookies that the operator gave, and other ones begin anew. A token is fetched once half
//! of its time is over, or when the provider refuses it; until it is over, one that cannot be renewed still serves.
//!
//! Not here: keeping it (`login/kept.rs`), when to renew (`login/renewal.rs`), the WebSocket (`session.rs`), and what a call
//! means (`native/mtop.rs`).

mod kept;
mod renewal;

use std::time::Duration;

use im_bridge_sdk::model::ErrorCode;
use im_bridge_sdk::{Context, Fault, Noise, Outcome, State, http};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cookies::{Jar, SIGNING};
use crate::native::mtop::{self, Api, LOGIN_TOKEN, Refusal, Signed};
use crate::session::Trouble;
use crate::{Goofish, locked};

pub use kept::drop_token;
use kept::{bound_to, keep_cookies, load};
use renewal::Renewal;

/// Longest answer of mtop; real ones have a few kilobytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// The provider asks to slow down without saying how long.
const LIMITED_PAUSE: Duration = Duration::from_secs(60);

/// What the account logs in with.
#[derive(Default)]
pub struct Login {
    /// Read from the account's state.
    is_loaded: bool,
    jar: Jar,
    device: String,
    token: Option<Token>,
    renewal: Renewal,
}

/// A token for the WebSocket.
#[derive(Clone, Serialize, Deserialize)]
pub struct Token {
    /// The cookies and the device that it is bound to.
    bound_to: String,
    pub token: String,
    obtained_ms: i64,
    valid_ms: i64,
}

impl Token {
    pub fn expires_ms(&self) -> i64 {
        self.obtained_ms.saturating_add(self.valid_ms)
    }

    /// Half of its time is over at this moment.
    pub fn renew_ms(&self) -> i64 {
        self.obtained_ms.saturating_add(self.valid_ms / 2)
    }
}

/// Why a call of mtop brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("mtop refused: {1}")]
    Refused(Refusal, String),
    #[error("mtop answered with HTTP status {0}")]
    Status(u16),
    #[error("mtop's answer is no JSON: a page of its gateway, perhaps")]
    NoJson,
    #[error("mtop's answer has no token")]
    NoToken,
    #[error(transparent)]
    Http(#[from] http::Error),
}

impl Goofish {
    /// Own user id as the cookies say.
    pub fn cookie_user(&self) -> Option<String> {
        let login = locked(&self.login);
        let from = |jar: &Jar| jar.get("unb").map(str::to_owned);
        from(&login.jar).or_else(|| from(&Jar::of(self.config.cookies.expose())))
    }

    pub fn cookie_header(&self) -> String {
        locked(&self.login).jar.header()
    }

    pub fn device(&self) -> String {
        locked(&self.login).device.clone()
    }

    /// The token that is there, whatever its age.
    pub fn token(&self) -> Option<Token> {
        locked(&self.login).token.clone()
    }

    /// A person brought more cookies, those of a solved challenge.
    pub async fn add_cookies(&self, cx: &Context, header: &str) -> Result<(), Fault> {
        load(self, cx).await?;
        {
            let mut login = locked(&self.login);
            login.jar.merge(header);
            login.renewal = Renewal::default();
        }
        keep_cookies(self, cx).await;
        Ok(())
    }

    /// The next login begins with what the operator configured.
    pub async fn begin_anew(&self, cx: &Context) -> Result<(), Fault> {
        load(self, cx).await?;
        {
            let mut login = locked(&self.login);
            login.jar = Jar::of(self.config.cookies.expose());
            login.token = None;
            login.renewal = Renewal::default();
        }
        keep_cookies(self, cx).await;
        drop_token(self, cx).await;
        Ok(())
    }
}

/// A token that holds: the kept one, or a new one. What cannot be renewed serves until it is over.
pub async fn ensure(goofish: &Goofish, cx: &Context) -> Result<Token, Trouble> {
    load(goofish, cx).await.map_err(Trouble::Stop)?;
    let now_ms = cx.now_ms();
    let kept = goofish.token().filter(|token| now_ms < token.expires_ms());
    match kept {
        Some(token) if now_ms < goofish.renewal_ms() => Ok(token),
        kept => match fetch(goofish, cx, "token", Noise::Session).await {
            Ok(token) => Ok(token),
            Err(error) => kept.ok_or_else(|| trouble(&error)),
        },
    }
}

/// A new token before the old one is over: while the session goes on it is worth no span.
pub async fn renew(goofish: &Goofish, cx: &Context) -> Result<Token, CallError> {
    fetch(goofish, cx, "renew", Noise::Aux).await
}

async fn fetch(
    goofish: &Goofish,
    cx: &Context,
    operation: &'static str,
    noise: Noise,
) -> Result<Token, CallError> {
    let device = goofish.device();
    let data = mtop::login_data(&goofish.config.app_key, &device);
    // A token is valid from the answer on; what is counted from the question is never too long.
    let now_ms = cx.now_ms();
    let answered = call(goofish, cx, LOGIN_TOKEN, operation, noise, &data).await;
    let read = answered.and_then(|answer| mtop::Token::read(&answer).ok_or(CallError::NoToken));
    let read = read.inspect_err(|error| locked(&goofish.login).renewal.refused(error, now_ms))?;
    let token = Token {
        bound_to: bound_to(&goofish.config, &device),
        token: read.token,
        obtained_ms: now_ms,
        valid_ms: read.valid_ms,
    };
    {
        let mut login = locked(&goofish.login);
        (login.token, login.renewal) = (Some(token.clone()), Renewal::default());
    }
    kept::keep_token(cx, &token).await;
    Ok(token)
}

/// A call with the account's cookies. A signing token that is missing or over comes with its refusal and is used at once;
/// a bad signature is tried again once, from no signing token at all.
pub async fn call(
    goofish: &Goofish,
    cx: &Context,
    api: Api,
    operation: &'static str,
    noise: Noise,
    data: &str,
) -> Result<Value, CallError> {
    let (mut may_sign, mut may_begin_anew) = (true, true);
    loop {
        let error = match once(goofish, cx, api, operation, noise, data).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        match error {
            CallError::Refused(Refusal::SigningToken, _) if may_sign => may_sign = false,
            CallError::Refused(Refusal::IllegalAccess, _) if may_begin_anew => {
                locked(&goofish.login).jar.forget_signing();
                (may_sign, may_begin_anew) = (true, false);
            }
            error => return Err(error),
        }
    }
}

async fn once(
    goofish: &Goofish,
    cx: &Context,
    api: Api,
    operation: &'static str,
    noise: Noise,
    data: &str,
) -> Result<Value, CallError> {
    let config = &goofish.config;
    let (cookies, signing) = {
        let jar = &locked(&goofish.login).jar;
        (
            jar.header(),
            jar.get(SIGNING).unwrap_or_default().to_owned(),
        )
    };
    let signed = Signed::new(&signing, cx.now_ms(), data);
    let url = format!("{}{}", config.mtop_url.trim_end_matches('/'), api.path());
    let answer = cx
        .http()
        .post(operation, noise, &url)
        .template(api.path())
        .query(api.query(&signed))
        .header("accept", "application/json, text/plain, */*")
        .header("origin", "https://www.goofish.com")
        .header("referer", "https://www.goofish.com/")
        .header("user-agent", &config.user_agent)
        .header("cookie", &cookies)
        // Two calls a day: a connection that is kept would cost more than the account.
        .header("connection", "close")
        .form([("data", data)])
        .timeout(config.mtop_timeout())
        .body_max(ANSWER_BYTES_MAX)
        .send()
        .await?;
    let is_changed = {
        let jar = &mut locked(&goofish.login).jar;
        let take = |changed, set_cookie: &str| jar.take(set_cookie) | changed;
        answer.headers("set-cookie").fold(false, take)
    };
    if is_changed {
        keep_cookies(goofish, cx).await;
    }
    if !answer.is_success() {
        return Err(CallError::Status(answer.status()));
    }
    let tree: Value = answer.json().map_err(|_| CallError::NoJson)?;
    mtop::outcome(tree).map_err(|(refusal, said)| CallError::Refused(refusal, said))
}

/// What a failed login means for the session.
pub fn trouble(error: &CallError) -> Trouble {
    let stop = |state: State| Trouble::Stop(Fault::stopped(state, error));
    match error {
        CallError::Refused(Refusal::Challenge(url), _) => {
            stop(State::challenge_required("captcha", url.as_deref(), None))
        }
        CallError::Refused(Refusal::SessionExpired, _) => stop(State::bad_credentials()),
        CallError::Refused(Refusal::IllegalAccess, _) => Trouble::Stop(Fault::permanent(
            "illegal_access",
            format_args!("{error}, twice; compare cookies and clock"),
        )),
        CallError::Refused(Refusal::NoSuchApi, _) => Trouble::Stop(Fault::permanent(
            "no_such_api",
            format_args!("{error}; is mtop_url the provider's?"),
        )),
        CallError::Refused(Refusal::RateLimited, _) => {
            Trouble::lost("rate_limited", error).not_before(LIMITED_PAUSE)
        }
        CallError::Refused(Refusal::SigningToken, _) => Trouble::lost("token_expired", error),
        CallError::Http(_) => Trouble::lost("network", error),
        _ => Trouble::lost("provider_unavailable", error),
    }
}

/// What it means for a command that needs it.
pub fn outcome(error: &CallError) -> Outcome {
    let code = match error {
        CallError::Refused(Refusal::Challenge(_), _) => ErrorCode::ChallengeRequired,
        CallError::Refused(Refusal::SessionExpired, _) => ErrorCode::BadCredentials,
        CallError::Refused(Refusal::SigningToken, _) => ErrorCode::TokenExpired,
        CallError::Refused(Refusal::RateLimited, _) => ErrorCode::RateLimited,
        CallError::Refused(Refusal::Trouble, _) | CallError::Status(_) | CallError::NoJson => {
            ErrorCode::ProviderUnavailable
        }
        CallError::Refused(..) | CallError::NoToken => ErrorCode::ProviderError,
        CallError::Http(_) => ErrorCode::Network,
    };
    match error {
        CallError::Refused(Refusal::Challenge(Some(url)), said) => Outcome::error(code, error)
            .native(None, Some(said), None)
            .hint(format!("solve {url}, then answer_challenge")),
        CallError::Refused(_, said) => {
            Outcome::error(code, "mtop refused").native(None, Some(said), None)
        }
        _ => Outcome::error(code, error),
    }
}
