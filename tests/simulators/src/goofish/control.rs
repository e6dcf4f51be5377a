//! `/_sim/`: tests play the other people, push anything, end sessions, arm faults (`acts.rs`), and read the record.
//!
//! Each call either does all it says or refuses with 400 and the reason. The table is in `tests/simulators/README.md`.

use std::collections::HashMap;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::http::{Answer, json as answer_json, json_text as answer_text};
use super::world::{Shared, World};

/// Entries of the record where a call names no limit.
const RECORD_LIMIT: usize = 1_000;

pub type Outcome = Result<Value, String>;

pub fn answer(
    world: &Shared,
    method: &Method,
    what: &str,
    query: &HashMap<String, String>,
    body: &Bytes,
) -> Answer {
    let mut world = world.lock();
    let outcome = match (method.as_str(), what) {
        ("GET", "record") => match world.recorded(query) {
            Ok(page) => return answer_text(page),
            Err(error) => Err(error),
        },
        ("GET", "state") => Ok(world.state()),
        ("GET", "faults") => Ok(world.faults.list()),
        ("POST", "clear") => Ok(json!({ "cleared": world.faults.clear() })),
        ("POST", _) => world.act(what, body),
        _ => Err(format!(
            "no {method} {what}; see tests/simulators/README.md"
        )),
    };
    match outcome {
        Ok(done) => answer_json(200, &done),
        Err(error) => answer_json(400, &json!({ "error": error })),
    }
}

impl World {
    fn recorded(&self, query: &HashMap<String, String>) -> Result<String, String> {
        let number = |key: &str| match query.get(key).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => match text.parse::<u64>() {
                Ok(number) => Ok(Some(number)),
                Err(error) => Err(format!("{key}={text}: {error}")),
            },
        };
        let kinds = query.get("kinds").map(String::as_str).unwrap_or_default();
        let kinds: Vec<&str> = kinds.split(',').filter(|kind| !kind.is_empty()).collect();
        let limit = number("limit")?.map_or(RECORD_LIMIT, |it| usize::try_from(it).unwrap_or(0));
        let page = self
            .record
            .page(number("after")?.unwrap_or(0), &kinds, limit);
        serde_json::to_string(&page).map_err(|error| error.to_string())
    }

    fn state(&self) -> Value {
        let mut sessions: Vec<_> = self.sessions.iter().collect();
        sessions.sort_unstable_by_key(|(conn, _)| **conn);
        let told: Vec<_> = sessions
            .iter()
            .filter(|(_, session)| session.registered.is_some())
            .map(|(conn, session)| {
                let mut told = session.told();
                told["conn"] = (**conn).into();
                told
            })
            .collect();
        json!({
            "people": self.people.len(), "connections": self.sessions.len(), "sessions": told,
            "messages": self.messages.len(), "faults": self.faults.count(),
        })
    }
}
