//! Streams and buckets: missing, different, in the way of others, too large.

use super::{Folder, check_finds, files, refused, run_refuses, welcomed};
use async_nats::Client;
use im_bridge_test_harness::{Nats, eventually};
use serde_json::{Value, json};

async fn client(nats: &Nats) -> Client {
    async_nats::connect(nats.url()).await.unwrap()
}

async fn make(client: &Client, config: Value) {
    let call = format!("$JS.API.STREAM.CREATE.{}", config["name"].as_str().unwrap());
    let made = client.request(call, config.to_string().into()).await;
    let made: Value = serde_json::from_slice(&made.unwrap().payload).unwrap();
    assert_eq!(made["error"], Value::Null, "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_where_it_may_not_be_made() {
    let nats = Nats::start();
    let files = files(nats.url(), json!({ "provision": false }));
    let text = "stream IM_EVT does not exist; run im-bridge streams apply";
    run_refuses(&files, "nats_object_missing", text);
    let text = "IM_EVT does not exist; run im-bridge streams apply";
    check_finds(&files, "nats_object_missing", text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_captures_requests_is_named() {
    let nats = Nats::start();
    let client = client(&nats).await;
    make(
        &client,
        json!({ "name": "ALL_REQUESTS", "subjects": ["im.*.req.>"] }),
    )
    .await;
    let text =
        "stream ALL_REQUESTS captures im.v1.req.>, where answers are expected; change its subjects";
    refused(&files(nats.url(), json!({})), "nats_captured", text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_has_the_subjects_of_ours_is_named() {
    let nats = Nats::start();
    let client = client(&nats).await;
    make(
        &client,
        json!({ "name": "MINE", "subjects": ["im.v1.evt.sim.>"] }),
    )
    .await;
    let text = "stream MINE captures im.v1.evt.>, which IM_EVT is to store; change its subjects";
    refused(&files(nats.url(), json!({})), "nats_captured", text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_told_and_left_alone() {
    let nats = Nats::start();
    let client = client(&nats).await;
    let own = json!({ "name": "IM_EVT", "subjects": ["im.v1.evt.>"], "storage": "memory", "max_bytes": 8_388_608 });
    make(&client, own).await;
    let files = files(nats.url(), json!({}));
    let text = r#"storage is "memory", wanted "file"; see im-bridge streams plan"#;
    check_finds(&files, "nats_object_differs", &format!("IM_EVT: {text}"));
    let bridge = im_bridge_test_harness::Bridge::start(&files, "a");
    eventually("it is ready", || async {
        (bridge.get("/readyz").0 == 200).then_some(())
    })
    .await;
    let log = bridge.log();
    let msg = format!("stream IM_EVT: {text}");
    let is_it = |line: &Value| line["code"] == "nats_object_differs" && line["msg"] == msg.as_str();
    assert_eq!(log.iter().filter(|line| is_it(line)).count(), 1, "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_room_is_told_with_what_is_asked_for() {
    let folder = Folder::new();
    let nats = folder.server("jetstream { max_file_store: 40M }\n");
    let files = files(nats.url(), json!({}));
    let text = "NATS has no room for ";
    run_refuses(&files, "nats_storage", text);
    let ran = files.run_to_end(&["run"], super::WITHIN);
    assert!(
        ran.err.contains("what is still to be made asks for ")
            && ran
                .err
                .contains("fewer (max_file_store of the server) are left; lower nats."),
        "{ran:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_too_little_room_is_told_how_much_it_has() {
    let folder = Folder::new();
    let nats = folder.server(
        "accounts { APP { jetstream { max_file: 40M }, users: [{ user: a, password: b }] } }\nno_auth_user: a\n",
    );
    let files = files(nats.url(), json!({}));
    let ran = files.run_to_end(&["run"], super::WITHIN);
    assert!(
        ran.code == Some(3)
            && ran
                .err
                .contains("error[nats_storage]: NATS has no room for "),
        "{ran:?}"
    );
    assert!(ran.err.contains(" MiB are left; lower nats."), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_as_wanted_is_welcome_also_where_nothing_may_be_made() {
    let nats = Nats::start();
    drop(welcomed(&files(nats.url(), json!({}))).await);
    welcomed(&files(nats.url(), json!({ "provision": false }))).await;
}
