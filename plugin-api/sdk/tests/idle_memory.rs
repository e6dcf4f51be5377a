//! What an idle WebSocket costs in heap: bridges hold thousands of them.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    reason = "counts allocations; tests fail by panics"
)]

#[path = "net/script.rs"]
#[allow(dead_code, reason = "shared with the tests of the network parts")]
mod script;

use im_bridge_sdk::websocket::{Options, Ping};
use script::run;
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Beside the socket itself, which is the kernel's: the read buffer of 4 KiB and the states around it.
const IDLE_BYTES_MAX: usize = 5_600;
/// The task that sends pings, while it sleeps.
const HEART_BYTES_MAX: usize = 1_000;
const CONNECTIONS: usize = 50;

static LIVE: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: hands everything to the system's allocator and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Agrees to every handshake, without heap that lasts, and keeps the connection.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut kept = Vec::with_capacity(2 * CONNECTIONS + 2);
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let n = stream.read(&mut head).unwrap();
            let head = std::str::from_utf8(&head[..n]).unwrap();
            let key = head
                .lines()
                .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
            let accept = derive_accept_key(key.unwrap().as_bytes());
            let upgrade =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket";
            let answer = format!("{upgrade}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            kept.push(stream);
        }
    });
    address
}

#[test]
fn an_idle_connection_fits_its_budget() {
    run(&serve(), |cx, address| {
        Box::pin(async move {
            for is_pinging in [false, true] {
                let mut options = Options::new(format!("ws://{address}/ws")).template("/ws");
                if is_pinging {
                    let (every, dead_after) = (Duration::from_secs(600), Duration::from_secs(900));
                    options = options.ping(Ping { every, dead_after });
                }
                let mut kept = Vec::with_capacity(CONNECTIONS);
                // The first one makes what all share.
                let _first = cx.websocket("connect", options.clone()).await.unwrap();
                let before = LIVE.load(Ordering::Relaxed);
                for _ in 0..CONNECTIONS {
                    kept.push(cx.websocket("connect", options.clone()).await.unwrap());
                    // Its task begins to sleep.
                    tokio::task::yield_now().await;
                }
                let each = (LIVE.load(Ordering::Relaxed) - before) / CONNECTIONS;
                println!("heap of an idle connection, pinging {is_pinging}: {each} bytes");
                let most = IDLE_BYTES_MAX + if is_pinging { HEART_BYTES_MAX } else { 0 };
                assert!(each <= most, "{each} bytes, the budget is {most}");
            }
        })
    });
}
