//! Questions to every replica.

use crate::support::{connected, provisioned};
use im_bridge::bus::service::{Endpoint, Service};
use im_bridge_test_harness::{Nats, WITHIN, within};

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
