//! Load: users who send as fast as they are told to.
//!
//! Waits for readers that are behind, so that nothing is lost to a full queue; every message goes the way of any other.

use super::codec::packets::Flags;
use super::submit::{Draft, Via, submit};
use super::world::Sim;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const FLOODS_MAX: usize = 100;
const MESSAGES_MAX: u64 = 100_000_000;
/// Messages between two looks at the clock and at the readers.
const AT_ONCE: u64 = 200;
const LOOK_EVERY: Duration = Duration::from_millis(2);

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Whom it says them as, in turn.
    from: Vec<String>,
    channels: Vec<Channel>,
    count: u64,
    rate_per_s: f64,
    /// Length of the text.
    #[serde(default = "text_bytes")]
    text_bytes: usize,
    /// Stops while a connection has this many unread packets or unacknowledged messages.
    #[serde(default = "window")]
    window: usize,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Channel {
    channel_id: String,
    channel_type: u8,
}

fn text_bytes() -> usize {
    32
}

fn window() -> usize {
    20_000
}

struct Progress {
    sent: AtomicU64,
    refused: AtomicU64,
    is_done: AtomicBool,
    is_stopped: AtomicBool,
    begun: Instant,
    took: Mutex<Duration>,
}

#[derive(Default)]
pub struct Floods {
    all: Mutex<Vec<Arc<Progress>>>,
}

impl Floods {
    pub fn show(&self) -> Value {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = all.iter().enumerate().map(|(id, flood)| {
            let took = *flood.took.lock().unwrap_or_else(PoisonError::into_inner);
            let is_done = flood.is_done.load(Ordering::Relaxed);
            let took = if is_done { took } else { flood.begun.elapsed() };
            json!({
                "id": id,
                "sent": flood.sent.load(Ordering::Relaxed),
                "refused": flood.refused.load(Ordering::Relaxed),
                "is_done": is_done,
                "ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            })
        });
        json!({ "floods": shown.collect::<Vec<_>>() })
    }

    pub fn stop(&self) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        for flood in &*all {
            flood.is_stopped.store(true, Ordering::Relaxed);
        }
    }
}

pub fn start(sim: &Arc<Sim>, plan: &Value) -> Result<usize, String> {
    let plan = Plan::deserialize(plan).map_err(|error| error.to_string())?;
    if plan.from.is_empty() || plan.channels.is_empty() || plan.rate_per_s <= 0.0 {
        return Err("a flood needs senders, channels and a rate".to_owned());
    }
    if plan.count > MESSAGES_MAX {
        return Err(format!("a flood has at most {MESSAGES_MAX} messages"));
    }
    let mut all = sim
        .floods
        .all
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if all.len() >= FLOODS_MAX {
        return Err(format!("{FLOODS_MAX} floods were started; start anew"));
    }
    let progress = Arc::new(Progress {
        sent: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        is_done: AtomicBool::new(false),
        is_stopped: AtomicBool::new(false),
        begun: Instant::now(),
        took: Mutex::default(),
    });
    let id = all.len();
    all.push(progress.clone());
    tokio::spawn(run(sim.clone(), plan, progress, id));
    Ok(id)
}

async fn run(sim: Arc<Sim>, plan: Plan, progress: Arc<Progress>, id: usize) {
    let from: Vec<Arc<str>> = plan.from.iter().map(|uid| uid.as_str().into()).collect();
    let channels: Vec<(Arc<str>, u8)> = plan
        .channels
        .iter()
        .map(|channel| (channel.channel_id.as_str().into(), channel.channel_type))
        .collect();
    let pad = "x".repeat(plan.text_bytes);
    let mut said = 0;
    while said < plan.count && !progress.is_stopped.load(Ordering::Relaxed) {
        let due = progress.begun.elapsed().as_secs_f64() * plan.rate_per_s;
        let now = plan.count.min(said + AT_ONCE);
        // What is due in a test's time is far below 2^53.
        if (now as f64) > due + 1.0 || is_behind(&sim, plan.window) {
            tokio::time::sleep(LOOK_EVERY).await;
            if is_behind(&sim, plan.window) || (said as f64) >= due {
                continue;
            }
        }
        while said < now && (said as f64) < due {
            let turn = usize::try_from(said).unwrap_or(0);
            let (channel_id, channel_type) = &channels[turn % channels.len()];
            let text = json!({ "content": format!("{said} {pad}"), "type": 1 });
            let draft = Draft {
                from: from[turn / channels.len() % from.len()].clone(),
                channel_id: channel_id.clone(),
                channel_type: *channel_type,
                client_msg_no: format!("flood-{id}-{said}").into(),
                flags: Flags {
                    red_dot: true,
                    ..Flags::default()
                },
                payload: text.to_string().into(),
                ..Draft::default()
            };
            let outcome = submit(&sim, Via::Control, draft, None);
            said += 1;
            if outcome.reason == super::channel::SUCCESS {
                progress.sent.fetch_add(1, Ordering::Relaxed);
            } else {
                progress.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::task::yield_now().await;
    }
    *progress.took.lock().unwrap_or_else(PoisonError::into_inner) = progress.begun.elapsed();
    progress.is_done.store(true, Ordering::Relaxed);
}

fn is_behind(sim: &Sim, window: usize) -> bool {
    let world = sim.world();
    world.connections.values().any(|session| {
        let (out, unacked) = session.load();
        out.max(unacked) >= window
    })
}
