//! What is generated from the types and committed: the configuration's schema and its reference, and the schemas of what
//! commands print. `IM_BRIDGE_UPDATE=1` rewrites them.

use super::Place;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::path::Path;

/// Compares with the committed file, or writes it.
pub(crate) fn compare(path: &str, text: &str) -> Option<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os("IM_BRIDGE_UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        return None;
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    (committed != text).then(|| path.to_owned())
}

/// With the adapters that come along.
fn schema() -> Value {
    let place = Place::new();
    let folder = place.with_plugin();
    let dirs = format!("plugins.dirs.here={}", folder.display());
    let args = ["config", "schema", "--set", &dirs];
    place.run(&args).done().json()
}

#[test]
fn the_schema_and_the_reference_of_the_configuration_are_those_of_the_types() {
    let schema = schema();
    let mut text = serde_json::to_string_pretty(&schema).unwrap();
    text.push('\n');
    let different: Vec<String> = [
        compare("docs/im-bridge.schema.json", &text),
        compare("docs/configuration.md", &reference(&schema)),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(
        different.is_empty(),
        "IM_BRIDGE_UPDATE=1 rewrites {different:?}"
    );
}

#[test]
fn the_schema_that_init_writes_needs_no_network() {
    let place = Place::new();
    place.run(&["init"]).done();
    let config = std::fs::read_to_string(place.path().join("bridge.toml")).unwrap();
    assert!(
        config.starts_with("#:schema ./im-bridge.schema.json\n"),
        "{config}"
    );
    let schema = std::fs::read(place.path().join("im-bridge.schema.json")).unwrap();
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    let mut references = 0;
    each(&schema, &mut |name, value| {
        if name == "$ref" {
            references += 1;
            let target = value.as_str().unwrap();
            let local = target.strip_prefix('#');
            let is_there = local.is_some_and(|pointer| schema.pointer(pointer).is_some());
            assert!(is_there, "{target} is not in the file");
        }
    });
    assert!(references > 10, "{references}");
    let compiled = jsonschema::validator_for(&schema).unwrap();
    assert!(compiled.is_valid(&serde_json::json!({})));
    assert!(!compiled.is_valid(&serde_json::json!({ "natss": {} })));
}

fn each(value: &Value, with: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                with(name, value);
                each(value, with);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| each(item, with)),
        _ => {}
    }
}

const HEAD: &str = "\
# Configuration

Every key with what it takes, its default and its meaning. This page is generated from the types; `im-bridge config explain
KEY` says the same of one key, with its value and where that was written, and knows the adapters in the plugin folders.

Later layers win: defaults, files in the order given, variables (`IM_BRIDGE__NATS__URL`), `--set nats.url=…`. A secret is
never written here but referred to: `{ file = \"…\" }` or `{ env = \"…\" }`.

";

fn reference(schema: &Value) -> String {
    let mut out = HEAD.to_owned();
    table(&mut out, schema, schema, &mut Vec::new());
    let _ = writeln!(
        out,
        "## `[accounts.<provider>.<account>]`\n\nThe adapter's own keys; `im-bridge config explain accounts.<provider>.<account>` lists them. \
         Beside them the core's:\n"
    );
    let part = resolved(schema, &schema["$defs"]["BridgePart"]);
    let mut path = ["accounts", "<provider>", "<account>", "bridge"]
        .map(str::to_owned)
        .to_vec();
    table(&mut out, schema, &part, &mut path);
    out.trim_end().to_owned() + "\n"
}

/// A table with its keys, then the tables in it.
fn table(out: &mut String, root: &Value, here: &Value, path: &mut Vec<String>) {
    let empty = Map::new();
    let properties = here["properties"].as_object().unwrap_or(&empty);
    let mut below = Vec::new();
    let mut rows = String::new();
    for (name, schema) in properties {
        if path.is_empty() && name == "accounts" {
            continue;
        }
        let schema = resolved(root, schema);
        let set = schema
            .get("additionalProperties")
            .filter(|any| any.is_object());
        if schema["properties"].is_object() && !is_reference(&schema) && !is_small(&schema) {
            below.push((vec![name.clone()], schema));
        } else if let Some(any) = set {
            let any = resolved(root, any);
            if any["properties"].is_object() && !is_reference(&any) && !is_small(&any) {
                below.push((vec![name.clone(), "<name>".to_owned()], any));
            } else {
                row(&mut rows, &format!("{name}.<name>"), &any, text(&schema));
            }
        } else {
            row(&mut rows, name, &schema, text(&schema));
        }
    }
    if !rows.is_empty() {
        let _ = writeln!(out, "## `[{}]`\n", path.join("."));
        let words = text(here);
        if !words.is_empty() && !words.starts_with('`') {
            let _ = writeln!(out, "{words}\n");
        }
        let _ = writeln!(
            out,
            "| key | takes | default | meaning |\n| --- | --- | --- | --- |\n{rows}"
        );
    }
    for (names, schema) in below {
        let length = path.len();
        path.extend(names);
        table(out, root, &schema, path);
        path.truncate(length);
    }
}

