//! JSON Schemas of everything that travels, made from the types.
//!
//! Schemas of events, results and documents let unknown members pass, as their readers must. Schemas of commands refuse
//! them at every depth, and are complete in one file; all others share parts by reference.
//!
//! Costs a plugin nothing: only the tests that write the files and the core's API description call it.

use super::body::Body;
use super::capability::{CapabilityDocument, MODEL};
use super::code::ErrorObject;
use super::command::{Command, CommandData};
use super::envelope::{CommandEnvelope, DocumentEnvelope, EventEnvelope, ResultEnvelope};
use super::event::Common;
use super::json::Json;
use super::media::Media;
use super::message::Message;
use super::names::{AdapterVerb, ControlVerb, EventKind};
use super::parts::{Channel, Member, User};
use super::results::{Degradation, PartlySent, ResultData};
use super::segment::Segment;
use super::state::{AdapterStateDocument, State};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Types that many schemas share, with the name of the file that describes each.
const SHARED: [(&str, &str); 8] = [
    ("Channel", "channel"),
    ("User", "user"),
    ("Member", "member"),
    ("Message", "message"),
    ("Segment", "segment"),
    ("Media", "media"),
    ("ErrorObject", "error"),
    ("Degradation", "degradation"),
];

/// What makes the schema of one type.
type Make = fn(&mut SchemaGenerator) -> Schema;

/// Every schema with its name: `evt.message.created`, `cmd.account.login`, `state`.
#[must_use]
pub fn all() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut add = |name: &str, schema: Value| all.push((name.to_owned(), schema));
    for kind in EventKind::ALL {
        let name = format!("evt.{kind}");
        add(&name, open(&name, |generator| event(*kind, generator)));
    }
    for command in Command::ALL {
        let name = command.as_str();
        add(
            &format!("cmd.{name}"),
            data_of(name, false, |generator| command.params_schema(generator)),
        );
        add(
            &format!("res.{name}"),
            result_of(name, |generator| command.result_schema(generator)),
        );
    }
    for verb in ControlVerb::ALL {
        let name = verb.command_name();
        add(
            &format!("cmd.{name}"),
            data_of(name, true, |generator| verb.params_schema(generator)),
        );
        add(
            &format!("res.{name}"),
            result_of(name, |generator| verb.result_schema(generator)),
        );
    }
    for verb in AdapterVerb::ALL {
        let name = verb.command_name();
        add(
            &format!("cmd.{name}"),
            data_of(name, true, |generator| verb.params_schema(generator)),
        );
        add(
            &format!("res.{name}"),
            result_of(name, |generator| verb.result_schema(generator)),
        );
    }
    let documents: [(&str, Make); 15] = [
        ("envelope.event", EventEnvelope::<Json>::json_schema),
        ("envelope.command", CommandEnvelope::<Json>::json_schema),
        ("envelope.result", ResultEnvelope::<Json>::json_schema),
        ("envelope.document", DocumentEnvelope::<Json>::json_schema),
        ("state", State::json_schema),
        ("adapter_state", AdapterStateDocument::json_schema),
        ("capability", CapabilityDocument::json_schema),
        ("channel", Channel::json_schema),
        ("user", User::json_schema),
        ("member", Member::json_schema),
        ("message", Message::json_schema),
        ("segment", Segment::json_schema),
        ("media", Media::json_schema),
        ("error", ErrorObject::json_schema),
        ("degradation", Degradation::json_schema),
    ];
    for (name, make) in documents {
        add(name, open(name, make));
    }
    all
}

/// The `$id` of a schema.
#[must_use]
pub fn urn(name: &str) -> String {
    format!(
        "urn:im-bridge:schema:{}.{}:{name}",
        MODEL.major, MODEL.minor
    )
}

/// `data` of a command, with these parameters.
fn data_of(
    command: &str,
    is_control: bool,
    params: impl FnOnce(&mut SchemaGenerator) -> Schema,
) -> Value {
    closed(&format!("cmd.{command}"), |generator| {
        let params = params(generator);
        let def = definition(&params, generator);
        let is_needed = def.is_some_and(|def| def.get("required").is_some());
        let description = def.and_then(|def| def.get("description")).cloned();
        let mut data = CommandData::<Json>::json_schema(generator);
        property(&mut data, "params", params);
        if is_control && !is_needed {
            unrequire(&mut data, "params");
        }
        if let Some(description) = description {
            data.insert("description".to_owned(), description);
        }
        data
    })
}

/// `data` of a command's result, with this success.
fn result_of(command: &str, result: impl FnOnce(&mut SchemaGenerator) -> Schema) -> Value {
    open(&format!("res.{command}"), |generator| {
        let mut result = result(generator);
        if [
            Command::MessageSend.as_str(),
            Command::MessageUpdate.as_str(),
        ]
        .contains(&command)
        {
            let partly = generator.subschema_for::<PartlySent>();
            result = schemars::json_schema!({ "anyOf": [result, partly] });
        }
        let mut data = ResultData::<Json>::json_schema(generator);
        property(&mut data, "result", result);
        property(
            &mut data,
            "command",
            schemars::json_schema!({ "type": "string", "const": command }),
        );
        data
    })
}

/// `data` of an event: the common members and those of its kind.
fn event(kind: EventKind, generator: &mut SchemaGenerator) -> Schema {
    let mut data = Common::json_schema(generator);
    let body = Body::schema(kind, generator).to_value();
    for member in ["properties", "required"] {
        match (data.ensure_object().get_mut(member), body.get(member)) {
            (Some(Value::Object(all)), Some(Value::Object(own))) => all.extend(own.clone()),
            (Some(Value::Array(all)), Some(Value::Array(own))) => all.extend(own.clone()),
            _ => {}
        }
    }
    if let Some(description) = body.get("description") {
        data.insert("description".to_owned(), description.clone());
    }
    data
}

