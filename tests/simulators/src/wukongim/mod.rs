//! WuKongIM 2.2, and OpenChat in front of it, as their protocol page describes them: OpenChat's HTTP in both profiles, the
//! server's own HTTP, its binary protocol and its JSON-RPC form over WebSocket and TCP.
//!
//! Strict in what it accepts, complete in what it offers, and odd where the real server is odd: it goes mute instead of closing,
//! refuses logins in silence, wedges on a bad JSON line. `/_sim/` on the HTTP port steers it and tells what happened
//! (`tests/simulators/README.md`). Everything it keeps is bounded.
//!
//! Written from the page alone; it shares no code with the adapter.

mod channel;
mod client;
mod codec;
mod connection;
mod faults;
mod flood;
mod http;
mod ids;
mod login;
mod message;
mod output;
mod record;
mod rpc;
mod session;
mod settings;
mod submit;
mod webhooks;
mod websocket;
mod world;

use connection::Transport;
use settings::Settings;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use world::{Addresses, Sim};

#[derive(clap::Args)]
pub struct Options {
    /// OpenChat's HTTP; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    openchat: SocketAddr,
    /// The server's own HTTP, and /_sim/
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    http: SocketAddr,
    /// The long connection over WebSocket
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    ws: SocketAddr,
    /// The long connection over TCP
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    tcp: SocketAddr,
    /// Settings that differ, as for POST /_sim/settings
    #[arg(long, value_name = "JSON", default_value = "{}")]
    settings: String,
}

/// Says where it listens and plays the provider for ever.
pub async fn serve(options: Options) -> io::Result<()> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let changes = serde_json::from_str(&options.settings)?;
    let settings = Settings::default().changed(&changes).map_err(wrong)?;
    let openchat = TcpListener::bind(options.openchat).await?;
    let http = TcpListener::bind(options.http).await?;
    let ws = TcpListener::bind(options.ws).await?;
    let tcp = TcpListener::bind(options.tcp).await?;
    let addresses = Addresses {
        openchat: openchat.local_addr()?,
        http: http.local_addr()?,
        ws: ws.local_addr()?,
        tcp: tcp.local_addr()?,
    };
    let sim = Arc::new(Sim::new(addresses, settings));
    println!("{}", http::addresses(&sim));
    tokio::spawn(webhooks::run(sim.clone()));
    tokio::try_join!(
        http::serve(sim.clone(), openchat, http::Port::OpenChat),
        http::serve(sim.clone(), http, http::Port::Native),
        clients(sim.clone(), ws, Transport::Ws),
        clients(sim.clone(), tcp, Transport::Tcp),
    )?;
    Ok(())
}

async fn clients(sim: Arc<Sim>, listener: TcpListener, transport: Transport) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection::serve(sim.clone(), stream, transport));
    }
}
