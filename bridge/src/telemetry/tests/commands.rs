//! Commands: what is noted on them, and whose trace they continue.

use super::*;

#[test]
fn a_part_of_a_command_is_noted_on_it_while_it_is_open() {
    let world = World::new(|_| {});
    let command = world.command(&carried(), Duration::ZERO, 1);
    let parent = command.context();
    let aux = |status| Op {
        parent,
        ..op("upload", Noise::AUX, status)
    };
    for _ in 0..20 {
        let follows = world.op(aux(Status::OK));
        assert_eq!(follows.span_id, parent.span_id);
    }
    command.finish(&end("ok"));
    world.op(aux(Status::OK));
    let spans = world.spans();
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].events.len(), 16);
}

#[test]
fn failures_inside_a_recorded_command_are_not_limited() {
    let world = World::new(|_| {});
    let command = world.command(&carried(), Duration::ZERO, 1);
    for _ in 0..3 {
        world.op(Op {
            parent: command.context(),
            ..op("look_up", Noise::POLL_EMPTY, Status::E_NOT_FOUND)
        });
    }
    let parent = context::hex_of(&command.context().span_id);
    command.finish(&end("error"));
    let spans = world.spans();
    let below: Vec<_> = spans.iter().filter(|span| span.parent == parent).collect();
    assert_eq!(below.len(), 3);
    assert!(
        below
            .iter()
            .all(|span| span.get("im.suppressed").is_empty())
    );
}

#[test]
fn a_command_continues_its_senders_trace_with_its_state() {
    let world = World::new(|config| {
        config.traces.baggage.insert("tenant".to_owned(), true);
    });
    let mut carried = carried();
    carried.baggage = Some("tenant=7,user=1".into());
    let span = world.command(&carried, Duration::ZERO, 1);
    world.op(Op {
        parent: span.context(),
        ..op("send", Noise::COMMAND, Status::OK)
    });
    let result = span.publish(|| ("publish res".to_owned(), "res".to_owned()));
    let mut headers = Vec::new();
    result.write(&mut headers);
    let names: Vec<_> = headers.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["traceparent", "tracestate", "baggage"]);
    assert_eq!(&*headers[2].1, "tenant=7");
    result.finish(&PublishEnd::Stored {
        message_id: "id",
        body_bytes: 3,
        stored: None,
    });
    span.finish(&end("ok"));
    let spans = world.spans();
    let [call, publish, process] = &spans[..] else {
        panic!("{spans:#?}")
    };
    assert_eq!(process.trace, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(process.parent, "00f067aa0ba902b7");
    assert!(call.is_below(process) && publish.is_below(process));
    for span in &spans {
        assert_eq!(span.state, "vendor=1", "{}", span.name);
    }
    assert!(headers[0].1.contains(&publish.id));
}

#[test]
fn old_commands_are_linked() {
    let linked = |change: fn(&mut types::Telemetry), age| {
        let world = World::new(change);
        let span = world.command(&carried(), age, 1);
        span.finish(&end("ok"));
        let spans = world.spans();
        let [span] = &spans[..] else {
            panic!("{spans:#?}")
        };
        let link = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let has_link = span.links == [(link.0.to_owned(), link.1.to_owned())];
        assert_eq!(span.is_root(), has_link);
        assert_ne!(span.trace == link.0, has_link);
        assert_eq!(span.state.is_empty(), has_link);
        has_link
    };
    assert!(!linked(|_| {}, Duration::from_secs(899)));
    assert!(linked(|_| {}, Duration::from_secs(901)));
    assert!(linked(
        |config| config.traces.consumer_parent = types::ConsumerParent::Link,
        Duration::ZERO
    ));
}

#[test]
fn what_is_sent_again_from_the_dead_letters_is_linked() {
    let world = World::new(|_| {});
    let facts = CommandFacts {
        is_redriven: true,
        ..world.facts(Duration::ZERO, 1)
    };
    let span = world.telemetry.command(&carried(), || facts);
    span.finish(&end("ok"));
    let spans = world.spans();
    let first = (
        "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
        "00f067aa0ba902b7".to_owned(),
    );
    assert!(spans[0].is_root() && spans[0].trace != first.0);
    assert_eq!(spans[0].links, [first]);
}

#[test]
fn a_malformed_context_is_a_new_root_and_counted() {
    let world = World::new(|_| {});
    let bad = Carried::read(None, Some("00-x"), None);
    world.command(&bad, Duration::ZERO, 1).finish(&end("ok"));
    let spans = world.spans();
    assert!(spans[0].is_root() && spans[0].links.is_empty());
    assert_eq!(world.figure(Metric::TraceContextInvalidTotal, &[]), 1.0);
}
