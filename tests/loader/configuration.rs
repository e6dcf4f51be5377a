//! An account's configuration against the schema of an adapter that was really loaded.

use super::Workshop;
use super::described::capabilities;
use serde_json::json;

#[test]
fn three_mistakes_are_told_at_once_with_place_and_nearest_name() {
    let shop = Workshop::new();
    let describe = json!({
        "describe": 1, "provider": "zoo", "adapter": { "name": "zoo", "version": "1.0.0" },
        "model": { "major": 1, "minor": 0 }, "capabilities": capabilities("none"),
        "config_schema": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "password": { "type": "string", "x-imb-secret": true },
                "rate": { "type": "integer", "minimum": 1, "maximum": 60 },
                "mode": { "enum": ["poll", "push"] },
            },
        },
        "config_examples": [{}],
    });
    let literal: String = describe
        .to_string()
        .chars()
        .flat_map(char::escape_default)
        .collect();
    let file = shop.plugin("p", &[format!("-DDESCRIBE=\"{literal}\"")]);
    let schema = &shop.load(&file).unwrap().description.config_schema;

    let config = json!({ "pasword": "hunter2", "rate": 99, "mode": "pull" });
    let told: Vec<_> = schema
        .check("accounts.zoo.desk", &config)
        .iter()
        .map(|mistake| format!("{} {}: {mistake}", mistake.code, mistake.pointer))
        .collect();
    assert_eq!(
        told,
        [
            "config_choice /mode: accounts.zoo.desk.mode is none of `poll`, `push`; did you mean `poll`?",
            "config_unknown_key /pasword: accounts.zoo.desk has no key `pasword`; did you mean `password`?",
            "config_range /rate: accounts.zoo.desk.rate must be from 1 to 60",
        ]
    );
    assert!(!told.join("").contains("hunter2"));
}
