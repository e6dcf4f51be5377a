//! A demo's course: wait until the account is online, show what happens until it is enough, ask the provider what it said,
//! and read back what is stored.
//!
//! Not here: what is asked and how (`asking`), the words (`lines`), what is broken (`breaks`).

use super::asking::{Asking, ended};
use super::audit::{Event, Said, Truth, Verdict};
use super::breaks::{self, Break, Course, NEIGHBOUR, left};
use super::echo::{self, ANSWERS_EVERY, Answer, Echo, Heard};
use super::lines::{self, Fold};
use super::lookout::{Lookout, News};
use super::notices::Notice;
use super::server::OwnServer;
use crate::app::Signals;
use crate::bus::{Account, clock};
use crate::cli::client::Client;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Output, Talk};
use crate::config::{self, Origins};
use im_bridge_sdk::model::Time;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

/// Whose messages are shown.
pub(super) const ACCOUNT: &str = "sim/demo";
/// What `--once` waits for.
const MESSAGES_ONCE: usize = 20;
const ANSWERS_ONCE: usize = 4;
/// A look at a bucket on this machine takes a millisecond.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// For what was said last to be stored, and what was asked last to be answered.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
const CLEANED_WITHIN: Duration = Duration::from_secs(5);

/// What is told of the start.
pub(super) struct Shown {
    pub started: Instant,
    pub server_ready: Duration,
    pub people: String,
    pub rate: f64,
    pub is_once: bool,
    pub broken: Option<Break>,
    /// None: somebody's.
    pub server: Option<Arc<OwnServer>>,
}

/// A demo under way.
pub(super) struct Play<'a> {
    pub output: &'a mut Output,
    origins: &'a Origins,
    shown: &'a Shown,
    account: Account,
    notices: mpsc::Receiver<Notice>,
    /// Where the bridge answers probes.
    status: Option<String>,
    asking: Option<Asking>,
    course: Option<Course>,
    since: Time,
    /// Messages by others.
    heard: BTreeSet<Said>,
    answered: usize,
    /// Commands on their way to the stream, and the server on its way back.
    busy: JoinSet<Result<(), Failure>>,
    /// Sent and without a result, by their ids.
    waiting: BTreeMap<String, Waiting>,
    commands: BTreeSet<String>,
    fold: Fold,
}

struct Waiting {
    sent: Instant,
    channel: String,
    text: String,
}

impl<'a> Play<'a> {
    pub(super) fn new(
        origins: &'a Origins,
        shown: &'a Shown,
        notices: mpsc::Receiver<Notice>,
        output: &'a mut Output,
    ) -> Self {
        Self {
            output,
            origins,
            shown,
            account: account(ACCOUNT),
            notices,
            status: None,
            asking: None,
            course: shown.broken.map(Course::new),
            since: Time::from_ms(clock::unix_ms()),
            heard: BTreeSet::new(),
            answered: 0,
            busy: JoinSet::new(),
            waiting: BTreeMap::new(),
            commands: BTreeSet::new(),
            fold: Fold::new(),
        }
    }

    /// Returns what the provider says was said, when it is enough or somebody wants to end. `within` is for all of it with
    /// `--once`, else for the start.
    pub(super) async fn run(
        &mut self,
        signals: &mut Signals,
        within: Duration,
    ) -> Result<Truth, Failure> {
        let deadline = self.shown.started + within;
        let late = |what: &str| {
            let text = format!(
                "{what} within {} s; look at the lines above",
                within.as_secs()
            );
            Failure::new(Exit::No, "deadline_exceeded", text)
        };
        let starting = timeout(left(deadline), self.start());
        let started = tokio::select! {
            biased;
            () = signals.stop() => {
                return Err(Failure::new(Exit::No, "not_connected", "stopped before the account was online"));
            }
            started = starting => started,
        };
        // What the bridge complained of is why it did not start.
        while let Ok(notice) = self.notices.try_recv() {
            self.on_notice(&notice)?;
        }
        let mut echo = started.map_err(|_| late("the account was not online"))??;
        let asking = self.asking().clone();
        let connection = &asking.client.connection;
        let mut lookout =
            Lookout::start(self.status.take(), connection, &asking.client.subjects).await;
        let is_once = self.shown.is_once;
        let watching = self.watch(&mut echo, &mut lookout, signals);
        if is_once {
            let watched = timeout(left(deadline), watching).await;
            watched.map_err(|_| {
                late(&format!(
                    "{} messages and {} answers came, which is not all of it",
                    self.heard.len(),
                    self.answered
                ))
            })??;
        } else {
            watching.await?;
        }
        self.settle(&mut echo, &mut lookout).await
    }

