//! The provider's record against the streams.

use crate::world::Stored;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Examples of what is wrong in a failure's text.
const EXAMPLES: usize = 5;

/// What the provider said in a world, by post.
pub struct Said {
    /// Chat, and number in it.
    posts: HashMap<String, (String, u64)>,
}

impl Said {
    /// `record`: entries of kind `said`.
    pub fn new(record: &[Value]) -> Self {
        let posts = record.iter().map(|entry| {
            let (post, chat) = (text(&entry["post"]), text(&entry["chat"]));
            (post, (chat, entry["seq"].as_u64().unwrap()))
        });
        Self {
            posts: posts.collect(),
        }
    }

    pub fn len(&self) -> usize {
        self.posts.len()
    }

    /// Everything that was said is stored, nothing twice, and each chat in the order in which it was said.
    pub fn assert_stored(&self, account: &str, stored: &[Stored]) {
        let mut times: HashMap<&str, Vec<u64>> = HashMap::new();
        let mut last: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        let mut disorder = Vec::new();
        for event in stored {
            let post = event.document.data.message.id.as_str();
            times.entry(post).or_default().push(event.sequence);
            let Some((chat, seq)) = self.posts.get(post) else {
                panic!(
                    "{account}: {post} was stored and never said: {:?}",
                    event.document
                );
            };
            assert_eq!(chat, &event.document.subject, "{account}: {post}");
            let new = (*seq, event.sequence);
            if let Some(before) = last.insert(chat, new).filter(|before| before.0 >= *seq) {
                disorder.push(format!("{chat}: {before:?} before {new:?}"));
            }
        }
        let twice: Vec<_> = times.iter().filter(|(_, at)| at.len() > 1).collect();
        let mut missing: Vec<_> = self
            .posts
            .iter()
            .filter(|(post, _)| !times.contains_key(post.as_str()))
            .collect();
        missing.sort_by_key(|(_, (_, seq))| *seq);
        assert!(
            twice.is_empty() && missing.is_empty() && disorder.is_empty(),
            "{account}: of {} said and {} stored, {} are stored twice, such as {:?}; {} are missing, such as {:?}; {} are \
             out of order, such as {:?}",
            self.posts.len(),
            stored.len(),
            twice.len(),
            head(&twice),
            missing.len(),
            head(&missing),
            disorder.len(),
            head(&disorder),
        );
    }
}

fn head<T>(all: &[T]) -> &[T] {
    all.get(..EXAMPLES).unwrap_or(all)
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A command that was published: its key, and where it goes.
#[derive(Clone, Debug)]
pub struct Published {
    pub key: String,
    pub account: String,
    pub channel: String,
}

/// Each command was carried out once, in the order of its channel, and answered once.
///
/// `done`: entries of kind `sent` of all worlds, in the order of each; `commands` in the order of their publication.
pub fn assert_commands(commands: &[Published], done: &[Value], results: &[Stored]) {
    let mut times: HashMap<String, usize> = HashMap::new();
    let mut order: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let channels: HashMap<&str, &Published> = commands
        .iter()
        .map(|command| (command.key.as_str(), command))
        .collect();
    for entry in done.iter().filter(|entry| entry["done"] == true) {
        let key = text(&entry["client_ref"]);
        let command = channels
            .get(key.as_str())
            .unwrap_or_else(|| panic!("nobody asked for {entry}"));
        let channel = (command.account.clone(), command.channel.clone());
        order.entry(channel).or_default().push(key.clone());
        *times.entry(key).or_default() += 1;
    }
    let wrong: Vec<_> = commands
        .iter()
        .map(|command| {
            (
                command,
                times.get(&command.key).copied().unwrap_or_default(),
            )
        })
        .filter(|(_, times)| *times != 1)
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} were not carried out once: {:?}",
        wrong.len(),
        commands.len(),
        head(&wrong)
    );
    for ((account, channel), keys) in order {
        let here = commands
            .iter()
            .filter(|it| it.account == account && it.channel == channel);
        let wanted: Vec<&str> = here.map(|it| it.key.as_str()).collect();
        assert_eq!(
            keys, wanted,
            "{account}, {channel}: not in the order of their publication"
        );
    }
    // One result each: told twice, it has the same id.
    let mut answers: HashMap<&str, BTreeMap<&str, &Stored>> = HashMap::new();
    for result in results {
        let document = &result.document;
        let of = answers
            .entry(document.data.command_id.as_str())
            .or_default();
        of.insert(document.id.as_str(), result);
    }
    let keys: BTreeSet<&str> = results
        .iter()
        .map(|it| it.document.data.idempotency_key.as_str())
        .collect();
    let silent: Vec<_> = commands
        .iter()
        .filter(|it| !keys.contains(it.key.as_str()))
        .collect();
    assert!(
        silent.is_empty(),
        "{} were not answered: {:?}",
        silent.len(),
        head(&silent)
    );
    for (command, answers) in &answers {
        let said: Vec<_> = answers
            .values()
            .map(|it| (&it.document.id, &it.document.data))
            .collect();
        assert_eq!(
            said.len(),
            1,
            "{command} was answered more than once: {said:?}"
        );
        assert_eq!(said[0].1.status, "ok", "{command}: {said:?}");
    }
    assert_eq!(
        answers.len(),
        commands.len(),
        "commands that somebody else gave"
    );
}
