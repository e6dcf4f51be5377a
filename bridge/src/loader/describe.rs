//! What an adapter says of itself once it may run: capabilities, operations, session, extensions, its configuration.
//!
//! Unknown members are ignored, members that have a neutral value may be missing, everything else is reported with its
//! JSON pointer, all at once.
//!
//! Not here: validating an account's configuration (`config_schema`).

use super::config_schema::ConfigSchema;
use super::error::Problem;
use super::inspect::descriptor::Descriptor;
use im_bridge_sdk::model;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Event model that this bridge publishes.
pub const MODEL_MAJOR: u64 = 1;
/// Form of the document.
const DESCRIBE_VERSION: u64 = 1;
/// Names of both sides that an adapter may require of this bridge.
pub const OFFERED_EXTENSIONS: &[&str] = &["imb.kv/1", "imb.metrics/1", "imb.verify/1"];

/// The document, checked.
#[derive(Debug)]
pub struct Description {
    /// For people.
    pub title: Option<String>,
    /// For people.
    pub homepage: Option<String>,
    /// Package that made the file.
    pub adapter_name: String,
    /// Minor version of the event model written and read.
    pub model_minor: u64,
    /// What the provider can do.
    pub capabilities: Capabilities,
    /// Every operation name with its usual noise class.
    pub operations: BTreeMap<String, String>,
    /// Keys that events may carry as telemetry facts.
    pub meta: Vec<String>,
    /// How sessions and acknowledgements work.
    pub session: Session,
    /// Names of both sides without which it is of no use.
    pub required_extensions: Vec<String>,
    /// Names of both sides that it makes use of.
    pub optional_extensions: Vec<String>,
    /// What an account's configuration must look like.
    pub config_schema: ConfigSchema,
    /// At least one, and at least one validates.
    pub config_examples: Vec<Value>,
    /// Raised when an older version cannot read what this one keeps; 1 unless said otherwise.
    pub state_version: u64,
    /// It puts secrets among its keys, which are kept only if there is a key to seal them.
    pub keeps_secrets: bool,
    /// The whole document.
    pub document: Value,
}

/// The part of the capability document that the core acts upon. Absent: not offered.
#[derive(Debug, Default)]
pub struct Capabilities {
    /// Level by event kind, −2 to 2.
    pub events: BTreeMap<String, i8>,
    /// Level by command name.
    pub commands: BTreeMap<String, i8>,
    /// Most uncompleted commands.
    pub max_in_flight: u32,
    /// The whole part.
    pub document: Value,
}

impl Capabilities {
    /// Whether an event of this kind may come.
    #[must_use]
    pub fn emits(&self, kind: &str) -> bool {
        self.events.get(kind).is_some_and(|level| *level > -2)
    }
}

/// How the provider's sessions work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Session {
    /// Two sessions of one account may coexist.
    pub overlap: bool,
    /// What the provider is told about received events.
    pub ack: Ack,
    /// Credit window the adapter wishes for.
    pub window_events: Option<u32>,
    /// Seconds after which the provider may still say something again. None: not known.
    pub repeats_for_s: Option<u32>,
}

impl Session {
    /// The longest time after which something may be said again.
    #[must_use]
    pub fn repeats_for(&self) -> Option<Duration> {
        self.repeats_for_s
            .map(|seconds| Duration::from_secs(seconds.into()))
    }
}

/// What the provider is told about received events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ack {
    /// Nothing.
    #[default]
    None,
    /// Everything up to one.
    Cumulative,
    /// Each one.
    Each,
}

