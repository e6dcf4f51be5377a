use super::*;
use serde_json::json;

fn schema() -> ConfigSchema {
    ConfigSchema::new(&json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["password", "rate"],
        "properties": {
            "password": { "$ref": "#/$defs/Secret" },
            "rate": { "type": "integer", "minimum": 1, "maximum": 60 },
            "mode": { "enum": ["poll", "push"] },
            "proxy": { "anyOf": [{ "$ref": "#/$defs/Proxy" }, { "type": "null" }] },
            "login": { "oneOf": [
                {
                    "type": "object", "required": ["kind", "user"], "additionalProperties": false,
                    "properties": { "kind": { "const": "user" }, "user": { "type": "string" } }
                },
                {
                    "type": "object", "required": ["kind", "token"], "additionalProperties": false,
                    "properties": { "kind": { "const": "token" }, "token": { "type": "string" } }
                },
            ] },
        },
        "$defs": {
            "Secret": { "type": "string", "x-imb-secret": true },
            "Proxy": {
                "type": "object", "additionalProperties": false,
                "properties": { "host": { "type": "string", "pattern": "^[a-z.]+$" } }
            },
        },
    }))
    .unwrap()
}

fn told(config: &Value) -> Vec<String> {
    let mistakes = schema().check("accounts.wukongim.desk", config);
    mistakes
        .iter()
        .map(|m| format!("{}: {m}", m.code))
        .collect()
}

#[test]
fn all_mistakes_are_told_with_place_and_remedy_and_without_a_value() {
    let config = json!({
        "pasword": "hunter2", "rate": 61, "mode": "pol", "proxy": { "host": "HUNTER2" }, "login": { "kind": "usr" },
    });
    assert_eq!(
        told(&config),
        [
            "config_choice: accounts.wukongim.desk.login.kind is none of `user`, `token`; did you mean `user`?",
            "config_choice: accounts.wukongim.desk.mode is none of `poll`, `push`; did you mean `poll`?",
            "config_missing: accounts.wukongim.desk.password is missing; add `password = \"…\"`",
            "config_unknown_key: accounts.wukongim.desk has no key `pasword`; did you mean `password`?",
            "config_range: accounts.wukongim.desk.proxy.host must be text that matches `^[a-z.]+$`",
            "config_range: accounts.wukongim.desk.rate must be from 1 to 60",
        ]
    );
}

#[test]
fn a_wrong_type_is_told_by_kind() {
    let config = json!({ "password": 1, "rate": "many", "login": { "kind": "user", "user": [] } });
    assert_eq!(
        told(&config),
        [
            "config_type: accounts.wukongim.desk.login.user is a list, expected a string; write `user = \"…\"`",
            "config_type: accounts.wukongim.desk.password is a number, expected a string; write `password = \"…\"`",
            "config_type: accounts.wukongim.desk.rate is a string, expected a whole number; write `rate = 1`",
        ]
    );
}

#[test]
fn a_good_configuration_is_silent() {
    let config = json!({ "password": "x", "rate": 60, "proxy": null, "login": { "kind": "token", "token": "t" } });
    assert_eq!(told(&config), [""; 0]);
}

#[test]
fn a_schema_that_cannot_be_used_says_where() {
    let refused = |schema: Value| ConfigSchema::new(&schema).unwrap_err().to_string();
    assert_eq!(refused(json!(true)), ": is not an object");
    assert_eq!(refused(json!({})), "/type: is not `object`");
    let open = json!({ "type": "object" });
    assert_eq!(refused(open), "/additionalProperties: is not false");
    let reserved = json!({
        "type": "object", "additionalProperties": false, "properties": { "bridge": {} },
    });
    assert_eq!(
        refused(reserved),
        "/properties/bridge: is the core's own key"
    );
    let no_schema = json!({
        "type": "object", "additionalProperties": false, "properties": { "a": { "type": "text" } },
    });
    assert!(refused(no_schema).starts_with("/properties/a/type: "));
    let outside = json!({
        "type": "object", "additionalProperties": false,
        "properties": { "a": { "$ref": "https://example.org/schema.json" } },
    });
    assert!(!refused(outside).is_empty());
}

#[test]
fn secrets_are_known_by_key() {
    assert!(schema().is_secret("password"));
    assert!(!schema().is_secret("rate"));
}
