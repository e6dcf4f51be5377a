//! What leaves for a collector, seen by one.

mod commands;
mod cost;
mod load;

use super::*;
use crate::bus::Shard;
use im_bridge_plugin_api::abi::{Delivery, Noise, Origin, Outcome, Status};
use im_bridge_test_harness::otlp::{Collector, Span};

const SOON: Duration = Duration::from_secs(20);
const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const MS: i64 = 1_000_000;
/// Some moment.
const THEN: i64 = 1_760_000_000_000 * MS;

fn config(endpoint: String) -> types::Telemetry {
    let mut config = types::Telemetry::default();
    config.otlp.endpoint = endpoint;
    config
}

struct World {
    collector: Collector,
    telemetry: Telemetry,
    account: Arc<AccountLabels>,
}

impl World {
    fn new(change: impl FnOnce(&mut types::Telemetry)) -> Self {
        let collector = Collector::start();
        let mut config = config(collector.url());
        change(&mut config);
        let telemetry = Telemetry::start(&config, "test").unwrap();
        Self {
            account: telemetry.account(&account("shop")),
            collector,
            telemetry,
        }
    }

    fn op(&self, op: Op<'_>) -> TraceContext {
        self.telemetry.op(&self.account, || op)
    }

    fn spans(&self) -> Vec<Span> {
        assert!(self.telemetry.flush(SOON));
        self.collector.check();
        self.collector.spans()
    }

    fn event(&self, noise: Noise, trace: TraceContext) -> EventSpan {
        let kind = self.telemetry.event_kind(
            &self.account,
            "message.created",
            "im.v1.evt.{provider}.{account}.message.created.{channel}".to_owned(),
            "im.v1.evt.chat.message.created",
        );
        EventSpan::begin(
            &kind.unwrap(),
            &EventFacts {
                noise,
                delivery: Delivery::LIVE,
                origin: Origin::REMOTE,
                trace,
                waited: Duration::ZERO,
            },
            [("shop", "7")].into_iter(),
        )
    }

    fn command(&self, carried: &Carried, age: Duration, attempt: u32) -> CommandSpan {
        let facts = self.facts(age, attempt);
        self.telemetry.command(carried, || facts)
    }

    fn facts(&self, age: Duration, attempt: u32) -> CommandFacts<'_> {
        CommandFacts {
            account: &self.account,
            command: "message.send",
            template: &|| "im.v1.cmd.{provider}.{account}.message.send".to_owned(),
            is_request: false,
            group: Some(Shard::of(&account("shop"), 64)),
            message_id: "one",
            stored: None,
            is_redriven: false,
            age,
            waited: Duration::ZERO,
            attempt,
        }
    }

    fn figure(&self, metric: Metric, labels: &[&str]) -> f64 {
        let mut to = Exposition::default();
        self.telemetry.0.collect(&mut to);
        let text = to.render();
        let names = metric.info().labels.iter().zip(labels);
        let labels: Vec<String> = names
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        let series = match labels.is_empty() {
            true => format!("im_bridge_{} ", metric.info().name),
            false => format!("im_bridge_{}{{{}}} ", metric.info().name, labels.join(",")),
        };
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

fn account(alias: &str) -> Account {
    Account::new("chat".parse().unwrap(), alias.parse().unwrap())
}

fn op(name: &str, noise: Noise, status: Status) -> Op<'_> {
    Op {
        name,
        noise,
        status,
        items: 0,
        start_ns: THEN,
        end_ns: THEN + 20 * MS,
        parent: TraceContext::NONE,
        attributes: Vec::new(),
    }
}

fn carried() -> Carried {
    Carried::read(None, Some(HEADER), Some("vendor=1"))
}

