//! What is wrong with a merged configuration: first against the schema, then what no schema can say.

use super::problems::{Problem, Problems};
use super::schema::SECRET;
use super::secret::Reference;
use super::tree::Table;
use super::types::{Config, Nats, Telemetry};
use crate::loader::config_schema::{ConfigSchema, Mistake};
use serde_json::Value;
use std::net::SocketAddr;

/// Every breach of the schema, each at the place of the key concerned.
pub fn schema(tree: &Table, schema: &Value, problems: &mut Problems) {
    let document = tree.to_json();
    let mut inline = Vec::new();
    for (provider, place) in schema["properties"]["accounts"]["properties"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let accounts = document["accounts"][provider]
            .as_object()
            .into_iter()
            .flatten();
        for (alias, account) in accounts {
            let path = format!("accounts.{provider}.{alias}");
            secrets_at(
                account,
                &place["additionalProperties"],
                schema,
                &path,
                &mut |path, value| {
                    if value.is_string() {
                        inline.push(path.to_owned());
                    }
                },
            );
        }
    }
    for path in &inline {
        let text = format!(
            "{path} holds a secret in the open; write {{ file = \"…\" }} or {{ env = \"…\" }}"
        );
        problems.push(at(tree, path, Problem::new("config_inline_secret", text)));
    }
    let validator = match ConfigSchema::new(schema) {
        Ok(validator) => validator,
        Err(error) => {
            let text = format!(
                "this is a bug: the configuration's own schema is wrong at {error}; please report it"
            );
            problems.push(Problem::new("internal_bug", text));
            return;
        }
    };
    for mistake in validator.check("", &document) {
        if !inline.contains(&mistake.path) {
            problems.push(told(tree, &mistake));
        }
    }
}

/// A key that a variable or flag names, and nobody knows, is a mistake of that variable or flag.
fn told(tree: &Table, mistake: &Mistake) -> Problem {
    let keys = keys_of(&mistake.pointer);
    let written = tree.get(&keys).map(|entry| &entry.key_at);
    match written {
        Some(place) if place.position.is_none() && mistake.code == "config_unknown_key" => {
            let text = format!("{place} names no key");
            Problem::new("config_override", text)
                .hint(&mistake.help)
                .at(&keys.join("."), place)
        }
        Some(place) if mistake.code == "config_unknown_key" => {
            Problem::new(mistake.code, &mistake.message)
                .hint(&mistake.help)
                .at(&keys.join("."), place)
        }
        Some(place) => Problem::new(mistake.code, mistake.to_string()).at(&keys.join("."), place),
        None => at(
            tree,
            &keys.join("."),
            Problem::new(mistake.code, mistake.to_string()),
        ),
    }
}

fn keys_of(pointer: &str) -> Vec<String> {
    pointer
        .split('/')
        .skip(1)
        .map(|key| key.replace("~1", "/").replace("~0", "~"))
        .collect()
}

/// Puts a problem at the place of a key, or of the nearest table above it that was written.
pub fn at(tree: &Table, path: &str, problem: Problem) -> Problem {
    let keys: Vec<String> = path.split('.').map(str::to_owned).collect();
    for length in (1..=keys.len()).rev() {
        if let Some(entry) = tree.get(&keys[..length]) {
            return problem.at(&keys[..length].join("."), &entry.key_at);
        }
    }
    problem
}

/// The configuration in its types. What the schema lets through, the types take; else the schema has told it already.
pub fn typed(tree: &Table, problems: &mut Problems) -> Option<Config> {
    match serde_json::from_value(tree.to_json()) {
        Ok(config) => Some(config),
        Err(error) if problems.is_empty() => {
            problems.push(Problem::new(
                "config_type",
                format!("{error}; see im-bridge config schema"),
            ));
            None
        }
        Err(_) => None,
    }
}

