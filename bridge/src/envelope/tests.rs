use super::*;
use im_bridge_plugin_api::abi::{Delivery, OrderScope, Origin, Trace};
use im_bridge_sdk::model::Time;
use im_bridge_sdk::model::ids::{EventIdentity, channel_token, event_id};
use serde_json::Value;

const PAYLOAD: &[u8] = br#"{"self":{"user_id":"me"}}"#;

fn account() -> crate::bus::Account {
    crate::bus::Account::new("acme".parse().unwrap(), "shop1".parse().unwrap())
}

fn envelope() -> EventEnvelope {
    EventEnvelope::new(
        &account(),
        &"message.created".parse().unwrap(),
        ModelMinor(0),
    )
}

fn attributes(id: &im_bridge_sdk::model::ids::B32) -> EventAttributes<'_> {
    EventAttributes {
        id,
        time: None,
        recorded: Time::from_ms(1_700_000_000_171),
        channel: None,
        origin: Origin::REMOTE,
        delivery: Delivery::LIVE,
        order_scope: OrderScope::NONE,
        order_key: None,
        client_ref: None,
        correlation_id: None,
        causation_id: None,
        trace: Trace::NONE,
    }
}

fn id() -> im_bridge_sdk::model::ids::B32 {
    im_bridge_sdk::model::ids::B32::of(b"x")
}

#[test]
fn what_is_absent_is_left_out_with_its_comma() {
    let id = id();
    let body = envelope()
        .render(
            &attributes(&id),
            Data::Inline(PAYLOAD),
            &mut Room::default(),
        )
        .unwrap();
    assert_eq!(
        String::from_utf8(body.to_vec()).unwrap(),
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/im/acme/shop1","type":"im-bridge.evt.message.created.v1","time":"2023-11-14T22:13:20.171Z","timesource":"bridge","recordedtime":"2023-11-14T22:13:20.171Z","provider":"acme","account":"shop1","origin":"remote","delivery":"live","orderscope":"none","datacontenttype":"application/json","dataschema":"urn:im-bridge:schema:1.0:evt.message.created","data":{{"self":{{"user_id":"me"}}}}}}"#
        )
    );
}

#[test]
fn everything_present_stands_in_its_place() {
    let id = id();
    let of = EventAttributes {
        time: Some(Time::from_ms(1_700_000_000_123)),
        channel: Some(("a:b", "a=3Ab")),
        origin: Origin::SELF_OTHER_DEVICE,
        delivery: Delivery::BACKFILL,
        order_scope: OrderScope::ACCOUNT,
        order_key: Some("k"),
        client_ref: Some("r"),
        correlation_id: Some("c1"),
        causation_id: Some("c2"),
        trace: Trace {
            trace_id: [0xab; 16],
            span_id: [0xcd; 8],
            flags: 1,
            pad: [0; 7],
        },
        ..attributes(&id)
    };
    let body = envelope()
        .render(&of, Data::Blob("evt.x"), &mut Room::default())
        .unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let from = text.find("\"time\"").unwrap();
    assert_eq!(
        &text[from..],
        "\"time\":\"2023-11-14T22:13:20.123Z\",\"timesource\":\"provider\",\
         \"recordedtime\":\"2023-11-14T22:13:20.171Z\",\"subject\":\"a:b\",\"partitionkey\":\"a=3Ab\",\
         \"provider\":\"acme\",\"account\":\"shop1\",\"origin\":\"self_other_device\",\"delivery\":\"backfill\",\
         \"orderscope\":\"account\",\"orderkey\":\"k\",\"clientref\":\"r\",\"correlationid\":\"c1\",\
         \"causationid\":\"c2\",\"traceparent\":\"00-abababababababababababababababab-cdcdcdcdcdcdcdcd-01\",\
         \"datacontenttype\":\"application/json\",\
         \"dataschema\":\"urn:im-bridge:schema:1.0:evt.message.created\",\
         \"dataref\":\"urn:im-bridge:blob:evt.x\"}"
    );
}

#[test]
fn texts_are_escaped_as_serde_json_does() {
    let all: String = (0..0x100)
        .filter_map(char::from_u32)
        .chain("群聊\u{2028}🙂/".chars())
        .collect();
    let mut out = Vec::new();
    text::push_escaped(&mut out, &all);
    let wanted = serde_json::to_string(&all).unwrap();
    assert_eq!(
        format!("\"{}\"", String::from_utf8(out.clone()).unwrap()),
        wanted
    );
    assert_eq!(text::shape(&all).escaped_len, out.len());
}

