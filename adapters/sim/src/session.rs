//! One session after another: connect, log in, fetch what was missed, read, acknowledge, drain.
//!
//! The provider is acknowledged, and the cursor moved, only after an event is stored; whatever ends a session before
//! that, the provider says it again. Without credit nothing is read, except while a command waits for its answer on the
//! same socket: then at most [`HELD_MAX`] pushes are held. Heartbeats and acknowledgements are written all the time.
//!
//! Not here: what an item means (`inbound.rs`), what commands ask (`outbound.rs`), reconnecting with back-off, which is
//! the SDK's: a session that ends with a fault to retry is begun again.

mod catch_up;
mod heart;

use std::collections::VecDeque;
use std::future::pending;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::time::Duration;

use im_bridge_sdk::model::{Delivery, Event, RawDirection, Time};
use im_bridge_sdk::{Context, Emission, Fault, Noise, State};
use tokio::select;

use crate::link::{Ending, Link};
use crate::native::{Down, Item, Login, Refused, Up, Welcome, What};
use crate::panics::PanicAt;
use crate::progress::Known;
use crate::transport::{Socket, within};
use crate::{Sim, inbound};

pub use catch_up::{Wanted, sync};

/// Pushes read before they can be emitted. As many as the provider pushes ahead of its acknowledgements, so that an
/// answer behind them is always reached.
pub const HELD_MAX: usize = 64;

/// Some more before one is let through out of turn: typing and presence have no number by which to know them again.
const HELD_OUT_OF_TURN: usize = HELD_MAX + 16;

/// Raw frames are for people who debug; beyond, the oldest are dropped.
const RAW_MAX: usize = 64;

const LOGIN_WITHIN: Duration = Duration::from_secs(10);

/// How a session ended when nothing went wrong.
enum Ended {
    Drained,
    /// Begin the next one at once.
    Again,
    LoggedOut,
}

/// What was read and is not emitted yet.
struct Held {
    push: u64,
    redelivered: bool,
    item: Item,
}

pub async fn run(sim: &Sim, cx: &Context) -> Result<(), Fault> {
    loop {
        sim.panics.at(PanicAt::Run);
        if sim.take_log_out() {
            return Err(Fault::stopped(State::logged_out(), "logged out as asked"));
        }
        match session(sim, cx).await? {
            Ended::Drained => return Ok(()),
            Ended::Again | Ended::LoggedOut => {}
        }
    }
}

async fn session(sim: &Sim, cx: &Context) -> Result<Ended, Fault> {
    cx.state(State::connecting().transport(sim.config.transport()));
    // What is rare lies in boxes: an idle account keeps room for the largest of what it may wait for.
    let mut socket = Box::pin(Socket::connect(cx, &sim.config)).await?;
    let welcome = Box::pin(login(sim, cx, &mut socket)).await?;
    let ended = serve(sim, cx, &mut socket, &welcome).await;
    Box::pin(socket.close()).await;
    ended
}

async fn login(sim: &Sim, cx: &Context, socket: &mut Socket<'_>) -> Result<Welcome, Fault> {
    let mut op = cx.op("login", Noise::Session);
    op.detail("login");
    let login = Login {
        person: sim.person().to_owned(),
        token: sim.config.token.expose().to_owned(),
        device: sim.config.device.clone(),
        answer: sim.take_answer(),
    };
    let hello = Up::Hello {
        world: sim.world().to_owned(),
        by: sim.person().to_owned(),
        settings: sim.settings(),
    };
    let answered = within(cx, LOGIN_WITHIN, async {
        socket.send(&hello).await?;
        socket.send(&Up::Login(login)).await?;
        socket.next().await
    });
    let refused = match answered.await {
        Ok(Down::Welcome(welcome)) => {
            op.done();
            return Ok(welcome);
        }
        Ok(Down::Refused(refused)) => refusal(&refused),
        Ok(_) => Fault::retry("provider_error", "neither welcomed nor refused"),
        Err(fault) => fault,
    };
    op.fail(&refused);
    Err(refused)
}

/// What to do about a refused login: most of it only a person can.
fn refusal(refused: &Refused) -> Fault {
    let state = match (refused.code.as_str(), &refused.challenge) {
        ("bad_token", _) => State::bad_credentials(),
        ("challenge", Some(challenge)) => {
            let expires_at = Time::from_ms(challenge.expires_ms).to_string();
            State::challenge_required(&challenge.kind, Some(&challenge.url), Some(&expires_at))
        }
        _ => return Fault::retry("provider_unavailable", &refused.text),
    };
    Fault::stopped(state, &refused.text)
}

