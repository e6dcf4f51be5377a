//! Questions to the server, one inbox for all of a connection.
//!
//! A question has a deadline, and one that is never answered leaves nothing behind: the library's own table keeps its entry
//! for ever. Bounded: more than [`ASKED_MAX`] open questions are refused at once.
//!
//! Not here: publishing events and results, which is sent again until it is stored; `ack` does that.

use async_nats::{Client, HeaderMap, Message, StatusCode, Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, oneshot};
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
    #[error("the server forbids {subject}")]
    Forbidden { subject: String },
    #[error("{ASKED_MAX} questions are open already")]
    TooMany,
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
    waiting: HashMap<u64, Question>,
}

#[derive(Debug)]
struct Question {
    subject: Subject,
    answer: oneshot::Sender<Result<Message, Denied>>,
}

#[derive(Debug)]
struct Denied;

/// Ends with the last clone.
#[derive(Debug)]
struct Reader(JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Open {
    fn answered(&self, inbox: &str, answer: Message) {
        let number = token(inbox, &answer.subject);
        let question = number.and_then(|number| self.lock().waiting.remove(&number));
        if let Some(question) = question {
            // Its asker may be gone: then the answer is of no use to anybody.
            let _ = question.answer.send(Ok(answer));
        }
    }

    fn denied(&self, words: &str) {
        let mut table = self.lock();
        let is_meant = |question: &Question| words.contains(&format!("\"{}\"", question.subject));
        let denied = table.waiting.extract_if(|_, question| is_meant(question));
        for (_, question) in denied {
            // As above.
            let _ = question.answer.send(Err(Denied));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    /// `denials`: what the server forbids, in its words. A publish that it forbids is never answered.
    pub async fn start(
        client: Client,
        mut denials: broadcast::Receiver<String>,
    ) -> Result<Self, async_nats::SubscribeError> {
        let inbox: Arc<str> = client.new_inbox().into();
        let mut answers = client.subscribe(format!("{inbox}.*")).await?;
        let open = Arc::new(Open::default());
        let reader = {
            let (open, inbox) = (Arc::clone(&open), Arc::clone(&inbox));
            tokio::spawn(async move {
                loop {
                    tokio::select! {
                        biased;
                        answer = answers.next() => match answer {
                            Some(answer) => open.answered(&inbox, answer),
                            None => return,
                        },
                        // One that is missed costs its asker the time it would wait anyway.
                        Ok(words) = denials.recv() => open.denied(&words),
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
        let (asked, arrives) = self
            .question(ASKED_MAX, subject.clone())
            .ok_or(AskError::TooMany)?;
        let reply = format!("{}.{:x}", self.inbox, asked.number);
        let name = subject.clone();
        let exchange = async {
            let sent = match headers {
                Some(headers) => {
                    self.client
                        .publish_with_reply_and_headers(subject, reply, headers, payload)
                        .await
                }
                None => {
                    self.client
                        .publish_with_reply(subject, reply, payload)
                        .await
                }
            };
            sent.map_err(|error| AskError::NotSent {
                subject: name.to_string(),
                why: error.to_string(),
            })?;
            match arrives.await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(Denied)) => Err(AskError::Forbidden {
                    subject: name.to_string(),
                }),
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
        let (asked, arrives) = self
            .question(usize::MAX, Subject::from_static("_"))
            .expect("nobody asks without a bound so often");
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

    /// A place in the table, given back when it is dropped; none: `most` are taken.
    fn question(
        &self,
        most: usize,
        subject: Subject,
    ) -> Option<(Asked<'_>, oneshot::Receiver<Result<Message, Denied>>)> {
        let (answer, arrives) = oneshot::channel();
        let mut table = self.open.lock();
        if table.waiting.len() >= most {
            return None;
        }
        let number = table.next;
        table.next += 1;
        table.waiting.insert(number, Question { subject, answer });
        let open = &self.open;
        Some((Asked { open, number }, arrives))
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
