//! A key is effected once, and every command is answered.

use super::provider::{Provider, Says};
use super::world::{Caller, Owner, account, bus, saying};
use async_nats::HeaderMap;
use im_bridge_plugin_api::abi::Status;
use im_bridge_test_harness::{Nats, eventually, eventually_within};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_twice_has_one_effect_and_the_first_result_again() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|_| Says::Done);
    let _outbound = owner.serve(&account(), &provider).await;
    caller.say(&account(), "lobby", "k1", "hello").await;
    caller.hears(1).await;
    // As another message: the stream's own window must not be what removes it.
    let mut headers = HeaderMap::new();
    headers.insert("ce-id", "second");
    let again = saying("lobby", "k1", "hello");
    caller
        .send_with(&account(), "message.send", &again, headers)
        .await;
    let results = caller.hears(2).await;
    assert_eq!(provider.done(), ["hello"]);
    assert_eq!(results[0]["status"], "ok");
    assert_eq!(results[0]["duplicate"], false);
    assert_eq!(results[0]["client_ref"], "k1");
    assert_eq!(results[0]["result"]["message"]["id"], "m-k1");
    assert_eq!(results[1]["duplicate"], true);
    assert_eq!(results[1]["command_id"], "second");
    assert_eq!(results[1]["result"], results[0]["result"]);
    caller.all_acknowledged().await;
    let hits = owner.gateway.figures().providers()[0].1.ledger_hits();
    assert_eq!(hits["duplicate"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_stands_for_another_command_is_refused() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|_| Says::Done);
    let _outbound = owner.serve(&account(), &provider).await;
    let ask = async |text| {
        let data = saying("lobby", "k1", text);
        caller.ask(&account(), "message.send", &data).await.1["data"].take()
    };
    assert_eq!(ask("one").await["status"], "ok");
    assert_eq!(ask("two").await["error"]["code"], "key_reused");
    assert_eq!(ask("one").await["duplicate"], true);
    assert_eq!(provider.done(), ["one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certain_error_frees_the_key() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let mut tries = 0;
    let provider = Provider::new(move |_| {
        tries += 1;
        match tries {
            1 => Says::Fails(Status::E_FORBIDDEN, "muted"),
            _ => Says::Done,
        }
    });
    let _outbound = owner.serve(&account(), &provider).await;
    let data = saying("lobby", "k1", "hello");
    let (_, first) = caller.ask(&account(), "message.send", &data).await;
    assert_eq!(first["data"]["error"]["code"], "muted");
    assert_eq!(first["data"]["error"]["certain"], true);
    let (_, second) = caller.ask(&account(), "message.send", &data).await;
    assert_eq!(second["data"]["status"], "ok");
    assert_eq!(second["data"]["duplicate"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_is_unknown_and_stays_so_without_asking() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|_| Says::DoneAndLost);
    let outbound = owner.serve(&account(), &provider).await;
    let data = saying("lobby", "k1", "hello");
    for _ in 0..2 {
        let (_, answer) = caller.ask(&account(), "message.send", &data).await;
        assert_eq!(answer["data"]["status"], "unknown", "{answer}");
        assert_eq!(answer["data"]["error"]["code"], "timeout_after_send");
    }
    assert_eq!(provider.done(), ["hello"]);
    let unresolved = &outbound.figures().unresolved;
    assert_eq!(unresolved.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_is_asked_for_where_the_provider_can_be_asked() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let mut lost = 0;
    let provider = Provider::verifying(move |seen| match (seen.text.as_str(), seen.is_verify) {
        ("happened", false) => Says::DoneAndLost,
        ("happened", true) => Says::Result(json!({"message": {"id": "found"}})),
        (_, true) => Says::Fails(Status::E_NOT_FOUND, "message_not_found"),
        (_, false) => {
            lost += 1;
            match lost {
                1 => Says::NotDoneAndLost,
                _ => Says::Done,
            }
        }
    });
    let _outbound = owner.serve(&account(), &provider).await;
    caller.say(&account(), "a", "k1", "happened").await;
    caller.say(&account(), "b", "k2", "lost before").await;
    let mut results = caller.hears(2).await;
    results.sort_by_key(|result| result["client_ref"].to_string());
    assert_eq!(results[0]["result"]["message"]["id"], "found");
    assert_eq!(results[1]["status"], "ok");
    assert_eq!(provider.done_in("a"), ["happened"]);
    assert_eq!(provider.done_in("b"), ["lost before"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_wait_for_the_truth_hears_what_happened() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::verifying(|seen| match seen.is_verify {
        false => Says::DoneAndLost,
        true => Says::Fails(Status::E_UNAVAILABLE, "provider_unavailable"),
    });
    let _outbound = owner.serve(&account(), &provider).await;
    let data = saying("lobby", "k1", "hello");
    let (_, answer) = caller.ask(&account(), "message.send", &data).await;
    assert_eq!(answer["data"]["status"], "unknown", "{answer}");
    // Not that an owner was lost: it is still there.
    assert_eq!(answer["data"]["error"]["code"], "timeout_after_send");
    assert_eq!(provider.done(), ["hello"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_claim_and_answer_never_leads_to_a_second_effect() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    for (epoch, verifies) in [(1, false), (3, true)] {
        let key = format!("k{epoch}");
        let first = Owner::new(&bus, epoch).await;
        let before = Provider::new(|_| Says::Nothing);
        let outbound = first.serve(&account(), &before).await;
        caller.say(&account(), "lobby", &key, "hello").await;
        eventually("it is with the provider", || async {
            (before.seen().len() == 1).then_some(())
        })
        .await;
        drop((outbound, first));

        let second = Owner::new(&bus, epoch + 1).await;
        let script = |_: &super::provider::Seen| Says::Result(json!({"message": {"id": "found"}}));
        let after = match verifies {
            true => Provider::verifying(script),
            false => Provider::new(script),
        };
        let _outbound = second.serve(&account(), &after).await;
        let results = caller.hears(usize::from(verifies) + 1).await;
        let last = results.last().unwrap();
        assert!(after.done().is_empty(), "executed again");
        match verifies {
            true => assert_eq!(last["result"]["message"]["id"], "found"),
            false => {
                assert_eq!(last["status"], "unknown");
                assert_eq!(last["error"]["code"], "lost_ack");
            }
        }
        caller.all_acknowledged().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_commands_are_answered_and_kept_for_a_person() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|_| Says::Done);
    let _outbound = owner.serve(&account(), &provider).await;
    let mut headers = HeaderMap::new();
    headers.insert("X-Own", "kept");
    caller
        .publish(
            "im.v1.cmd.acme.shop1.message.send",
            "not json".into(),
            headers,
        )
        .await;
    let bad = json!({"idempotency_key": "k", "params": {"to": {"channel_id": "c"}, "mesage": {}}});
    caller.send(&account(), "message.send", &bad).await;
    caller
        .send(&account(), "no.such", &json!({"params": {}}))
        .await;
    caller
        .publish(
            "im.v1.cmd.acme.nobody.message.send",
            saying("c", "n", "x").to_string().into(),
            HeaderMap::new(),
        )
        .await;
    caller
        .publish(
            "im.v1.cmd.ACME.x.message.send",
            "{}".into(),
            HeaderMap::new(),
        )
        .await;
    let results = caller.hears(4).await;
    let code_of = |id: &str| {
        let result = results.iter().find(|result| result["command_id"] == id);
        result.unwrap()["error"]["code"].clone()
    };
    assert_eq!(code_of("seq-1"), "bad_request");
    assert_eq!(code_of("k"), "bad_param");
    assert_eq!(code_of("seq-3"), "unsupported_command");
    assert_eq!(code_of("n"), "bad_request", "no such account");
    caller.all_acknowledged().await;
    let letters = caller.dead_letters().await;
    assert_eq!(letters.len(), 4, "{letters:?}");
    let kept = letters
        .iter()
        .find(|(_, headers, _)| headers.get("X-Own").is_some())
        .unwrap();
    let header = |name: &str| kept.1.get(name).unwrap().as_str();
    assert_eq!(kept.0, "im.v1.dlq.cmd.acme.shop1");
    assert_eq!(header("Im-Dlq-Code"), "bad_request");
    assert_eq!(
        header("Im-Dlq-Subject"),
        "im.v1.cmd.acme.shop1.message.send"
    );
    assert_eq!(header("ce-id"), "seq-1");
    assert!(provider.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passed_is_answered_and_nothing_is_done() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|_| Says::Done);
    let _outbound = owner.serve(&account(), &provider).await;
    let mut headers = HeaderMap::new();
    headers.insert("ce-expirytime", "2020-01-01T00:00:00.000Z");
    let data = saying("lobby", "k1", "late");
    caller
        .send_with(&account(), "message.send", &data, headers.clone())
        .await;
    assert_eq!(
        caller.hears(1).await[0]["error"]["code"],
        "deadline_exceeded"
    );
    assert!(provider.seen().is_empty());
    // Sent again from the dead letters, its old deadline does not count.
    headers.insert("Im-Redrive", "1");
    headers.insert("ce-id", "again");
    caller
        .send_with(&account(), "message.send", &data, headers)
        .await;
    assert_eq!(caller.hears(2).await[1]["status"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_are_used_up_and_then_it_is_for_a_person() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|_| Says::Fails(Status::E_UNAVAILABLE, "provider_unavailable"));
    let _outbound = owner.serve(&account(), &provider).await;
    caller.say(&account(), "lobby", "k1", "hello").await;
    // Two pauses: one second and two.
    let letters = eventually_within(Duration::from_secs(30), "a dead letter", || async {
        let letters = caller.dead_letters().await;
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    assert_eq!(letters[0].1.get("Im-Dlq-Attempts").unwrap().as_str(), "3");
    let results = caller.hears(1).await;
    assert_eq!(results.len(), 1, "retries make no results of their own");
    assert_eq!(results[0]["error"]["code"], "provider_unavailable");
    assert_eq!(results[0]["timing"]["attempts"], 3);
    assert_eq!(provider.seen().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_lies_beside_and_is_named() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|_| Says::Result(json!({"native": "x".repeat(400_000)})));
    let _outbound = owner.serve(&account(), &provider).await;
    let call = json!({"idempotency_key": "k1", "params": {"method": "/r/all"}});
    for _ in 0..2 {
        let (_, answer) = caller.ask(&account(), "native.call", &call).await;
        let named = answer["dataref"].as_str().unwrap();
        assert!(named.starts_with("urn:im-bridge:blob:res."), "{named}");
        assert_eq!(answer["data"], Value::Null);
    }
    assert_eq!(provider.seen().len(), 1);
    let forbidden = json!({"idempotency_key": "k2", "params": {"method": "/s/all"}});
    let (_, answer) = caller.ask(&account(), "native.call", &forbidden).await;
    assert_eq!(answer["data"]["error"]["code"], "permission_denied");
}
