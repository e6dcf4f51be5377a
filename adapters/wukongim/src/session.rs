//! One session after another: fetch a token, connect, log in, fetch what was missed, read, acknowledge, drain.
//!
//! The server is acknowledged, and a cursor moved, only after an event is stored; whatever ends a session before that, the
//! message is fetched by the next one. Without credit nothing is read, except while a command waits for its answer on the
//! same connection: then at most [`HELD_MAX`](crate::book::HELD_MAX) messages are held. Heartbeats and acknowledgements are written all the time.
//!
//! Displaced by another login, the session acknowledges what it has, leaves by itself, and does not come back: the server
//! would not close, and two that come back displace each other for ever.
//!
//! Not here: what a message means (`inbound.rs`), what commands ask (`outbound.rs`), reconnecting with back-off, which is
//! the SDK's: a session that ends with a fault to retry is begun again.

mod confirm;
mod conn;
mod control;
mod cursors;
pub mod health;
mod heart;
mod login;
mod pull;
mod serve;

use std::pin::pin;
use std::time::Duration;

use im_bridge_sdk::model::{ErrorCode, ErrorObject};
use im_bridge_sdk::{Context, Fault, State};
use tokio::select;

use crate::config::{OnKick, Receive};
use crate::native::packet::Disconnect;
use crate::native::reason;
use crate::{WukongIm, describe, locked};
use conn::Conn;
use login::{Failed, Ready};
use serve::Left;

pub use confirm::Confirms;
pub use control::{Control, Ending};
pub use login::Login;
pub use pull::{message as record_message, read as read_history};

/// Connections in a row that are closed at once before waiting between them.
const UNSERVED_MAX: u32 = 3;

/// Logins refused in silence before the token is suspected.
const SILENT_MAX: u32 = 2;

/// At least so long between two of them.
const SILENT_WAIT: Duration = Duration::from_secs(5);

/// How a session ended when nothing went wrong.
enum Ended {
    Drained,
    /// Begin the next one at once.
    Again,
    /// As somebody asked.
    Asked(Ending),
}

pub async fn run(wukongim: &WukongIm, cx: &Context) -> Result<(), Fault> {
    let _run = wukongim.control.run();
    if wukongim.control.loaded().is_none() {
        let since_ms = cursors::load(wukongim, cx).await?;
        wukongim.control.set_loaded(since_ms);
    }
    let mut unserved = 0;
    loop {
        if let Some(ending) = wukongim.control.take_ending() {
            obey(wukongim, cx, ending).await?;
        }
        let ended = match wukongim.config.receive {
            Receive::Connection => session(wukongim, cx, &mut unserved).await?,
            Receive::Webhook => without_connection(wukongim, cx).await?,
        };
        match ended {
            Ended::Drained => return Ok(()),
            Ended::Again => {}
            Ended::Asked(ending) => obey(wukongim, cx, ending).await?,
        }
    }
}

async fn obey(wukongim: &WukongIm, cx: &Context, ending: Ending) -> Result<(), Fault> {
    match ending {
        Ending::Reconnect => Ok(()),
        Ending::Login => {
            login::start_anew(wukongim, cx).await;
            Ok(())
        }
        Ending::LogOut => Err(Fault::stopped(State::logged_out(), "logged out as asked")),
    }
}

/// With HTTP pushes there is nothing to connect to: events come by `webhook.rs`.
async fn without_connection(wukongim: &WukongIm, cx: &Context) -> Result<Ended, Fault> {
    let me = match wukongim.uid() {
        Some(uid) => uid,
        None => Box::pin(login::prepare(wukongim, cx)).await?.uid,
    };
    let mut watching = pin!(health::watch(wukongim, cx));
    let mut confirming = pin!(confirm::watch(wukongim, cx));
    loop {
        let is_unhealthy = wukongim.control.is_unhealthy();
        cx.state(working(wukongim, &me, is_unhealthy, false));
        select! {
            biased;
            () = cx.draining() => return Ok(Ended::Drained),
            ending = wukongim.control.ending() => return Ok(Ended::Asked(ending)),
            () = wukongim.control.health_other_than(is_unhealthy) => {}
            () = &mut watching => {}
            () = &mut confirming => {}
        }
    }
}

async fn session(wukongim: &WukongIm, cx: &Context, unserved: &mut u32) -> Result<Ended, Fault> {
    let (ready, mut conn) = select! {
        biased;
        () = cx.draining() => return Ok(Ended::Drained),
        ending = wukongim.control.ending() => return Ok(Ended::Asked(ending)),
        opened = Box::pin(open(wukongim, cx)) => opened?,
    };
    let logged_in = select! {
        biased;
        () = cx.draining() => return Ok(Ended::Drained),
        ending = wukongim.control.ending() => return Ok(Ended::Asked(ending)),
        logged_in = Box::pin(login::login(wukongim, cx, &mut conn, &ready)) => logged_in,
    };
    if let Err(failed) = logged_in {
        Box::pin(conn.close()).await;
        return Box::pin(refused(wukongim, cx, failed, unserved)).await;
    }
    *unserved = 0;
    let ended = serve::serve(wukongim, cx, &mut conn, &ready).await;
    Box::pin(conn.close()).await;
    wukongim.book().end_fetching(cx.elapsed());
    match ended? {
        Left::Ended(ended) => Ok(ended),
        Left::Told(end) => told(wukongim, cx, &end).await,
    }
}

