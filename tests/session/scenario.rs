//! Whole sessions of the simulated provider's adapter, over any host of the contract, by a seed.
//!
//! Credits come in random sizes, settles in any order and of any outcome, commands meet every fault the provider has,
//! and each life ends by a drain, a stop or both, at any moment. `MockHost` checks the contract all the while. What is
//! checked here is the sum: whatever was said is stored in the end, in order inside a channel as far as a life goes;
//! what is `certain` about a command is true at the provider; and every command ends once.
//!
//! Shared by the test that loads the plugin file and the one that links it, so that both see the same lives.

use im_bridge_sdk::test::{
    Command, CompletionRecord, Entry, EventRecord, KvStore, MockHost, Outcome, Settling, State,
    Status,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const ROOMS: usize = 20;
const WINDOW_BYTES: u64 = 2 << 20;

/// How much is to happen.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Messages said at the provider.
    pub events: usize,
    /// Commands handed over.
    pub commands: usize,
}

impl Plan {
    /// As the environment asks, so that a failure can be repeated and a slow host do less.
    pub fn from_environment(events: usize, commands: usize) -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let plan = Self {
            seed: number("IM_BRIDGE_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000)),
            events: number("IM_BRIDGE_SESSION_EVENTS")
                .map_or(events, |n| usize::try_from(n).unwrap_or(events)),
            commands,
        };
        println!("{plan:?}; IM_BRIDGE_SEED={} repeats it", plan.seed);
        plan
    }
}

/// What is known over all lives.
#[derive(Default)]
struct Books {
    said: HashSet<String>,
    stored: HashSet<String>,
    /// Commands handed over, and how each ended.
    ended: BTreeMap<String, CompletionRecord>,
    by_status: BTreeMap<Status, usize>,
    commands: usize,
    lives: usize,
    drained: usize,
}

/// Runs the plan and panics with what is broken.
pub fn run(entry: Entry, plan: Plan) {
    let mut random = fastrand::Rng::with_seed(plan.seed);
    let world = format!("session-{}", plan.seed);
    let store = KvStore::default();
    let mut books = Books::default();

    // The account that is tested makes the world, somebody else plays the provider.
    let first = account(entry, &world, &store);
    first.start();
    first.grant_plenty();
    first.wait_state(State::ONLINE, SOON);
    let hands = MockHost::builder(entry)
        .account("hands")
        .config(json!({ "world": world }))
        .auto_grant(1024, WINDOW_BYTES)
        .auto_settle(Settling::Always(Outcome::STORED))
        .create()
        .expect("a second account is created");
    hands.start();
    hands.wait_state(State::ONLINE, SOON);
    let rooms = rooms(&hands);
    assert!(rooms.len() >= ROOMS, "{rooms:?}");
    live(first, &mut random, plan, &hands, &rooms, &mut books);
    while books.said.len() < plan.events || books.commands < plan.commands {
        let host = account(entry, &world, &store);
        host.start();
        live(host, &mut random, plan, &hands, &rooms, &mut books);
    }
    order(&hands, "heal", json!({}));
    settle_the_rest(account(entry, &world, &store), &mut books);
    compare(&hands, &books);
    println!(
        "{} lives, {} of them drained clean; {} messages; commands by status {:?}",
        books.lives,
        books.drained,
        books.said.len(),
        books.by_status
    );
    hands.drain(10_000);
    hands.stop(5_000);
    hands.destroy();
    hands.finish();
}

fn account(entry: Entry, world: &str, store: &KvStore) -> MockHost {
    MockHost::builder(entry)
        .account("me")
        .config(json!({
            "world": world, "rooms": ROOMS, "users": 5, "history": 400_000, "ack_timeout_ms": 500,
        }))
        .auto_settle(Settling::Manual)
        .kv(store)
        .create()
        .expect("the account is created")
}

fn order(hands: &MockHost, order: &str, body: Value) -> Value {
    let params = json!({ "method": format!("sim.{order}"), "body": body });
    let id = hands.execute(Command::new("native.call").params(params).within(SOON));
    let done = hands.wait_completion(id, SOON);
    assert_eq!(done.status, Status::OK, "{order}: {}", done.json());
    done.json()["native"].clone()
}

fn rooms(hands: &MockHost) -> Vec<String> {
    let summary = order(hands, "summary", json!({}));
    let posts = summary["posts"].as_object().expect("posts by chat");
    posts
        .keys()
        .filter(|chat| !chat.contains(':'))
        .cloned()
        .collect()
}