    async fn start(&mut self) -> Result<Echo, Failure> {
        let name = format!("im-bridge {} demo", env!("CARGO_PKG_VERSION"));
        self.say(format!("{name:<68}  Ctrl-C stops"))?;
        let config = config::load(self.origins, |_| Vec::new())?.config;
        // The service provisions what is looked at here; until then there is nothing to see.
        let client = loop {
            match Client::with(&config, self.output).await {
                Ok(client) => break client,
                Err(Failure::Told { .. }) => sleep(LOOK_EVERY).await,
                Err(failure) => return Err(failure),
            }
        };
        let server = client.connection.client().server_info();
        let where_ = match &self.shown.server {
            Some(_) => "JetStream in a temporary folder",
            None => "somebody's, with names of our own",
        };
        let address = client.url.rsplit("//").next().unwrap_or_default();
        let line = lines::fact(
            "nats",
            &format!("{}  {address}, {where_}", server.version),
            "ready",
            Some(self.shown.server_ready),
        );
        self.say(line)?;
        let adapter = self.online(&client).await;
        let text = |name: &str| adapter[name].as_str().unwrap_or("?").to_owned();
        let plugin = format!(
            "{} {}  abi {}  sha256 {}",
            text("name"),
            text("version"),
            text("abi"),
            text("sha256")
        );
        self.say(lines::fact("plugin", &plugin, "loaded", None))?;
        let online = self.shown.started.elapsed();
        let what = format!("{ACCOUNT}  {}", self.shown.people);
        self.say(lines::fact("account", &what, "online", Some(online)))?;
        self.say_where(&client)?;
        let asking = Asking {
            client: Arc::new(client),
            since: self.since,
        };
        let echo = asking.echo().await?;
        self.asking = Some(asking);
        Ok(echo)
    }

