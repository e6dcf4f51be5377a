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

/// What the demo starts its server through.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_watched_program_dies_with_whoever_started_it() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let script = format!(
        "{} demo-server --parent $$ -- sleep 1000 & echo $!; wait",
        env!("CARGO_BIN_EXE_im-bridge")
    );
    let mut parent = Command::new("sh")
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut id = String::new();
    BufReader::new(parent.stdout.take().unwrap())
        .read_line(&mut id)
        .unwrap();
    let id = id.trim().to_owned();
    // Empty for a process that is gone and not yet waited for.
    let runs = || {
        let command = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).replace('\0', " ")
    };
    eventually("the program to run", || async {
        (runs() == "sleep 1000 ").then_some(())
    })
    .await;
    parent.kill().unwrap();
    parent.wait().unwrap();
    eventually("the program to be gone", || async {
        runs().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_watched_program_does_not_start_without_its_parent() {
    let refused = std::process::Command::new(env!("CARGO_BIN_EXE_im-bridge"))
        .args(["demo-server", "--parent", "1", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("process 1 is gone already"));
}
