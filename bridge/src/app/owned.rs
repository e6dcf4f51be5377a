//! One account for as long as its shard is held: fenced, served with its configuration of the moment, and let go.
//!
//! Fence and state come before anything else, so that no former owner writes after us. A change of the configuration
//! drains, stops and begins anew with what is then wanted; commands wait meanwhile. When the lease is lost the account is
//! quiet within two seconds and nothing more is written.
//!
//! Not here: the instance's own life (`account`), other accounts of the shard (`owner`).

use super::base::{Base, Listed};
use super::control::AccountCore;
use super::documents::Scribe;
use super::face::Face;
use super::hooks::AccountHooks;
use super::liveness::{Liveness, Remedy};
use super::outlet::{AccountOutlet, Known};
use super::plan::Wanted;
use super::plugins::Adapter;
use super::webhooks;
use crate::account::kv::Kv;
use crate::account::{Account as Supervised, Ended, Ending, Permit, Request, Settings, Timing};
use crate::bus::{Hold, Shard};
use crate::config::types;
use crate::envelope::ModelMinor;
use crate::inbound::{self, Inbound};
use crate::loader::config::CreditsConfig;
use crate::loader::host::{Options, Window};
use crate::outbound::budget::Pace;
use crate::outbound::{self, Accounts, Hands, InHand, Outbound, Requests, Terms};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What an account whose lease is lost gets: another owner may come three seconds later.
pub const LOST: Ending = Ending {
    drain: None,
    stop: Duration::from_secs(2),
};
/// For a change of configuration, and for a hand-over to another replica that runs.
pub const IN_PEACE: Ending = Ending {
    drain: Some(Duration::from_secs(10)),
    stop: Duration::from_secs(3),
};
/// For the last state document, with a bus that is there.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(2);
const SUBSCRIBE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What the accounts of one held shard share.
#[derive(Clone)]
pub struct Held {
    pub base: Arc<Base>,
    pub shard: Shard,
    pub epoch: u64,
    pub hold: Hold,
    pub accounts: Arc<Accounts>,
    pub in_hand: Arc<InHand>,
    /// Of the plan at the time.
    pub attempts: u32,
}

#[derive(Clone)]
enum Target {
    Run(Arc<Wanted>),
    End(Ending),
}

/// The account's task, seen from its shard. Dropping it ends the account without a word.
pub struct Owned {
    target: watch::Sender<Target>,
    task: JoinHandle<()>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Owned {
    pub fn start(held: &Held, wanted: Arc<Wanted>) -> Self {
        let (target, targets) = watch::channel(Target::Run(Arc::clone(&wanted)));
        let (hands, requests) = Hands::new();
        let owner = held.base.shards.owner().as_str();
        let face = Face::new(wanted.account.clone(), owner, held.epoch, hands);
        // Boxed: a task has room for what it is started with twice.
        let life = Box::new(Life {
            held: held.clone(),
            face,
            targets,
        });
        Self {
            target,
            task: tokio::spawn(life.run(wanted, requests)),
        }
    }

    /// It ended, asked to or not.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// From now on it runs like this.
    pub fn want(&self, wanted: Arc<Wanted>) {
        self.target.send_replace(Target::Run(wanted));
    }

    /// Asks it to end.
    pub fn begin_to_end(&self, ending: Ending) {
        self.target.send_replace(Target::End(ending));
    }

    /// Returns when it has ended, which was asked for or follows from the lost lease.
    pub async fn ended(mut self) {
        // A panic in it was told by the runtime; nothing of it is left either way.
        let _ = (&mut self.task).await;
    }
}

struct Life {
    held: Held,
    face: Arc<Face>,
    targets: watch::Receiver<Target>,
}

/// Why serving ended.
enum Next {
    /// Something else is wanted.
    Wanted(Arc<Wanted>),
    End(Ending),
    Lost,
}

impl Life {
    async fn run(mut self: Box<Self>, wanted: Arc<Wanted>, requests: mpsc::Receiver<Box<Request>>) {
        let scribe = Scribe::start(&self.held.base.bus, &self.face, &self.held.hold);
        let kv = tokio::select! {
            biased;
            end = ended(self.targets.clone()) => {
                tracing::debug!(account = %self.face.account, ?end, "ended before it was fenced");
                None
            }
            // What is done once lies in a box: an idle account keeps room for the largest of what it may wait for.
            opened = Box::pin(self.open_keys()) => opened,
        };
        if let Some(kv) = kv {
            let outbound = Arc::new(self.outbound(&wanted));
            self.held.base.directory.add(Listed {
                shard: self.held.shard,
                face: Arc::clone(&self.face),
                outbound: Some(Arc::clone(outbound.figures())),
            });
            self.held.accounts.add(Arc::clone(&outbound));
            self.serve_all(wanted, requests, &kv, outbound).await;
            self.held.accounts.remove(&self.face.account);
        }
        self.held.base.directory.remove(&self.face);
        self.face.leave();
        if self.held.hold.is_held() {
            Box::pin(scribe.finish(LAST_WORD_WITHIN)).await;
        }
    }