/// One life of an instance, from its start to its end.
fn live(
    host: MockHost,
    random: &mut fastrand::Rng,
    plan: Plan,
    hands: &MockHost,
    rooms: &[String],
    books: &mut Books,
) {
    let mut seen = Seen::default();
    let mut open: HashMap<u64, String> = HashMap::new();
    let mut mine: Vec<(u64, String)> = Vec::new();
    // About as many lives, however much is to happen.
    let plenty = plan.events / 60 + 1;
    // Either every credit is counted out, or what is settled is given back, in windows of any size.
    let is_given_back = random.u8(..4) > 0;
    if is_given_back {
        host.auto_grant(random.u32(1..=64), random.u64(1..=WINDOW_BYTES));
    }
    for _ in 0..random.usize(20..120) {
        match random.u8(..12) {
            0..=1 => {
                let chat = &rooms[random.usize(..rooms.len())];
                let times = random
                    .usize(1..=plenty)
                    .min(plan.events.saturating_sub(books.said.len()).max(1));
                let said = order(
                    hands,
                    "say",
                    json!({ "chat": chat, "by": "alice", "text": "x", "times": times }),
                );
                let posts = said["posts"].as_array().expect("ids of posts");
                books
                    .said
                    .extend(posts.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            2..=4 => host.grant(random.u32(0..=64), random.u64(0..=65_536)),
            5..=7 => {
                note(&host, &mut seen, &mut open, books);
                settle_some(&host, random, &mut seen, &mut open, books);
            }
            8 => arm_fault(hands, random),
            9..=10 if is_given_back => work(&host, random, plan, &mut seen, &mut open, books),
            _ if books.commands < plan.commands => {
                for _ in 0..random.usize(1..=16) {
                    let key = format!("c{}", books.commands);
                    books.commands += 1;
                    if let Ok(id) = host.try_execute(command(&key, random, rooms)) {
                        if random.u8(..16) == 0 {
                            host.cancel(id);
                        }
                        mine.push((id, key));
                    }
                }
            }
            _ => {}
        }
    }
    note(&host, &mut seen, &mut open, books);
    books.lives += 1;
    if random.bool() {
        // What is read already comes out, is settled, and nothing stays open.
        host.auto_settle(Settling::Always(Outcome::STORED));
        books
            .stored
            .extend(open.values().filter(|id| !id.is_empty()).cloned());
        let rest: Vec<(u64, Outcome)> =
            open.keys().map(|token| (*token, Outcome::STORED)).collect();
        for chunk in rest.chunks(512) {
            host.settle_many(chunk);
        }
        host.auto_grant(64, WINDOW_BYTES);
        let left = host.drain(10_000);
        books.drained += usize::from(left == 0);
        for event in host.take_events() {
            books
                .stored
                .extend(event.native_id.filter(|_| event.kind == "message.created"));
        }
    }
    host.stop(5_000);
    let ended = host.recording().completions;
    host.destroy();
    host.finish();
    for (id, key) in mine {
        let mut endings = ended.iter().filter(|completion| completion.id == id);
        let ending = endings
            .next()
            .unwrap_or_else(|| panic!("command {key} never ended"));
        assert!(endings.next().is_none(), "command {key} ended twice");
        *books.by_status.entry(ending.status).or_default() += 1;
        books.ended.insert(key, ending.clone());
    }
}

/// Settles all that is open, and waits for what comes then, until some more was settled.
fn work(
    host: &MockHost,
    random: &mut fastrand::Rng,
    plan: Plan,
    seen: &mut Seen,
    open: &mut HashMap<u64, String>,
    books: &mut Books,
) {
    let enough = seen.taken + random.usize(1..=30 + plan.events / 50);
    while seen.taken < enough {
        note(host, seen, open, books);
        while !open.is_empty() {
            settle_some(host, random, seen, open, books);
        }
        // What a host gives up on comes again at the latest in the next life.
        let owed = books.said.len() - books.said.intersection(&books.stored).count();
        if owed <= seen.given_up.difference(&books.stored).count() {
            return;
        }
        let taken = seen.taken;
        let is_away = host.wait("something of what is owed", SOON, |seen| {
            let is_away = seen.state() == Some(State::BACKOFF);
            (is_away || seen.events.len() > taken).then_some(is_away)
        });
        if is_away {
            // Nobody has the patience for a minute of back-off.
            let _ = host.try_execute(Command::new("account.reconnect"));
            return;
        }
    }
}

/// What came in one life, to see that a channel's messages come in order.
#[derive(Default)]
struct Seen {
    taken: usize,
    given_up: HashSet<String>,
    ids: HashSet<String>,
    last: HashMap<String, String>,
}

fn note(host: &MockHost, seen: &mut Seen, open: &mut HashMap<u64, String>, books: &Books) {
    for event in host.take_events() {
        seen.taken += 1;
        let id = event.native_id.clone().unwrap_or_default();
        if event.kind == "message.created" {
            in_order(seen, &event, &id, books);
        }
        open.insert(
            event.token,
            if event.kind == "message.created" {
                id
            } else {
                String::new()
            },
        );
    }
}

/// A message that nobody stored, and that was not seen in this life, comes after those of its channel that were. What is
/// stored may come again at any place: its acknowledgement was lost, and its id tells.
fn in_order(seen: &mut Seen, event: &EventRecord, id: &str, books: &Books) {
    if !seen.ids.insert(id.to_owned()) || books.stored.contains(id) {
        return;
    }
    let (Some(channel), Some(key)) = (&event.channel, &event.order_key) else {
        return;
    };
    if let Some(last) = seen.last.insert(channel.clone(), key.clone()) {
        assert!(last < *key, "{channel}: {key} came after {last}");
    }
}

fn settle_some(
    host: &MockHost,
    random: &mut fastrand::Rng,
    seen: &mut Seen,
    open: &mut HashMap<u64, String>,
    books: &mut Books,
) {
    let mut tokens: Vec<u64> = open.keys().copied().collect();
    // A hash map's order is no seed's.
    tokens.sort_unstable();
    random.shuffle(&mut tokens);
    tokens.truncate(random.usize(..=tokens.len()));
    let outcomes: Vec<(u64, Outcome)> = tokens
        .into_iter()
        .map(|token| {
            let outcome = match random.u8(..12) {
                0 => Outcome::RETRY,
                1 => Outcome::DUPLICATE,
                2 => Outcome::REJECTED,
                3 => Outcome(77), // unknown: means RETRY
                _ => Outcome::STORED,
            };
            let id = open.remove(&token).expect("it is open");
            if matches!(outcome, Outcome::RETRY | Outcome(77)) {
                seen.given_up.insert(id);
            } else if !id.is_empty() {
                books.stored.insert(id);
            }
            (token, outcome)
        })
        .collect();
    for chunk in outcomes.chunks(512) {
        host.settle_many(chunk);
    }
}

fn arm_fault(hands: &MockHost, random: &mut fastrand::Rng) {
    let (kind, fault) = match random.u8(..10) {
        // The account alone is thrown out, or has to log in anew: whoever plays the provider stays.
        0 => {
            order(hands, "kick", json!({ "account": "me", "code": "restart" }));
            return;
        }
        7 => ("expire", json!({})),
        1 => ("duplicate", json!({ "times": 5 })),
        2 => ("slow_answer", json!({ "for_ms": 30, "times": 3 })),
        3 => ("no_answer", json!({ "times": 2 })),
        4 => ("lose", json!({ "times": 2 })),
        5 => ("rate_limit", json!({ "for_ms": 10, "times": 3 })),
        6 => ("reject", json!({ "code": "blocked", "times": 2 })),
        _ => return,
    };
    let mut fault = fault;
    fault["account"] = json!("me");
    order(hands, "fault", json!({ "kind": kind, "fault": fault }));
}

fn command(key: &str, random: &mut fastrand::Rng, rooms: &[String]) -> Command {
    let room = &rooms[random.usize(..rooms.len())];
    let within = Duration::from_millis(random.u64(200..2_000));
    let send = |text: &str| {
        let message = json!({ "segments": [{ "type": "text", "data": { "text": text } }] });
        let params = json!({ "to": { "channel_id": room }, "message": message });
        Command::new("message.send").channel(room).params(params)
    };
    let command = match random.u8(..12) {
        0 => Command::new("message.fly").params(json!({})),
        1 => Command::new("message.send")
            .channel(room)
            .params(json!({ "nonsense": 1 })),
        2 => Command::new("channel.get").params(json!({ "channel_id": "nowhere" })),
        3 => return send("late").key(key).within(Duration::ZERO),
        4 => Command::new("account.health"),
        _ => send("hello"),
    };
    command.key(key).within(within)
}

/// A last life without tricks: everything said is stored.
fn settle_the_rest(host: MockHost, books: &mut Books) {
    host.auto_settle(Settling::Always(Outcome::STORED));
    host.start();
    host.auto_grant(64, WINDOW_BYTES);
    let (said, stored) = (&books.said, &books.stored);
    let mut missing: HashSet<&String> = said.difference(stored).collect();
    let all = missing.len();
    let mut came = 0;
    host.wait(
        "all that was said is stored",
        Duration::from_secs(180),
        |seen| {
            for event in &seen.events[came..] {
                let id = event.native_id.clone().unwrap_or_default();
                missing.remove(&id);
            }
            came = seen.events.len();
            missing.is_empty().then_some(())
        },
    );
    println!("the last life brought {all} of them");
    assert_eq!(
        host.drain(10_000),
        0,
        "a drain without tricks leaves nothing open"
    );
    host.stop(5_000);
    host.destroy();
    host.finish();
}

/// What was certain about commands is true at the provider.
fn compare(hands: &MockHost, books: &Books) {
    let summary = order(hands, "summary", json!({}));
    let times = |key: &str| summary["sends"][key].as_u64().unwrap_or(0);
    for (key, ending) in &books.ended {
        let sent = times(key);
        assert!(sent <= 1, "{key} was sent {sent} times");
        if ending.certain && !ending.status.is_ok() {
            assert_eq!(
                sent, 0,
                "{key} surely did not happen, says {ending:?}, but it did"
            );
        }
        let is_send = ending.status == Status::OK && ending.json().get("message").is_some();
        assert!(!is_send || sent == 1, "{key} was confirmed and never sent");
    }
    let wanted = [
        Status::OK,
        Status::E_UNSUPPORTED,
        Status::E_INVALID,
        Status::E_NOT_FOUND,
    ];
    if books.commands >= 500 {
        for status in wanted {
            assert!(
                books.by_status.contains_key(&status),
                "no command ended as {status:?}: {:?}",
                books.by_status
            );
        }
    }
}
