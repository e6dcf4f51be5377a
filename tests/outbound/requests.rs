//! Requests and control: answered at once, whatever the answer is.

use super::provider::{Provider, Says, capabilities};
use super::world::{Caller, Owner, account, bus, saying};
use im_bridge::bus::replies::AskError;
use im_bridge::outbound::Outbound;
use im_bridge_plugin_api::abi::Status;
use im_bridge_sdk::model::AccountState;
use im_bridge_test_harness::{Nats, WITHIN, eventually};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_a_document_with_the_headers_of_a_service() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|seen| match seen.name.as_str() {
        "channel.list" => Says::Result(json!({"channels": []})),
        _ => Says::Fails(Status::E_UNAVAILABLE, "provider_unavailable"),
    });
    let _outbound = owner.serve(&account(), &provider).await;
    let data = saying("lobby", "k1", "hello");
    let (message, answer) = caller.ask(&account(), "message.send", &data).await;
    let headers = message.headers.unwrap();
    assert_eq!(
        headers.get("Nats-Service-Error").unwrap().as_str(),
        "provider_unavailable"
    );
    assert_eq!(
        headers.get("Nats-Service-Error-Code").unwrap().as_str(),
        "2102"
    );
    assert_eq!(answer["type"], "im-bridge.res.message.send.v1");
    assert_eq!(answer["data"]["error"]["retryable"], true);
    assert_eq!(answer["subject"], "lobby");
    // Its caller decides about another try; the result stands in the stream, too.
    assert_eq!(caller.hears(1).await[0]["status"], "error");

    let (message, answer) = caller
        .ask(&account(), "channel.list", &json!({"params": {}}))
        .await;
    assert_eq!(answer["data"]["result"], json!({"channels": []}));
    let headers = message.headers.unwrap();
    assert!(headers.get("Nats-Service-Error").is_none());
    assert_eq!(caller.results().await.len(), 1, "reads leave no result");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_away_says_so_at_once() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let can = capabilities(|_| {});
    let provider = Provider::with(can, AccountState::Backoff, |_| Says::Done);
    let _outbound = owner.serve(&account(), &provider).await;
    let data = saying("lobby", "k1", "hello");
    let (_, answer) = caller.ask(&account(), "message.send", &data).await;
    assert_eq!(answer["data"]["error"]["code"], "not_connected");
    provider.becomes(AccountState::BadCredentials);
    caller
        .send(&account(), "message.send", &saying("lobby", "k2", "x"))
        .await;
    let results = caller.hears(2).await;
    assert_eq!(results[1]["error"]["code"], "bad_credentials");
    provider.becomes(AccountState::Online);
    let (_, answer) = caller.ask(&account(), "message.send", &data).await;
    assert_eq!(answer["data"]["status"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_fit_are_told_so_and_the_rest_is_answered() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|_| Says::Nothing);
    let _outbound = owner.serve(&account(), &provider).await;
    let refused = AtomicUsize::new(0);
    let asked = (0..300).map(|number| {
        let (caller, refused) = (&caller, &refused);
        async move {
            let data = saying(&format!("c{number}"), &format!("k{number}"), "x");
            let (_, answer) = caller.ask(&account(), "message.send", &data).await;
            if answer["data"]["error"]["code"] == "overloaded" {
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let finish = async {
        // All are in hand before the first one ends.
        eventually("the rest is refused", || async {
            (refused.load(Ordering::Relaxed) >= 300 - 256).then_some(())
        })
        .await;
        loop {
            provider.finish_all();
            tokio::task::yield_now().await;
        }
    };
    let answers = tokio::select! {
        answers = futures_util::future::join_all(asked) => answers,
        () = finish => unreachable!(),
    };
    assert_eq!(answers.len(), 300);
    assert_eq!(refused.into_inner(), 300 - 256);
    assert_eq!(provider.done().len(), 256);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_still_runs_at_its_deadline_is_in_progress() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|_| Says::Nothing);
    let _outbound = owner.serve(&account(), &provider).await;
    let soon = im_bridge::bus::clock::unix_ms() + 1_000;
    let soon = im_bridge_sdk::model::Time::from_ms(soon).to_string();
    let event = json!({"specversion": "1.0", "id": "c1", "source": "/app/desk", "expirytime": soon,
        "type": "im-bridge.cmd.message.send.v1", "data": saying("lobby", "k1", "slow")});
    let (_, answer) = caller.ask(&account(), "message.send", &event).await;
    assert_eq!(answer["data"]["error"]["code"], "in_progress");
    let (_, answer) = caller
        .ask(&account(), "message.send", &saying("other", "k1", "slow"))
        .await;
    assert_eq!(answer["data"]["error"]["code"], "in_progress");
    provider.finish_all();
    let results = caller.hears(2).await;
    let ended = results.iter().find(|result| result["command_id"] == "c1");
    assert_eq!(ended.unwrap()["status"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_reaches_the_adapter_or_the_core() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|_| Says::Result(json!({"self": {"user_id": "u1"}})));
    let outbound: Arc<Outbound> = owner.serve(&account(), &provider).await;
    let none = json!({"params": {}});
    let (_, answer) = caller.control(&account(), "login", &none).await;
    assert_eq!(answer["type"], "im-bridge.res.account.login.v1");
    assert_eq!(answer["data"]["result"]["self"]["user_id"], "u1");
    assert_eq!(provider.seen()[0].name, "account.login");
    let (_, answer) = caller.control(&account(), "health", &none).await;
    assert_eq!(answer["data"]["result"]["healthy"], true, "{answer}");
    assert_eq!(answer["data"]["result"]["state"], "online");
    let (_, answer) = caller.control(&account(), "drain", &none).await;
    assert_eq!(answer["data"]["result"]["accounts"], json!(["sim/shop1"]));
    let (_, answer) = caller.control(&account(), "sync", &none).await;
    assert_eq!(answer["data"]["error"]["code"], "unsupported_command");
    let (_, answer) = caller.control(&account(), "dance", &none).await;
    assert_eq!(answer["data"]["error"]["code"], "unsupported_command");
    provider.becomes(AccountState::Failed);
    let (_, answer) = caller.control(&account(), "reconnect", &none).await;
    assert_eq!(answer["data"]["status"], "ok");
    assert!(
        caller.results().await.is_empty(),
        "control leaves no result"
    );
    assert_eq!(outbound.account(), &account());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_does_nothing() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|_| Says::Done);
    let _outbound = owner.serve(&account(), &provider).await;
    let mut data = saying("lobby", "k1", "hello");
    data["options"] = json!({"dry_run": true});
    let (_, answer) = caller.ask(&account(), "message.send", &data).await;
    assert_eq!(answer["data"]["dry_run"], true);
    assert_eq!(answer["data"]["status"], "ok");
    assert!(provider.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_that_was_taken_is_answered_when_the_account_ends() {
    const ASKED: usize = 100;
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|_| Says::Done);
    let outbound = owner.serve(&account(), &provider).await;
    let (_, first) = caller
        .ask(&account(), "message.send", &saying("c", "first", "x"))
        .await;
    assert_eq!(first["data"]["status"], "ok");
    let inbox = bus.control.client().new_inbox();
    let mut answers = bus
        .control
        .client()
        .subscribe(format!("{inbox}.*"))
        .await
        .unwrap();
    for number in 0..ASKED {
        let data = saying(&format!("c{number}"), &format!("last-{number}"), "x");
        let client = bus.control.client();
        let reply = format!("{inbox}.{number}");
        let subject = bus
            .subjects
            .request(&account(), &"message.send".parse().unwrap());
        let sent = client.publish_with_reply(subject, reply, data.to_string().into());
        sent.await.unwrap();
    }
    bus.control.client().flush().await.unwrap();
    owner.end_requests().await;
    outbound.end(WITHIN).await;
    let count = async {
        for _ in 0..ASKED {
            futures_util::StreamExt::next(&mut answers).await.unwrap();
        }
    };
    tokio::time::timeout(WITHIN, count)
        .await
        .expect("an answer to each");
    eventually("nobody to answer", || async {
        let subject = bus
            .subjects
            .request(&account(), &"message.send".parse().unwrap());
        let replies = bus.control.replies();
        let asked = replies.ask(subject, None, "{}".into(), WITHIN).await;
        matches!(asked, Err(AskError::NoResponders { .. })).then_some(())
    })
    .await;
}
