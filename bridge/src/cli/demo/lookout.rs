//! What can be seen of the bridge from outside while a demo runs: its status page, which answers without NATS, too, the
//! states that it publishes, and the memory of the process.
//!
//! Not here: what follows from it (`breaks`), and its words (`lines`).

use crate::bus::Subjects;
use crate::bus::connect::Connection;
use futures_util::StreamExt;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// A person sees no more.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The page is made of facts at hand.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// Looks and states that wait while a line is written.
const WAITING_MAX: usize = 32;

/// What was seen.
pub(super) enum News {
    Sight(Sight),
    /// An account's state, as it was published.
    State {
        account: String,
        state: Value,
    },
}

/// One look at the status page.
#[derive(Debug, Default)]
pub(super) struct Sight {
    pub is_connected: bool,
    /// Events that an account's adapter handed over and that are not stored.
    pub unsettled: BTreeMap<String, u64>,
    /// Of this process, where the system tells.
    pub resident_bytes: Option<u64>,
}

/// Looks until it is dropped.
pub(super) struct Lookout {
    news: mpsc::Receiver<News>,
    _tasks: JoinSet<()>,
}

impl Lookout {
    /// `status`: address of the status page, if it is known.
    pub(super) async fn start(
        status: Option<String>,
        connection: &Connection,
        subjects: &Subjects,
    ) -> Self {
        let (sender, news) = mpsc::channel(WAITING_MAX);
        let mut tasks = JoinSet::new();
        if let Some(address) = status {
            tasks.spawn(look(address, sender.clone()));
        }
        let states = subjects.states();
        if let Ok(mut published) = connection.client().subscribe(states).await {
            tasks.spawn(async move {
                while let Some(message) = published.next().await {
                    let Ok(state) = serde_json::from_slice::<Value>(&message.payload) else {
                        continue;
                    };
                    let (Some(provider), Some(account)) =
                        (state["provider"].as_str(), state["account"].as_str())
                    else {
                        // A plugin's.
                        continue;
                    };
                    let account = format!("{provider}/{account}");
                    let state = state["data"].clone();
                    if sender.send(News::State { account, state }).await.is_err() {
                        return;
                    }
                }
            });
        }
        Self {
            news,
            _tasks: tasks,
        }
    }

    /// Cancel safe.
    pub(super) async fn next(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            // Nothing more will be seen, which is no reason to end.
            None => std::future::pending().await,
        }
    }
}

async fn look(address: String, news: mpsc::Sender<News>) {
    loop {
        if let Ok(Ok(status)) = timeout(ANSWERED_WITHIN, page(&address)).await
            && news.send(News::Sight(sight(&status))).await.is_err()
        {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn page(address: &str) -> io::Result<Value> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("GET /api/status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(serde_json::from_str(body)?)
}

fn sight(status: &Value) -> Sight {
    let connected = &status["nats"]["connected"];
    let accounts = status["accounts"].as_array().into_iter().flatten();
    let unsettled = accounts.filter_map(|account| {
        let name = format!(
            "{}/{}",
            account["provider"].as_str()?,
            account["account"].as_str()?
        );
        Some((name, account["events_unsettled"].as_u64()?))
    });
    Sight {
        is_connected: connected["data"] == true && connected["control"] == true,
        unsettled: unsettled.collect(),
        resident_bytes: resident_bytes(),
    }
}

/// Linux tells it in pages.
fn resident_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}
