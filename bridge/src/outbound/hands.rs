//! The adapter of one account, as outbound sees it: commands go in, each ends once.
//!
//! It stands between an account's queue and its supervisor: the queue hands over and waits, the supervisor takes from the
//! channel and says how each ended. While no instance takes commands the next one waits here, and whoever waits may give
//! up; what was not taken surely did not happen.
//!
//! Not here: deadlines of the adapter and what follows when it misses them (`account`).

use crate::account::{Ended, Request};
use crate::loader::host::Completed;
use im_bridge_plugin_api::abi::Status;
use im_bridge_sdk::model::{AccountState, Capabilities, Durable, ErrorCode};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// Commands between queue and supervisor: enough for one wake-up of either.
const ON_THE_WAY_MAX: usize = 32;
/// A command that was said to be unknown is remembered for this long, in case its end comes late.
const LATE_WITHIN: Duration = Duration::from_secs(600);

/// What is known of an account at this moment.
#[derive(Clone, Debug)]
pub struct View {
    pub state: AccountState,
    /// None before the adapter is loaded.
    pub capabilities: Option<Arc<Capabilities>>,
}

impl View {
    /// Before anything is known.
    pub fn starting() -> Self {
        Self {
            state: AccountState::Starting,
            capabilities: None,
        }
    }

    /// What becomes of durable commands now.
    pub fn durable(&self) -> Durable {
        match self.capabilities {
            Some(_) => self.state.durable(),
            None => Durable::Wait,
        }
    }
}

/// See the front page.
#[derive(Debug)]
pub struct Hands {
    /// Boxed: a channel has room for 32 of what it carries from the beginning, and most accounts are idle.
    requests: mpsc::Sender<Box<Request>>,
    flights: Mutex<HashMap<u64, Flight>>,
    next: AtomicU64,
    view: watch::Sender<View>,
}

#[derive(Debug)]
struct Flight {
    first: Option<oneshot::Sender<Ended>>,
    late: oneshot::Sender<Completed>,
}

/// How a hand-over ended.
pub(super) struct Handed {
    pub ended: Ended,
    /// Only for what ended unknown.
    pub late: Option<Late>,
}

/// The truth about a command that ended unknown, should it still come.
pub(super) struct Late {
    truth: oneshot::Receiver<Completed>,
    flight: Forgotten,
}

impl Late {
    pub(super) async fn truth(self) -> Option<Completed> {
        let Self { truth, flight } = self;
        let truth = timeout(LATE_WITHIN, truth).await.ok()?.ok();
        drop(flight);
        truth
    }
}

/// Takes the flight out of the table when nobody waits for it any more.
struct Forgotten {
    hands: Arc<Hands>,
    tag: u64,
}

impl Drop for Forgotten {
    fn drop(&mut self) {
        self.hands.lock().remove(&self.tag);
    }
}

impl Hands {
    /// The other end is the supervisor's.
    pub fn new() -> (Arc<Self>, mpsc::Receiver<Box<Request>>) {
        let (requests, taken) = mpsc::channel(ON_THE_WAY_MAX);
        let hands = Self {
            requests,
            flights: Mutex::default(),
            next: AtomicU64::new(1),
            view: watch::Sender::new(View::starting()),
        };
        (Arc::new(hands), taken)
    }

    /// From the supervisor: a command ended, or the truth about one came late.
    pub fn ended(&self, tag: u64, ended: Ended) {
        let mut flights = self.lock();
        match ended {
            Ended::Late(completed) => {
                if let Some(flight) = flights.remove(&tag) {
                    // Nobody may be waiting any more.
                    let _ = flight.late.send(completed);
                }
            }
            ended => {
                if let Some(first) = flights.get_mut(&tag).and_then(|it| it.first.take()) {
                    // As above.
                    let _ = first.send(ended);
                }
            }
        }
    }

    /// From the supervisor: what is known of the account now.
    pub fn show(&self, view: View) {
        self.view.send_replace(view);
    }

    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn end(&self, mut end: oneshot::Receiver<Ended>) -> Ended {
        let said = tokio::select! {
            biased;
            said = &mut end => said.ok(),
            // A supervisor that ends has said what it knows before; what it never took is lost with its channel.
            () = self.requests.closed() => end.try_recv().ok(),
        };
        said.unwrap_or(Ended::Unknown("lost_ack"))
    }

    /// Hands a command over and waits for its end; until `deadline` for its being taken.
    pub(super) async fn carry_out(
        self: &Arc<Self>,
        mut request: Box<Request>,
        deadline: Instant,
    ) -> Handed {
        let tag = self.next.fetch_add(1, Ordering::Relaxed);
        request.tag = tag;
        let (first, end) = oneshot::channel();
        let (late, truth) = oneshot::channel();
        let flight = Forgotten {
            hands: Arc::clone(self),
            tag,
        };
        // Room first: a command that waits for it can still be called back.
        let ended = match timeout_at(deadline, self.requests.reserve()).await {
            Ok(Ok(room)) => {
                let first = Some(first);
                self.lock().insert(tag, Flight { first, late });
                room.send(request);
                let ended = self.end(end).await;
                let is_unknown = matches!(ended, Ended::Unknown(_));
                return Handed {
                    ended,
                    late: is_unknown.then_some(Late { truth, flight }),
                };
            }
            Ok(Err(_)) => Ended::not_taken(),
            Err(_) => {
                let code = ErrorCode::DeadlineExceeded.as_str();
                Ended::Completed(Completed::by_host(0, Status::E_INVALID, true, code))
            }
        };
        Handed { ended, late: None }
    }
}