async fn serve(
    sim: &Sim,
    cx: &Context,
    socket: &mut Socket<'_>,
    welcome: &Welcome,
) -> Result<Ended, Fault> {
    let me = &welcome.person.id;
    let link = &sim.link;
    let _open = link.open();
    let mut held: VecDeque<Held> = VecDeque::new();
    let mut raw: VecDeque<Event> = VecDeque::new();
    let mut heart = heart::Heart::new(cx, sim.config.heartbeat());
    let mut is_draining = false;
    cx.state(sim.online(State::catching_up(), me));
    let mut catching_up = Some(Box::pin(catch_up::catch_up(sim, cx, welcome)));
    let mut keeping = pin!(catch_up::keep_cursor(sim, cx));
    loop {
        // Settled before idle: the last one to be settled is acknowledged by then.
        if is_draining && held.is_empty() && sim.progress().is_all_settled() && link.is_idle() {
            Box::pin(catch_up::save_cursor(sim, cx)).await;
            return Ok(Ended::Drained);
        }
        // What was missed goes first, or a channel's messages would be stored out of order. Only when no more can be
        // held, and an answer may lie behind it, is a push let through.
        let may_emit =
            !held.is_empty() && (catching_up.is_none() || held.len() >= HELD_OUT_OF_TURN);
        select! {
            biased;
            () = cx.draining(), if !is_draining => {
                sim.panics.at(PanicAt::Drain);
                is_draining = true;
                // What was not fetched comes before what was pushed meanwhile: both come again.
                if catching_up.take().is_some() {
                    held.clear();
                }
            }
            ending = link.ending(), if !is_draining => return Ok(match ending {
                Ending::Reconnect => Ended::Again,
                Ending::LogOut => Ended::LoggedOut,
            }),
            // What is owed to the provider: acknowledgements and requests.
            frames = link.next_frames() => {
                for frame in &frames {
                    note(sim, me, &mut raw, RawDirection::Out, frame);
                }
                socket.send_all(&frames).await?;
            }
            () = heart.beats() => link.write(heart.beat(cx)?),
            () = &mut keeping => {}
            () = sim.settled.notified(), if is_draining => {}
            caught_up = ongoing(&mut catching_up) => {
                caught_up?;
                catching_up = None;
                cx.state(sim.online(State::online(), me));
            }
            // New work last, and only with credit.
            () = cx.ready(), if !raw.is_empty() => {
                if let Some(event) = raw.pop_front() {
                    cx.send(event).await;
                }
            }
            () = cx.ready(), if may_emit => {
                if let Some(fresh) = held.pop_front().and_then(|next| fresh(sim, welcome, next)) {
                    Box::pin(fresh.emit(sim, cx)).await;
                }
            }
            // Cancel safe: ready() takes no credit, next() keeps what it has of a frame.
            down = read(cx, link, socket, is_draining), if held.len() < HELD_OUT_OF_TURN => {
                let down = down?;
                note(sim, me, &mut raw, RawDirection::In, &down);
                match down {
                    // While draining only answers are waited for; what else comes is said again to the next session.
                    Down::Push { .. } if is_draining => {}
                    Down::Push { push, redelivered, item } => {
                        panic_if_told(sim, &item, redelivered);
                        let read = Held { push, redelivered, item };
                        // Mostly it need not wait: going round once more would cost as much as reading it.
                        if catching_up.is_some() || !held.is_empty() || !cx.has_credit() {
                            hold(&mut held, read);
                        } else if let Some(fresh) = fresh(sim, welcome, read) {
                            Box::pin(fresh.emit(sim, cx)).await;
                        }
                    }
                    Down::Answer(answer) => link.answered(answer),
                    Down::Pong { id } => heart.answered(id),
                    Down::Closing { code, text } => return closing(sim, cx, &code, &text),
                    Down::Welcome(_) | Down::Refused(_) => {}
                }
                if sim.progress().is_too_far_ahead() {
                    return Err(Fault::retry("behind", "too much was stored after something that was not"));
                }
            }
        }
    }
}

/// What is said again while it waits here takes no second place: whoever reads slowly is told everything twice.
fn hold(held: &mut VecDeque<Held>, new: Held) {
    let is_same = |held: &&mut Held| held.item.seq == new.item.seq && new.item.seq != 0;
    match held.iter_mut().find(is_same) {
        Some(waiting) => waiting.push = new.push,
        None => held.push_back(new),
    }
}