/// What no schema can say: names, exclusions, limits against each other, secrets that are there.
pub fn beyond_schema(config: &Config, tree: &Table, schema: &Value, problems: &mut Problems) {
    let mut tell = |path: &str, code: &'static str, text: String| {
        problems.push(at(tree, path, Problem::new(code, text)));
    };
    names(config, &mut tell);
    lease(&config.nats, &mut tell);
    credentials(&config.nats, &mut tell);
    if config.admin.listen.parse::<SocketAddr>().is_err() {
        let text = "admin.listen must be an address with a port, such as \"127.0.0.1:8090\"";
        tell("admin.listen", "config_range", text.to_owned());
    }
    let webhook = &config.plugins.webhook.listen;
    if !webhook.is_empty() && webhook.parse::<SocketAddr>().is_err() {
        let text = "plugins.webhook.listen must be an address with a port, such as \"0.0.0.0:8091\", or empty";
        tell("plugins.webhook.listen", "config_range", text.to_owned());
    }
    let seal = &config.nats.seal;
    if !seal.uses.is_empty() && !seal.keys.contains_key(&seal.uses) {
        let text = format!(
            "nats.seal.use is `{}`, which nats.seal.keys has not; add it",
            seal.uses
        );
        tell("nats.seal.use", "nats_seal", text);
    }
    for (path, error) in crate::telemetry::mistakes(&config.telemetry) {
        tell(&path, error.code(), error.to_string());
    }
    for (path, reference) in references(config, schema) {
        if let Err(error) = reference.resolve(&path) {
            tell(&path, error.code(), error.to_string());
        }
    }
}

type Tell<'a> = dyn FnMut(&str, &'static str, String) + 'a;

fn names(config: &Config, tell: &mut Tell<'_>) {
    const PROVIDER: &str = "[a-z][a-z0-9-]{0,31}";
    const ALIAS: &str = "[a-z0-9][a-z0-9_-]{0,31}";
    let is_name = |name: &str, first: fn(char) -> bool, has_underscore: bool| {
        name.len() <= 32
            && name.starts_with(first)
            && !name.contains("__")
            && name.chars().all(|c| {
                c.is_ascii_lowercase()
                    || c.is_ascii_digit()
                    || c == '-'
                    || has_underscore && c == '_'
            })
    };
    for (provider, accounts) in &config.accounts {
        if !is_name(provider, |c| c.is_ascii_lowercase(), false) {
            let text = format!("provider name `{provider}` does not match {PROVIDER}; rename it");
            tell(&format!("accounts.{provider}"), "config_name", text);
        }
        for alias in accounts.keys() {
            if !is_name(
                alias,
                |c| c.is_ascii_lowercase() || c.is_ascii_digit(),
                true,
            ) {
                let text = format!(
                    "account name `{alias}` does not match {ALIAS} without `__`; rename it"
                );
                tell(&format!("accounts.{provider}.{alias}"), "config_name", text);
            }
        }
    }
}

fn lease(nats: &Nats, tell: &mut Tell<'_>) {
    let lease = &nats.lease;
    if lease.renew_s * 3 >= lease.stop_s {
        let text = format!(
            "nats.lease.stop_s must be more than three times renew_s ({}), else one lost renewal loses the lease; \
             write at least {}",
            lease.renew_s,
            lease.renew_s * 3 + 1
        );
        tell("nats.lease.stop_s", "config_range", text);
    }
    if lease.stop_s + 2 >= lease.ttl_s {
        let text = format!(
            "nats.lease.ttl_s must be more than stop_s ({}) and two seconds, else two replicas may hold an account; \
             write at least {}",
            lease.stop_s,
            lease.stop_s + 3
        );
        tell("nats.lease.ttl_s", "config_range", text);
    }
}

