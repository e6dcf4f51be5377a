//! Frames that are odd, and refusals.

use super::*;

fn answer(text: &str) -> Result<Reply, Refusal> {
    match read(text).unwrap() {
        Down::Answer(answer) => answer.outcome(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_push_is_told_by_its_path_even_when_it_looks_like_an_answer() {
    let text = r#"{"lwp":"/s/sync","code":200,"headers":{"mid":"1 0","z":1,"a":"x"},"body":{}}"#;
    let Down::Push(push) = read(text).unwrap() else {
        panic!("a push")
    };
    assert_eq!(
        push.acknowledgement,
        r#"{"code":200,"headers":{"mid":"1 0","z":1,"a":"x"}}"#
    );
    assert!(push.is_malformed);
    assert!(push.items.is_empty());
}

#[test]
fn only_the_number_200_without_a_reason_is_success() {
    assert!(answer(r#"{"code":200,"headers":{"mid":"1"},"body":{"a":1}}"#).is_ok());
    assert!(answer(r#"{"code":200,"headers":{"mid":"1"}}"#).is_ok());
    for text in [
        r#"{"code":0,"headers":{"mid":"1"},"body":{}}"#,
        r#"{"code":"200","headers":{"mid":"1"},"body":{}}"#,
        r#"{"code":200,"headers":{"mid":"1"},"body":{"reason":"no"}}"#,
    ] {
        assert!(answer(text).is_err(), "{text}");
    }
}

#[test]
fn an_answer_may_have_a_path_and_a_frame_may_be_neither() {
    assert!(answer(r#"{"lwp":"/reg","code":200,"headers":{"mid":"1"}}"#).is_ok());
    for body in [
        "[]",
        "7",
        "\"x\"",
        "null",
        r#"{"syncPushPackage":[]}"#,
        r#"{"syncPushPackage":{"data":{}}}"#,
    ] {
        let text = format!(r#"{{"lwp":"/s/sync","headers":[],"body":{body}}}"#);
        assert!(
            matches!(read(&text).unwrap(), Down::Push(push) if push.is_malformed),
            "{body}"
        );
    }
    for text in [r#"{"code":200}"#, r#"{"headers":{"mid":"1"}}"#, "{}"] {
        assert!(matches!(read(text).unwrap(), Down::Other), "{text}");
    }
    assert!(read("hello").is_err());
    assert!(read("[1]").is_err());
}

#[test]
fn refusals_are_told_apart() {
    let refused = |text: &str| answer(text).unwrap_err();
    let flow =
        refused(r#"{"code":200,"headers":{"mid":"1"},"body":{"reason":"x","code":"400600001"}}"#);
    assert!(flow.is_flow_control() && flow.is_certain());
    let flow = refused(r#"{"code":200,"headers":{"mid":"1"},"body":{"code":400600001}}"#);
    assert!(flow.is_flow_control());
    let content = refused(
        r#"{"code":200,"headers":{"mid":"1"},"body":{"reason":"x","moreInfo":"CSI_FORBID||x"}}"#,
    );
    assert!(content.is_content() && !content.is_flow_control());
    let unauthorized =
        refused(r#"{"code":401,"headers":{"mid":"1"},"body":{"reason":"invalid token"}}"#);
    assert!(unauthorized.is_unauthorized());
    assert!(
        refused(r#"{"code":400,"headers":{"mid":"1"},"body":{"reason":"Token Not Found"}}"#)
            .is_unauthorized()
    );
    assert!(
        refused(r#"{"code":403,"headers":{"mid":"1"},"body":{"reason":"connect limit"}}"#)
            .is_connection_limit()
    );
    for text in [
        r#"{"code":500,"headers":{"mid":"1"}}"#,
        r#"{"code":408,"headers":{"mid":"1"}}"#,
        r#"{"code":"x","headers":{"mid":"1"}}"#,
    ] {
        assert!(!refused(text).is_certain(), "{text}");
    }
}
