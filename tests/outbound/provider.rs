//! A provider with a script: what it is asked, what it does, and what it says of it.

use bytes::Bytes;
use im_bridge::account::{Ended, Request};
use im_bridge::loader::host::Completed;
use im_bridge::outbound::{Hands, View};
use im_bridge_plugin_api::abi::Status;
use im_bridge_sdk::model::{AccountState, Capabilities};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

/// What a command leads to.
#[derive(Clone, Debug)]
pub enum Says {
    /// It is done.
    Done,
    /// It is done, and this is the result.
    Result(Value),
    /// It is not done, surely.
    Fails(Status, &'static str),
    /// Slow down for so long.
    Slower(u64),
    /// It is done, and nobody hears of it.
    DoneAndLost,
    /// It is not done, and nobody hears of that either.
    NotDoneAndLost,
    /// It is done, and heard of when the test says so.
    DoneAndLate,
    /// Nothing yet: the test ends it.
    Nothing,
}

/// One command as the provider saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub name: String,
    pub channel: Option<String>,
    pub key: String,
    pub text: String,
    pub is_verify: bool,
    pub is_redelivered: bool,
}

type Script = Box<dyn FnMut(&Seen) -> Says + Send>;

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    /// Commands that were done, in order.
    done: Vec<Seen>,
    tags: Vec<(u64, Seen)>,
}

/// See the front page.
pub struct Provider {
    pub hands: Arc<Hands>,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn capabilities(change: impl FnOnce(&mut Value)) -> Arc<Capabilities> {
    let mut can = json!({
        "transport": {"inbound": "push", "outbound": "socket", "ack": "response", "poll_fallback": false},
        "commands": {"message.send": 2, "message.recall": 2, "channel.create": 2, "channel.list": 2, "typing.set": 2,
            "native.call": 1},
        "control": {"login": 2, "reconnect": 2},
        "segments": {"send": {"text": 2}, "receive": {}},
        "features": {},
        "limits": {"max_in_flight": 8, "max_reads_in_flight": 2, "max_payload_bytes": null, "idempotency_key_chars": 64,
            "recall_max_age_s": null, "media_by": ["url"], "rate": null},
        "guarantees": {"ordering": "channel", "inbound_ack": "each", "catch_up": "full", "sender_in_event": true,
            "provider_dedup": false, "verify_after_timeout": false, "message_time": "provider", "self_echo": true},
    });
    change(&mut can);
    Arc::new(serde_json::from_value(can).unwrap())
}

impl Provider {
    /// Online, with everything at its default.
    pub fn new(script: impl FnMut(&Seen) -> Says + Send + 'static) -> Self {
        Self::with(capabilities(|_| {}), AccountState::Online, script)
    }

    /// One that can be asked what became of a command.
    pub fn verifying(script: impl FnMut(&Seen) -> Says + Send + 'static) -> Self {
        let can = capabilities(|can| can["guarantees"]["verify_after_timeout"] = json!(true));
        Self::with(can, AccountState::Online, script)
    }

    pub fn with(
        capabilities: Arc<Capabilities>,
        state: AccountState,
        script: impl FnMut(&Seen) -> Says + Send + 'static,
    ) -> Self {
        let (hands, mut requests) = Hands::new();
        hands.show(View {
            state,
            capabilities: Some(capabilities),
        });
        let shared = Arc::new(Mutex::new(State::default()));
        let task = {
            let (hands, shared) = (Arc::clone(&hands), Arc::clone(&shared));
            let mut script: Script = Box::new(script);
            tokio::spawn(async move {
                while let Some(request) = requests.recv().await {
                    let ended = shared.lock().unwrap().asked(&request, &mut script);
                    if let Some(ended) = ended {
                        hands.ended(request.tag, ended);
                    }
                }
            })
        };
        Self {
            hands,
            state: shared,
            task,
        }
    }

    pub fn becomes(&self, state: AccountState) {
        let capabilities = self.hands.view().capabilities;
        self.hands.show(View {
            state,
            capabilities,
        });
    }

    /// Everything it was asked.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// Texts of what it did, in order.
    pub fn done(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.done.iter().map(|seen| seen.text.clone()).collect()
    }

    pub fn done_in(&self, channel: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let of_channel = |seen: &&Seen| seen.channel.as_deref() == Some(channel);
        state
            .done
            .iter()
            .filter(of_channel)
            .map(|seen| seen.text.clone())
            .collect()
    }

    /// Tells the truth about what was done and not heard of.
    pub fn tell_late(&self) {
        let late = std::mem::take(&mut self.state.lock().unwrap().tags);
        for (tag, seen) in late {
            self.hands.ended(tag, Ended::Late(sent(&seen)));
        }
    }

    /// Ends what was left open: it is done.
    pub fn finish_all(&self) {
        let open = {
            let mut state = self.state.lock().unwrap();
            let open = std::mem::take(&mut state.tags);
            state.done.extend(open.iter().map(|(_, seen)| seen.clone()));
            open
        };
        for (tag, seen) in open {
            self.hands.ended(tag, Ended::Completed(sent(&seen)));
        }
    }
}

impl State {
    fn asked(&mut self, request: &Request, script: &mut Script) -> Option<Ended> {
        let command = &request.command;
        let body: Value = serde_json::from_slice(&command.body).unwrap();
        let text = &body["params"]["message"]["segments"][0]["data"]["text"];
        let seen = Seen {
            name: command.name.to_string(),
            channel: command.channel.as_deref().map(str::to_owned),
            key: command.idempotency_key.to_string(),
            text: text.as_str().unwrap_or_default().to_owned(),
            is_verify: request.is_verify,
            is_redelivered: command.is_redelivered,
        };
        self.seen.push(seen.clone());
        let says = script(&seen);
        let is_done = matches!(
            says,
            Says::Done | Says::Result(_) | Says::DoneAndLost | Says::DoneAndLate
        );
        if is_done && !seen.is_verify {
            self.done.push(seen.clone());
        }
        Some(match says {
            Says::Done => Ended::Completed(sent(&seen)),
            Says::Result(result) => Ended::Completed(completed(&result)),
            Says::Fails(status, code) => {
                Ended::Completed(Completed::by_host(0, status, true, code))
            }
            Says::Slower(ms) => {
                let status = Status::E_RATE_LIMITED;
                let mut said = Completed::by_host(0, status, true, "rate_limited");
                said.retry_after_ms = Some(ms);
                Ended::Completed(said)
            }
            Says::DoneAndLost | Says::NotDoneAndLost => Ended::Unknown("timeout_after_send"),
            Says::DoneAndLate => {
                self.tags.push((request.tag, seen));
                Ended::Unknown("timeout_after_send")
            }
            Says::Nothing => {
                self.tags.push((request.tag, seen));
                return None;
            }
        })
    }
}

pub fn completed(result: &Value) -> Completed {
    let mut completed = Completed::by_host(0, Status::OK, true, "");
    completed.body = Bytes::from(result.to_string());
    completed
}

fn sent(seen: &Seen) -> Completed {
    completed(&json!({"message": {
        "id": format!("m-{}", seen.key),
        "channel_id": seen.channel,
        "parts": [format!("m-{}", seen.key)],
    }}))
}
