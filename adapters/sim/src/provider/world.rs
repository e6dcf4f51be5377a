//! The state of a world, time passing in it, and the chatter of its people.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use super::chats::Room;
use super::clients::Client;
use super::faults::Script;
use super::inbox::Inbox;
use super::record::Record;

use super::Settings;
use crate::native::{Part, Person};

/// Names for the first people and chats; later ones are numbered.
const PEOPLE: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];
const ROOMS: [&str; 6] = ["lobby", "kitchen", "garden", "attic", "harbour", "library"];

/// Chatter that is made up for time that nobody looked at. A laptop that slept a night shall not wake up to a novel.
const CHATTER_AT_ONCE_MAX: u32 = 10_000;

pub struct World {
    /// Who may change the settings.
    maker: String,
    pub(super) settings: Settings,
    pub(super) rng: fastrand::Rng,
    pub(super) now_ms: i64,
    /// Numbers begin here, so that a world that is made anew under an old name continues above the old numbers.
    pub(super) first_number: u64,
    numbers: u64,
    pub(super) people: BTreeMap<String, Someone>,
    pub(super) rooms: BTreeMap<String, Room>,
    /// People who logged in at least once.
    pub(super) inboxes: BTreeMap<String, Inbox>,
    pub(super) clients: BTreeMap<u64, Client>,
    /// Open contact requests: who asked whom.
    pub(super) contact_requests: BTreeMap<String, (String, String)>,
    pub(super) answered: Answered,
    pub(super) script: Script,
    pub(super) record: Record,
    /// No client is let in before.
    pub(super) shut_until_ms: i64,
    pub(super) chatter: Option<Chatter>,
}

pub(super) struct Someone {
    pub person: Person,
    pub contacts: BTreeSet<String>,
}

/// What was answered to which reference of whom, oldest first.
#[derive(Default)]
pub(super) struct Answered {
    answers: BTreeMap<(String, String), Value>,
    order: VecDeque<(String, String)>,
}

pub(super) struct Chatter {
    next_ms: f64,
    said: u64,
}

impl World {
    #[must_use]
    pub fn new(maker: &str, settings: Settings, now_ms: i64) -> Self {
        let first_number = u64::try_from(now_ms).unwrap_or(0) * 1000;
        let mut world = Self {
            maker: maker.to_owned(),
            rng: fastrand::Rng::with_seed(settings.seed),
            record: Record::new(settings.record),
            now_ms,
            first_number,
            numbers: first_number,
            people: BTreeMap::new(),
            rooms: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            clients: BTreeMap::new(),
            contact_requests: BTreeMap::new(),
            answered: Answered::default(),
            script: Script::default(),
            shut_until_ms: i64::MIN,
            chatter: None,
            settings: Settings::default(),
        };
        world.configure(settings);
        world
    }

    /// Changed settings, by the one who made the world; anybody else can add faults only.
    pub(super) fn change(&mut self, by: &str, settings: Settings) {
        if by == self.maker {
            self.configure(settings);
        } else {
            self.script.configure(&settings.faults);
        }
    }

    /// Takes over changed settings; people and chats are added, never removed.
    pub fn configure(&mut self, settings: Settings) {
        for n in 0..settings.people {
            self.person_or_new(&name(&PEOPLE, "person", n), false);
        }
        for n in 0..settings.rooms {
            let id = name(&ROOMS, "room", n);
            if !self.rooms.contains_key(&id) {
                // Rooms and groups in turn, so that both kinds are seen.
                let mut room = Room::new(
                    if n % 2 == 0 { 3 } else { 2 },
                    Some(id.clone()),
                    self.first_number,
                );
                room.is_for_everybody = true;
                for person in self.people.values() {
                    room.seat(&person.person, "member", self.now_ms);
                }
                self.rooms.insert(id, room);
            }
        }
        self.script.configure(&settings.faults);
        let rate_per_s = settings.rate_per_s;
        let is_same_rate = rate_per_s.to_bits() == self.settings.rate_per_s.to_bits();
        self.settings = settings;
        if !is_same_rate {
            self.set_rate(rate_per_s);
        }
    }

