//! Objects: made once, widened, never shrunk; what differs is told.

use crate::support::{account, connected, limits, provisioned, settings};
use im_bridge::bus::api::Which;
use im_bridge::bus::objects::{Names, WhenFull, wanted};
use im_bridge::bus::provision::{self, Meaning};
use im_bridge::bus::{Bus, Kind, Shard};
use im_bridge_test_harness::{Cluster, Jetstream, Nats, eventually, seeded};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn what_was_provisioned_needs_nothing_more() {
    let nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let plan = provision::plan(&bus, &limits()).await.unwrap();
    assert!(!plan.is_due(), "{plan:?}");
    assert_eq!(plan.differences, []);
    assert_eq!(plan.steps.len(), 10);
}

#[tokio::test]
async fn two_replicas_that_provision_at_once_agree() {
    let nats = Nats::start();
    let (a, b) = (connected(&nats, "a").await, connected(&nats, "b").await);
    let limits = limits();
    let (one, other) = tokio::join!(
        provision::provision(&a, &limits, true),
        provision::provision(&b, &limits, true)
    );
    assert_eq!(one.unwrap(), []);
    assert_eq!(other.unwrap(), []);
}

#[tokio::test]
async fn a_cluster_gets_three_replicas() {
    let cluster = Cluster::start();
    let bus = Bus::connect(&settings(&cluster.urls(), "a")).await.unwrap();
    assert_eq!(
        provision::provision(&bus, &limits(), true).await.unwrap(),
        []
    );
    let info = bus.control.api().stream("IM_EVT").await.unwrap().unwrap();
    assert_eq!(info.config["num_replicas"], 3);
}

#[tokio::test]
async fn without_permission_to_make_a_missing_object_is_named() {
    let nats = Nats::start();
    let bus = connected(&nats, "a").await;
    let error = provision::provision(&bus, &limits(), false)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "nats_object_missing");
    assert_eq!(
        error.to_string(),
        "stream IM_EVT does not exist; run im-bridge streams apply"
    );
}

#[tokio::test]
async fn a_narrower_object_is_widened_and_a_wider_one_stays() {
    let nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let mut more = limits();
    more.events_max_bytes *= 2;
    more.results_max_age /= 2;
    let differences = provision::provision(&bus, &more, true).await.unwrap();
    assert_eq!(differences, []);
    let api = bus.control.api();
    let events = api.stream("IM_EVT").await.unwrap().unwrap();
    assert_eq!(events.config["max_bytes"], more.events_max_bytes);
    let results = api.stream("IM_RES").await.unwrap().unwrap();
    let two_days = u64::try_from(Duration::from_secs(48 * 3600).as_nanos()).unwrap();
    assert_eq!(results.config["max_age"], two_days);
}

#[tokio::test]
async fn what_differs_is_told_and_stays() {
    let nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let mut other = limits();
    other.events_when_full = WhenFull::Stop;
    other.shards = 32;
    let differences = provision::provision(&bus, &other, true).await.unwrap();
    let told: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert!(
        told.contains(
            &"stream IM_EVT: discard is \"old\", wanted \"new\"; see im-bridge streams plan"
                .to_owned()
        ),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|one| one.starts_with("stream IM_CMD: subject_transform")),
        "{told:?}"
    );
    assert!(
        differences
            .iter()
            .all(|one| one.difference.meaning == Meaning::Other)
    );
    let events = bus.control.api().stream("IM_EVT").await.unwrap().unwrap();
    assert_eq!(events.config["discard"], "old");
}

#[tokio::test]
async fn fields_that_only_the_server_knows_survive_widening() {
    let nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let api = bus.control.api();
    let mut config = api.stream("IM_EVT").await.unwrap().unwrap().config;
    config["description"] = "an operator's".into();
    config["max_consumers"] = json!(-1);
    api.call::<Value>("STREAM.UPDATE.IM_EVT", &config)
        .await
        .unwrap();
    let mut more = limits();
    more.events_max_bytes *= 2;
    provision::provision(&bus, &more, true).await.unwrap();
    let config = api.stream("IM_EVT").await.unwrap().unwrap().config;
    assert_eq!(config["description"], "an operator's");
    assert_eq!(config["max_bytes"], more.events_max_bytes);
}