/// A schema that lets unknown members pass and refers to shared parts.
fn open(name: &str, make: impl FnOnce(&mut SchemaGenerator) -> Schema) -> Value {
    finish(name, make, |schema| {
        if let Some(Value::String(to)) = schema.get_mut("$ref") {
            let shared = SHARED
                .iter()
                .find(|(of, _)| to.strip_prefix("#/$defs/") == Some(of));
            if let Some((_, file)) = shared {
                *to = urn(file);
            }
        }
    })
}

/// A schema that refuses unknown members and refers to nothing outside.
fn closed(name: &str, make: impl FnOnce(&mut SchemaGenerator) -> Schema) -> Value {
    finish(name, make, |schema| {
        if schema.contains_key("properties") {
            schema.insert("additionalProperties".to_owned(), false.into());
        }
    })
}

fn finish(
    name: &str,
    make: impl FnOnce(&mut SchemaGenerator) -> Schema,
    change: impl Fn(&mut Map<String, Value>),
) -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator();
    let mut root = make(&mut generator).to_value();
    let mut defs = generator.take_definitions(true);
    each(&mut root, &|schema| {
        tidy(schema);
        change(schema);
    });
    for def in defs.values_mut() {
        each(def, &|schema| {
            tidy(schema);
            change(schema);
        });
    }
    let mut needed = Map::new();
    need(&root, &defs, &mut needed);
    let schema = root
        .as_object_mut()
        .expect("each type of the model is an object");
    schema.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("$id".to_owned(), urn(name).into());
    schema.insert("title".to_owned(), name.into());
    if !needed.is_empty() {
        schema.insert("$defs".to_owned(), needed.into());
    }
    sorted(root)
}

/// Says what the model says and the generator cannot know.
fn tidy(schema: &mut Map<String, Value>) {
    // Formats of Rust's integers mean nothing to anybody else; the bounds say it.
    if schema
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|format| format != "date-time")
    {
        schema.remove("format");
    }
    schema.remove("title");
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        // Written always where it matters most, promised nowhere.
        required.retain(|member| member != "degradations");
    }
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required = |member: &str| {
        required
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == member))
    };
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (member, property) in properties {
            if let Value::Object(property) = property
                && !is_required(member)
            {
                not_null(property);
            }
        }
    }
}

/// Optional members are left out, never null.
fn not_null(property: &mut Map<String, Value>) {
    if property.get("default") == Some(&Value::Null) {
        property.remove("default");
    }
    if let Some(Value::Array(values)) = property.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(types)) = property.get_mut("type") {
        types.retain(|of| of != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            property.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(any)) = property.get_mut("anyOf") {
        any.retain(|of| of.get("type") != Some(&json!("null")));
        if let [Value::Object(only)] = any.as_slice() {
            let only = only.clone();
            property.remove("anyOf");
            for (keyword, value) in only {
                property.entry(keyword).or_insert(value);
            }
        }
    }
}

/// Visits every schema inside a schema, the outer one first.
fn each(schema: &mut Value, change: &impl Fn(&mut Map<String, Value>)) {
    let Value::Object(map) = schema else { return };
    change(map);
    for (keyword, value) in map {
        match (keyword.as_str(), value) {
            ("properties" | "$defs", Value::Object(inner)) => {
                inner.values_mut().for_each(|schema| each(schema, change));
            }
            ("oneOf" | "anyOf" | "allOf", Value::Array(inner)) => {
                inner.iter_mut().for_each(|schema| each(schema, change));
            }
            ("items" | "additionalProperties", inner) => each(inner, change),
            _ => {}
        }
    }
}

/// Collects the definitions that a schema refers to, directly or not.
fn need(schema: &Value, defs: &Map<String, Value>, needed: &mut Map<String, Value>) {
    match schema {
        Value::Object(map) => {
            let to = map
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|to| to.strip_prefix("#/$defs/"));
            if let Some(name) = to.filter(|name| !needed.contains_key(*name)) {
                let def = defs
                    .get(name)
                    .expect("the generator defines what it refers to");
                needed.insert(name.to_owned(), def.clone());
                need(def, defs, needed);
            }
            map.values().for_each(|inner| need(inner, defs, needed));
        }
        Value::Array(items) => items.iter().for_each(|inner| need(inner, defs, needed)),
        _ => {}
    }
}

/// Members by name, whatever order the JSON library keeps.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> = map.into_iter().collect();
            members.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(
                members
                    .into_iter()
                    .map(|(name, value)| (name, sorted(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        scalar => scalar,
    }
}

fn property(schema: &mut Schema, member: &str, of: Schema) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    let properties = properties.expect("a struct has properties");
    let mut of = of.to_value();
    let description = properties
        .get(member)
        .and_then(|old| old.get("description"))
        .cloned();
    if let (Value::Object(of), Some(description)) = (&mut of, description) {
        of.insert("description".to_owned(), description);
    }
    properties.insert(member.to_owned(), of);
}

fn unrequire(schema: &mut Schema, member: &str) {
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|required| required != member);
    }
}

/// The definition that a schema refers to.
fn definition<'a>(of: &Schema, generator: &'a SchemaGenerator) -> Option<&'a Value> {
    let to = of.get("$ref")?.as_str()?;
    generator.definitions().get(to.strip_prefix("#/$defs/")?)
}