/// Reads what `describe` answered and compares it with the descriptor and with what this bridge offers.
///
/// # Errors
/// Everything that is wrong, with its place in the document.
pub fn read(
    text: &[u8],
    descriptor: &Descriptor,
    offered: &[String],
    path: &Path,
) -> Result<Description, Vec<Problem>> {
    let refused = |pointer: String, problem: String| Problem::Describe {
        pointer,
        problem,
        path: path.into(),
    };
    let document: Value = std::str::from_utf8(text)
        .map_err(|_| "is not UTF-8".to_owned())
        .and_then(|text| serde_json::from_str(text).map_err(|e| format!("is not JSON: {e}")))
        .map_err(|problem| vec![refused(String::new(), problem)])?;
    let Some(members) = document.as_object() else {
        return Err(vec![refused(String::new(), "is not an object".into())]);
    };
    let mut notes = Notes::default();
    let parts = parts(members, descriptor, &mut notes);
    let mut problems: Vec<Problem> = notes
        .wrong
        .into_iter()
        .map(|(pointer, problem)| refused(pointer, problem))
        .collect();
    if let Some(theirs) = notes.other_model {
        problems.push(Problem::Model {
            theirs,
            ours: MODEL_MAJOR,
        });
    }
    match parts {
        Some(mut description) => {
            problems.extend(missing_extensions(
                &description.required_extensions,
                offered,
            ));
            if !problems.is_empty() {
                return Err(problems);
            }
            description.document = document;
            Ok(description)
        }
        None => Err(problems),
    }
}

/// Required names that are not offered.
pub fn missing_extensions(required: &[String], offered: &[String]) -> Vec<Problem> {
    required
        .iter()
        .filter(|name| !offered.contains(name))
        .map(|name| Problem::Extension {
            name: name.clone(),
            offered: offered.join(", "),
        })
        .collect()
}

/// What was found wrong so far.
#[derive(Default)]
struct Notes {
    wrong: Vec<(String, String)>,
    other_model: Option<u64>,
}

impl Notes {
    fn note(&mut self, pointer: impl Into<String>, problem: impl Into<String>) {
        self.wrong.push((pointer.into(), problem.into()));
    }

    fn text<'a>(
        &mut self,
        members: &'a Map<String, Value>,
        at: &str,
        key: &str,
    ) -> Option<&'a str> {
        let text = members.get(key)?.as_str();
        if text.is_none() {
            self.note(format!("{at}/{key}"), "is not a string");
        }
        text
    }

    fn needed_text<'a>(&mut self, members: &'a Map<String, Value>, at: &str, key: &str) -> &'a str {
        if !members.contains_key(key) {
            self.note(format!("{at}/{key}"), "is missing");
        }
        self.text(members, at, key).unwrap_or_default()
    }

    fn object<'a>(
        &mut self,
        members: &'a Map<String, Value>,
        key: &str,
    ) -> Option<&'a Map<String, Value>> {
        let object = members.get(key)?.as_object();
        if object.is_none() {
            self.note(format!("/{key}"), "is not an object");
        }
        object
    }

    fn needed_object<'a>(
        &mut self,
        members: &'a Map<String, Value>,
        key: &str,
    ) -> Option<&'a Map<String, Value>> {
        if !members.contains_key(key) {
            self.note(format!("/{key}"), "is missing");
        }
        self.object(members, key)
    }

    fn number(&mut self, members: &Map<String, Value>, at: &str, key: &str) -> Option<u64> {
        let number = members.get(key)?.as_u64();
        if number.is_none() {
            self.note(format!("{at}/{key}"), "is not a whole number, at least 0");
        }
        number
    }

    /// False unless it is said.
    fn flag(&mut self, members: &Map<String, Value>, key: &str) -> bool {
        let flag = members.get(key).map(Value::as_bool);
        if flag == Some(None) {
            self.note(format!("/{key}"), "is neither true nor false");
        }
        flag.flatten().unwrap_or_default()
    }

    fn texts(&mut self, value: Option<&Value>, at: &str) -> Vec<String> {
        let Some(value) = value else {
            return Vec::new();
        };
        let Some(items) = value.as_array() else {
            self.note(at, "is not an array");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item.as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => self.note(format!("{at}/{index}"), "is not a string"),
            }
        }
        texts
    }

    fn equal(&mut self, pointer: &str, found: &str, descriptor: &str) {
        if !found.is_empty() && found != descriptor {
            let found = super::error::shown(found.as_bytes());
            self.note(
                pointer,
                format!("is `{found}`, the descriptor says `{descriptor}`"),
            );
        }
    }
}

