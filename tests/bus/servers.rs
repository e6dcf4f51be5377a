//! The harness itself: what the other tests rest on.

use im_bridge_test_harness::{Cluster, Nats, eventually};
use std::time::Duration;

#[tokio::test]
async fn a_killed_server_comes_back_with_its_store_on_its_port() {
    let mut nats = Nats::start();
    let url = nats.url().to_owned();
    nats.kill();
    assert!(async_nats::connect(&url).await.is_err());
    nats.restart();
    assert_eq!(nats.url(), url);
    async_nats::connect(&url).await.unwrap();
}

#[tokio::test]
async fn three_servers_make_a_cluster() {
    let cluster = Cluster::start();
    let addresses: Vec<async_nats::ServerAddr> = cluster
        .urls()
        .iter()
        .map(|url| url.parse().unwrap())
        .collect();
    let client = async_nats::connect(addresses).await.unwrap();
    eventually("JetStream of the cluster", || async {
        // While there is no leader, nothing answers.
        let within = Some(Duration::from_millis(200));
        let request = async_nats::Request::new().timeout(within);
        let answer = client.send_request("$JS.API.INFO", request).await.ok()?;
        let text = String::from_utf8_lossy(&answer.payload).into_owned();
        (!text.contains("\"error\"")).then_some(())
    })
    .await;
}
