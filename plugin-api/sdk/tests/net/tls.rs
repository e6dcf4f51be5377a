//! TLS against a server whose authority only `SSL_CERT_FILE` names.
//!
//! The files beside this were made once with openssl: an authority whose key was thrown away, and a server for 127.0.0.1,
//! both valid for a hundred years.

use crate::script::run;
use futures_util::{SinkExt, StreamExt};
use im_bridge_sdk::Noise;
use im_bridge_sdk::websocket::Options;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/net/tls/ca.pem");
const IN_CHILD: &str = "IM_BRIDGE_TLS_TEST";

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from(&include_bytes!("tls/server.der")[..]);
    let key = PrivatePkcs8KeyDer::from(&include_bytes!("tls/server.key.der")[..]);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::from(key))
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// The first connection speaks HTTP, the second WebSocket.
fn serve() -> String {
    let (bound, address) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            bound.send(listener.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let mut http = acceptor().accept(stream).await.unwrap();
            let _ = http.read(&mut [0; 4096]).await.unwrap();
            let answer = crate::server::answer("200 OK", "", "safe");
            http.write_all(answer.as_bytes()).await.unwrap();
            http.flush().await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor().accept(stream).await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            while let Some(Ok(frame)) = socket.next().await {
                if frame.is_text() {
                    socket.send(frame).await.unwrap();
                }
            }
        });
    });
    address.recv().unwrap().to_string()
}

#[test]
fn the_certificates_that_the_system_trusts_are_trusted() {
    if std::env::var_os(IN_CHILD).is_none() {
        // The variable must be there before the first use, and no process may change its own while threads run.
        let own = std::env::current_exe().unwrap();
        let name = "tls::the_certificates_that_the_system_trusts_are_trusted";
        let mut child = Command::new(own);
        child.args(["--exact", name, "--nocapture"]);
        child
            .env(IN_CHILD, "1")
            .env("SSL_CERT_FILE", AUTHORITY)
            .env_remove("SSL_CERT_DIR");
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        return;
    }
    run(&serve(), |cx, address| {
        Box::pin(async move {
            let get = cx
                .http()
                .get("ask", Noise::Command, &format!("https://{address}/"));
            assert_eq!(get.send().await.unwrap().bytes(), b"safe");
            let options = Options::new(format!("wss://{address}/ws"));
            let (mut reader, writer) = cx.websocket("connect", options).await.unwrap();
            // Longer than one TLS record and the read buffer.
            let long = "x".repeat(100_000);
            writer.text(long.clone()).await.unwrap();
            assert_eq!(reader.next().await.unwrap().as_bytes(), long.as_bytes());
        })
    });
}
