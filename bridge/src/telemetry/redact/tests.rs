use super::*;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

fn knowing(secrets: &[&str]) -> Redactor {
    let redactor = Redactor::default();
    for secret in secrets {
        redactor.learn(secret);
    }
    redactor
}

#[test]
fn a_secret_is_found_as_it_is_percent_encoded_and_at_each_place_in_base64() {
    let secret = "p@ss/wörd+of=the~shop?";
    let redactor = knowing(&[secret]);
    for text in [
        format!("login with {secret} failed"),
        "sent p%40ss%2Fw%C3%B6rd%2Bof%3Dthe~shop%3F".to_owned(),
        "sent p%40ss%2fw%c3%b6rd%2bof%3dthe~shop%3f".to_owned(),
    ] {
        let out = redactor.redact(&text);
        assert!(out.contains(REDACTED) && !out.contains("shop"), "{out}");
    }
    for before in ["", "a", "ab", "abc"] {
        for engine in [&STANDARD as &dyn Encoder, &URL_SAFE_NO_PAD] {
            let text = engine.text(&format!("{before}{secret}{before}"));
            let out = redactor.redact(&text);
            assert!(out.contains(REDACTED), "{before}: {text} -> {out}");
            assert!(out.len() <= REDACTED.len() + 4, "{before}: {text} -> {out}");
        }
    }
}

trait Encoder {
    fn text(&self, of: &str) -> String;
}

impl<E: base64::Engine> Encoder for E {
    fn text(&self, of: &str) -> String {
        self.encode(of)
    }
}

#[test]
fn each_value_of_a_cookie_is_a_secret_of_its_own() {
    let redactor = knowing(&["sid=abcdef0123456789abcdef; lang=zh; _tk=9f8e7d6c5b4a_1700000000"]);
    let out = redactor.redact("provider said: token 9f8e7d6c5b4a_1700000000 is expired (lang=zh)");
    assert_eq!(out, "provider said: token [redacted] is expired (lang=zh)");
}

#[test]
fn a_text_without_secrets_is_handed_back() {
    let redactor = knowing(&["correct horse battery"]);
    assert!(matches!(
        redactor.redact("session began in 12 ms"),
        Cow::Borrowed(_)
    ));
    assert!(matches!(
        Redactor::default().redact("täxt"),
        Cow::Borrowed(_)
    ));
}

#[test]
fn addresses_lose_user_and_query() {
    let redactor = Redactor::default();
    for (text, cut) in [
        (
            "cannot reach nats://me:pw@host:4222, again in 1 s",
            "cannot reach nats://host:4222, again in 1 s",
        ),
        (
            r#"GET "https://a.example/x?sign=1&t=2" failed"#,
            r#"GET "https://a.example/x" failed"#,
        ),
        ("ws://u@h?q=1 and http://h/p?y", "ws://h and http://h/p"),
    ] {
        assert_eq!(redactor.redact(text), cut);
    }
}

#[test]
fn secrets_that_overlap_or_meet_leave_nothing_behind() {
    let redactor = knowing(&["abcdefghij", "fghijklmno", "ijklmnopqrst"]);
    let out = redactor.redact("x abcdefghijklmnopqrst y abcdefghijabcdefghij z");
    assert_eq!(out, "x [redacted] y [redacted] z");
}

#[test]
fn thousands_of_secrets_are_all_known_whenever_they_came() {
    let redactor = Redactor::default();
    let secret = |n: usize| format!("{n:05}-secret");
    for n in 0..3_000 {
        redactor.learn(&secret(n));
        if n % 100 == 0 || n == 65 {
            assert_eq!(redactor.redact(&secret(n)), REDACTED, "{n}");
        }
    }
    for n in [0, 63, 64, 65, 1_500, 2_999] {
        assert_eq!(redactor.redact(&secret(n)), REDACTED, "{n}");
    }
}

#[test]
fn names_of_secrets_are_known_by_their_last_word() {
    for name in [
        "token",
        "Cookie",
        "access_token",
        "accessToken",
        "set-cookie",
        "x.sign",
        "X-Signature",
    ] {
        assert!(is_secret_name(name), "{name}");
    }
    for name in [
        "tokens_left",
        "account",
        "design",
        "assign",
        "cookie_count",
        "",
    ] {
        assert!(!is_secret_name(name), "{name}");
    }
}
