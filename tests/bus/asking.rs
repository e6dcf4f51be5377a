//! Questions: to an account's owner, and to every replica.

use crate::support::{account, connected, provisioned};
use im_bridge::bus::questions::{Asking, Questions};
use im_bridge::bus::replies::AskError;
use im_bridge::bus::service::{Endpoint, Service};
use im_bridge_test_harness::{Nats, eventually, within};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(5);

#[tokio::test]
async fn only_an_account_with_an_owner_answers() {
    let nats = Nats::start();
    let (owner, caller) = (provisioned(&nats, "a").await, connected(&nats, "b").await);
    let account = account("acme", "a");
    let subject = owner
        .subjects
        .request(&account, &"message.send".parse().unwrap());
    let ask = || {
        let (subject, replies) = (subject.clone(), caller.control.replies().clone());
        async move { replies.ask(subject, None, "{}".into(), WITHIN).await }
    };
    assert!(matches!(ask().await, Err(AskError::NoResponders { .. })));
    let mut questions = Questions::subscribe(&owner, &account).await.unwrap();
    let asked = tokio::spawn(ask());
    let question = within("a question", questions.next()).await.unwrap();
    assert_eq!(question.asking, Asking::Request);
    assert!(question.wants_answer());
    question
        .answer_error("not_connected", 503, "{\"x\":1}".into())
        .await;
    let answer = asked.await.unwrap().unwrap();
    assert_eq!(answer.payload, "{\"x\":1}");
    assert_eq!(
        answer
            .headers
            .unwrap()
            .get("Nats-Service-Error")
            .unwrap()
            .as_str(),
        "not_connected"
    );
    questions.stop().await;
    assert!(within("the end", questions.next()).await.is_none());
    eventually("nobody to answer", || async {
        matches!(ask().await, Err(AskError::NoResponders { .. })).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_replica_answers_for_itself() {
    let nats = Nats::start();
    let (a, b) = (provisioned(&nats, "a").await, connected(&nats, "b").await);
    let mut services = Vec::new();
    for bus in [&a, &b] {
        let (service, mut asked) = Service::start(bus, "0.1.0").await.unwrap();
        let name = bus.name.to_string();
        let answering = tokio::spawn(async move {
            while let Some(question) = asked.recv().await {
                assert_eq!(question.endpoint, Endpoint::Status);
                question.answer(name.clone().into()).await;
            }
        });
        services.push((service, answering));
    }
    let client = a.data.client();
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    let subject = a.subjects.service(&"status".parse().unwrap());
    client
        .publish_with_reply(subject, inbox, "".into())
        .await
        .unwrap();
    let mut names = Vec::new();
    for _ in 0..2 {
        let answer = within("an answer", futures_util::StreamExt::next(&mut answers))
            .await
            .unwrap();
        names.push(String::from_utf8_lossy(&answer.payload).into_owned());
    }
    names.sort();
    assert_eq!(names, ["a", "b"]);
    let ping = a
        .control
        .replies()
        .ask("$SRV.PING.im-bridge".into(), None, "".into(), WITHIN);
    let ping: serde_json::Value = serde_json::from_slice(&ping.await.unwrap().payload).unwrap();
    assert_eq!(ping["metadata"]["version"], "0.1.0");
}
