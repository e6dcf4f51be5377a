//! What the schema says, and what errors say and do not say.

use super::*;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize, JsonSchema)]
struct Config {
    #[allow(dead_code, reason = "read from JSON only")]
    url: String,
    token: Secret,
    #[serde(default)]
    #[allow(dead_code, reason = "read from JSON only")]
    rooms: Vec<Room>,
    #[serde(default)]
    #[allow(dead_code, reason = "read from JSON only")]
    names: BTreeMap<String, u16>,
    #[serde(default)]
    #[allow(dead_code, reason = "read from JSON only")]
    extra: Option<Room>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Room {
    #[allow(dead_code, reason = "read from JSON only")]
    id: u8,
}

fn refused(json: &str) -> ConfigError {
    parse::<Config>(json).unwrap_err()
}

#[test]
fn the_schema_is_closed_at_every_depth_and_marks_secrets() {
    let schema = schema::<Config>();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["token"]["x-imb-secret"], true);
    let room = &schema["properties"]["rooms"]["items"];
    assert_eq!(room["additionalProperties"], false);
    let names = &schema["properties"]["names"]["additionalProperties"];
    assert_eq!(names["type"], "integer", "maps stay open");
}

#[test]
fn a_fitting_configuration_is_read() {
    let config: Config =
        parse(r#"{"url":"x","token":"hush","rooms":[{"id":1}],"names":{"a":1},"extra":null}"#)
            .unwrap();
    assert_eq!(config.token.expose(), "hush");
}

#[test]
fn errors_name_the_place() {
    assert_eq!(refused(r#"{"url":"x"}"#).pointer(), "/token");
    assert_eq!(
        refused(r#"{"url":"x","token":"t","ulr":"y"}"#).pointer(),
        "/ulr"
    );
    let deep = r#"{"url":"x","token":"t","rooms":[{"id":1},{"id":"one"}]}"#;
    assert_eq!(refused(deep).pointer(), "/rooms/1/id");
    let optional = r#"{"url":"x","token":"t","extra":{"id":1,"it":2}}"#;
    assert_eq!(refused(optional).pointer(), "/extra/it");
}

#[test]
fn errors_never_hold_the_value() {
    for json in [
        r#"{"url":"x","token":{"planted":"s3cret"}}"#,
        r#"{"url":"x","token":"t","rooms":[{"id":"s3cret"}]}"#,
        r#"{"url":"x","token":"t","rooms":[{"id":77777}]}"#,
        r#"{"url":"x","token":"s3cret""#,
    ] {
        let error = serde_json::to_string(&refused(json)).unwrap();
        assert!(!error.contains("s3cret"), "{error}");
        assert!(!error.contains("77777"), "{error}");
    }
}

#[test]
fn a_secret_is_never_printed() {
    let secret = Secret::from("hush".to_owned());
    assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
}
