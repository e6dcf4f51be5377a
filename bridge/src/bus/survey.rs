//! What is really there: the objects as the server has them, whose clock is right, and who reads the events.
//!
//! Reads only, with few and cheap calls: it is done every minute and by people.
//!
//! Not here: what follows from it (`app::holds`, `app::lookout`), comparing with what is wanted (`provision`).

use super::api::{Api, ApiError, StreamInfo, Which};
use super::clock::unix_ms;
use super::objects::{Limits, Names, ObjectKind, wanted};
use super::subjects::Subjects;
use futures_util::future::join_all;
use im_bridge_sdk::model::Time;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// More than a busy machine or a slow way to the server explains.
const CLOCK_MS_MAX: i64 = 2_000;
/// Consumers that are looked at: a stream of events has some dozens of readers, and each that is behind costs a read.
const READERS_MAX: usize = 1_024;

/// One object as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub kind: ObjectKind,
    pub name: String,
    /// The key that its storage is configured with.
    pub storage_key: &'static str,
    pub replicas: u64,
    /// `file` or `memory`
    pub storage: String,
    /// A full one drops the oldest; else it refuses.
    pub rolls: bool,
    /// Zero: for ever.
    pub max_age: Duration,
    /// None: as much as there is.
    pub max_bytes: Option<u64>,
    pub duplicate_window: Duration,
    pub bytes: u64,
    pub messages: u64,
    pub first: u64,
    pub last: u64,
}

impl Object {
    fn new(kind: ObjectKind, name: String, storage_key: &'static str, info: &StreamInfo) -> Self {
        let config = &info.config;
        let nanos = |field: &str| Duration::from_nanos(config[field].as_u64().unwrap_or_default());
        Self {
            kind,
            name,
            storage_key,
            replicas: config["num_replicas"].as_u64().unwrap_or(1).max(1),
            storage: config["storage"].as_str().unwrap_or("file").to_owned(),
            rolls: config["discard"] != "new",
            max_age: nanos("max_age"),
            max_bytes: config["max_bytes"].as_u64().filter(|bytes| *bytes > 0),
            duplicate_window: nanos("duplicate_window"),
            bytes: info.state.bytes,
            messages: info.state.messages,
            first: info.state.first_seq,
            last: info.state.last_seq,
        }
    }
}

/// All objects that exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    pub objects: Vec<Object>,
    /// Milliseconds between this clock and the server's, if no way to it explains them.
    pub clock_differs_ms: Option<i64>,
}

impl Survey {
    /// Asks for every object.
    ///
    /// # Errors
    /// One of them was not answered for.
    pub async fn take(api: &Api, subjects: &Subjects) -> Result<Self, ApiError> {
        let mut survey = Self::default();
        let wanted = wanted(subjects, &Limits::default());
        let asked = wanted.iter().map(async |wanted| {
            let asked = Instant::now();
            let info = api.stream(&wanted.stream()).await;
            (info, asked.elapsed())
        });
        for (wanted, (info, way)) in wanted.iter().zip(join_all(asked).await) {
            let Some(info) = info? else { continue };
            let differs = info.ts.and_then(|ts| clock_differs(ts, way));
            survey.clock_differs_ms = survey.clock_differs_ms.or(differs);
            let key = wanted.storage_key.unwrap_or("max_file_store of the server");
            let object = Object::new(wanted.kind, wanted.name.clone(), key, &info);
            survey.objects.push(object);
        }
        Ok(survey)
    }

    /// The object of this name.
    pub fn object(&self, name: &str) -> Option<&Object> {
        self.objects.iter().find(|object| object.name == name)
    }
}

/// The server's time was taken somewhere on the way.
fn clock_differs(theirs: Time, way: Duration) -> Option<i64> {
    let way = i64::try_from(way.as_millis()).unwrap_or(i64::MAX);
    let differs = (unix_ms() - theirs.ms()).abs();
    (differs > CLOCK_MS_MAX.saturating_add(way)).then_some(differs)
}

/// A durable consumer of the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    pub name: String,
    /// It asked for some subjects only.
    pub is_filtered: bool,
    /// Made at this time: one of the same name may be another one.
    pub created: String,
    /// The first sequence that it has not done with.
    pub next: u64,
    /// The last sequence that was handed to it.
    pub delivered: u64,
    /// It has something to do.
    pub is_behind: bool,
    /// The oldest message that is there and waits for it: sequence and time of storage in Unix milliseconds.
    pub waiting: Option<(u64, i64)>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    total: usize,
    #[serde(default)]
    consumers: Option<Vec<Consumer>>,
}

