//! Goofish (Xianyu web IM): the mtop gateway over HTTP and LWP frames over WebSocket, written from the protocol page.
//!
//! Strict where the page says what is refused, lenient where it says that clients differ; what nobody knows is a setting.
//! Everything is in memory and bounded; what a client did not get live, it gets by ackDiff, list and history.
//!
//! Order within a session: an answer leaves before the pushes that its request caused, pushes leave in the order in which
//! things happened. What is armed against it by a fault is exempt.
//!
//! Not here: group conversations, and how a recall reaches the peer; neither is known.

mod acts;
mod control;
mod faults;
mod http;
mod items;
mod log;
mod mtop;
mod pack;
mod pushes;
mod record;
mod requests;
mod services;
mod sessions;
mod settings;
mod socket;
mod uploads;
#[cfg(test)]
mod vectors;
mod wire;
mod world;

use tokio::net::TcpListener;

/// Plays the provider on these two ports.
pub async fn serve(http: TcpListener, ws: TcpListener) -> std::io::Result<()> {
    let world = world::Shared::new();
    tokio::try_join!(http::serve(http, world.clone()), socket::serve(ws, world))?;
    Ok(())
}