#[test]
fn control_characters_in_native_texts_are_refused() {
    let id = id();
    for bad in ["a\nb", "\0", "\u{7f}", "x\u{85}"] {
        let channel = EventAttributes {
            channel: Some((bad, "t")),
            ..attributes(&id)
        };
        let order = EventAttributes {
            order_key: Some(bad),
            ..attributes(&id)
        };
        let reference = EventAttributes {
            client_ref: Some(bad),
            ..attributes(&id)
        };
        for (of, attribute) in [
            (channel, "subject"),
            (order, "orderkey"),
            (reference, "clientref"),
        ] {
            let error = envelope()
                .render(&of, Data::Inline(PAYLOAD), &mut Room::default())
                .unwrap_err();
            assert_eq!(error, EnvelopeError::ControlCharacter { attribute });
        }
        let fine = EventAttributes {
            correlation_id: Some(bad),
            ..attributes(&id)
        };
        let body = envelope()
            .render(&fine, Data::Inline(PAYLOAD), &mut Room::default())
            .unwrap();
        let read: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(read["correlationid"], bad);
    }
    for fine in ["\u{a0}", "é", "群聊 1", "\"\\/"] {
        let of = EventAttributes {
            channel: Some((fine, "t")),
            ..attributes(&id)
        };
        let body = envelope()
            .render(&of, Data::Inline(PAYLOAD), &mut Room::default())
            .unwrap();
        let read: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(read["subject"], fine);
    }
}

#[test]
fn a_body_that_is_no_object_is_refused() {
    let id = id();
    for bad in [&b""[..], b"{", b"[]", b" {}", b"{} ", b"null"] {
        let result = envelope().render(&attributes(&id), Data::Inline(bad), &mut Room::default());
        assert_eq!(result, Err(EnvelopeError::NoObject));
    }
    assert!(
        envelope()
            .render(&attributes(&id), Data::Inline(b"{}"), &mut Room::default())
            .is_ok()
    );
}

#[test]
fn states_and_capabilities_have_their_own_attributes() {
    let of = Attributes {
        id: "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        time: Time::from_ms(0),
        channel: None,
        correlation_id: None,
        causation_id: None,
        trace: Trace::NONE,
        model: ModelMinor(3),
    };
    let data = Data::Inline(b"{}");
    let head = r#"{"specversion":"1.0","id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","source":"/im/acme"#;
    let tail = |schema| {
        format!(
            r#","datacontenttype":"application/json","dataschema":"urn:im-bridge:schema:1.3:{schema}","data":{{}}}}"#
        )
    };
    let names = r#""time":"1970-01-01T00:00:00.000Z","provider":"acme""#;
    let of_account = |kind, schema| {
        format!(
            r#"{head}/shop1","type":"im-bridge.{kind}.v1",{names},"account":"shop1"{}"#,
            tail(schema)
        )
    };
    let text = |body: Result<Vec<u8>, _>| String::from_utf8(body.unwrap()).unwrap();
    assert_eq!(
        text(document(&account(), Document::State, &of, data)),
        of_account("state", "state")
    );
    assert_eq!(
        text(document(&account(), Document::Capability, &of, data)),
        of_account("cap", "capability")
    );
    assert_eq!(
        text(plugin_state(&account().provider, &of, data)),
        format!(
            r#"{head}","type":"im-bridge.adapter.v1",{names}{}"#,
            tail("adapter_state")
        )
    );
}

/// An example document, its attributes, and the bytes of its `data`.
struct Example {
    text: String,
    attributes: Value,
}

impl Example {
    fn read(name: &str, digest: &str) -> Self {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../plugin-api/sdk/tests/examples"
        );
        let text = std::fs::read_to_string(format!("{folder}/{name}.json")).unwrap();
        let hash: String = ring::digest::digest(&ring::digest::SHA256, text.as_bytes())
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hash, digest, "{name}");
        let attributes = serde_json::from_str(&text).unwrap();
        Self { text, attributes }
    }

    fn data(&self) -> &[u8] {
        let (_, after) = self.text.split_once("\"data\":").unwrap();
        after.strip_suffix('}').unwrap().as_bytes()
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.attributes[name].as_str()
    }

    fn time(&self, name: &str) -> Time {
        self.get(name).unwrap().parse().unwrap()
    }

    fn account(&self) -> crate::bus::Account {
        let part = |name| self.get(name).unwrap();
        crate::bus::Account::new(
            part("provider").parse().unwrap(),
            part("account").parse().unwrap(),
        )
    }

    fn name(&self, kind: &str) -> String {
        let name = self
            .get("type")
            .unwrap()
            .strip_prefix(&format!("im-bridge.{kind}."));
        name.unwrap().strip_suffix(".v1").unwrap().to_owned()
    }

    fn trace(&self) -> Trace {
        let parts: Vec<&str> = self.get("traceparent").unwrap().split('-').collect();
        let bytes = |text: &str| -> Vec<u8> {
            (0..text.len() / 2)
                .map(|at| u8::from_str_radix(&text[2 * at..][..2], 16).unwrap())
                .collect()
        };
        Trace {
            trace_id: bytes(parts[1]).try_into().unwrap(),
            span_id: bytes(parts[2]).try_into().unwrap(),
            flags: bytes(parts[3])[0],
            pad: [0; 7],
        }
    }
}