    /// Lets time pass up to `now_ms`: people write, what was not acknowledged is pushed again.
    pub fn advance(&mut self, now_ms: i64) {
        self.chat(now_ms);
        self.now_ms = self.now_ms.max(now_ms);
        self.push_again();
        self.pump();
    }

    /// Chatter begins with the first login: before, nobody could see it.
    pub(super) fn start_chatter(&mut self) {
        if self.chatter.is_none() {
            self.chatter = Some(Chatter {
                next_ms: to_f64(self.now_ms) + self.interval_ms(),
                said: 0,
            });
        }
    }

    pub(super) fn set_rate(&mut self, per_s: f64) {
        self.settings.rate_per_s = per_s;
        let next_ms = to_f64(self.now_ms) + self.interval_ms();
        if let Some(chatter) = &mut self.chatter {
            chatter.next_ms = next_ms;
        }
    }

    pub(super) fn chatter_due_ms(&self) -> Option<i64> {
        let next_ms = self.chatter.as_ref()?.next_ms;
        next_ms.is_finite().then(|| to_ms(next_ms))
    }

    fn interval_ms(&self) -> f64 {
        // No rate: an infinite interval, never due.
        1000.0 / self.settings.rate_per_s.max(0.0)
    }

    fn chat(&mut self, now_ms: i64) {
        for _ in 0..CHATTER_AT_ONCE_MAX {
            match self.chatter_due_ms() {
                Some(due_ms) if due_ms <= now_ms => {
                    self.now_ms = self.now_ms.max(due_ms);
                    self.say_something();
                    let interval_ms = self.interval_ms();
                    if let Some(chatter) = &mut self.chatter {
                        chatter.next_ms += interval_ms;
                    }
                }
                _ => return,
            }
        }
        self.set_rate(self.settings.rate_per_s);
    }

    /// A person who is no account says hello in one of the rooms.
    pub(super) fn say_something(&mut self) {
        let people: Vec<String> = self
            .people
            .keys()
            .filter(|id| !self.inboxes.contains_key(*id))
            .cloned()
            .collect();
        let rooms: Vec<String> = (0..self.settings.rooms)
            .map(|n| name(&ROOMS, "room", n))
            .collect();
        let (Some(person), Some(room)) = (self.rng.choice(people), self.rng.choice(rooms)) else {
            return;
        };
        let said = self.chatter.as_mut().map_or(0, |chatter| {
            chatter.said += 1;
            chatter.said
        });
        let parts = vec![Part::Text {
            text: format!("hello {said}"),
            markup: None,
        }];
        // A room that was closed, or that this person left, is simply quieter.
        let _ = self.write(&room, &person, parts, super::posts::Extras::default());
    }

    /// A number that no other thing in this world has.
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn person_or_new(&mut self, id: &str, robot: bool) -> Person {
        let someone = self.people.entry(id.to_owned()).or_insert_with(|| Someone {
            person: Person {
                id: id.to_owned(),
                name: id.to_owned(),
                robot,
                picture: None,
            },
            contacts: BTreeSet::new(),
        });
        someone.person.clone()
    }
}

impl Answered {
    pub fn keep(&mut self, account: &str, reference: &str, answer: Value, at_most: usize) {
        let key = (account.to_owned(), reference.to_owned());
        if self.answers.insert(key.clone(), answer).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > at_most {
            if let Some(oldest) = self.order.pop_front() {
                self.answers.remove(&oldest);
            }
        }
    }

    pub fn get(&self, account: &str, reference: &str) -> Option<&Value> {
        self.answers
            .get(&(account.to_owned(), reference.to_owned()))
    }
}

fn name(names: &[&str], else_kind: &str, n: usize) -> String {
    names.get(n).map_or_else(
        || format!("{else_kind}-{}", n + 1),
        |name| (*name).to_owned(),
    )
}

#[allow(
    clippy::cast_precision_loss,
    reason = "Unix milliseconds are exact in 53 bits"
)]
fn to_f64(ms: i64) -> f64 {
    ms as f64
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "finite, and a time of this age"
)]
fn to_ms(ms: f64) -> i64 {
    ms.ceil() as i64
}