/// Everything but the document itself; none if there is no usable schema, without which nothing can be made.
fn parts(
    members: &Map<String, Value>,
    descriptor: &Descriptor,
    notes: &mut Notes,
) -> Option<Description> {
    match members.get("describe").map(Value::as_u64) {
        Some(Some(DESCRIBE_VERSION)) => {}
        Some(_) => notes.note("/describe", format!("is not {DESCRIBE_VERSION}")),
        None => notes.note("/describe", "is missing"),
    }
    let provider = notes.needed_text(members, "", "provider");
    notes.equal("/provider", provider, &descriptor.name);
    let mut adapter_name = "";
    if let Some(adapter) = notes.needed_object(members, "adapter") {
        adapter_name = notes.needed_text(adapter, "/adapter", "name");
        let version = notes.needed_text(adapter, "/adapter", "version");
        notes.equal("/adapter/version", version, &descriptor.version.to_string());
    }
    let mut model_minor = 0;
    if let Some(model) = notes.needed_object(members, "model") {
        match notes.number(model, "/model", "major") {
            Some(MODEL_MAJOR) => {}
            Some(other) => notes.other_model = Some(other),
            None if model.contains_key("major") => {}
            None => notes.note("/model/major", "is missing"),
        }
        model_minor = notes.number(model, "/model", "minor").unwrap_or(0);
    }
    let session = session(members, notes);
    let capabilities = capabilities(members, &session, notes);
    let mut operations = BTreeMap::new();
    for (name, class) in notes.object(members, "operations").into_iter().flatten() {
        match class.as_str() {
            Some(class) => drop(operations.insert(name.clone(), class.to_owned())),
            None => notes.note(
                format!("/operations/{}", token(name)),
                "is not a noise class",
            ),
        }
    }
    let extensions = notes.object(members, "extensions");
    let mut names = |key| {
        let names = extensions.and_then(|extensions| extensions.get(key));
        notes.texts(names, &format!("/extensions/{key}"))
    };
    let (required_extensions, optional_extensions) = (names("required"), names("optional"));
    let config_examples = match members.get("config_examples").map(Value::as_array) {
        Some(Some(examples)) if !examples.is_empty() => examples.clone(),
        Some(Some(_)) | None => {
            notes.note("/config_examples", "has no example");
            Vec::new()
        }
        Some(None) => {
            notes.note("/config_examples", "is not an array");
            Vec::new()
        }
    };
    let config_schema = config_schema(members, &config_examples, notes)?;
    Some(Description {
        title: notes.text(members, "", "title").map(str::to_owned),
        homepage: notes.text(members, "", "homepage").map(str::to_owned),
        adapter_name: adapter_name.to_owned(),
        model_minor,
        capabilities,
        operations,
        meta: notes.texts(members.get("meta"), "/meta"),
        session,
        required_extensions,
        optional_extensions,
        config_schema,
        config_examples,
        state_version: notes.number(members, "", "state_version").unwrap_or(1),
        keeps_secrets: notes.flag(members, "keeps_secrets"),
        document: Value::Null,
    })
}

fn session(members: &Map<String, Value>, notes: &mut Notes) -> Session {
    let mut session = Session::default();
    let Some(object) = notes.object(members, "session") else {
        return session;
    };
    match object.get("overlap").map(Value::as_bool) {
        Some(Some(overlap)) => session.overlap = overlap,
        Some(None) => notes.note("/session/overlap", "is not a boolean"),
        None => {}
    }
    match notes.text(object, "/session", "ack") {
        Some("none") | None => {}
        Some("cumulative") => session.ack = Ack::Cumulative,
        Some("each") => session.ack = Ack::Each,
        Some(_) => notes.note("/session/ack", "is none of `none`, `cumulative`, `each`"),
    }
    let has_window = object
        .get("window_events")
        .is_some_and(|window| !window.is_null());
    if has_window && let Some(window) = notes.number(object, "/session", "window_events") {
        match u32::try_from(window) {
            Ok(window @ 1..=1024) => session.window_events = Some(window),
            _ => notes.note("/session/window_events", "is not from 1 to 1024"),
        }
    }
    let repeats = object.get("repeats_for_s").is_some_and(|it| !it.is_null());
    if repeats && let Some(seconds) = notes.number(object, "/session", "repeats_for_s") {
        match u32::try_from(seconds) {
            Ok(seconds) => session.repeats_for_s = Some(seconds),
            Err(_) => notes.note("/session/repeats_for_s", "is longer than any repeat"),
        }
    }
    session
}

