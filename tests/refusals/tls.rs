//! TLS: own authorities, own certificates, the handshake before the greeting.

use super::{Folder, files, refused, welcomed};
use im_bridge_test_harness::skip;
use serde_json::json;
use std::process::Command;

/// Two authorities, and a server and a client certificate of the first one. None: there is no openssl to make them.
fn certificates() -> Option<Folder> {
    let folder = Folder::new();
    folder.file(
        "ext",
        "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n",
    );
    let mut commands = Vec::new();
    const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for ca in ["ca", "other"] {
        commands.push(format!(
            "req -x509 {KEY} -keyout {ca}.key -out {ca}.pem -days 2 -subj /CN={ca}"
        ));
    }
    for name in ["server", "client"] {
        commands.push(format!(
            "req -new {KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        commands.push(format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out {name}.pem"
        ));
    }
    for command in commands {
        let made = Command::new("openssl")
            .args(command.split(' '))
            .current_dir(folder.0.path())
            .output();
        match made {
            Ok(made) => assert!(made.status.success(), "openssl {command}: {made:?}"),
            Err(error) => {
                skip(&["tls"], &format!("openssl cannot be run: {error}"));
                return None;
            }
        }
    }
    Some(folder)
}

fn server(folder: &Folder, more: &str) -> String {
    let file = |name: &str| folder.path(name).display().to_string();
    format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, {more} }}\n",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_authority_is_trusted_and_another_one_refused() {
    let Some(folder) = certificates() else { return };
    let nats = folder.server(&server(&folder, ""));
    let with = |ca: &str| files(nats.url(), json!({ "tls": { "ca": folder.path(ca) } }));
    let text = format!("TLS with {} failed: ", nats.url());
    refused(&with("other.pem"), "nats_tls", &text);
    refused(&files(nats.url(), json!({})), "nats_tls", &text);
    refused(&with("none.pem"), "nats_tls", &text);
    refused(&with("server.key"), "nats_tls", &text);
    welcomed(&with("ca.pem")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handshake_comes_first_where_both_sides_say_so() {
    let Some(folder) = certificates() else { return };
    let nats = folder.server(&server(&folder, "handshake_first: true"));
    let tls = json!({ "ca": folder.path("ca.pem"), "first": true });
    welcomed(&files(nats.url(), json!({ "tls": tls }))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wants_a_certificate_gets_one_or_says_so() {
    let Some(folder) = certificates() else { return };
    let nats = folder.server(&server(&folder, "verify: true"));
    let own = |cert: &str, key: &str| {
        let tls = json!({
            "ca": folder.path("ca.pem"), "cert": folder.path(cert), "key": folder.path(key),
        });
        files(nats.url(), json!({ "tls": tls }))
    };
    let none = files(
        nats.url(),
        json!({ "tls": { "ca": folder.path("ca.pem") } }),
    );
    let text = format!("TLS with {} failed: ", nats.url());
    refused(&none, "nats_tls", &text);
    refused(&own("other.pem", "other.key"), "nats_tls", &text);
    refused(&own("client.pem", "server.key"), "nats_tls", &text);
    welcomed(&own("client.pem", "client.key")).await;
}
