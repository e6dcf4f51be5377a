//! The service from its start to its end.
//!
//! It listens before anything else, so that probes see it start; it waits for a NATS that is away, and says so once; it
//! runs the shards that it wins. What is wrong with the configuration, the listener or NATS itself ends it at the start
//! with an error that says what to do; a bad account or a bad plugin among others ends nothing.
//!
//! Not here: ending in order (`shutdown`), a shard's accounts (`owner`).

use super::base::Base;
use super::figures::{Figures, Parts};
use super::holds::Holds;
use super::load::{self, Read};
use super::lookout::{self, Lookout};
use super::owned::IN_PEACE;
use super::owner::Holding;
use super::plan::Plan;
use super::plugins::Plugins;
use super::reload::{Follower, Reloader};
use super::settings::{self, SealsError};
use super::shutdown::{self, End};
use super::signals::{Asked, Signals};
use super::troubles::Troubles;
use super::webhooks::HookError;
use crate::admin::{Admin, AdminError, Check, Health};
use crate::bus::connect::ConnectError;
use crate::bus::provision::{self, ProvisionError, carry_out};
use crate::bus::shards::{Keeper, ShardEvent, Shards, ShardsError};
use crate::bus::survey::Survey;
use crate::bus::{AckTable, Bus, Provider, Shard};
use crate::config::secret::SecretError;
use crate::config::types::Config;
use crate::config::{self, Mistaken, Origins};
use crate::loader::host::Pool;
use crate::telemetry::{Pushed, Registry, Telemetry, TelemetryError, logs};
use crate::{inbound, outbound};
use im_bridge_sdk::model::AccountState;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often health is looked at; the liveness probe wants a beat within ten seconds.
const BEAT: Duration = Duration::from_secs(1);
/// What the last spans get, when everything else has ended.
const FLUSH_WITHIN: Duration = Duration::from_millis(2_500);

/// Why the service does not start, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("{0}")]
    Config(Box<Mistaken>),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Webhook(#[from] HookError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Seals(#[from] SealsError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    #[error(transparent)]
    Shards(#[from] ShardsError),
    #[error("this is a bug: {0}; please report it with the lines above")]
    Bug(&'static str),
}

impl ServiceError {
    /// Section in `docs/errors.md`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(mistaken) => {
                let problems = mistaken.problems.sorted();
                problems
                    .first()
                    .map_or("internal_bug", |problem| problem.code)
            }
            Self::Admin(error) => error.code(),
            Self::Telemetry(error) => error.code(),
            Self::Webhook(error) => error.code(),
            Self::Secret(error) => error.code(),
            Self::Seals(error) => error.code(),
            Self::Connect(error) => error.code(),
            Self::Provision(error) => error.code(),
            Self::Shards(error) => error.code(),
            Self::Bug(_) => "internal_bug",
        }
    }

    /// NATS is the reason, not what was written here.
    pub fn is_of_nats(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Provision(_))
    }
}

/// Runs until it is told to end.
///
/// # Errors
/// See [`ServiceError`].
pub async fn run(origins: Origins, mut signals: Signals) -> Result<End, ServiceError> {
    let parts = Arc::new(Parts::default());
    let beating = Beating::start(Arc::clone(&parts.health));
    // The listener's own keys need no plugins; whatever is wrong beside them is told with everything else below.
    let Early {
        config: early,
        _admin,
        _lines,
        registry,
        telemetry,
        pushed,
    } = listen(&origins, &parts)?;
    let starting = start(origins, &early, &parts, &registry, &telemetry);
    let mut running = tokio::select! {
        biased;
        () = signals.stop() => return Ok(End::Clean),
        started = starting => started?,
    };
    let ended = running.serve(&mut signals).await;
    // The last values are those after the end, and its figures go with it.
    let base = Arc::clone(&running.base);
    let within = Duration::from_millis(early.admin.shutdown_ms);
    let end = shutdown::shut_down(running, &parts.health, within, &mut signals).await;
    flush(telemetry, pushed).await;
    drop(base);
    drop(beating);
    ended.map(|()| end)
}

/// Sends the last spans, within a limit, on a thread of its own: a collector may be away.
async fn flush(telemetry: Telemetry, pushed: Pushed) {
    let flushed = tokio::task::spawn_blocking(move || {
        std::thread::scope(|scope| {
            scope.spawn(|| pushed.shut_down(FLUSH_WITHIN));
            telemetry.shut_down(FLUSH_WITHIN)
        })
    });
    if let Ok(lost @ 1..) = flushed.await {
        tracing::warn!(
            lost,
            "spans are lost, their collector did not take them in time"
        );
    }
}

