//! Providers to test against, each a process of its own: it outlives a bridge that is killed, and several bridges can
//! reach it at once.
//!
//! A simulator prints where it listens as one line of JSON, `{"ws":"ws://127.0.0.1:41873"}`, and ends when its standard
//! input ends: a test that dies takes its simulators with it, and no port needs to be agreed on.
//!
//! Not here: what a provider does. Each has a module of its own, written from its protocol page.

mod goofish;
mod sim;
mod wukongim;

use std::net::SocketAddr;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Plays a provider until standard input ends")]
struct Arguments {
    #[command(subcommand)]
    provider: Provider,
}

#[derive(Subcommand)]
enum Provider {
    /// Goofish (Xianyu web IM): mtop over HTTP, LWP over WebSocket; steered by /_sim/ on the HTTP address
    Goofish {
        /// Where mtop and /_sim/ listen; port 0 takes a free one
        #[arg(long, value_name = "ADDRESS")]
        http: SocketAddr,
        /// Where the WebSocket listens; port 0 takes a free one
        #[arg(long, value_name = "ADDRESS")]
        ws: SocketAddr,
    },
    /// The provider of the sim adapter: any number of worlds, made by whoever says hello
    Sim {
        /// Where to listen; port 0 takes a free one
        #[arg(long, value_name = "ADDRESS")]
        ws: SocketAddr,
    },
    /// WuKongIM with OpenChat in front of it
    Wukongim(wukongim::Options),
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let served = runtime.and_then(|runtime| {
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = end_of_input() => Ok(()),
                served = serve(arguments.provider) => served,
            }
        })
    });
    match served {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulator: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn serve(provider: Provider) -> std::io::Result<()> {
    match provider {
        Provider::Goofish { http, ws } => {
            let http = tokio::net::TcpListener::bind(http).await?;
            let ws = tokio::net::TcpListener::bind(ws).await?;
            println!(
                "{}",
                serde_json::json!({
                    "http": format!("http://{}", http.local_addr()?),
                    "ws": format!("ws://{}", ws.local_addr()?),
                })
            );
            goofish::serve(http, ws).await
        }
        Provider::Sim { ws } => {
            let listener = tokio::net::TcpListener::bind(ws).await?;
            println!(
                "{}",
                serde_json::json!({ "ws": format!("ws://{}", listener.local_addr()?) })
            );
            sim::serve(listener).await
        }
        Provider::Wukongim(options) => wukongim::serve(options).await,
    }
}

/// A thread reads, because a blocked read cannot be given up: the process ends under it.
async fn end_of_input() {
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Whatever is said is thrown away; an error is an end as well.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = end.await;
}
