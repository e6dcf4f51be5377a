//! Questions to the server, one inbox for all of a connection.
//!
//! A question has a deadline, and one that is never answered leaves nothing behind: the library's own table keeps its entry
//! for ever. Bounded: more than [`ASKED_MAX`] open questions are refused at once.
//!
//! Not here: publishing events and results, which is sent again until it is stored; `ack` does that.

use super::denied::Denied;
use async_nats::{Client, HeaderMap, Message, StatusCode, Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, oneshot, watch};
use tokio::task::JoinHandle;

/// Open questions of one connection. Each account asks for at most a few at a time; the rest waits in its lane.
pub const ASKED_MAX: usize = 16_384;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("nobody answers {subject}")]
    NoResponders { subject: String },
    /// What was asked for may have happened.
    #[error("no answer on {subject} within {} ms", within.as_millis())]
    Timeout { subject: String, within: Duration },
    #[error("the message to {subject} cannot be sent: {why}")]
    NotSent { subject: String, why: String },
    #[error("{ASKED_MAX} questions are open already")]
    TooMany,
    #[error("{0}")]
    Forbidden(Denied),
}

impl AskError {
    /// Whether what was asked for surely did not happen.
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::Timeout { .. })
    }
}

/// Asks on one connection. Clones share the inbox.
#[derive(Clone, Debug)]
pub struct Replies {
    client: Client,
    inbox: Arc<str>,
    open: Arc<Open>,
    _reader: Arc<Reader>,
}

#[derive(Debug, Default)]
struct Open {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    waiting: HashMap<u64, Waiting>,
    /// The inbox itself, on the connection of now: nothing will ever be answered.
    forbidden: Option<Denied>,
}

#[derive(Debug)]
struct Waiting {
    subject: Subject,
    answer: oneshot::Sender<Result<Message, Denied>>,
}

impl Table {
    /// Tells those who wait for what the server does not permit.
    fn denied(&mut self, denied: Denied, inbox: &str) {
        let is_inbox = !denied.is_publish && denied.subject.starts_with(inbox);
        let is_meant = |waiting: &Waiting| {
            is_inbox || denied.is_publish && *waiting.subject == *denied.subject
        };
        for (_, waiting) in self.waiting.extract_if(|_, waiting| is_meant(waiting)) {
            // Its asker may be gone.
            let _ = waiting.answer.send(Err(denied.clone()));
        }
        if is_inbox {
            self.forbidden = Some(denied);
        }
    }
}

/// Ends with the last clone.
#[derive(Debug)]
struct Reader(JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Arrives = oneshot::Receiver<Result<Message, Denied>>;

/// Takes the question out of the table when its asker is gone.
struct Asked<'o> {
    open: &'o Open,
    number: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.open.lock().waiting.remove(&self.number);
    }
}

impl Replies {
    /// `denials` and `connects` are those of the connection.
    pub async fn start(
        client: Client,
        mut denials: broadcast::Receiver<Denied>,
        mut connects: watch::Receiver<u64>,
    ) -> Result<Self, async_nats::SubscribeError> {
        let inbox: Arc<str> = client.new_inbox().into();
        let mut answers = client.subscribe(format!("{inbox}.*")).await?;
        let open = Arc::new(Open::default());
        let reader = {
            let (open, inbox) = (Arc::clone(&open), Arc::clone(&inbox));
            tokio::spawn(async move {
                loop {
                    let answer = tokio::select! {
                        biased;
                        // First: what is forbidden on a connection is told after it was made.
                        Ok(()) = connects.changed() => {
                            open.lock().forbidden = None;
                            continue;
                        }
                        // One that lags misses some: their askers wait in vain, as with a server that is silent.
                        Ok(denied) = denials.recv() => {
                            open.lock().denied(denied, &inbox);
                            continue;
                        }
                        answer = answers.next() => answer,
                    };
                    let Some(answer) = answer else { return };
                    let Some(number) = token(&inbox, &answer.subject) else {
                        continue;
                    };
                    let waiting = open.lock().waiting.remove(&number);
                    if let Some(waiting) = waiting {
                        // Its asker may be gone: then the answer is of no use to anybody.
                        let _ = waiting.answer.send(Ok(answer));
                    }
                }
            })
        };
        Ok(Self {
            client,
            inbox,
            open,
            _reader: Arc::new(Reader(reader)),
        })
    }

