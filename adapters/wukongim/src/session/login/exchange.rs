//! The first exchange on a connection: CONNECT, its answer, and what its absence means.

use std::time::Duration;

use im_bridge_sdk::{Context, Fault, Noise};

use super::Ready;
use crate::native::packet::{ConnAck, Connect, Packet};
use crate::native::reason;
use crate::native::seal::KeyPair;
use crate::session::conn::Conn;
use crate::{WukongIm, locked};

/// A server that answers nothing for so long refused, or is unwell.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Closed earlier than this without an answer, the connection was never served: one in 200 over TCP.
const UNSERVED_WITHIN: Duration = Duration::from_millis(3_500);

/// How a login failed.
pub enum Failed {
    /// Closed at once: try again without further ado.
    Unserved,
    /// Closed late, or not answered at all.
    Silent,
    /// The server said why.
    Refused(u8),
    Fault(Fault),
}

/// CONNECT and its answer. Nothing is written behind CONNECT before that came.
pub async fn login(
    wukongim: &WukongIm,
    cx: &Context,
    conn: &mut Conn<'_>,
    ready: &Ready,
) -> Result<(), Failed> {
    let mut op = cx.op("login", Noise::Session);
    op.detail("CONNECT");
    match exchange(wukongim, cx, conn, ready).await {
        Ok(()) => {
            op.done();
            let mut login = locked(&wukongim.login);
            login.failed_connects = 0;
            login.silent_logins = 0;
            login.is_token_new = false;
            Ok(())
        }
        Err(failed) => {
            op.fail(match &failed {
                Failed::Unserved => "closed at once",
                Failed::Silent => "no answer",
                Failed::Refused(reason) => reason::name(*reason),
                Failed::Fault(_) => "fault",
            });
            Err(failed)
        }
    }
}

async fn exchange(
    wukongim: &WukongIm,
    cx: &Context,
    conn: &mut Conn<'_>,
    ready: &Ready,
) -> Result<(), Failed> {
    let config = &wukongim.config;
    let pair = KeyPair::new().map_err(|error| Failed::Fault(error.into()))?;
    let device_id = match &config.device_id {
        Some(device_id) => device_id.clone(),
        None => format!("im-bridge-{}", wukongim.account),
    };
    let connect = Connect {
        version: config.protocol_version,
        device_flag: config.device_flag,
        device_id,
        uid: ready.uid.clone(),
        token: ready.token.expose().to_owned(),
        client_timestamp_ms: cx.now_ms(),
        client_key: pair.public(),
    };
    let began = cx.elapsed();
    conn.write([Packet::Connect(connect)])
        .await
        .map_err(Failed::Fault)?;
    let answered = cx.timeout(ANSWER_WITHIN, async {
        loop {
            match conn.next().await {
                Ok(Packet::ConnAck(answer)) => return Ok(answer),
                Ok(_) => {}
                Err(fault) => return Err(fault),
            }
        }
    });
    let answer: ConnAck = match answered.await {
        Some(Ok(answer)) => answer,
        Some(Err(fault)) => {
            tracing::debug!(%fault, "closed before the answer to CONNECT");
            return Err(if cx.elapsed() - began < UNSERVED_WITHIN {
                Failed::Unserved
            } else {
                Failed::Silent
            });
        }
        None => return Err(Failed::Silent),
    };
    if answer.reason != reason::SUCCESS {
        return Err(Failed::Refused(answer.reason));
    }
    let keys = if answer.server_key.is_empty() {
        None
    } else {
        let keys = pair.agree(&answer.server_key, &answer.salt);
        Some(keys.map_err(|error| Failed::Fault(error.into()))?)
    };
    conn.agreed(answer.negotiated(config.protocol_version), keys);
    locked(&wukongim.login).server_version = answer.server_version;
    Ok(())
}