fn end(outcome: &'static str) -> CommandEnd<'static> {
    CommandEnd {
        outcome,
        error: None,
        queued: Duration::ZERO,
        at_provider: Duration::ZERO,
    }
}

#[test]
fn without_an_endpoint_there_are_neither_spans_nor_ids() {
    let telemetry = Telemetry::start(&types::Telemetry::default(), "test").unwrap();
    let labels = telemetry.account(&account("shop"));
    assert!(!telemetry.is_on());
    assert!(
        telemetry
            .event_kind(&labels, "a.b", String::new(), "x")
            .is_none()
    );
    let span = telemetry.command(&carried(), || unreachable!("nobody asks for facts"));
    let result = span.publish(|| unreachable!("nobody asks for names"));
    let mut headers = Vec::new();
    result.write(&mut headers);
    let written: Vec<_> = headers
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    assert_eq!(
        written,
        [("traceparent", HEADER), ("tracestate", "vendor=1")]
    );
}

#[test]
fn an_event_is_a_root_with_its_publish_below_it() {
    let world = World::new(|_| {});
    let mut span = world.event(Noise::EVENT, TraceContext::NONE);
    let context = span.context();
    span.published("id", 17, Ok((&"IM_EVT".into(), 5, false)));
    span.finish(Outcome::STORED);
    let spans = world.spans();
    let [publish, process] = &spans[..] else {
        panic!("{spans:#?}")
    };
    assert!(process.is_root() && process.links.is_empty() && publish.is_below(process));
    assert_eq!(publish.id, context::hex_of(&context.span_id));
    assert_eq!(
        (process.name.as_str(), process.kind.as_str()),
        ("process chat message.created", "CONSUMER")
    );
    assert_eq!(
        (publish.name.as_str(), publish.kind.as_str()),
        ("publish im.v1.evt.chat.message.created", "PRODUCER")
    );
    assert_eq!(process.get("im.outcome"), "stored");
    assert_eq!(process.get("im.meta.shop"), "7");
    assert_eq!(process.get("im.account"), "shop");
    assert_eq!(publish.get("messaging.nats.sequence"), "5");
    assert_eq!(publish.get("messaging.message.body.size"), "17");
    assert_eq!(process.resource["service.name"], "im-bridge");
    assert!(process.error.is_none() && publish.error.is_none());
}

#[test]
fn typing_and_presence_leave_nothing() {
    let world = World::new(|_| {});
    for noise in [Noise::AUX, Noise::HEARTBEAT] {
        let span = world.event(noise, TraceContext::NONE);
        assert!(span.context().is_none());
        span.finish(Outcome::STORED);
    }
    assert!(world.spans().is_empty());
}

#[test]
fn a_forgotten_span_says_so() {
    let world = World::new(|_| {});
    drop(world.event(Noise::EVENT, TraceContext::NONE));
    drop(world.command(&Carried::default(), Duration::ZERO, 1));
    let spans = world.spans();
    assert_eq!(spans.len(), 2);
    for span in spans {
        assert_eq!(span.error.as_deref(), Some("dropped"), "{}", span.name);
    }
}

#[test]
fn successes_of_every_class_leave_what_the_class_says() {
    let world = World::new(|_| {});
    for noise in [
        Noise::EVENT,
        Noise::POLL_HIT,
        Noise::POLL_EMPTY,
        Noise::HEARTBEAT,
        Noise::AUX,
        Noise(77),
    ] {
        assert!(world.op(op("any", noise, Status::OK)).is_none());
    }
    assert!(world.spans().is_empty());
    assert_eq!(
        world.figure(Metric::TelemetryExcludedTotal, &["noise"]),
        6.0
    );
    let session = world.op(op("login", Noise::SESSION, Status::OK));
    let send = world.op(Op {
        attributes: vec![
            ("http.request.method", "POST"),
            ("url.template", "/v1/message/send"),
            ("http.response.status_code", "200"),
            ("url.full", "https://api.example/v1/message/send"),
            ("im.x.part", "a"),
            ("authorization", "secret"),
        ],
        ..op("send", Noise::COMMAND, Status::OK)
    });
    assert!(!session.is_none() && !send.is_none());
    let spans = world.spans();
    assert_eq!(spans[0].name, "login");
    assert!(spans[0].is_root() && spans[0].kind == "CLIENT");
    assert_eq!(spans[1].name, "POST /v1/message/send");
    assert_eq!(spans[1].get("http.response.status_code"), "200");
    assert_eq!(spans[1].get("im.x.part"), "a");
    assert!(!world.collector.has_seen("api.example") && !world.collector.has_seen("secret"));
}

#[test]
fn a_failed_poll_has_its_true_times() {
    let world = World::new(|_| {});
    assert!(
        !world
            .op(op("poll", Noise::POLL_EMPTY, Status::E_UNAVAILABLE))
            .is_none()
    );
    let spans = world.spans();
    let [span] = &spans[..] else {
        panic!("{spans:#?}")
    };
    let ns = |at: i64| u64::try_from(at).unwrap();
    assert_eq!((span.start_ns, span.end_ns), (ns(THEN), ns(THEN + 20 * MS)));
    assert_eq!(
        (span.name.as_str(), span.kind.as_str()),
        ("poll chat", "INTERNAL")
    );
    assert_eq!(span.error.as_deref(), Some("unavailable"));
    assert_eq!(span.get("error.type"), "unavailable");
    assert_eq!(span.get("im.suppressed"), "0");
    assert!(span.is_root());
}

#[tokio::test(start_paused = true)]
async fn an_outage_gives_one_span_a_minute() {
    let world = World::new(|_| {});
    for _ in 0..=600 {
        world.op(op("poll", Noise::POLL_EMPTY, Status::E_UNAVAILABLE));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let spans = world.spans();
    let suppressed = spans
        .iter()
        .map(|span| span.get("im.suppressed").parse::<u64>().unwrap())
        .sum::<u64>();
    assert_eq!((spans.len(), suppressed), (11, 590));
    assert_eq!(
        world.figure(Metric::TelemetryExcludedTotal, &["limited"]),
        590.0
    );
    let before = world.spans().len();
    tokio::time::advance(Duration::from_secs(60)).await;
    for number in 0..1_000 {
        let labels = world.telemetry.account(&account(&number.to_string()));
        world.telemetry.op(&labels, || {
            op("poll", Noise::POLL_EMPTY, Status::E_UNAVAILABLE)
        });
    }
    assert_eq!(world.spans().len() - before, 60);
}

#[test]
fn a_session_that_fails_is_limited_and_a_command_that_fails_is_not() {
    let world = World::new(|_| {});
    for _ in 0..3 {
        world.op(op("login", Noise::SESSION, Status::E_AUTH));
        world.op(op("send", Noise::COMMAND, Status::E_INVALID));
    }
    let spans = world.spans();
    let of = |name: &str| spans.iter().filter(|span| span.name == name).count();
    assert_eq!((of("login"), of("send")), (1, 3));
}

#[test]
fn error_spans_ignore_the_ratio() {
    let world = World::new(|config| config.traces.sampler_arg = 0.0);
    let mut event = world.event(Noise::EVENT, TraceContext::NONE);
    let context = event.context();
    event.published("id", 1, Ok((&"IM_EVT".into(), 1, false)));
    event.finish(Outcome::STORED);
    world.op(op("poll", Noise::POLL_EMPTY, Status::E_UNAVAILABLE));
    world.op(op("login", Noise::SESSION, Status::OK));
    let spans = world.spans();
    assert_eq!(spans.len(), 1, "{spans:#?}");
    assert_eq!(spans[0].name, "poll chat");
    // Consumers shall not begin to record it either.
    let written = crate::envelope::traceparent(&context).unwrap();
    assert!(written.ends_with("-00"), "{}", &*written);
}

#[test]
fn excluded_addresses_leave_nothing_but_a_note_of_a_send() {
    let world = World::new(|_| {});
    let command = world.command(&carried(), Duration::ZERO, 1);
    for url in [
        "https://imapi.volcvideo.com/v1/send?token=1",
        "wss://frontier-x.ivolces.com/ws",
    ] {
        for noise in [Noise::COMMAND, Noise::SESSION, Noise::POLL_HIT, Noise::AUX] {
            world.op(Op {
                parent: command.context(),
                attributes: vec![("url.full", url), ("server.address", "imapi.volcvideo.com")],
                ..op("send", noise, Status::OK)
            });
        }
    }
    let context = command.context();
    command.finish(&end("ok"));
    let spans = world.spans();
    let [span] = &spans[..] else {
        panic!("{spans:#?}")
    };
    assert_eq!(span.id, context::hex_of(&context.span_id));
    let noted: Vec<_> = span.events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(noted, ["im.op", "im.op"]);
    assert_eq!(span.events[0].1["im.operation"], "send");
    assert_eq!(span.events[0].1["im.duration_us"], "20000");
    assert!(!world.collector.has_seen("volcvideo") && !world.collector.has_seen("url.full"));
    assert_eq!(world.figure(Metric::TelemetryExcludedTotal, &["url"]), 8.0);
}

#[test]
fn an_excluded_failure_is_seen_without_its_address() {
    for keeps in [true, false] {
        let world = World::new(|config| config.traces.exclude_keep_errors = keeps);
        world.op(Op {
            attributes: vec![
                ("url.full", "https://imapi.volcvideo.com/v1/poll"),
                ("url.template", "/v1/poll"),
                ("server.address", "imapi.volcvideo.com"),
                ("http.response.status_code", "502"),
            ],
            ..op("poll", Noise::POLL_EMPTY, Status::E_UNAVAILABLE)
        });
        let spans = world.spans();
        assert_eq!(spans.len(), usize::from(keeps));
        for span in spans {
            let keys = span.attributes.keys();
            let address = keys.filter(|key| key.starts_with("url.") || key.starts_with("server."));
            assert_eq!(address.count(), 0, "{span:#?}");
            assert_eq!(span.get("http.response.status_code"), "502");
        }
        assert!(!world.collector.has_seen("volcvideo"));
    }
}

#[test]
fn a_poll_shows_only_to_whoever_wants_to_see_it() {
    let world = World::new(|config| {
        config.traces.poll_hit_spans = true;
        config.traces.slow_poll_ms = 10;
    });
    let hit = world.op(Op {
        items: 3,
        ..op("poll", Noise::POLL_HIT, Status::OK)
    });
    for _ in 0..3 {
        world.event(Noise::POLL_HIT, hit).finish(Outcome::STORED);
    }
    world.op(op("poll", Noise::POLL_EMPTY, Status::OK));
    let spans = world.spans();
    let poll = &spans[0];
    assert_eq!(
        (poll.name.as_str(), poll.get("im.poll.items")),
        ("poll chat", "3")
    );
    let events: Vec<_> = spans
        .iter()
        .filter(|span| span.kind == "CONSUMER")
        .collect();
    assert_eq!(events.len(), 3);
    for event in events {
        assert!(event.is_root());
        assert_eq!(event.links, [(poll.trace.clone(), poll.id.clone())]);
        assert_eq!(event.get("im.ingest"), "poll");
    }
    let slow = spans.last().unwrap();
    assert_eq!(slow.get("im.slow"), "true");
}

#[tokio::test(start_paused = true)]
async fn a_webhook_leaves_a_span_if_it_brought_events_or_failed() {
    let world = World::new(|_| {});
    let empty = world.telemetry.webhook(&world.account);
    empty.finish(200);
    let hook = world.telemetry.webhook(&world.account);
    let context = hook.context();
    world.event(Noise::EVENT, context).finish(Outcome::STORED);
    hook.finish(200);
    for _ in 0..3 {
        world.telemetry.webhook(&world.account).finish(401);
    }
    drop(world.telemetry.webhook(&world.account));
    let spans = world.spans();
    let [event, hook, refused] = &spans[..] else {
        panic!("{spans:#?}")
    };
    assert_eq!(hook.id, context::hex_of(&context.span_id));
    assert_eq!(
        (hook.name.as_str(), hook.kind.as_str()),
        ("webhook chat", "SERVER")
    );
    assert_eq!(event.get("im.ingest"), "webhook");
    assert_eq!(event.links, [(hook.trace.clone(), hook.id.clone())]);
    assert_eq!(refused.error.as_deref(), Some("401"));
    assert_eq!(
        world.figure(Metric::TelemetryExcludedTotal, &["limited"]),
        2.0
    );
}

#[test]
fn an_alias_can_be_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "secret").unwrap();
    let world = World::new(|config| {
        config.traces.hash_account = true;
        config.hash_key = Some(crate::config::secret::Reference::File(key));
    });
    world.op(op("login", Noise::SESSION, Status::OK));
    let spans = world.spans();
    let alias = spans[0].get("im.account");
    assert!(alias.starts_with("h_") && alias.len() == 14, "{alias}");
    assert!(!world.collector.has_seen("shop"));
}