fn credentials(nats: &Nats, tell: &mut Tell<'_>) {
    let ways = [
        ("nats.creds", nats.creds.is_some()),
        ("nats.nkey", nats.nkey.is_some()),
        ("nats.user", nats.user.is_some()),
        ("nats.token", nats.token.is_some()),
    ];
    let given: Vec<&str> = ways
        .iter()
        .filter(|(_, is_given)| *is_given)
        .map(|(path, _)| *path)
        .collect();
    if let [first, second, ..] = given[..] {
        tell(
            second,
            "config_conflict",
            format!("{first} and {second} exclude each other; remove one"),
        );
    }
    let pairs = [
        (
            "nats.user",
            nats.user.is_some(),
            "nats.password",
            nats.password.is_some(),
        ),
        (
            "nats.tls.cert",
            nats.tls.cert.is_some(),
            "nats.tls.key",
            nats.tls.key.is_some(),
        ),
    ];
    for (one, has_one, other, has_other) in pairs {
        if has_one != has_other {
            let (given, missing) = if has_one { (one, other) } else { (other, one) };
            let text = format!(
                "{missing} is missing, which {given} needs; add {missing} = {{ file = \"…\" }}"
            );
            tell(given, "config_missing", text);
        }
    }
}

fn telemetry(config: &Telemetry) -> Vec<(String, Reference)> {
    let otlp = &config.otlp;
    let single = [
        ("telemetry.hash_key", &config.hash_key),
        ("telemetry.otlp.ca", &otlp.ca),
        ("telemetry.otlp.traces.ca", &otlp.traces.ca),
    ];
    let mut found: Vec<(String, Reference)> = single
        .into_iter()
        .filter_map(|(path, reference)| Some((path.to_owned(), reference.clone()?)))
        .collect();
    for (path, headers) in [
        ("telemetry.otlp.headers", &otlp.headers),
        ("telemetry.otlp.traces.headers", &otlp.traces.headers),
    ] {
        let of = |(name, reference): (&String, &Reference)| {
            (format!("{path}.{name}"), reference.clone())
        };
        found.extend(headers.iter().map(of));
    }
    found
}

/// Every reference to a secret, with the path of its key.
fn references(config: &Config, schema: &Value) -> Vec<(String, Reference)> {
    let nats = &config.nats;
    let own = [
        ("nats.creds", &nats.creds),
        ("nats.nkey", &nats.nkey),
        ("nats.user", &nats.user),
        ("nats.password", &nats.password),
        ("nats.token", &nats.token),
    ];
    let mut found: Vec<(String, Reference)> = own
        .into_iter()
        .filter_map(|(path, reference)| Some((path.to_owned(), reference.clone()?)))
        .collect();
    found.extend(telemetry(&config.telemetry));
    let keys = nats.seal.keys.iter();
    found.extend(
        keys.map(|(name, reference)| (format!("nats.seal.keys.{name}"), reference.clone())),
    );
    for (provider, accounts) in &config.accounts {
        let place =
            &schema["properties"]["accounts"]["properties"][provider]["additionalProperties"];
        for (alias, account) in accounts
            .iter()
            .filter(|(_, account)| account.bridge.enabled)
        {
            let path = format!("accounts.{provider}.{alias}");
            secrets_at(
                &Value::Object(account.adapter.clone()),
                place,
                schema,
                &path,
                &mut |path, value| {
                    if let Ok(reference) = serde_json::from_value(value.clone()) {
                        found.push((path.to_owned(), reference));
                    }
                },
            );
        }
    }
    found
}

/// Calls `with` for every value that stands where the schema wants a secret.
pub fn secrets_at(
    value: &Value,
    schema: &Value,
    root: &Value,
    path: &str,
    with: &mut dyn FnMut(&str, &Value),
) {
    let mut schema = schema;
    if schema.get(SECRET) == Some(&Value::Bool(true)) {
        with(path, value);
        return;
    }
    for _ in 0..16 {
        let target = schema["$ref"]
            .as_str()
            .and_then(|name| name.strip_prefix('#'))
            .and_then(|at| root.pointer(at));
        let Some(target) = target else { break };
        schema = target;
    }
    for word in ["anyOf", "oneOf", "allOf"] {
        for choice in schema[word].as_array().into_iter().flatten() {
            secrets_at(value, choice, root, path, with);
        }
    }
    let Value::Object(members) = value else {
        return;
    };
    for (key, value) in members {
        let rest = schema
            .get("additionalProperties")
            .filter(|rest| rest.is_object());
        if let Some(below) = schema["properties"].get(key).or(rest) {
            secrets_at(value, below, root, &format!("{path}.{key}"), with);
        }
    }
}
