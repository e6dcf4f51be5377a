use super::*;

/// What would be written, line by line.
fn said_with(config: &Logs, say: impl FnOnce()) -> Vec<String> {
    let sink = Arc::new(Sink::new(config));
    let subscriber = tracing_subscriber::registry().with(Lines(Arc::clone(&sink)));
    tracing::subscriber::with_default(subscriber, say);
    sink.summarise(Instant::now(), true);
    sink.ring.taken()
}

fn said(format: LogFormat, say: impl FnOnce()) -> String {
    let config = Logs {
        format,
        ..Logs::default()
    };
    said_with(&config, say).concat()
}

#[test]
fn a_line_is_one_flat_object_with_the_fixed_keys_first() {
    let line = said(LogFormat::Json, || {
        tracing::warn!(account = "chat/shop", attempt = 3, "session \"failed\"\n");
    });
    let (ts, rest) = line.split_at(r#"{"ts":"1970-01-01T00:00:00.000Z","#.len());
    assert!(
        ts.starts_with(r#"{"ts":"20"#) && ts.ends_with(r#"Z","#),
        "{line}"
    );
    let target = module_path!();
    let expected = format!(
        "\"level\":\"warn\",\"target\":\"{target}\",\"msg\":\"session \\\"failed\\\"\\n\",\
         \"provider\":\"chat\",\"account\":\"shop\",\"attempt\":3}}\n"
    );
    assert_eq!(rest, expected);
}

#[test]
fn a_stranger_cannot_repaint_the_terminal_or_flood_it() {
    let line = said(LogFormat::Text, || {
        tracing::info!(name = "\u{1b}[2Jx", "hello")
    });
    assert!(!line.contains('\u{1b}'), "{line}");
    let line = said(LogFormat::Json, || {
        let x = "x".repeat(10_000);
        tracing::info!(a = x, b = x, c = x, d = x, e = x, f = x, g = x, "hello");
    });
    assert!(line.len() <= 16 << 10, "{}", line.len());
    assert!(line.ends_with("…\"}\n"), "{line}");
}

#[test]
fn no_secret_is_in_a_line_whatever_field_it_came_in() {
    super::super::redact::learn("pass-phrase-of-a-test");
    let line = said(LogFormat::Json, || {
        tracing::info!(
            text = "key pass-phrase-of-a-test",
            access_token = "anything",
            url = "wss://u:p@host/x?sign=1",
            "refused: pass-phrase-of-a-test"
        );
    });
    for kept in ["pass-phrase", "anything", "sign=", "u:p@"] {
        assert!(!line.contains(kept), "{line}");
    }
    assert_eq!(line.matches("[redacted]").count(), 3, "{line}");
}

#[test]
fn equal_warnings_are_five_lines_and_a_sum() {
    let lines = said_with(&Logs::default(), || {
        for n in 0..10_000 {
            tracing::warn!(account = "chat/a", n, "poll failed");
        }
        tracing::warn!(account = "chat/b", "poll failed");
    });
    assert_eq!(lines.len(), 5 + 1 + 1);
    assert!(lines[6].contains("\"suppressed\":9995"), "{}", lines[6]);
    assert!(lines[6].contains("\"msg\":\"poll failed\""), "{}", lines[6]);
}

#[test]
fn levels_can_be_set_by_the_beginning_of_a_target() {
    let config = Logs {
        level: LogLevel::Warn,
        targets: BTreeMap::from([
            ("im_bridge".to_owned(), LogLevel::Debug),
            ("im_bridge::telemetry::logs".to_owned(), LogLevel::Error),
        ]),
        ..Logs::default()
    };
    let sink = Sink::new(&config);
    assert_eq!(sink.most("im_bridge::app"), Level::DEBUG);
    assert_eq!(sink.most("im_bridge::telemetry::logs::tests"), Level::ERROR);
    assert_eq!(sink.most("im_bridge_else"), Level::WARN);
    assert_eq!(sink.most("async_nats::connector"), Level::WARN);
    let lines = said_with(&config, || tracing::warn!("not this"));
    assert!(lines.is_empty(), "{lines:?}");
}

#[test]
fn a_panic_is_a_line_and_holds_no_secret() {
    super::super::redact::learn("secret-of-a-panic");
    let line = said(LogFormat::Json, || {
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(panicked));
        let caught = std::panic::catch_unwind(|| panic!("key secret-of-a-panic-42 is refused"));
        std::panic::set_hook(former);
        assert!(caught.is_err());
    });
    assert!(line.contains("\"code\":\"internal_bug\""), "{line}");
    assert!(line.contains("panic: key [redacted] is refused"), "{line}");
}