async fn open<'a>(wukongim: &'a WukongIm, cx: &'a Context) -> Result<(Ready, Conn<'a>), Fault> {
    let ready = login::prepare(wukongim, cx).await?;
    cx.state(
        State::connecting()
            .self_id(ready.uid.as_str())
            .transport(wukongim.config.transport_name()),
    );
    match Conn::open(wukongim, cx, &ready.address).await {
        Ok(conn) => Ok((ready, conn)),
        Err(fault) => {
            locked(&wukongim.login).failed_connects += 1;
            Err(fault)
        }
    }
}

async fn refused(
    wukongim: &WukongIm,
    cx: &Context,
    failed: Failed,
    unserved: &mut u32,
) -> Result<Ended, Fault> {
    match failed {
        Failed::Fault(fault) => Err(fault),
        Failed::Unserved => {
            *unserved += 1;
            if *unserved < UNSERVED_MAX {
                return Ok(Ended::Again);
            }
            *unserved = 0;
            Err(Fault::retry(
                "network",
                "the server closes connections at once",
            ))
        }
        Failed::Silent => {
            let silent_logins = {
                let mut login = locked(&wukongim.login);
                login.silent_logins += 1;
                login.silent_logins
            };
            if silent_logins < SILENT_MAX {
                return Err(Fault::retry(
                    "login_unanswered",
                    "the server does not answer CONNECT: it refused, or it is unwell",
                )
                .not_before(SILENT_WAIT));
            }
            locked(&wukongim.login).silent_logins = 0;
            if login::forget_token(wukongim, cx).await {
                return Ok(Ended::Again);
            }
            let text = "the server closed two connections without an answer to CONNECT: the token is refused, or it is \
                registered for another device_flag; or the server is unwell";
            wait_refused(wukongim, cx, text).await
        }
        Failed::Refused(reason::KICKED) => {
            told(
                wukongim,
                cx,
                &Disconnect {
                    reason: reason::KICKED,
                    text: String::new(),
                },
            )
            .await
        }
        Failed::Refused(code) if reason::is_identity(code) => {
            if login::forget_token(wukongim, cx).await {
                return Ok(Ended::Again);
            }
            let text = format!("login refused: {} (reason {code})", reason::name(code));
            Err(Fault::stopped(bad_credentials(&text), text))
        }
        Failed::Refused(code) => Err(Fault::retry(
            "provider_unavailable",
            format_args!("login refused: {} (reason {code})", reason::name(code)),
        )),
    }
}

fn bad_credentials(text: &str) -> State {
    let error = ErrorObject::new(ErrorCode::BadCredentials, true, text);
    State::bad_credentials().error(&error)
}

/// Nobody knows whether it was the token: a person is told, and it is tried again after a long time.
async fn wait_refused(wukongim: &WukongIm, cx: &Context, text: &str) -> Result<Ended, Fault> {
    let wait = Duration::from_secs(wukongim.config.auth_retry_s.into());
    tracing::error!(wait_s = wait.as_secs(), "{text}");
    cx.state(bad_credentials(text));
    pause(wukongim, cx, wait).await
}

async fn pause(wukongim: &WukongIm, cx: &Context, wait: Duration) -> Result<Ended, Fault> {
    select! {
        biased;
        () = cx.draining() => Ok(Ended::Drained),
        ending = wukongim.control.ending() => Ok(Ended::Asked(ending)),
        () = cx.sleep(wait) => Ok(Ended::Again),
    }
}

/// The server sent us away.
async fn told(wukongim: &WukongIm, cx: &Context, end: &Disconnect) -> Result<Ended, Fault> {
    let why = reason::name(end.reason);
    let text = if end.text.is_empty() {
        format!("the server sent this login away: {why}")
    } else {
        format!("the server sent this login away: {why}: {}", end.text)
    };
    match (end.reason, wukongim.config.on_kick) {
        (reason::KICKED, OnKick::Stop) => Err(Fault::stopped(State::conflicted(), text)),
        (reason::KICKED, OnKick::Pause) => {
            tracing::warn!("{text}");
            cx.state(State::conflicted());
            login::start_anew(wukongim, cx).await;
            let wait = Duration::from_secs(wukongim.config.kick_pause_s.into());
            pause(wukongim, cx, wait).await
        }
        (code, _) if reason::is_identity(code) => Err(Fault::stopped(bad_credentials(&text), text)),
        _ => Err(Fault::retry("provider_unavailable", text)),
    }
}

/// A state in which commands run.
fn working(wukongim: &WukongIm, me: &str, is_degraded: bool, is_catching_up: bool) -> State {
    let state = if is_catching_up {
        State::catching_up()
    } else if is_degraded {
        State::degraded("api_unavailable")
    } else {
        State::online()
    };
    let server_version = locked(&wukongim.login).server_version;
    state
        .self_id(me)
        .transport(wukongim.config.transport_name())
        .capabilities(describe::patch(&wukongim.config, server_version))
}