/// What cannot wait for plugins: logs, traces and probes.
struct Early {
    config: Config,
    registry: Registry,
    telemetry: Telemetry,
    pushed: Pushed,
    _admin: Admin,
    _lines: Option<logs::Guard>,
}

fn listen(origins: &Origins, parts: &Arc<Parts>) -> Result<Early, ServiceError> {
    let loaded = match config::load(origins, |_| Vec::new()) {
        Ok(loaded) => loaded,
        Err(mistaken) => {
            // All mistakes at once, those of accounts among them.
            let whole = load::read(origins, &Plugins::default(), &Plugins::default());
            return Err(ServiceError::Config(whole.err().unwrap_or(mistaken)));
        }
    };
    let mut early = loaded.config;
    // They are read once more with their plugins.
    early.accounts.clear();
    let lines = logs::install(&early.telemetry.logs);
    for ignored in &loaded.ignored {
        tracing::warn!(
            code = "telemetry_env_ignored",
            "{} has no effect: {}",
            ignored.variable,
            ignored.why
        );
    }
    let telemetry = Telemetry::start(&early.telemetry, &settings::name(&early.nats))?;
    let accounts_max = usize::try_from(early.telemetry.metrics.max_accounts).unwrap_or(usize::MAX);
    let registry = Registry::new(accounts_max);
    if let Some(lines) = &lines {
        registry.add(lines.figures());
    }
    registry.add(&telemetry.source());
    registry.add(parts);
    let pushed = Pushed::start(&early.telemetry, &telemetry, &registry, lines.as_ref())?;
    let report = {
        let parts = Arc::clone(parts);
        Arc::new(move || parts.status())
    };
    let health = Arc::clone(&parts.health);
    let admin = Admin::listen(&early.admin.listen, health, registry.clone(), report)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        admin = %admin.address(),
        "im-bridge starts"
    );
    Ok(Early {
        config: early,
        registry,
        telemetry,
        pushed,
        _admin: admin,
        _lines: lines,
    })
}

async fn start(
    origins: Origins,
    early: &Config,
    parts: &Arc<Parts>,
    registry: &Registry,
    telemetry: &Telemetry,
) -> Result<Running, ServiceError> {
    let read = blocking(move || {
        let read = load::read(&origins, &Plugins::default(), &Plugins::default());
        read.map(|read| (origins, read))
    });
    // Plugins and NATS at the same time; what is wrong with the configuration ends it all the same, and first.
    let (mut read, mut reached) = (
        std::pin::pin!(read),
        std::pin::pin!(reach(early, &parts.health)),
    );
    let mut found = None;
    let read = loop {
        tokio::select! {
            biased;
            read = &mut read => break read,
            reached = &mut reached, if found.is_none() => found = Some(reached),
        }
    };
    let (origins, read) = read?.map_err(ServiceError::Config)?;
    set_plugins(&parts.health, &read.plan);
    let Read { config, .. } = &read;
    let config = config.clone();
    let wishes = watch::Sender::new(read.plan.wishes());
    let (reloader, plan) = Reloader::new(origins, read);
    // Set once, here.
    let _ = parts.plan.set(plan.clone());

    let Found {
        bus,
        objects,
        mut survey,
    } = match found {
        Some(found) => found?,
        None => reached.await?,
    };
    let limits = settings::limits(&config.nats);
    let is_due = objects.is_due();
    for one in carry_out(&bus, objects, config.nats.provision).await? {
        tracing::warn!(code = "nats_object_differs", "{one}");
    }
    let acks = AckTable::start(&bus.data).await;
    let acks =
        acks.map_err(|_| ServiceError::Bug("the inbox of acknowledgements has no valid subject"))?;
    let version = env!("CARGO_PKG_VERSION");
    let lease = settings::shards(&config.nats);
    let (keeper, shards, events) = Keeper::new(&bus, version, lease, wishes.subscribe());
    if is_due {
        survey = Survey::take(bus.control.api(), &bus.subjects).await.ok();
    }
    let lookout = Lookout::new(bus.subjects.root(), survey.unwrap_or_default());
    let base = Arc::new(Base {
        inbound: inbound::Gateway::new(&bus, &acks, &limits, telemetry),
        outbound: outbound::Gateway::new(&bus, &acks, &limits, telemetry),
        seals: Arc::new(settings::seals(&config.nats)?),
        pool: Pool::new(config.plugins.credits.total_bytes),
        telemetry: telemetry.clone(),
        log_level: config.telemetry.logs.level,
        directory: Arc::default(),
        figures: Arc::new(Figures::default()),
        lookout,
        webhook: config.plugins.webhook.clone(),
        shards,
        acks,
        bus,
    });
    registry.add(&base.figures);
    // Set once, here.
    let _ = parts.base.set(Arc::downgrade(&base));
    let mut tasks = JoinSet::new();
    let follower = Follower::start(reloader, Arc::clone(&base.figures));
    super::ask::serve(&base, parts, &mut tasks).await;
    tasks.spawn(lookout::watch(Arc::downgrade(&base), plan.clone()));
    let mut promises = Promises::default();
    promises.tell(&plan.borrow(), &base.lookout);
    super::webhooks::listen(&base, plan.clone(), &parts.health, &mut tasks).await?;
    super::plugin_desk::serve(&base, plan.clone(), follower.orders(), &mut tasks).await;
    // Last: whoever is ready takes requests of providers and answers people.
    parts.health.set(Check::Nats, Ok(()));
    Ok(Running {
        keeper: tokio::spawn(keeper.run()),
        base,
        health: Arc::clone(&parts.health),
        events,
        plan,
        wishes,
        follower,
        holdings: BTreeMap::new(),
        troubles: Troubles::default(),
        promises,
        _tasks: tasks,
    })
}

