//! The commands of one shard, from its consumer to its accounts.
//!
//! It takes and never waits for an account: whatever an account cannot do yet is in that account's hand. A command that
//! comes again while it is in hand is not taken twice. Commands of an account that nobody here knows are kept for a
//! minute, since a roll-out may bring it; then they are answered.
//!
//! Not here: winning the shard, and what ends it (`bus::shards`).

use super::account::{Arrival, Outbound};
use super::answer::originals;
use super::gateway::Gateway;
use super::in_hand::InHand;
use super::metrics::GivenUp;
use crate::bus::clock::unix_ms;
use crate::bus::consumer::{Delivered, ShardConsumer, TakeError};
use crate::bus::{Account, Hold, Kind};
use crate::dead_letter::{Body, Letter, Put};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use im_bridge_sdk::model::ids::B32;
use im_bridge_sdk::model::{Command, ErrorCode, ErrorObject, Time};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// How long commands of an account that is not configured wait for it.
pub const UNKNOWN_ACCOUNT_WITHIN: Duration = Duration::from_secs(60);
/// Such commands of one shard: beyond it the oldest is answered at once.
const STRAYS_MAX: usize = 1_024;
/// Dead letters on their way; beyond it the shard waits, so that a stream that refuses them bounds what is kept.
const BURYING_MAX: usize = 256;
const TICK: Duration = Duration::from_secs(1);
/// Ticks between looks at what is in hand for long.
const PROGRESS_EVERY: u32 = 30;
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The accounts of one shard, as they come and go.
#[derive(Default)]
pub struct Accounts {
    known: Mutex<HashMap<Account, Arc<Outbound>>>,
    /// Whose commands are in nobody's hand any more.
    gone: Mutex<Vec<Account>>,
    changed: Notify,
}

impl Accounts {
    fn lock(&self) -> MutexGuard<'_, HashMap<Account, Arc<Outbound>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its commands go there from now on, those that waited for it first.
    pub fn add(&self, outbound: Arc<Outbound>) {
        self.lock().insert(outbound.account().clone(), outbound);
        self.changed.notify_one();
    }

    /// Its commands come again, for whoever is added under its name within a minute. The caller has ended the queue, or
    /// drops it now.
    pub fn remove(&self, account: &Account) -> Option<Arc<Outbound>> {
        let removed = self.lock().remove(account);
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.push(account.clone());
        self.changed.notify_one();
        removed
    }