fn capabilities(
    members: &Map<String, Value>,
    session: &Session,
    notes: &mut Notes,
) -> Capabilities {
    let mut found = Capabilities {
        max_in_flight: 1,
        ..Capabilities::default()
    };
    let Some(object) = notes.needed_object(members, "capabilities") else {
        return found;
    };
    found.document = Value::Object(object.clone());
    found.events = levels(object, "events", notes);
    found.commands = levels(object, "commands", notes);
    let at = "/capabilities/limits/max_in_flight";
    match object
        .get("limits")
        .and_then(|limits| limits.get("max_in_flight"))
    {
        None | Some(Value::Null) => {}
        Some(limit) => match limit.as_u64().and_then(|limit| u32::try_from(limit).ok()) {
            Some(limit) if limit > 0 => found.max_in_flight = limit,
            _ => notes.note(at, "is not a whole number, at least 1"),
        },
    }
    let ack = match session.ack {
        Ack::None => "none",
        Ack::Cumulative => "cumulative",
        Ack::Each => "each",
    };
    let promised = object
        .get("guarantees")
        .and_then(|guarantees| guarantees.get("inbound_ack"))
        .and_then(Value::as_str);
    if promised.is_some_and(|promised| promised != ack) {
        let problem = format!("differs from /session/ack, which is `{ack}`");
        notes.note("/capabilities/guarantees/inbound_ack", problem);
    }
    published(&found.document, notes);
    found
}

/// An account's document is made of this; without it nobody could tell which commands it takes.
fn published(document: &Value, notes: &mut Notes) {
    let missing = ["transport", "limits", "guarantees"].map(|key| {
        let is_missing = document.get(key).is_none();
        if is_missing {
            notes.note(format!("/capabilities/{key}"), "is missing");
        }
        is_missing
    });
    // Whatever is wrong already would be told twice.
    let is_told = notes
        .wrong
        .iter()
        .any(|(pointer, _)| pointer.starts_with("/capabilities"));
    if missing.contains(&true) || is_told {
        return;
    }
    if let Err(error) = model::Capabilities::deserialize(document) {
        notes.note("/capabilities", format!("fits no account: {error}"));
    }
}

fn levels(capabilities: &Map<String, Value>, key: &str, notes: &mut Notes) -> BTreeMap<String, i8> {
    let mut levels = BTreeMap::new();
    let at = format!("/capabilities/{key}");
    match capabilities.get(key) {
        None => {}
        Some(Value::Object(object)) => {
            for (name, level) in object {
                match level.as_i64().and_then(|level| i8::try_from(level).ok()) {
                    Some(level @ -2..=2) => drop(levels.insert(name.clone(), level)),
                    _ => notes.note(
                        format!("{at}/{}", token(name)),
                        "is not a level from -2 to 2",
                    ),
                }
            }
        }
        Some(_) => notes.note(at, "is not an object"),
    }
    levels
}

fn config_schema(
    members: &Map<String, Value>,
    examples: &[Value],
    notes: &mut Notes,
) -> Option<ConfigSchema> {
    let Some(schema) = members.get("config_schema") else {
        notes.note("/config_schema", "is missing");
        return None;
    };
    let schema = match ConfigSchema::new(schema) {
        Ok(schema) => schema,
        Err(error) => {
            notes.note(format!("/config_schema{}", error.pointer), error.problem);
            return None;
        }
    };
    let judged: Vec<_> = examples
        .iter()
        .map(|example| schema.check("", example))
        .collect();
    if !judged.iter().any(|mistakes| mistakes.is_empty())
        && let Some(first) = judged.first()
    {
        for mistake in first {
            let problem = format!("no example validates: {mistake}");
            notes.note(format!("/config_examples/0{}", mistake.pointer), problem);
        }
    }
    Some(schema)
}

/// One part of a JSON pointer.
pub(super) fn token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