/// NATS as it is: nothing is made there while the configuration may still be refused.
struct Found {
    bus: Bus,
    objects: provision::Plan,
    /// None: the server did not answer for all objects.
    survey: Option<Survey>,
}

async fn reach(config: &Config, health: &Health) -> Result<Found, ServiceError> {
    let bus = connect(config, health).await?;
    let limits = settings::limits(&config.nats);
    let (objects, survey) = tokio::join!(
        provision::plan(&bus, &limits),
        Survey::take(bus.control.api(), &bus.subjects),
    );
    Ok(Found {
        objects: objects?,
        survey: survey.ok(),
        bus,
    })
}

/// Waits for a server that is not there yet, and says so once.
async fn connect(config: &Config, health: &Health) -> Result<Bus, ServiceError> {
    let connection = settings::connection(&config.nats)?;
    let mut was_told = false;
    let bus = Bus::connect_patiently(&connection, |error, wait_s| {
        health.set(Check::Nats, Err(error.to_string()));
        if !std::mem::replace(&mut was_told, true) {
            tracing::warn!(
                code = error.code(),
                "{error} (trying again, next in {wait_s} s)"
            );
        }
    });
    let bus = bus.await?;
    let server = bus.server();
    tracing::info!(
        url = config.nats.url,
        version = server.version,
        "connected to NATS"
    );
    Ok(bus)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServiceError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ServiceError::Bug("reading the configuration panicked"))
}

fn set_plugins(health: &Health, plan: &Plan) {
    let accounts = plan.accounts.values().filter(|wanted| wanted.part.enabled);
    let mut providers: Vec<&str> = Vec::new();
    let mut is_any_usable = false;
    for wanted in accounts {
        is_any_usable |= wanted.adapter.is_some();
        providers.push(wanted.account.provider.as_str());
    }
    providers.sort_unstable();
    providers.dedup();
    let holds = if providers.is_empty() || is_any_usable {
        Ok(())
    } else {
        Err(format!("no adapter for {}", providers.join(", ")))
    };
    health.set(Check::Plugins, holds);
}

/// What was last said to hold, by provider.
#[derive(Default)]
struct Promises(BTreeMap<Provider, Holds>);

impl Promises {
    /// A line for each provider with accounts, where it is not what was said before.
    fn tell(&mut self, plan: &Plan, lookout: &Lookout) {
        for (provider, adapter) in &plan.plugins.adapters {
            let of = plan.accounts.values();
            let accounts = of
                .filter(|wanted| wanted.part.enabled && wanted.account.provider == *provider)
                .count();
            let guarantees = serde_json::from_value(adapter.capabilities()["guarantees"].clone());
            let (1.., Ok(guarantees)) = (accounts, guarantees) else {
                continue;
            };
            let holds = lookout.holds(&guarantees);
            if self.0.get(provider) != Some(&holds) {
                let Holds {
                    incoming,
                    outgoing,
                    bus,
                } = &holds;
                tracing::info!(%provider, accounts, "in" = incoming, out = outgoing, bus, "what holds");
                self.0.insert(provider.clone(), holds);
            }
        }
    }
}

/// Tells the liveness probe that tasks are run.
struct Beating(JoinHandle<()>);