#[test]
fn what_cannot_be_used_is_refused_with_its_key() {
    let refused = |change: fn(&mut types::Telemetry)| {
        let mut config = config(String::new());
        change(&mut config);
        let error = Telemetry::start(&config, "test").err().unwrap();
        let (path, same) = mistakes(&config).remove(0);
        assert_eq!(same.to_string(), error.to_string());
        (error.code(), path)
    };
    let code = |code, path: &str| (code, path.to_owned());
    assert_eq!(
        refused(|it| it.otlp.endpoint = "collector:4318".to_owned()),
        code("telemetry_endpoint", "telemetry.otlp.endpoint")
    );
    assert_eq!(
        refused(|it| it.otlp.traces.endpoint = Some("x".to_owned())),
        code("telemetry_endpoint", "telemetry.otlp.traces.endpoint")
    );
    assert_eq!(
        refused(|it| it.traces.sampler = "jaeger_remote".to_owned()),
        code("telemetry_sampler", "telemetry.traces.sampler")
    );
    assert_eq!(
        refused(|it| {
            it.traces
                .exclude_urls
                .insert("own".to_owned(), "(".to_owned());
        }),
        code("telemetry_url_pattern", "telemetry.traces.exclude_urls.own")
    );
    assert_eq!(
        refused(|it| it.traces.hash_account = true),
        code("config_missing", "telemetry.traces.hash_account")
    );
}

#[cfg(not(feature = "otlp-grpc"))]
#[test]
fn a_build_without_grpc_says_so() {
    let mut config = config("http://127.0.0.1:4317".to_owned());
    config.otlp.protocol = types::Protocol::Grpc;
    let error = Telemetry::start(&config, "test").err().unwrap();
    assert_eq!(error.code(), "telemetry_protocol");
    assert!(error.to_string().contains("4318"), "{error}");
}