    fn take_gone(&self) -> Vec<Account> {
        std::mem::take(&mut self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn get(&self, account: &Account) -> Option<Arc<Outbound>> {
        self.lock().get(account).cloned()
    }
}

/// A command of an account that is not known.
struct Stray {
    account: Account,
    delivered: Box<Delivered>,
    kind: Kind,
    until: Instant,
}

/// See the front page.
pub struct Commands {
    gateway: Arc<Gateway>,
    consumer: ShardConsumer,
    accounts: Arc<Accounts>,
    in_hand: Arc<InHand>,
    hold: Hold,
    strays: VecDeque<Stray>,
    burying: FuturesUnordered<BoxFuture<'static, ()>>,
    unknown_within: Duration,
}

impl Commands {
    pub fn new(
        gateway: &Arc<Gateway>,
        consumer: ShardConsumer,
        accounts: Arc<Accounts>,
        in_hand: Arc<InHand>,
        hold: Hold,
    ) -> Self {
        Self {
            gateway: Arc::clone(gateway),
            consumer,
            accounts,
            in_hand,
            hold,
            strays: VecDeque::new(),
            burying: FuturesUnordered::new(),
            unknown_within: UNKNOWN_ACCOUNT_WITHIN,
        }
    }

    /// Instead of [`UNKNOWN_ACCOUNT_WITHIN`].
    #[must_use]
    pub fn unknown_within(mut self, within: Duration) -> Self {
        self.unknown_within = within;
        self
    }

    /// Takes commands until the lease is lost or this future is dropped; an error: somebody with a later epoch took the
    /// shard. Pulls only while it is polled.
    pub async fn run(mut self) -> Result<(), TakeError> {
        let hold = self.hold.clone();
        let mut lost = std::pin::pin!(hold.lost());
        let mut connects = self.consumer.connects();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = 0_u32;
        loop {
            let accounts = Arc::clone(&self.accounts);
            tokio::select! {
                biased;
                () = &mut lost => return Ok(()),
                // Deliveries of the former connection may be lost on the way.
                Ok(()) = connects.changed() => self.again().await?,
                () = accounts.changed.notified() => self.changed().await?,
                _ = tick.tick() => {
                    ticks += 1;
                    self.give_up_strays().await;
                    if ticks.is_multiple_of(PROGRESS_EVERY) {
                        self.in_hand.progress().await;
                    }
                }
                Some(()) = self.burying.next() => {}
                delivered = self.consumer.next() => match delivered {
                    Some(delivered) => self.delivered(delivered).await,
                    None => self.again().await?,
                },
            }
        }
    }

    /// The consumer once more. What is in hand stays in hand and is known when it comes again.
    async fn again(&mut self) -> Result<(), TakeError> {
        loop {
            match self.consumer.again().await {
                Ok(()) => return Ok(()),
                Err(error @ TakeError::Newer { .. }) => return Err(error),
                Err(TakeError::Api { .. }) if !self.hold.is_held() => return Ok(()),
                Err(error @ TakeError::Api { .. }) => {
                    tracing::debug!("{error}");
                    sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Accounts came or went.
    async fn changed(&mut self) -> Result<(), TakeError> {
        let gone = self.accounts.take_gone();
        for account in &gone {
            self.in_hand.forget(account);
            self.strays.retain(|stray| stray.account != *account);
        }
        if !gone.is_empty() {
            self.again().await?;
        }
        self.found().await;
        Ok(())
    }

    async fn delivered(&mut self, delivered: Delivered) {
        let parsed = self
            .gateway
            .subjects
            .parse_stored_command(&delivered.subject)
            .ok();
        let account = parsed.as_ref().map(|parsed| parsed.account.clone());
        let (sequence, ack) = (delivered.sequence, delivered.ack.clone());
        if !self.in_hand.take(sequence, ack, account) {
            return;
        }
        let delivered = Box::new(delivered);
        let Some(parsed) = parsed else {
            let text = "the subject has a token that no account or command can have";
            return self.bury(delivered, None, text.to_owned()).await;
        };
        let waits = self
            .strays
            .iter()
            .any(|stray| stray.account == parsed.account);
        match self.accounts.get(&parsed.account).filter(|_| !waits) {
            Some(outbound) => send(&outbound, delivered, parsed.command).await,
            None => {
                self.strays.push_back(Stray {
                    account: parsed.account,
                    delivered,
                    kind: parsed.command,
                    until: Instant::now() + self.unknown_within,
                });
                if self.strays.len() > STRAYS_MAX
                    && let Some(stray) = self.strays.pop_front()
                {
                    self.give_up(stray).await;
                }
            }
        }
    }

    /// Hands over what waited for accounts that are here now, in order.
    async fn found(&mut self) {
        let waiting = std::mem::take(&mut self.strays);
        for stray in waiting {
            match self.accounts.get(&stray.account) {
                Some(outbound) => send(&outbound, stray.delivered, stray.kind).await,
                None => self.strays.push_back(stray),
            }
        }
    }

    async fn give_up_strays(&mut self) {
        while self
            .strays
            .front()
            .is_some_and(|stray| stray.until <= Instant::now())
        {
            if let Some(stray) = self.strays.pop_front() {
                self.give_up(stray).await;
            }
        }
    }

    async fn give_up(&mut self, stray: Stray) {
        let text = format!("there is no account {}", stray.account);
        let of = Some((stray.account, stray.kind));
        self.bury(stray.delivered, of, text).await;
    }

    /// Answers a command that no account here can, keeps it for a person, and acknowledges it; beside what is delivered,
    /// unless too many are on their way.
    async fn bury(&mut self, delivered: Box<Delivered>, of: Option<(Account, Kind)>, text: String) {
        if self.burying.len() >= BURYING_MAX {
            self.burying.next().await;
        }
        let burial = Burial {
            gateway: Arc::clone(&self.gateway),
            in_hand: Arc::clone(&self.in_hand),
            hold: self.hold.clone(),
            delivered,
            of,
        };
        let error = ErrorObject::new(ErrorCode::BadRequest, true, text);
        self.burying
            .push(async move { burial.bury(&error).await }.boxed());
    }
}

/// A command on its way into the dead letters.
struct Burial {
    gateway: Arc<Gateway>,
    in_hand: Arc<InHand>,
    hold: Hold,
    delivered: Box<Delivered>,
    of: Option<(Account, Kind)>,
}

impl Burial {
    async fn bury(&self, error: &ErrorObject) {
        let Self {
            gateway, delivered, ..
        } = self;
        let original = gateway.subjects.published_command(&delivered.subject);
        if let Some((account, kind)) = &self.of {
            let is_told = gateway
                .answer_stray(account, kind, delivered, error, &self.hold)
                .await;
            if !is_told {
                return;
            }
        }
        let subject = match &self.of {
            Some((account, _)) => gateway.subjects.dead_command(account),
            None => {
                // The tokens as they stand in the subject, whatever they are.
                let mut tokens = original.as_deref().unwrap_or_default().split('.').skip(3);
                let (provider, account) = (tokens.next(), tokens.next());
                let stray = (provider.unwrap_or("_"), account.unwrap_or("_"));
                gateway.subjects.dead_stray_command(stray.0, stray.1)
            }
        };
        let id = format!("dlq\u{1f}{subject}\u{1f}{}", delivered.sequence);
        let letter = Letter {
            subject,
            id: B32::of(id.as_bytes()).as_str().into(),
            original: original.map(|subject| subject.to_string()),
            error,
            attempts: 0,
            first: Time::from_ms(delivered.stored_ms),
            last: Time::from_ms(unix_ms()),
            headers: originals(&delivered.headers),
            body: Body::Message(delivered.payload.clone()),
        };
        let put = gateway.dead_letters.put(letter, &self.hold).await;
        if let Some((account, _)) = &self.of {
            let figures = gateway.figures().provider(&account.provider);
            match put {
                Put::Stored => figures.dead_letter(error.class),
                Put::Refused => figures.given_up(GivenUp::DeadLetter),
                Put::Lost => {}
            }
        }
        if put != Put::Lost {
            self.in_hand.done(delivered.sequence).await;
        }
    }
}

/// The account's task only takes, so this waits for no provider; an account that is ending has its commands come again.
async fn send(outbound: &Outbound, delivered: Box<Delivered>, kind: Kind) {
    let arrival = match kind.name().parse::<Command>() {
        Ok(command) => Arrival::Durable(delivered, command),
        Err(_) => Arrival::Strange(delivered, Box::new(kind)),
    };
    // Closed: it ends with its lease, and the next owner gets the command.
    let _ = outbound.arrivals.send(arrival).await;
}
