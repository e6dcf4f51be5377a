//! The server of a demo: its own, which it may also kill, or somebody's.

use super::nats_server::{Found, Launch, Server, StartError};
use super::place::{self, Place};
use crate::cli::failure::{Exit, Failure};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where the demo's NATS is.
pub(super) enum Nats {
    Own(Arc<OwnServer>),
    /// Somebody's, at this address; the demo has names of its own there.
    Other {
        url: String,
        root: String,
    },
}

impl Nats {
    pub(super) fn start(found: Found, place: &Place) -> Result<Self, Failure> {
        match found {
            Found::Program { program, .. } => {
                let mut launch = Launch::new(program, place.server());
                launch.watched_by = place::program().ok();
                Ok(Self::Own(Arc::new(OwnServer::start(launch)?)))
            }
            Found::Running { url } => {
                let root = format!("demo-{:08x}", fastrand::u32(..));
                Ok(Self::Other { url, root })
            }
        }
    }

    pub(super) fn own(&self) -> Option<Arc<OwnServer>> {
        match self {
            Self::Own(server) => Some(Arc::clone(server)),
            Self::Other { .. } => None,
        }
    }

    pub(super) fn url(&self) -> &str {
        match self {
            Self::Own(server) => &server.url,
            Self::Other { url, .. } => url,
        }
    }

    pub(super) fn root(&self) -> &str {
        match self {
            Self::Own(_) => "im",
            Self::Other { root, .. } => root,
        }
    }
}

/// Ends with this value.
pub(super) struct OwnServer {
    url: String,
    launch: Launch,
    /// None while it is away.
    running: Mutex<Option<Server>>,
}

impl OwnServer {
    fn start(mut launch: Launch) -> Result<Self, Failure> {
        let server = Server::start_to_return(&mut launch).map_err(not_started)?;
        Ok(Self {
            url: server.url().to_owned(),
            launch,
            running: Mutex::new(Some(server)),
        })
    }

    /// Its process; 0 while it is away.
    pub(super) fn id(&self) -> u32 {
        self.running().as_ref().map_or(0, Server::id)
    }

    /// Kills it without warning; after this time it is there again, with the store that it left.
    pub(super) async fn restart(self: Arc<Self>, away: Duration) -> Result<(), Failure> {
        let (killed, begun) = (Arc::clone(&self), Arc::clone(&self));
        blocking(move || {
            if let Some(server) = killed.running().take() {
                server.kill();
            }
            Ok(())
        })
        .await?;
        tokio::time::sleep(away).await;
        blocking(move || {
            let server = Server::start(&begun.launch).map_err(not_started)?;
            *begun.running() = Some(server);
            Ok(())
        })
        .await
    }

    fn running(&self) -> MutexGuard<'_, Option<Server>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_started(error: StartError) -> Failure {
    let text = format!("{error}; name another one with --nats-server");
    Failure::new(Exit::Refused, "demo_no_nats", text)
}

async fn blocking(
    work: impl FnOnce() -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| {
        Err(Failure::new(
            Exit::No,
            "internal_bug",
            "this is a bug: starting the server panicked; please report it",
        ))
    })
}