fn row(rows: &mut String, name: &str, schema: &Value, meaning: &str) {
    let default = match &schema["default"] {
        Value::Null => String::new(),
        Value::Object(members) if members.is_empty() => String::new(),
        value => format!("`{value}`"),
    };
    let meaning = meaning.replace('\n', " ").replace('|', "\\|");
    let _ = writeln!(
        rows,
        "| `{name}` | {} | {default} | {meaning} |",
        takes(schema)
    );
}

fn takes(schema: &Value) -> String {
    if is_reference(schema) {
        return "a reference".to_owned();
    }
    let listed = schema["enum"].as_array().into_iter().flatten().cloned();
    let ways = schema["oneOf"].as_array().into_iter().flatten();
    let words: Vec<String> = listed
        .chain(ways.map(|way| way["const"].clone()))
        .filter_map(|word| word.as_str().map(|word| format!("`{word}`")))
        .collect();
    if !words.is_empty() {
        return words.join(", ");
    }
    if is_small(schema) {
        let members = schema["properties"].as_object().unwrap();
        let names: Vec<&str> = members.keys().map(String::as_str).collect();
        return format!("`{{ {} }}`", names.join(", "));
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null"),
        kind => Some(kind),
    };
    let kind = kind.and_then(Value::as_str).unwrap_or("any value");
    let mut takes = kind.to_owned();
    let bound = |name: &str| schema[name].as_f64().filter(|bound| bound.abs() < 1e15);
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => {
            let _ = write!(takes, ", {least} to {most}");
        }
        (Some(least), None) if least > 0.0 => {
            let _ = write!(takes, ", at least {least}");
        }
        _ => {}
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let _ = write!(takes, ", `{}`", pattern.replace('|', "\\|"));
    }
    takes
}

/// What refers to a secret.
fn is_reference(schema: &Value) -> bool {
    let ways = schema["oneOf"].as_array().into_iter().flatten();
    ways.map(|way| &way["properties"])
        .any(|way| way.get("env").is_some())
}

/// Written in one line.
fn is_small(schema: &Value) -> bool {
    let required = schema["required"].as_array();
    schema["properties"].is_object() && required.is_some_and(|names| !names.is_empty())
}

fn text(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

/// What a reference leads to, with what stands beside it; an optional one is what it is when it is there.
fn resolved(root: &Value, schema: &Value) -> Value {
    let choices = schema["anyOf"].as_array().into_iter().flatten();
    let choice = choices
        .clone()
        .find(|one| one["type"] != "null")
        .unwrap_or(schema);
    let target = choice["$ref"]
        .as_str()
        .and_then(|name| root.pointer(name.strip_prefix('#')?));
    let mut whole = target.unwrap_or(choice).clone();
    for (name, value) in schema.as_object().into_iter().flatten() {
        if name != "$ref" && name != "anyOf" {
            whole[name] = value.clone();
        }
    }
    whole
}

#[test]
fn the_schemas_of_what_commands_print_are_those_of_the_types() {
    let mut different = Vec::new();
    for (name, schema) in im_bridge::cli::schemas::all() {
        let mut text = serde_json::to_string_pretty(&schema).unwrap();
        text.push('\n');
        different.extend(compare(&format!("docs/schema/cli/{name}.json"), &text));
    }
    assert!(
        different.is_empty(),
        "IM_BRIDGE_UPDATE=1 rewrites {different:?}"
    );
}

/// Fails if a document is not what the schema of this name says.
#[track_caller]
pub(crate) fn fits(name: &str, document: &Value) {
    let file = format!("../docs/schema/cli/{name}.json");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let schema: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    // Nothing is printed that the schema does not name.
    let mut closed = schema.clone();
    close(&mut closed);
    let validator = jsonschema::validator_for(&closed).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{name}: {errors:?} in {document}");
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("properties").is_some_and(Value::is_object) {
                members.insert("additionalProperties".to_owned(), false.into());
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}