    /// Waits until all accounts are; answers what serves the first.
    async fn online(&mut self, client: &Client) -> Value {
        let neighbour = self
            .shown
            .broken
            .is_some_and(Break::has_neighbour)
            .then(|| account(NEIGHBOUR));
        loop {
            let mut is_online = true;
            for account in neighbour.iter().chain([&self.account]) {
                let state = client.document(&client.names.states(), account).await;
                is_online &=
                    state.is_ok_and(|state| state.is_some_and(|state| state["state"] == "online"));
            }
            // Where its status is told is the first thing that the bridge logs.
            while let Ok(notice) = self.notices.try_recv() {
                // Shown is what can be written; the next line says if nothing can.
                let _ = self.on_notice(&notice);
                self.status = notice.admin.or(self.status.take());
            }
            if is_online {
                let bucket = client.names.capabilities();
                if let Ok(Some(document)) = client.document(&bucket, &self.account).await {
                    return document["adapter"].clone();
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Under what names everything can be had, and by what commands.
    fn say_where(&mut self, client: &Client) -> Result<(), Failure> {
        let kind = echo::messages();
        let events = client.subjects.event(&self.account, &kind, Some("lobby"));
        let commands = client.subjects.command(&self.account, &echo::command());
        self.say(format!("  events    {events}"))?;
        self.say(format!("  commands  {commands}"))?;
        if !self.shown.is_once {
            let say = [
                "",
                "  in another terminal   cargo run -- tap",
                "                        cargo run -- send sim/demo --channel lobby \"hi\"",
                "  show what happens     cargo run -- demo --break nats|provider|plugin|slow",
            ];
            for line in say {
                self.say(line)?;
            }
        }
        self.say("")
    }

    /// Shows and answers until it is enough, or somebody wants to end.
    async fn watch(
        &mut self,
        echo: &mut Echo,
        lookout: &mut Lookout,
        signals: &mut Signals,
    ) -> Result<(), Failure> {
        let mut is_quiet = false;
        loop {
            self.begin_break().await?;
            if self.shown.is_once && self.is_enough() && !std::mem::replace(&mut is_quiet, true) {
                self.silence().await?;
            }
            if is_quiet && self.waiting.is_empty() && self.busy.is_empty() {
                return Ok(());
            }
            // What was heard is seen through: an end comes between.
            tokio::select! {
                biased;
                () = signals.stop() => return Ok(()),
                stepped = self.step(echo, lookout) => stepped?,
            }
        }
    }

    /// The next thing that happens, shown and answered.
    async fn step(&mut self, echo: &mut Echo, lookout: &mut Lookout) -> Result<(), Failure> {
        let due = self.fold.due().into();
        tokio::select! {
            Some(done) = self.busy.join_next() => {
                // A panic in a task of ours is shown by its hook.
                done.unwrap_or_else(|_| Err(ended()))?;
            }
            Some(notice) = self.notices.recv() => self.on_notice(&notice)?,
            news = lookout.next() => self.on_news(news)?,
            () = sleep_until(due) => self.unfold()?,
            heard = echo.next() => match heard {
                Heard::Event { sequence, body } => self.on_event(sequence, &body)?,
                Heard::Result { body } => self.on_result(&body)?,
                Heard::Nothing => return Err(ended()),
            },
        }
        if self
            .course
            .as_ref()
            .is_some_and(|course| course.of == Break::Slow)
            && self.commands.len() >= breaks::COMMANDS
            && self.waiting.is_empty()
            && let Some(course) = &mut self.course
        {
            course.ends();
        }
        Ok(())
    }

    fn is_enough(&self) -> bool {
        let (is_over, has_answers) = match &self.course {
            Some(course) => (course.is_over(), course.of == Break::Slow),
            None => (true, false),
        };
        is_over
            && self.heard.len() >= MESSAGES_ONCE
            && (has_answers || self.answered >= ANSWERS_ONCE)
    }

    /// What the demo itself does for the fault that is asked for.
    async fn begin_break(&mut self) -> Result<(), Failure> {
        let Some(course) = &mut self.course else {
            return Ok(());
        };
        if !course.is_before() || self.heard.len() < breaks::AFTER {
            return Ok(());
        }
        match (course.of, &self.shown.server) {
            (Break::Nats, Some(server)) => {
                let server = Arc::clone(server);
                let rate = json!({ "per_s": breaks::RATE_AWAY });
                self.asking().order(&self.account, "rate", rate).await?;
                if let Some(course) = &mut self.course {
                    course.begins();
                }
                let what = format!("killed, process {}, for 3 s", server.id());
                self.say(lines::change("do", "nats", &what))?;
                let (asking, account) = (self.asking().clone(), self.account.clone());
                let rate = json!({ "per_s": self.shown.rate });
                self.busy.spawn(async move {
                    server.restart(breaks::AWAY).await?;
                    // Answered when the bridge is back.
                    asking.order(&account, "rate", rate).await?;
                    Ok(())
                });
            }
            (Break::Slow, _) => {
                course.begins();
                self.many_commands().await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// One command that is never answered, and then all the others at once.
    async fn many_commands(&mut self) -> Result<(), Failure> {
        let asking = self.asking().clone();
        let listed = asking
            .request(&self.account, "channel.list", json!({}))
            .await?;
        let channels = listed["channels"].as_array().into_iter().flatten();
        let channels: Vec<&str> = channels.filter_map(|it| it["id"].as_str()).collect();
        let [first, others @ ..] = &*channels else {
            return Err(ended());
        };
        let what = "never answers the first command, the next ones after 2 s";
        self.say(lines::change("do", "provider", what))?;
        let of = breaks::COMMANDS;
        let send = |channel: &str, number: usize, within| {
            let key = format!("slow-{number}-{:08x}", fastrand::u32(..));
            echo::send(channel, format!("command {number}"), &key, within)
        };
        self.publish(send(first, 1, Some(breaks::UNANSWERED_FOR)));
        while asking.sends(&self.account).await?.next().is_none() {
            sleep(LOOK_EVERY).await;
        }
        let what = format!("{} commands at once, 20,000 messages at once", of - 1);
        self.say(lines::change("do", "service", &what))?;
        for number in 2..=of {
            self.publish(send(others[number % others.len()], number, None));
        }
        Ok(())
    }

    async fn silence(&self) -> Result<(), Failure> {
        for account in self.accounts() {
            let rate = json!({ "per_s": 0 });
            self.asking().order(&account, "rate", rate).await?;
        }
        Ok(())
    }

    fn accounts(&self) -> Vec<Account> {
        let mut all = vec![self.account.clone()];
        if self.shown.broken.is_some_and(Break::has_neighbour) {
            all.push(account(NEIGHBOUR));
        }
        all
    }

    fn on_notice(&mut self, notice: &Notice) -> Result<(), Failure> {
        if !notice.is_warning {
            return Ok(());
        }
        let is_ours = notice.account.as_deref() == Some(ACCOUNT);
        if is_ours
            && notice.details.contains("fault=")
            && let Some(course) = &mut self.course
        {
            course.on_fault();
        }
        let wants_all = self.output.talk >= Talk::Verbose;
        match lines::notice(notice, wants_all) {
            Some(line) => self.say(line),
            None => Ok(()),
        }
    }

    fn on_news(&mut self, news: News) -> Result<(), Failure> {
        let changes = match news {
            News::Sight(sight) => match &mut self.course {
                Some(course) => course.on_sight(ACCOUNT, &sight),
                None => Vec::new(),
            },
            News::State { account, state } => {
                if account == ACCOUNT
                    && let Some(course) = &mut self.course
                {
                    course.on_state(&state);
                }
                return self.say(lines::change("is", &account, &lines::state(&state)));
            }
        };
        for (who, what) in changes {
            self.say(lines::change("is", who, &what))?;
            if (who, &*what) == ("nats", "back")
                && let Some(course) = &mut self.course
            {
                course.ends();
            }
        }
        Ok(())
    }

    fn on_event(&mut self, sequence: u64, event: &Value) -> Result<(), Failure> {
        let Some(Event {
            said,
            recorded,
            is_backfill,
        }) = Event::of(event)
        else {
            return Ok(());
        };
        let data = &event["data"];
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let words = format!(
            "{}: {}",
            text(&data["actor"]["name"]),
            text(&data["message"]["alt_text"])
        );
        let is_all_shown = self.course.is_none();
        if is_all_shown || self.fold.takes_message() {
            let took = recorded.map_or(0, |then| (clock::unix_ms() - then.ms()).max(0));
            let mark = if is_backfill { "  backfill" } else { "" };
            let end = format!("seq {sequence:<5}  {took:>4} ms{mark}");
            let line = lines::message("in", &said.account, &said.channel, &words, &end);
            self.say(line)?;
        }
        let is_ours = said.account == ACCOUNT;
        self.heard.insert(said);
        let is_slow = self.shown.broken == Some(Break::Slow);
        if is_ours
            && !is_slow
            && self.heard.len().is_multiple_of(ANSWERS_EVERY)
            && let Some(answer) = echo::answer(event)
        {
            self.publish(answer);
        }
        Ok(())
    }

    fn unfold(&mut self) -> Result<(), Failure> {
        match self.fold.rest() {
            Some(line) => self.say(line),
            None => Ok(()),
        }
    }

    /// On its way to the stream; its result is waited for.
    fn publish(&mut self, answer: Answer) {
        let waiting = Waiting {
            sent: Instant::now(),
            channel: answer.channel,
            text: answer.text,
        };
        self.waiting.insert(answer.id.clone(), waiting);
        self.commands.insert(answer.id);
        let storing =
            self.asking()
                .clone()
                .store(self.account.clone(), answer.headers, answer.body);
        self.busy.spawn(storing);
    }

    fn on_result(&mut self, result: &Value) -> Result<(), Failure> {
        let id = result["data"]["command_id"].as_str().unwrap_or_default();
        let Some(waiting) = self.waiting.remove(id) else {
            return Ok(());
        };
        self.answered += 1;
        let status = result["data"]["status"].as_str().unwrap_or("?");
        let code = result["data"]["error"]["code"].as_str().unwrap_or_default();
        let is_plain = status == "ok" && self.course.is_some();
        if is_plain && !self.fold.takes_result() {
            return Ok(());
        }
        let took = waiting.sent.elapsed().as_millis();
        let end = format!("{status:<9}  {took:>4} ms  {code}");
        let line = lines::message("out", ACCOUNT, &waiting.channel, &waiting.text, &end);
        self.say(line)
    }

    /// Lets the provider fall silent and everything arrive; then it is asked for the truth.
    async fn settle(&mut self, echo: &mut Echo, lookout: &mut Lookout) -> Result<Truth, Failure> {
        self.silence().await?;
        let mut truth = Truth::default();
        for account in self.accounts() {
            truth = truth.and(self.asking().truth(&account).await?);
        }
        let until = tokio::time::Instant::now() + SETTLED_WITHIN;
        while !self.is_settled(&truth) {
            tokio::select! {
                stepped = self.step(echo, lookout) => stepped?,
                () = sleep_until(until) => break,
            }
        }
        self.unfold()?;
        Ok(truth)
    }

    fn is_settled(&self, truth: &Truth) -> bool {
        self.waiting.is_empty()
            && self.busy.is_empty()
            && truth.said.iter().all(|said| self.heard.contains(said))
    }

    /// After the service has ended: what is stored now is all. Also whether it is as it should be.
    pub(super) async fn verdict(&mut self, truth: &Truth) -> Result<bool, Failure> {
        let stored = self.asking().stored().await?;
        let took = self.shown.started.elapsed();
        let verdict = Verdict::new(truth, &stored, &self.commands, took);
        let mut is_good = verdict.is_good(self.shown.broken.map_or(0, Break::unknown));
        if let Some(course) = &self.course {
            let interval = Duration::from_secs_f64(1.0 / self.shown.rate.max(0.001));
            let (finding, is_kept) = course.finding(truth, &stored, interval);
            is_good &= is_kept;
            self.output.line(finding)?;
        }
        self.output.line(verdict.to_string())?;
        Ok(is_good)
    }

    /// Leaves nothing on a server that is somebody's, however the demo went. Without the server there is nothing to do.
    pub(super) async fn clean(&self) {
        if let (None, Some(asking)) = (&self.shown.server, &self.asking) {
            let _ = timeout(CLEANED_WITHIN, remove_objects(&asking.client)).await;
        }
    }

    fn asking(&self) -> &Asking {
        self.asking.as_ref().expect("`start` came before")
    }

    fn say(&mut self, line: impl AsRef<str>) -> Result<(), Failure> {
        if self.output.talk > Talk::Quiet {
            self.output.line(line.as_ref().trim_end())?;
            self.output.flush()?;
        }
        Ok(())
    }
}

fn account(name: &str) -> Account {
    crate::cli::parse::account(name).expect("it is an account")
}

async fn remove_objects(client: &Client) {
    let limits = crate::bus::objects::Limits::default();
    for object in crate::bus::objects::wanted(&client.subjects, &limits) {
        let call = format!("STREAM.DELETE.{}", object.stream());
        // What was never made cannot be removed.
        let _: Result<Value, _> = client.connection.api().call(&call, &json!({})).await;
    }
}
