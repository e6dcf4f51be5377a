use super::*;

#[test]
fn state_is_kept_with_revisions() {
    let mock = plain();
    let kv = |params: serde_json::Value| {
        let before = mock.recording().kv.len();
        mock.execute(Command::new("kv").params(params));
        mock.wait("a result", SOON, |seen| seen.kv.get(before).cloned())
    };
    let put = |revision: u64, value: &str| {
        let record = kv(
            json!({ "request": 1, "verb": 2, "key": "cursor/a", "value": value, "revision": revision }),
        );
        (record.status, record.revision)
    };
    assert_eq!(put(0, "x"), (Status::OK, 1));
    assert_eq!(put(0, "y"), (Status::E_CONFLICT, 1));
    assert_eq!(put(1, "z"), (Status::OK, 2));
    assert_eq!(mock.kv().get("cursor/a").as_deref(), Some(&b"z"[..]));
    assert_eq!(
        kv(json!({ "request": 2, "verb": 1, "key": "cursor/b" })).status,
        Status::E_NOT_FOUND
    );
    assert_eq!(
        kv(json!({ "request": 3, "verb": 4, "key": "cursor/" })).status,
        Status::OK
    );
    mock.wait("the list", SOON, |seen| {
        seen.logs
            .iter()
            .find(|log| log.message == r#"kv 3 0 0 {"cursor/a":2}"#)
            .cloned()
    });
    mock.fail_kv(&[Status::E_UNAVAILABLE]);
    assert_eq!(
        kv(json!({ "request": 4, "verb": 3, "key": "cursor/a" })).status,
        Status::E_UNAVAILABLE
    );
    assert_eq!(
        kv(json!({ "request": 5, "verb": 3, "key": "cursor/a" })).status,
        Status::OK
    );
    assert!(mock.kv().keys().is_empty());
    assert!(mock.take_violations().is_empty());
    assert_eq!(
        kv(json!({ "request": 6, "verb": 1, "key": "no spaces" })).status,
        Status::E_INVALID
    );
    assert_eq!(mock.into_violations().len(), 1);
}

#[test]
fn at_most_64_requests_of_state_are_in_flight() {
    let mock = plain();
    mock.hold_kv();
    for request in 0..65 {
        let get = json!({ "request": request, "verb": 1, "key": "cursor" });
        let id = mock.execute(Command::new("kv").params(get));
        mock.wait_completion(id, SOON);
    }
    assert_eq!(mock.kv_in_flight(), 64);
    mock.wait("the refusal", SOON, |seen| {
        let refused = format!("kv refused {}", Status::E_RATE_LIMITED.0);
        seen.logs.iter().find(|log| log.message == refused).cloned()
    });
    let again = json!({ "request": 1, "verb": 1, "key": "cursor" });
    mock.release_kv();
    mock.wait("64 results", SOON, |seen| {
        (seen.kv.len() == 64).then_some(())
    });
    mock.execute(Command::new("kv").params(again));
    mock.wait("65 results", SOON, |seen| {
        (seen.kv.len() == 65).then_some(())
    });
    mock.finish();
}

#[test]
fn given_buffers_are_released_exactly_once() {
    let get = || Command::new("kv").params(json!({ "request": 1, "verb": 1, "key": "cursor" }));
    let store = KvStore::default();
    store.put("cursor", b"7");
    let what = "the value for imb.kv/1 request 1".to_owned();
    for (value, expected) in [
        ("keep", vec![]),
        (
            "twice",
            vec![Violation::ReleasedTwice {
                what: what.clone(),
                times: 2,
            }],
        ),
        ("leak", vec![Violation::NeverReleased { what }]),
    ] {
        if cfg!(miri) && value == "leak" {
            continue;
        }
        let mock = started(host().kv(&store).config(json!({ "value": value })));
        mock.execute(get());
        mock.wait("the value", SOON, |seen| {
            seen.logs
                .iter()
                .find(|log| log.message == "kv 1 0 1 7")
                .cloned()
        });
        assert_eq!(mock.into_violations(), expected, "{value}");
    }
}

#[test]
fn simulated_time_fires_timers_on_its_way() {
    let mock = started(host().offer(Extension::Clock));
    let before = mock.now_ms();
    tell(&mock, "timer");
    mock.wait_timers(1, SOON);
    for second in 1..=5 {
        mock.advance(Duration::from_secs(1));
        mock.wait_ops("tick", second, SOON);
        mock.wait_timers(1, SOON);
    }
    assert_eq!(mock.now_ms() - before, 5000);
    mock.finish();
}

#[test]
fn metrics_are_defined_in_create_and_updated_by_label() {
    let mock = plain();
    let update = |at: u32| {
        let id = mock.execute(Command::new("metric").params(json!({ "at": at })));
        mock.wait_completion(id, SOON);
    };
    update(1);
    update(1);
    assert_eq!(mock.metric("things_total", &["no"]), Some(4.0));
    assert_eq!(mock.metric("things_total", &["yes"]), None);
    update(2);
    assert!(matches!(
        mock.into_violations()[..],
        [Violation::BadMetric { .. }]
    ));
}

#[test]
fn a_webhook_is_answered_after_its_events_are_settled() {
    let mock = started(host().offer(Extension::Webhook).auto_grant(8, 1000));
    assert_eq!(
        mock.webhook(Webhook::post("/other", "x")),
        Err(Status::E_NOT_FOUND)
    );
    let id = mock.webhook(Webhook::post("/known", "x")).expect("taken");
    let token = mock.wait_events(1, SOON)[0].token;
    mock.settle(token, Outcome::STORED);
    let response = mock.wait_response(id, SOON);
    assert_eq!((response.status, &response.body[..]), (200, &b"ok"[..]));

    let id = mock
        .webhook(Webhook::post("/known", "hurry"))
        .expect("taken");
    mock.wait_response(id, SOON);
    let (status, open) = (200, 1);
    assert_eq!(
        mock.into_violations(),
        [Violation::RespondedBeforeSettle { id, status, open }]
    );
}

#[test]
fn an_unanswered_webhook_is_seen_at_the_end() {
    let settling = Settling::Always(Outcome::STORED);
    let mock = started(
        host()
            .offer(Extension::Webhook)
            .auto_grant(8, 1000)
            .auto_settle(settling),
    );
    let id = mock
        .webhook(Webhook::post("/known", "forget"))
        .expect("taken");
    mock.wait_events(1, SOON);
    assert_eq!(mock.into_violations(), [Violation::NeverResponded { id }]);
}

#[test]
fn operations_are_checked_and_answered_with_a_context() {
    let mock = plain();
    let op = |name: &str| {
        let id = mock.execute(Command::new("op").params(json!({ "name": name })));
        mock.wait_completion(id, SOON);
    };
    op("ask");
    assert!(mock.wait_ops("ask", 1, SOON)[0].span.is_some());
    op("guess");
    let name = "guess".to_owned();
    assert_eq!(mock.take_violations(), [Violation::OpNotDeclared { name }]);
    tell(&mock, "url");
    let violations = mock.into_violations();
    assert!(matches!(
        violations[..],
        [Violation::BadField {
            function: Function::Op,
            ..
        }]
    ));
}

#[test]
fn planted_secrets_are_found() {
    let mock = plain();
    tell(&mock, "log");
    let seen = mock.finish();
    assert_eq!(seen.mentions("hello"), ["log 0"]);
    assert!(seen.mentions("hunter2").is_empty());
}
