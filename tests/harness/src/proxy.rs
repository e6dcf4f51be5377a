//! A TCP proxy that can be cut, half-opened and partitioned: what a network does to a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes taken from one side at a time.
const BUFFER: usize = 16 * 1024;

/// A way to one address. It ends with this value, and every connection through it.
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    open: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// Connections made before the last cut end.
    cuts: u64,
    /// Connections made before the last silence hear nothing any more.
    silences: u64,
    /// So do those that are made now.
    is_partitioned: bool,
}

/// What a connection has seen since it was made.
#[derive(Clone, Copy)]
enum Fate {
    Passes,
    /// What is said on it vanishes. For ever: bytes are missing in it.
    Silent,
    Ends,
}

impl Proxy {
    /// Listens on a free port of this machine.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("the loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = watch::Sender::new(State::default());
        let open = Arc::default();
        let accepting = tokio::spawn(accept(
            listener,
            target,
            state.subscribe(),
            Arc::clone(&open),
        ));
        Self {
            address,
            state,
            open,
            accepting,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Every connection ends; new ones get through.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Half-open: every connection stays, and what is said on it vanishes, both ways. New ones get through.
    pub fn silence(&self) {
        self.state.send_modify(|state| state.silences += 1);
    }

    /// As [`Self::silence`], for new ones too: they are accepted and hear nothing.
    pub fn partition(&self) {
        self.state.send_modify(|state| {
            state.silences += 1;
            state.is_partitioned = true;
        });
    }

    /// New connections get through again.
    pub fn heal(&self) {
        self.state.send_modify(|state| state.is_partitioned = false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    state: watch::Receiver<State>,
    open: Arc<AtomicUsize>,
) {
    // A connection out of descriptors is one that was refused.
    while let Ok((near, _)) = listener.accept().await {
        let (state, open) = (state.clone(), Arc::clone(&open));
        tokio::spawn(async move {
            open.fetch_add(1, Ordering::Relaxed);
            connect(near, target, state).await;
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn connect(near: TcpStream, target: SocketAddr, state: watch::Receiver<State>) {
    let born = *state.borrow();
    let link = Link { born, state };
    if born.is_partitioned {
        // Held open, unread, until it is cut or the other side gives up.
        let (mut read, _write) = near.into_split();
        return link.swallow(&mut read).await;
    }
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    // Both ends set it themselves; the proxy must not add a delay of its own.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    // When one way ends both do: a half-closed connection is no use to NATS.
    tokio::select! {
        () = link.clone().carry(near_in, far_out) => {}
        () = link.carry(far_in, near_out) => {}
    }
}

#[derive(Clone)]
struct Link {
    born: State,
    state: watch::Receiver<State>,
}

impl Link {
    fn fate(&mut self) -> Fate {
        let now = *self.state.borrow_and_update();
        if now.cuts != self.born.cuts {
            Fate::Ends
        } else if now.silences != self.born.silences {
            Fate::Silent
        } else {
            Fate::Passes
        }
    }

    async fn carry(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; BUFFER];
        loop {
            match self.fate() {
                Fate::Passes => {}
                Fate::Silent => return self.swallow(&mut from).await,
                Fate::Ends => return,
            }
            let read = tokio::select! {
                biased;
                changed = self.state.changed() => if changed.is_ok() { continue } else { return },
                read = from.read(&mut buffer) => read,
            };
            let Ok(count @ 1..) = read else { return };
            if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    }

    /// Takes what is said and says nothing, until the connection is cut or the side that speaks gives up.
    async fn swallow(mut self, from: &mut OwnedReadHalf) {
        let mut buffer = vec![0; BUFFER];
        loop {
            if matches!(self.fate(), Fate::Ends) {
                return;
            }
            tokio::select! {
                biased;
                changed = self.state.changed() => if changed.is_err() { return },
                read = from.read(&mut buffer) => if !matches!(read, Ok(1..)) { return },
            }
        }
    }
}