/// What was pushed, as it is to be emitted. What the last session left is pushed again, and was fetched meanwhile: that is
/// emitted once.
fn fresh(sim: &Sim, welcome: &Welcome, held: Held) -> Option<Fresh> {
    let Held {
        push,
        redelivered,
        item,
    } = held;
    if redelivered && (1..=welcome.last_seq).contains(&item.seq) {
        match sim.progress().pushed_again(item.seq, push) {
            Known::Safe => {
                sim.link.write(Up::Ack { push });
                return None;
            }
            Known::OnTheWay => return None,
            Known::No => {}
        }
    }
    let (seqs, noise) = (seqs(&item), noise(&item));
    let event = inbound::event(&welcome.person.id, item, Delivery::Live);
    Some(Fresh {
        emission: Emission::from(event).noise(noise),
        seqs,
        push: Some(push),
    })
}

/// The next frame, when it may be read: there is credit for what it may hold, or somebody waits for an answer.
async fn read(
    cx: &Context,
    link: &Link,
    socket: &mut Socket<'_>,
    answers_only: bool,
) -> Result<Down, Fault> {
    select! {
        biased;
        () = cx.ready(), if !answers_only => {}
        () = link.is_awaited() => {}
    }
    socket.next().await
}

async fn ongoing(
    future: &mut Option<impl Future<Output = Result<(), Fault>> + Unpin>,
) -> Result<(), Fault> {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

/// An item that nobody has emitted yet.
struct Fresh {
    emission: Emission,
    /// The numbers that it stands for.
    seqs: RangeInclusive<u64>,
    /// None: it was fetched.
    push: Option<u64>,
}

impl Fresh {
    /// Emits it; once it is stored, the cursor moves and, for a push, the provider is told.
    async fn emit(self, sim: &Sim, cx: &Context) {
        let Self {
            emission,
            seqs,
            push,
        } = self;
        let sent = cx.send(emission).await;
        let (progress, link, settled, panics) = (
            sim.progress.clone(),
            sim.link.clone(),
            sim.settled.clone(),
            sim.panics.clone(),
        );
        let first = *seqs.start();
        sim.progress().sent(first);
        sent.on_settled(move |outcome| {
            panics.at(PanicAt::Settle);
            let is_safe = outcome.is_final();
            // First: whoever sees that all is settled goes when nothing is left to write.
            let again = crate::locked(&progress).arrived(first);
            if is_safe {
                for push in push.into_iter().chain(again) {
                    link.write(Up::Ack { push });
                }
            }
            crate::locked(&progress).settled(is_safe.then_some(seqs));
            settled.notify_waiters();
        });
    }
}

/// The numbers that an item stands for.
fn seqs(item: &Item) -> RangeInclusive<u64> {
    match item.what {
        What::Dropped { from, to } => from..=to,
        _ => item.seq..=item.seq,
    }
}

/// Typing and presence come and go; everything else is worth a trace.
fn noise(item: &Item) -> Noise {
    match item.what {
        What::Typing { .. } | What::TypingEnded | What::Presence { .. } => Noise::Aux,
        _ => Noise::Event,
    }
}

fn closing(sim: &Sim, cx: &Context, code: &str, text: &str) -> Result<Ended, Fault> {
    match code {
        "replaced" => Err(Fault::stopped(State::conflicted(), text)),
        "bad_token" => Err(Fault::stopped(State::bad_credentials(), text)),
        "token_expired" => {
            cx.state(
                State::logging_in()
                    .reason("token_expired")
                    .self_id(sim.person()),
            );
            Ok(Ended::Again)
        }
        _ => Err(Fault::retry("provider_unavailable", text)),
    }
}

/// `/panic` in a message ends the adapter once, `/panic!` each time it is pushed; a user id behind it names one account.
fn panic_if_told(sim: &Sim, item: &Item, redelivered: bool) {
    sim.panics.at(PanicAt::Read);
    let What::Posted { post } = &item.what else {
        return;
    };
    let Some(crate::native::Part::Text { text, .. }) = post.parts.first() else {
        return;
    };
    let (order, whom) = text.split_once(' ').unwrap_or((text, sim.person()));
    let is_time = order == "/panic!" || order == "/panic" && !redelivered;
    assert!(
        !is_time || whom != sim.person(),
        "panic while reading, as the message says"
    );
}

fn note(
    sim: &Sim,
    me: &str,
    raw: &mut VecDeque<Event>,
    direction: RawDirection,
    frame: &impl serde::Serialize,
) {
    if sim.config.raw_frames {
        if raw.len() >= RAW_MAX {
            raw.pop_front();
        }
        raw.push_back(inbound::raw_frame(me, direction, frame));
    }
}