    /// Sends and waits. Dropping the future forgets the question, not what it asked for.
    pub async fn ask(
        &self,
        subject: Subject,
        headers: Option<HeaderMap>,
        payload: Bytes,
        within: Duration,
    ) -> Result<Message, AskError> {
        let (asked, arrives) = self.question(&subject, ASKED_MAX)?;
        let reply = format!("{}.{:x}", self.inbox, asked.number);
        let name = subject.clone();
        let exchange = async {
            // In boxes: it is over at once, and whoever waits for the answer would keep room for it.
            let sent = match headers {
                Some(headers) => {
                    let sent = self
                        .client
                        .publish_with_reply_and_headers(subject, reply, headers, payload);
                    Box::pin(sent).await
                }
                None => {
                    let sent = self.client.publish_with_reply(subject, reply, payload);
                    Box::pin(sent).await
                }
            };
            sent.map_err(|error| AskError::NotSent {
                subject: name.to_string(),
                why: error.to_string(),
            })?;
            match arrives.await {
                Ok(answer) => answer.map_err(AskError::Forbidden),
                Err(_) => Err(AskError::NotSent {
                    subject: name.to_string(),
                    why: "the connection was closed".to_owned(),
                }),
            }
        };
        let answer = tokio::time::timeout(within, exchange)
            .await
            .unwrap_or_else(|_| {
                Err(AskError::Timeout {
                    subject: name.to_string(),
                    within,
                })
            })?;
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(AskError::NoResponders {
                subject: name.to_string(),
            });
        }
        Ok(answer)
    }

    /// Returns when the server has processed all that was sent on this connection before: subscriptions are known to it. The
    /// library's flush returns when the bytes have left.
    pub async fn caught_up(&self, within: Duration) -> Result<(), AskError> {
        let inbox = Subject::from(self.inbox.to_string());
        let (asked, arrives) = self.question(&inbox, usize::MAX)?;
        // To the own inbox: it comes back after everything that was sent before it.
        let subject = format!("{}.{:x}", self.inbox, asked.number);
        let round_trip = async {
            let sent = self.client.publish(subject.clone(), Bytes::new()).await;
            sent.is_ok() && matches!(arrives.await, Ok(Ok(_)))
        };
        match tokio::time::timeout(within, round_trip).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(AskError::NotSent {
                subject,
                why: "the connection was closed".to_owned(),
            }),
            Err(_) => Err(AskError::Timeout { subject, within }),
        }
    }

    /// A place in the table, given back when it is dropped. At most `most` are taken.
    fn question(&self, subject: &Subject, most: usize) -> Result<(Asked<'_>, Arrives), AskError> {
        let (answer, arrives) = oneshot::channel();
        let subject = subject.clone();
        let mut table = self.open.lock();
        if let Some(denied) = &table.forbidden {
            return Err(AskError::Forbidden(denied.clone()));
        }
        if table.waiting.len() >= most {
            return Err(AskError::TooMany);
        }
        let number = table.next;
        table.next += 1;
        table.waiting.insert(number, Waiting { subject, answer });
        let open = &self.open;
        Ok((Asked { open, number }, arrives))
    }

    /// Open questions, for a gauge.
    pub fn open(&self) -> usize {
        self.open.lock().waiting.len()
    }
}

fn token(inbox: &str, subject: &str) -> Option<u64> {
    let token = subject.strip_prefix(inbox)?.strip_prefix('.')?;
    u64::from_str_radix(token, 16).ok()
}
