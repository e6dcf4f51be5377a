//! One session after another: token, socket, register, fetch what was missed, read, acknowledge, drain.
//!
//! The provider is acknowledged, and the cursor moved, only after everything in a push is stored. Without credit nothing is
//! read, except while somebody waits for an answer on the same socket: then at most [`HELD_MAX`] items are held. Heartbeats and
//! acknowledgements are written all the time. After a loss the account connects again at its own interval, and once the
//! attempts for that are used up with a growing delay, for ever.
//!
//! * `opening.rs`: register, and tell the provider where to begin. * `catch_up.rs`, `cursor.rs`: what was missed. * `heart.rs`: silence.
//! * `line.rs`: the socket and what is held of it. * `ending.rs`: why a session ended, and what follows.
//!
//! Not here: what an item means (`inbound.rs`), what commands ask (`outbound.rs`).

mod catch_up;
mod cursor;
mod ending;
mod heart;
mod line;
mod opening;

use std::future::pending;
use std::pin::{Pin, pin};
use std::time::Duration;

use im_bridge_sdk::model::RawDirection;
use im_bridge_sdk::{Context, Fault, State};
use tokio::select;

use crate::link::Ending;
use crate::native::frame::{self, Down};
use crate::{Goofish, login};

pub use catch_up::{SyncError, Wanted, sync};
pub use ending::Trouble;
use ending::{Ended, wait_after};
use heart::Heart;
use line::Line;

/// Items read before they can be emitted; one more push is read beyond it.
pub const HELD_MAX: usize = 256;

/// Tokens that register and are refused so soon after say that what is wrong is not the token: so many are replaced at once.
const SOON_AFTER: Duration = Duration::from_secs(60);
const REPLACED_AT_ONCE_MAX: u32 = 3;

/// The provider skipped something, or something could not be stored: then the history is asked, not more often than this.
const RESYNC_AT_MOST_EVERY: Duration = Duration::from_secs(60);
/// Longest sleep where nothing is planned.
const LONG: Duration = Duration::from_secs(86_400);

pub async fn run(goofish: &Goofish, cx: &Context) -> Result<(), Fault> {
    let ended = sessions(goofish, cx).await;
    if let Err(fault) = &ended {
        goofish.link.give_up(fault.to_string());
    }
    ended
}

async fn sessions(goofish: &Goofish, cx: &Context) -> Result<(), Fault> {
    // When a refused token was last replaced, and how often that followed soon on the time before.
    let mut replaced: Option<(Duration, u32)> = None;
    loop {
        if goofish.take_log_out() {
            return Err(Fault::stopped(State::logged_out(), "logged out as asked"));
        }
        let trouble = match session(goofish, cx).await {
            Ok(Ended::Drained) => return Ok(()),
            Ok(Ended::Again) => None,
            Ok(Ended::Unauthorized) => {
                login::drop_token(goofish, cx).await;
                let is_first = replaced.is_none();
                if !goofish.take_registered() && !is_first {
                    let text = "the provider refuses a new token, too; log in again in a browser and replace the cookies";
                    return Err(Fault::stopped(State::bad_credentials(), text));
                }
                let now = cx.elapsed();
                let soon =
                    |(at, count): (Duration, u32)| (now < at + SOON_AFTER).then_some(count + 1);
                let count = replaced.and_then(soon).unwrap_or(0);
                replaced = Some((now, count));
                if count < REPLACED_AT_ONCE_MAX {
                    continue;
                }
                let text = "new tokens register and are refused soon after";
                Some(Trouble::lost("token_expired", text).not_before(SOON_AFTER))
            }
            Err(trouble) => Some(trouble),
        };
        if let Some(trouble) = trouble {
            wait_after(goofish, cx, trouble).await?;
        }
        if cx.is_draining() {
            return Ok(());
        }
    }
}

async fn session(goofish: &Goofish, cx: &Context) -> Result<Ended, Trouble> {
    let with_self = |state: State| match goofish.cookie_user() {
        Some(me) => state.self_id(me),
        None => state,
    };
    if let Some(me) = goofish.cookie_user() {
        goofish.set_me(me);
    }
    cx.state(with_self(State::logging_in()));
    // Both may hang at the provider: a drain or a logout does not wait for them.
    let opening = async {
        let token = login::ensure(goofish, cx).await?;
        cx.state(with_self(State::connecting().transport("websocket")));
        Ok::<_, Trouble>((line::connect(goofish, cx).await?, token))
    };
    let (mut line, token) = select! {
        biased;
        () = cx.draining() => return Ok(Ended::Drained),
        ending = goofish.link.ending() => return Ok(ended(goofish, ending)),
        opened = Box::pin(opening) => opened?,
    };
    let result = serve(goofish, cx, &mut line, &token).await;
    Box::pin(line.close()).await;
    result
}

fn ended(goofish: &Goofish, ending: Ending) -> Ended {
    // Whoever asks again begins anew with all attempts.
    goofish.attempts_reset();
    match ending {
        Ending::Reconnect | Ending::LogOut => Ended::Again,
    }
}

type Work<'a> = Pin<Box<dyn Future<Output = Result<(), Trouble>> + 'a>>;