    /// Raises the fence. None: the lease is lost, whatever this replica believes.
    async fn open_keys(&self) -> Option<Kv> {
        let Held {
            base, epoch, hold, ..
        } = &self.held;
        let seals = Arc::clone(&base.seals);
        match Kv::open(&base.bus, &self.face.account, *epoch, hold, seals).await {
            Ok(kv) => Some(kv),
            Err(error) => {
                tracing::warn!(account = %self.face.account, %error, "not fenced, so not begun");
                None
            }
        }
    }

    fn outbound(&self, wanted: &Wanted) -> Outbound {
        let Held { base, .. } = &self.held;
        Outbound::start(
            &base.outbound,
            outbound::Options {
                account: self.face.account.clone(),
                hold: self.held.hold.clone(),
                epoch: self.held.epoch,
                hands: Arc::clone(&self.face.hands),
                in_hand: Arc::clone(&self.held.in_hand),
                core: Arc::new(AccountCore {
                    base: Arc::clone(base),
                    face: Arc::clone(&self.face),
                    shard: self.held.shard,
                }),
                terms: self.terms(wanted),
            },
        )
    }

    /// What the queue of commands takes without an interruption.
    fn terms(&self, wanted: &Wanted) -> Terms {
        let part = &wanted.part;
        let pace = |rate: &types::Rate| Pace {
            per_s: rate.per_s,
            burst: rate.burst,
        };
        let allowed = part
            .native_calls
            .iter()
            .filter(|(_, is_allowed)| **is_allowed);
        Terms {
            model: ModelMinor(wanted.adapter.as_ref().map_or(0, |it| it.model_minor())),
            attempts_max: self.held.attempts,
            native_calls: allowed
                .map(|(pattern, _)| pattern.as_str().into())
                .collect(),
            rate: part.rate.as_ref().map(pace),
            rates: part
                .rates
                .iter()
                .map(|(command, rate)| (command.as_str().into(), pace(rate)))
                .collect(),
        }
    }

    /// Serves it as it is wanted, until it ends.
    async fn serve_all(
        &mut self,
        mut wanted: Arc<Wanted>,
        mut requests: mpsc::Receiver<Box<Request>>,
        kv: &Kv,
        outbound: Arc<Outbound>,
    ) {
        let asked = Box::pin(self.subscribe(&outbound)).await;
        let mut open = Some((asked, Arc::clone(&outbound)));
        let webhooks = webhooks::Subscription::start(&self.held.base, &self.face);
        let mut webhooks = Box::pin(webhooks).await;
        loop {
            let adapter = wanted.adapter.clone().filter(|_| wanted.part.enabled);
            let next = match adapter {
                Some(adapter) => {
                    let (supervised, next) =
                        self.serve(&wanted, adapter, requests, kv, &outbound).await;
                    let ending = match &next {
                        Next::Wanted(_) => IN_PEACE,
                        Next::End(ending) => *ending,
                        Next::Lost => LOST,
                    };
                    if matches!(next, Next::End(_)) {
                        webhooks.iter_mut().for_each(webhooks::Subscription::end);
                        Box::pin(self.close(open.take(), ending)).await;
                    }
                    let Some(back) = Box::pin(supervised.end(ending)).await else {
                        tracing::error!(account = %self.face.account, "the account's task is gone; it ends here");
                        return;
                    };
                    requests = back;
                    next
                }
                None => {
                    if wanted.part.enabled {
                        self.face.unserved(wanted.barred.as_deref());
                    } else {
                        self.face.disabled();
                    }
                    loop {
                        tokio::select! {
                            biased;
                            next = self.next(&wanted, &outbound) => break next,
                            // Handed over to an adapter that is gone since.
                            Some(request) = requests.recv() => {
                                self.face.hands.ended(request.tag, Ended::not_taken());
                            }
                        }
                    }
                }
            };
            match next {
                Next::Wanted(new) => {
                    outbound.adopt(self.terms(&new));
                    wanted = new;
                }
                Next::End(ending) => return Box::pin(self.close(open.take(), ending)).await,
                Next::Lost => return,
            }
        }
    }

    /// Callers find this owner from now on. None: it ends before.
    async fn subscribe(&mut self, outbound: &Arc<Outbound>) -> Option<Requests> {
        loop {
            match Requests::subscribe(outbound).await {
                Ok(requests) => return Some(requests),
                Err(error) => {
                    tracing::warn!(account = %self.face.account, %error, "cannot be asked yet")
                }
            }
            tokio::select! {
                biased;
                () = self.held.hold.lost() => return None,
                () = sleep(SUBSCRIBE_AGAIN_AFTER) => {}
            }
        }
    }

    /// Takes no further commands and finishes those in hand, while the adapter still works.
    async fn close(&self, open: Option<(Option<Requests>, Arc<Outbound>)>, ending: Ending) {
        let Some((asked, outbound)) = open else {
            return;
        };
        if let Some(asked) = asked {
            asked.end().await;
        }
        self.held.accounts.remove(&self.face.account);
        outbound.end(ending.drain.unwrap_or_default()).await;
    }