#[test]
fn the_events_of_the_reference_are_made_byte_for_byte() {
    let table = [
        (
            "goofish.event",
            1105,
            "ef7d2c918d7b2eec65b5260288a6e7d2adc2ae48684de056c6f043bd8ce66c63",
        ),
        (
            "wukongim.event",
            1207,
            "b57c73e3de721efb0573e1973582eaa8cfc9ce2998dfa02efd6cfdd4c4eecfa9",
        ),
        (
            "volcengine.event",
            1154,
            "74ef91b3e36b0eaa4db382f0c8546a7e6089c89c262c05de02827d0dfb3973c2",
        ),
        (
            "dromara.event",
            1110,
            "d18989d666941f115d73fa159de2c44896317bc2ba480b104c367d27de0ac178",
        ),
    ];
    for (name, bytes, digest) in table {
        let example = Example::read(name, digest);
        let (account, kind) = (example.account(), example.name("evt"));
        let channel = example.get("subject").unwrap();
        let id = event_id(&EventIdentity {
            provider: account.provider.as_str(),
            account: account.alias.as_str(),
            kind: &kind,
            channel,
            native_id: example.attributes["data"]["message"]["id"]
                .as_str()
                .unwrap(),
            native_rev: "",
            payload: b"",
            time_ms: 0,
        });
        let token = channel_token(Some(channel));
        let of = EventAttributes {
            id: &id,
            time: Some(example.time("time")),
            recorded: example.time("recordedtime"),
            channel: Some((channel, &token)),
            order_scope: if example.get("orderscope") == Some("channel") {
                OrderScope::CHANNEL
            } else {
                OrderScope::NONE
            },
            order_key: example.get("orderkey"),
            trace: example.trace(),
            ..attributes(&id)
        };
        let envelope = EventEnvelope::new(&account, &kind.parse().unwrap(), ModelMinor(0));
        let body = envelope
            .render(&of, Data::Inline(example.data()), &mut Room::default())
            .unwrap();
        assert_eq!(body.len(), bytes, "{name}");
        assert_eq!(
            String::from_utf8(body.to_vec()).unwrap(),
            example.text,
            "{name}"
        );
    }
}

#[test]
fn the_results_of_the_reference_are_made_byte_for_byte() {
    let table = [
        (
            "goofish.result",
            858,
            "244f187ae5a9f5f1c8e6824dbc331410137ddeadade79e412ed863a4b6e3afac",
        ),
        (
            "wukongim.result",
            832,
            "5bb3d3f56de3568c8b9d492a852ea5868e6f1d1dff4036ebfa2d42431a7438fb",
        ),
        (
            "volcengine.result",
            911,
            "9d1a87895e8deb81357080a706932d557adbe02317c1fc4505b95c9ad283cef3",
        ),
        (
            "dromara.result",
            969,
            "202784298710adc66bc69a70566eef796f174205f53a8c7ab75d168c22015b69",
        ),
    ];
    for (name, bytes, digest) in table {
        let example = Example::read(name, digest);
        let of = Attributes {
            id: example.get("id").unwrap(),
            time: example.time("time"),
            channel: example.get("subject"),
            correlation_id: example.get("correlationid"),
            causation_id: example.get("causationid"),
            trace: example.trace(),
            model: ModelMinor(0),
        };
        let command = example.name("res").parse().unwrap();
        let body = result(
            &example.account(),
            &command,
            &of,
            Data::Inline(example.data()),
        )
        .unwrap();
        assert_eq!(body.len(), bytes, "{name}");
        assert_eq!(
            String::from_utf8(body.to_vec()).unwrap(),
            example.text,
            "{name}"
        );
    }
}