impl Beating {
    fn start(health: Arc<Health>) -> Self {
        Self(tokio::spawn(async move {
            let mut tick = interval(BEAT);
            loop {
                tick.tick().await;
                health.beat();
            }
        }))
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A service that owns shards.
pub(super) struct Running {
    pub base: Arc<Base>,
    pub keeper: JoinHandle<Result<(), ShardsError>>,
    pub events: mpsc::Receiver<ShardEvent>,
    pub holdings: BTreeMap<Shard, Holding>,
    pub follower: Follower,
    health: Arc<Health>,
    plan: watch::Receiver<Arc<Plan>>,
    wishes: watch::Sender<crate::bus::shards::Wishes>,
    troubles: Troubles,
    promises: Promises,
    /// Answer questions to the replica; end with it.
    _tasks: JoinSet<()>,
}

impl Running {
    /// Returns when it is to end.
    async fn serve(&mut self, signals: &mut Signals) -> Result<(), ServiceError> {
        let mut plan = self.plan.clone();
        let mut tick = interval(BEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_ready = false;
        loop {
            tokio::select! {
                biased;
                asked = signals.next() => match asked {
                    Asked::Stop => return Ok(()),
                    Asked::Reload => self.follower.reload(),
                },
                Some(event) = self.events.recv() => self.on_shard(event, IN_PEACE),
                ended = &mut self.keeper => {
                    return match ended {
                        Ok(Ok(())) | Err(_) => Err(ServiceError::Bug("the keeper of leases ended")),
                        Ok(Err(error)) => Err(error.into()),
                    };
                }
                changed = plan.changed() => {
                    if changed.is_err() {
                        return Err(ServiceError::Bug("nobody follows the configuration"));
                    }
                    let plan = Arc::clone(&plan.borrow_and_update());
                    set_plugins(&self.health, &plan);
                    self.promises.tell(&plan, &self.base.lookout);
                    self.wishes.send_if_modified(|wishes| {
                        let new = plan.wishes();
                        let is_new = *wishes != new;
                        *wishes = new;
                        is_new
                    });
                }
                _ = tick.tick() => {
                    self.look();
                    let is_ready = self.health.readiness() == "ok";
                    if is_ready != was_ready {
                        was_ready = is_ready;
                        tracing::info!(readiness = self.health.readiness(), "readiness");
                    }
                }
            }
        }
    }

    /// A shard was won, is wanted back, or is gone.
    pub fn on_shard(&mut self, event: ShardEvent, ending: crate::account::Ending) {
        match event {
            ShardEvent::Won { shard, epoch, hold } => {
                tracing::debug!(shard = shard.number(), epoch, "shard won");
                let (plan, before) = (self.plan.clone(), self.holdings.remove(&shard));
                let holding = Holding::start(&self.base, shard, epoch, hold, plan, before);
                self.holdings.insert(shard, holding);
            }
            ShardEvent::GiveBack { shard, why } => {
                tracing::debug!(shard = shard.number(), ?why, "shard is wanted back");
                let holding = self.holdings.get_mut(&shard);
                if !holding.is_some_and(|holding| holding.give_back(ending)) {
                    drained(&self.base.shards, shard);
                }
            }
            ShardEvent::Ended {
                shard,
                was_given_back,
            } => {
                tracing::debug!(shard = shard.number(), was_given_back, "shard is gone");
                // Lost, its task still ends its accounts by itself.
                self.holdings.retain(|_, holding| !holding.is_finished());
            }
        }
    }

    fn look(&mut self) {
        let bus = &self.base.bus;
        let holds = match (bus.data.is_connected(), bus.control.is_connected()) {
            (true, true) => Ok(()),
            _ => Err("the connection is away".to_owned()),
        };
        self.health.set(Check::Nats, holds);
        let mut warnings = Vec::new();
        for listed in self.base.directory.all() {
            let state = listed.face.state();
            let is_bad = matches!(
                state.state,
                AccountState::Failed
                    | AccountState::Unconfigured
                    | AccountState::BadCredentials
                    | AccountState::ChallengeRequired
                    | AccountState::Conflicted
            );
            if is_bad {
                let account = &listed.face.account;
                warnings.push((
                    "account".to_owned(),
                    format!("{account} is {}", state.state),
                ));
            }
        }
        for refused in &self.plan.borrow().plugins.refused {
            warnings.push(("plugin".to_owned(), refused.text.clone()));
        }
        if let Some(code) = self.follower.refused() {
            warnings.push(("reload".to_owned(), format!("refused: {code}")));
        }
        let troubles = self
            .troubles
            .look(&self.base.acks.status().troubles, Instant::now());
        warnings.extend(troubles.into_iter().map(|text| ("bus".to_owned(), text)));
        for finding in self.base.lookout.findings() {
            warnings.push((finding.code.to_owned(), finding.text));
        }
        self.health.set_warnings(warnings);
    }
}

fn drained(shards: &Shards, shard: Shard) {
    let shards = shards.clone();
    // One message into a queue that the keeper empties; it ends with that.
    tokio::spawn(async move { shards.drained(shard).await });
}