#[tokio::test]
async fn a_stream_that_captures_requests_is_named() {
    for subject in ["im.v1.req.>", "im.>", "im.v1.ctl.acme.*.drain"] {
        let nats = Nats::start();
        let bus = connected(&nats, "a").await;
        let stream = json!({ "name": "GREEDY", "subjects": [subject], "no_ack": false });
        let made = bus
            .control
            .api()
            .call::<Value>("STREAM.CREATE.GREEDY", &stream);
        made.await.unwrap();
        let error = provision::provision(&bus, &limits(), true)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "nats_captured", "{subject}");
        assert!(error.to_string().contains("GREEDY"), "{error}");
    }
}

#[tokio::test]
async fn without_room_the_error_says_what_to_lower() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nats.conf");
    std::fs::write(&file, "jetstream { max_file_store: 64MB }").unwrap();
    let nats = Nats::start_with(Jetstream::On, &["-c", &file.display().to_string()]);
    let bus = connected(&nats, "a").await;
    let error = provision::provision(&bus, &limits(), true)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "nats_storage", "{error}");
    assert!(
        error
            .to_string()
            .contains("what is still to be made asks for"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_without_jetstream_is_refused() {
    let nats = Nats::start_with(Jetstream::Off, &[]);
    let error = Bus::connect(&settings(&[nats.url().to_owned()], "a"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "nats_no_jetstream");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_waited_for() {
    let mut nats = Nats::start();
    nats.stop();
    let settings = settings(&[nats.url().to_owned()], "a");
    let error = Bus::connect(&settings).await.unwrap_err();
    assert_eq!(error.code(), "nats_unreachable");
    assert!(error.is_transient());
    let (told, mut tells) = tokio::sync::mpsc::channel(8);
    let waiting = tokio::spawn(async move {
        Bus::connect_patiently(&settings, |error, _| {
            let _ = told.try_send(error.code());
        })
        .await
    });
    assert_eq!(tells.recv().await, Some("nats_unreachable"));
    nats.restart();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn wrong_credentials_are_told_by_the_key_they_come_from() {
    let nats = Nats::start_with(Jetstream::On, &["--user", "u", "--pass", "p"]);
    let mut settings = settings(&[nats.url().to_owned()], "a");
    settings.auth = im_bridge::bus::connect::Auth::UserPassword {
        user: "u".to_owned(),
        password: "wrong".to_owned(),
    };
    let error = Bus::connect(&settings).await.unwrap_err();
    assert_eq!(error.code(), "nats_auth", "{error}");
    assert!(error.to_string().contains("nats.user"), "{error}");
}

/// Durable commands reach the owner only if both sides compute the same number.
#[tokio::test]
async fn shards_are_the_servers_partitions() {
    let mut random = seeded("shards_are_the_servers_partitions");
    let nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let command: Kind = "message.send".parse().unwrap();
    let mut name = |first: &str, rest: &str| {
        let rest: Vec<char> = rest.chars().collect();
        let first: Vec<char> = first.chars().collect();
        let mut text = String::from(first[random.usize(..first.len())]);
        for _ in 0..random.usize(..20) {
            text.push(rest[random.usize(..rest.len())]);
        }
        text.replace("__", "_-")
    };
    const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";
    let accounts: Vec<_> = (0..1000)
        .map(|_| {
            account(
                &name(LETTERS, &format!("{LETTERS}0123456789-")),
                &name(
                    &format!("{LETTERS}0123456789"),
                    &format!("{LETTERS}0123456789-_"),
                ),
            )
        })
        .collect();
    for account in &accounts {
        let subject = bus.subjects.command(account, &command);
        bus.data
            .client()
            .publish(subject, "{}".into())
            .await
            .unwrap();
    }
    let api = bus.control.api();
    eventually("all commands to be stored", || async {
        let info = api.stream("IM_CMD").await.unwrap().unwrap();
        (info.state.messages == 1000).then_some(())
    })
    .await;
    for account in &accounts {
        let shard = Shard::of(account, 64);
        let stored = bus.subjects.stored_command(shard, account, &command);
        let found = api.message("IM_CMD", Which::LastOf(&stored)).await.unwrap();
        assert!(found.is_some(), "{account} is not in shard {shard}");
    }
}

#[test]
fn every_object_is_named_by_the_root() {
    let names = Names::new(&"a-b".parse().unwrap());
    assert_eq!(names.events(), "A_B_EVT");
    let subjects = im_bridge::bus::Subjects::new("a-b".parse().unwrap());
    for object in wanted(&subjects, &limits()) {
        assert!(object.name.starts_with("A_B_"), "{}", object.name);
    }
}