async fn serve(
    goofish: &Goofish,
    cx: &Context,
    line: &mut Line,
    token: &login::Token,
) -> Result<Ended, Trouble> {
    let link = &goofish.link;
    let _open = link.open();
    let mut heart = Heart::new(cx, &goofish.config);
    let mut is_draining = false;
    // What must be done before pushes are emitted: messages of the past come first.
    let mut work: Option<Work<'_>> = Some(Box::pin(opening::open(goofish, cx, token)));
    let mut was_online = false;
    let mut resync_at: Option<Duration> = None;
    let mut resynced_at: Option<Duration> = None;
    let mut keeping = pin!(cursor::keep(goofish, cx));
    let mut renewing = pin!(renew(goofish, cx));
    loop {
        if is_draining
            && line.held.is_empty()
            && goofish.progress().is_all_settled()
            && link.is_idle()
        {
            Box::pin(cursor::save(goofish, cx)).await;
            return Ok(Ended::Drained);
        }
        if resync_at.is_none() && goofish.take_resync() {
            let earliest = resynced_at.map_or(Duration::ZERO, |at| at + RESYNC_AT_MOST_EVERY);
            resync_at = Some(earliest.max(cx.elapsed()));
        }
        let may_emit = line.may_emit(goofish, cx, work.is_some());
        let echo_wait = line.echo_wait(goofish, cx);
        select! {
            biased;
            () = cx.draining(), if !is_draining => {
                is_draining = true;
                // What was not fetched comes before what was pushed meanwhile: both come again.
                if work.take().is_some() {
                    line.held.clear();
                }
            }
            ending = link.ending(), if !is_draining => return Ok(ended(goofish, ending)),
            // What is owed to the provider: acknowledgements and requests.
            frames = link.next_frames() => {
                for text in &frames {
                    line.note(goofish, RawDirection::Out, text);
                }
                line.write(cx, frames).await?;
            }
            () = heart.beats() => {
                let mid = link.mid(cx);
                link.write(frame::heartbeat(&mid));
                heart.beat(cx, mid, line.held.len() >= HELD_MAX)?;
            }
            () = &mut keeping => {}
            () = &mut renewing, if was_online => {}
            // An answer or a settle may let the next one go, or end the drain.
            () = goofish.settled.notified(), if is_draining || echo_wait.is_some() => {}
            () = cx.sleep(echo_wait.unwrap_or(LONG)), if echo_wait.is_some() => {}
            done = ongoing(&mut work) => {
                work = None;
                match done {
                    Ok(()) => {}
                    Err(Trouble::Unauthorized) => return Ok(Ended::Unauthorized),
                    Err(trouble) => return Err(trouble),
                }
                was_online = true;
                goofish.attempts_reset();
                cx.state(goofish.standing());
            }
            () = until(cx, resync_at), if work.is_none() && resync_at.is_some() && !is_draining => {
                resync_at = None;
                resynced_at = Some(cx.elapsed());
                work = Some(Box::pin(opening::again(goofish, cx)));
            }
            // New work last, and only with credit.
            () = cx.ready(), if !line.raw.is_empty() => Box::pin(line.emit_raw(cx)).await,
            () = cx.ready(), if may_emit => Box::pin(line.bring(goofish, cx)).await,
            // Cancel safe: ready() takes no credit, next() keeps what it has of a frame.
            text = line::read(cx, link, &mut line.reader, is_draining), if line.held.len() < HELD_MAX => {
                let text = text?;
                heart.heard();
                line.note(goofish, RawDirection::In, &text);
                match frame::read(&text) {
                    Ok(Down::Push(_)) if is_draining => {}
                    Ok(Down::Push(push)) => line.hold(goofish, cx, push),
                    Ok(Down::Answer(answer)) => {
                        let is_beat = heart.answered(&answer.mid);
                        let is_to_nobody = answer.mid.is_empty();
                        let is_unauthorized = answer.is_unauthorized();
                        link.answered(answer);
                        // The opening asks itself, and knows more about what was refused.
                        if is_unauthorized && (was_online || is_beat || is_to_nobody) {
                            return Ok(Ended::Unauthorized);
                        }
                    }
                    Ok(Down::Other) => goofish.metrics.odd_frame(),
                    // Not a reason to hang up: what follows may be fine. Its text may be anything, so it is not logged.
                    Err(error) => {
                        goofish.metrics.odd_frame();
                        let (line, column) = (error.line(), error.column());
                        tracing::warn!(line, column, "a frame that is no JSON was passed over");
                    }
                }
            }
        }
        goofish.metrics.lengths(link.waiting(), line.held.len());
    }
}

/// Fetches a new token before the old one is over, so that a reconnect finds one. The session goes on whatever comes of it.
async fn renew(goofish: &Goofish, cx: &Context) {
    loop {
        let wait_ms = goofish.renewal_ms().saturating_sub(cx.now_ms());
        if wait_ms > 0 {
            let wait = Duration::from_millis(wait_ms.unsigned_abs());
            cx.sleep(wait.min(LONG)).await;
            continue;
        }
        // Boxed, as all that is rare: an idle session then holds the sleep alone.
        let _ = Box::pin(login::renew(goofish, cx)).await;
        cx.state(goofish.standing());
    }
}

async fn until(cx: &Context, at: Option<Duration>) {
    let left = at.map_or(LONG, |at| at.saturating_sub(cx.elapsed()));
    cx.sleep(left).await;
}

async fn ongoing(work: &mut Option<Work<'_>>) -> Result<(), Trouble> {
    match work {
        Some(work) => work.await,
        None => pending().await,
    }
}