#[derive(Deserialize)]
struct Consumer {
    #[serde(default)]
    created: String,
    config: Value,
    delivered: Position,
    ack_floor: Position,
    #[serde(default)]
    num_pending: u64,
    #[serde(default)]
    num_ack_pending: u64,
}

#[derive(Deserialize)]
struct Position {
    stream_seq: u64,
}

/// Everybody who reads the events and wants to miss none.
///
/// # Errors
/// The server does not answer, or forbids it.
pub async fn readers(api: &Api, names: &Names) -> Result<Vec<Reader>, ApiError> {
    let stream = names.events();
    let mut consumers = Vec::new();
    loop {
        let request = json!({ "offset": consumers.len() });
        let call = format!("CONSUMER.LIST.{stream}");
        let page: Page = api.call(&call, &request).await?;
        let listed = page.consumers.unwrap_or_default();
        let is_last = listed.is_empty();
        consumers.extend(listed);
        if is_last || consumers.len() >= page.total.min(READERS_MAX) {
            break;
        }
    }
    let mut readers = Vec::new();
    for consumer in consumers {
        if let Some((mut reader, filters)) = consumer.reader() {
            if reader.is_behind {
                reader.waiting = waiting(api, &stream, reader.next, &filters).await?;
            }
            readers.push(reader);
        }
    }
    Ok(readers)
}

impl Consumer {
    /// None: it does not outlive its reader, so nobody counts on it.
    fn reader(self) -> Option<(Reader, Vec<String>)> {
        let name = self.config["durable_name"].as_str()?.to_owned();
        let mut filters: Vec<String> = self.config["filter_subjects"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|filter| filter.as_str().map(str::to_owned))
            .collect();
        filters.extend(self.config["filter_subject"].as_str().map(str::to_owned));
        filters.retain(|filter| !filter.is_empty());
        let has_acks = self.config["ack_policy"] != "none";
        let done = if has_acks {
            self.ack_floor.stream_seq
        } else {
            self.delivered.stream_seq
        };
        let reader = Reader {
            name,
            is_filtered: !filters.is_empty(),
            created: self.created,
            next: done + 1,
            delivered: self.delivered.stream_seq,
            is_behind: self.num_pending > 0 || (has_acks && self.num_ack_pending > 0),
            waiting: None,
        };
        if filters.is_empty() {
            filters.push(">".to_owned());
        }
        Some((reader, filters))
    }
}

/// The first message from there on that any of the filters lets through.
async fn waiting(
    api: &Api,
    stream: &str,
    from: u64,
    filters: &[String],
) -> Result<Option<(u64, i64)>, ApiError> {
    let mut oldest: Option<(u64, i64)> = None;
    for filter in filters {
        let found = api.message(stream, Which::NextOf(from, filter)).await?;
        let found = found.and_then(|it| Some((it.sequence, it.time.parse::<Time>().ok()?.ms())));
        oldest = [oldest, found].into_iter().flatten().min();
    }
    Ok(oldest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(config: Value, delivered: u64, floor: u64, pending: u64) -> Consumer {
        serde_json::from_value(json!({
            "created": "2026-01-02T03:04:05Z", "config": config, "delivered": { "stream_seq": delivered },
            "ack_floor": { "stream_seq": floor }, "num_pending": pending, "num_ack_pending": 0,
        }))
        .unwrap()
    }

    #[test]
    fn only_durable_consumers_are_readers_and_their_place_is_what_they_are_done_with() {
        assert!(consumer(json!({ "name": "x" }), 5, 5, 1).reader().is_none());
        let durable = json!({ "durable_name": "crm", "ack_policy": "explicit" });
        let (reader, filters) = consumer(durable, 9, 5, 1).reader().unwrap();
        assert_eq!(
            (reader.next, reader.delivered, reader.is_behind),
            (6, 9, true)
        );
        assert_eq!(filters, [">"]);
        let unacked = json!({ "durable_name": "crm", "ack_policy": "none", "filter_subject": "im.v1.evt.a.>" });
        let (reader, filters) = consumer(unacked, 9, 5, 0).reader().unwrap();
        assert_eq!(
            (reader.next, reader.is_behind, reader.is_filtered),
            (10, false, true)
        );
        assert_eq!(filters, ["im.v1.evt.a.>"]);
    }

    #[test]
    fn a_clock_differs_when_no_way_explains_it() {
        let now = Time::from_ms(unix_ms());
        assert_eq!(clock_differs(now, Duration::ZERO), None);
        let other = Time::from_ms(unix_ms() - 10_000);
        assert!(clock_differs(other, Duration::ZERO).is_some_and(|ms| ms >= 10_000));
        assert_eq!(clock_differs(other, Duration::from_secs(60)), None);
    }
}
