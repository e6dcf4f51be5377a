//! Example messages of four providers: read into types and written again, they are the same bytes.

use crate::example;
use im_bridge_sdk::model::{
    Command, CommandData, CommandEnvelope, Event, EventEnvelope, EventKind, Json, Params,
    ResultData, ResultEnvelope, Time, ids, params, results, strict,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Length and SHA-256 of each example, so that an editor that reformats one is noticed.
const VECTORS: [(&str, usize, &str); 12] = [
    (
        "goofish.event",
        1105,
        "ef7d2c918d7b2eec65b5260288a6e7d2adc2ae48684de056c6f043bd8ce66c63",
    ),
    (
        "goofish.command",
        466,
        "0eed4572ef3d23c35cf709d7f50410354193dd54ec08240f4a973952c1bdae05",
    ),
    (
        "goofish.result",
        858,
        "244f187ae5a9f5f1c8e6824dbc331410137ddeadade79e412ed863a4b6e3afac",
    ),
    (
        "wukongim.event",
        1207,
        "b57c73e3de721efb0573e1973582eaa8cfc9ce2998dfa02efd6cfdd4c4eecfa9",
    ),
    (
        "wukongim.command",
        129,
        "7448acf021bbf235dac5708abfaf04f28b1ac955db8fdca2eed358cf333ebf6c",
    ),
    (
        "wukongim.result",
        832,
        "5bb3d3f56de3568c8b9d492a852ea5868e6f1d1dff4036ebfa2d42431a7438fb",
    ),
    (
        "volcengine.event",
        1154,
        "74ef91b3e36b0eaa4db382f0c8546a7e6089c89c262c05de02827d0dfb3973c2",
    ),
    (
        "volcengine.command",
        374,
        "eedad0b2aec7b745c4411abd21f528e71fe9cf5679bc6653236d05fd5d4f1449",
    ),
    (
        "volcengine.result",
        911,
        "9d1a87895e8deb81357080a706932d557adbe02317c1fc4505b95c9ad283cef3",
    ),
    (
        "dromara.event",
        1110,
        "d18989d666941f115d73fa159de2c44896317bc2ba480b104c367d27de0ac178",
    ),
    (
        "dromara.command",
        509,
        "dacb51261560eead5f1c782765a107cd02596f6bb1490dce555da04b7ba1aab2",
    ),
    (
        "dromara.result",
        969,
        "202784298710adc66bc69a70566eef796f174205f53a8c7ab75d168c22015b69",
    ),
];

const PROVIDERS: [&str; 4] = ["goofish", "wukongim", "volcengine", "dromara"];

#[track_caller]
fn assert_same(name: &str, written: &impl Serialize, bytes: &[u8]) {
    let written = serde_json::to_string(written).unwrap();
    assert_eq!(written, str::from_utf8(bytes).unwrap(), "{name}");
}

fn event(provider: &str) -> (EventEnvelope<Json>, Event) {
    let envelope: EventEnvelope<Json> =
        serde_json::from_slice(&example(&format!("{provider}.event"))).unwrap();
    let data = envelope.data.as_ref().unwrap();
    let event = Event::read(EventKind::MessageCreated, data.as_str().as_bytes()).unwrap();
    (envelope, event)
}

#[test]
fn examples_are_the_published_bytes() {
    for (name, bytes, sha256) in VECTORS {
        let text = example(name);
        let hash = ring::digest::digest(&ring::digest::SHA256, &text);
        let hex: String = hash
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!((text.len(), hex.as_str()), (bytes, sha256), "{name}");
    }
}

#[test]
fn events_read_and_written_are_the_same_bytes() {
    for provider in PROVIDERS {
        let (mut envelope, event) = event(provider);
        let mut payload = Vec::new();
        event.write_payload(&mut payload);
        envelope.data = Some(Json::from_text(String::from_utf8(payload).unwrap()).unwrap());
        assert_same(provider, &envelope, &example(&format!("{provider}.event")));
    }
}

#[test]
fn events_have_the_ids_of_what_happened() {
    for provider in PROVIDERS {
        let (envelope, event) = event(provider);
        let mut payload = Vec::new();
        event.write_payload(&mut payload);
        let id = ids::event_id(&ids::EventIdentity {
            provider: &envelope.provider,
            account: &envelope.account,
            kind: event.kind().as_str(),
            channel: event.channel_id().unwrap_or_default(),
            native_id: &event.native_id(),
            native_rev: &event.native_rev(),
            payload: &payload,
            time_ms: envelope.time.ms(),
        });
        assert_eq!(id.as_str(), envelope.id, "{provider}");
        assert_eq!(
            ids::channel_token(event.channel_id()),
            envelope.partitionkey.unwrap(),
            "{provider}"
        );
        assert_eq!(event.occurred(), Some(envelope.time), "{provider}");
    }
}

#[test]
fn messages_built_by_hand_say_the_same_as_those_read() {
    for provider in PROVIDERS {
        let (_, event) = event(provider);
        let im_bridge_sdk::model::Body::MessageCreated(body) = event.body else {
            unreachable!("read as one");
        };
        let read = body.message;
        let mut built = im_bridge_sdk::model::Message::new(
            read.id.clone(),
            read.segments.clone(),
            read.created_at,
        );
        built.reply_to.clone_from(&read.reply_to);
        assert_eq!(built, read, "{provider}");
    }
}

fn command<P: Params>(provider: &str) {
    let bytes = example(&format!("{provider}.command"));
    let envelope: CommandEnvelope<CommandData<P>> = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(envelope.r#type, format!("im-bridge.cmd.{}.v1", P::NAME));
    assert_same(provider, &envelope, &bytes);
    let tree: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let strictly: CommandData<P> = strict::read(&tree["data"]).unwrap();
    assert_eq!(
        serde_json::to_value(&strictly).unwrap(),
        tree["data"],
        "{provider}"
    );
    let name: Command = P::NAME.parse().unwrap();
    assert_eq!(name.check(&tree["data"]["params"]), Ok(()), "{provider}");
}

#[test]
fn commands_read_and_written_are_the_same_bytes() {
    command::<params::MessageSend>("goofish");
    command::<params::MessageRecall>("volcengine");
    command::<params::MessageSend>("dromara");
    // This one comes without an envelope, as from a terminal.
    let bytes = example("wukongim.command");
    let data: CommandData<params::ChannelCreate> = serde_json::from_slice(&bytes).unwrap();
    assert_same("wukongim", &data, &bytes);
}

fn result<R: Serialize + DeserializeOwned>(provider: &str) {
    let bytes = example(&format!("{provider}.result"));
    let envelope: ResultEnvelope<ResultData<R>> = serde_json::from_slice(&bytes).unwrap();
    assert_same(provider, &envelope, &bytes);
    let data = envelope.data.as_ref().unwrap();
    let code = data.error.as_ref().map_or("", |error| &error.code);
    let id = ids::result_id(
        &envelope.provider,
        &envelope.account,
        &data.command_id,
        data.status.as_str(),
        code,
    );
    assert_eq!(id.as_str(), envelope.id, "{provider}");
    if let Some(error) = &data.error {
        let known = error.known_code().unwrap();
        let told = (error.num, error.class, error.retryable);
        assert_eq!(
            told,
            (known.num(), known.class(), known.is_retryable()),
            "{provider}"
        );
    }
}

#[test]
fn results_read_and_written_are_the_same_bytes_with_the_same_id() {
    result::<results::MessageSend>("goofish");
    result::<results::ChannelCreate>("wukongim");
    result::<results::Done>("volcengine");
    result::<results::MessageSend>("dromara");
}

#[test]
fn a_keyless_event_takes_its_id_from_bytes_and_second() {
    let identity = ids::EventIdentity {
        provider: "sim",
        account: "demo",
        kind: "typing.started",
        channel: "lobby",
        native_id: "",
        native_rev: "ignored",
        payload: b"{}",
        time_ms: Time::from_secs(5).ms() + 999,
    };
    let id = ids::event_id(&identity);
    let stands_in = ids::B32::of(b"{}");
    let same = ids::EventIdentity {
        native_id: &stands_in,
        native_rev: "5",
        time_ms: 0,
        ..identity
    };
    assert_eq!(id, ids::event_id(&same));
    assert_ne!(
        id,
        ids::event_id(&ids::EventIdentity {
            time_ms: 6000,
            ..identity
        })
    );
}