    /// Runs instances until something else is wanted.
    async fn serve(
        &mut self,
        wanted: &Arc<Wanted>,
        adapter: Arc<Adapter>,
        requests: mpsc::Receiver<Box<Request>>,
        kv: &Kv,
        outbound: &Outbound,
    ) -> (Supervised, Next) {
        let window = window(&wanted.credits, &adapter);
        self.face.serve_with(Arc::clone(&adapter));
        let inbound = Inbound::new(
            &self.held.base.inbound,
            inbound::Options {
                account: self.face.account.clone(),
                model: ModelMinor(adapter.model_minor()),
                order: match wanted.part.order {
                    types::Order::Strict => inbound::Order::Strict,
                    types::Order::Relaxed => inbound::Order::Relaxed,
                },
                hold: self.held.hold.clone(),
                surroundings: Arc::new(Known(Arc::clone(outbound.echoes()))),
            },
        );
        let (intake, carrier) = inbound.split();
        self.face.set_intake(intake.clone());
        let outlet = AccountOutlet {
            face: Arc::clone(&self.face),
            intake,
            kv: kv.clone(),
            figures: Arc::clone(&self.held.base.figures),
        };
        let settings = self.settings(wanted, &adapter, window);
        let supervised = Supervised::supervise_beside(settings, requests, outlet, carrier);
        let mut liveness = Liveness::new(Arc::clone(&self.face), &wanted.part, window);
        loop {
            let anew = tokio::select! {
                biased;
                next = self.next(wanted, outbound) => return (supervised, next),
                remedy = liveness.watch() => remedy == Remedy::Anew,
                () = self.face.revived() => true,
            };
            if anew {
                supervised.reconnect().await;
            }
        }
    }

    /// Returns when this is wanted no more. Cancel safe.
    async fn next(&self, wanted: &Wanted, outbound: &Outbound) -> Next {
        let mut targets = self.targets.clone();
        loop {
            match targets.borrow_and_update().clone() {
                Target::End(ending) => return Next::End(ending),
                Target::Run(new) if !new.is_same(wanted) => return Next::Wanted(new),
                // Perhaps with another pace.
                Target::Run(new) => outbound.adopt(self.terms(&new)),
            }
            tokio::select! {
                biased;
                () = self.held.hold.lost() => return Next::Lost,
                changed = targets.changed() => if changed.is_err() {
                    return Next::End(LOST);
                },
            }
        }
    }

    fn settings(&self, wanted: &Arc<Wanted>, adapter: &Arc<Adapter>, window: Window) -> Settings {
        let description = &adapter.loaded.description;
        let made_of = Arc::clone(wanted);
        Settings {
            plugin: Arc::clone(&adapter.plugin),
            account: self.face.account.alias.as_str().into(),
            config: Arc::new(move || made_of.instance_config()),
            permit: permit(adapter),
            options: Options {
                window,
                pool: Arc::clone(&self.held.base.pool),
                hooks: Arc::new(AccountHooks {
                    telemetry: self.held.base.telemetry.clone(),
                    labels: self.held.base.telemetry.account(&self.face.account),
                    level: self.held.base.log_level,
                    metrics: Arc::clone(&self.face.metrics),
                }),
                webhooks_max: self.held.base.webhook.per_instance(),
            },
            commands_max: commands_max(adapter),
            may_overlap: description.session.overlap,
            faults: Arc::clone(&adapter.faults),
            timing: Timing::default(),
        }
    }
}

/// Returns when the account is to end. Cancel safe.
async fn ended(mut targets: watch::Receiver<Target>) -> Ending {
    let ends = targets
        .wait_for(|target| matches!(target, Target::End(_)))
        .await;
    match ends.as_deref() {
        Ok(Target::End(ending)) => *ending,
        _ => LOST,
    }
}

fn window(credits: &CreditsConfig, adapter: &Adapter) -> Window {
    let wish = adapter.loaded.description.session.window_events;
    Window {
        events: credits.events.or(wish).unwrap_or(Window::default().events),
        bytes: credits.bytes,
    }
}

/// Uncompleted commands of all kinds: those that change something, and those that only ask.
fn commands_max(adapter: &Adapter) -> usize {
    let limits = &adapter.capabilities()["limits"];
    let reads = limits["max_reads_in_flight"].as_u64().unwrap_or(1);
    let all =
        u64::from(adapter.loaded.description.capabilities.max_in_flight).saturating_add(reads);
    usize::try_from(all).unwrap_or(1).max(2)
}

/// The first instance has a place among all that start; later ones come out of the provider's budget.
fn permit(adapter: &Arc<Adapter>) -> Permit {
    let logins = Arc::clone(&adapter.logins);
    let is_first = AtomicBool::new(true);
    Box::new(move || {
        let logins = Arc::clone(&logins);
        let is_first = is_first.swap(false, Ordering::Relaxed);
        Box::pin(async move {
            if is_first {
                logins.start().await;
            } else {
                logins.again().await;
            }
        })
    })
}
