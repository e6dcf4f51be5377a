//! The adapter's `example.toml` works as it is, with the addresses put in by `--set`.

use crate::world::{Way, files, simulator, stored, texts};
use im_bridge_test_harness::{Nats, eventually};
use serde_json::json;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_receives_and_sends() {
    for way in [Way::WebSocket, Way::Tcp] {
        let (nats, simulator) = (Nats::start(), simulator(&json!({ "token_auth": true })));
        let files = files(&json!({}));
        let example =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters/wukongim/example.toml");
        let of = if way == Way::Tcp { "tcp" } else { "ws" };
        let sets = [
            format!("nats.url={}", nats.url()),
            "admin.listen=127.0.0.1:0".to_owned(),
            format!("accounts.wukongim.bot1.url={}", simulator.address(of)),
            format!(
                "accounts.wukongim.bot1.native.api_url={}",
                simulator.address("http")
            ),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_im-bridge"));
        command.arg("--config").arg(&example);
        for set in &sets {
            command.args(["--set", set]);
        }
        command.args(["run", "--plugin-dir"]).arg(files.plugins());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let _running = Running(command.spawn().unwrap());
        let server = simulator.control();
        eventually("the account is there", || async {
            let begun = server.record(&["session.begun"]).await;
            begun.into_iter().find(|it| it["uid"] == "bot-1")
        })
        .await;
        let body =
            json!({ "from": "alice", "channel_id": "bot-1", "channel_type": 1, "text": "hi" });
        server.act("send", body).await;
        let client = async_nats::connect(nats.url()).await.unwrap();
        eventually("it is stored", || async {
            (texts(&stored(&client, "IM_EVT").await, "bot1") == ["hi"]).then_some(())
        })
        .await;
        let sent = crate::world::ask(
            &client,
            "im.v1.req.wukongim.bot1.message.send".to_owned(),
            &crate::world::say("k", "1-alice", "hello"),
        )
        .await;
        assert_eq!(sent["data"]["status"], "ok", "{sent}");
    }
}
