//! What clients ask, and what goes wrong on the way to the answer.

use serde::Serialize;
use serde_json::{Value, json};

use super::posts::Extras;
use super::{Deed, FaultKind, World};
use crate::native::{Call, Outcome, Refusal, Request, Token};

const PAGE_MAX: usize = 500;
const TOKEN_LIFE_MS: i64 = 24 * 3_600_000;

type Answer = Result<Value, Refusal>;

impl World {
    pub(super) fn ask(&mut self, client: u64, account: &str, request: Request) {
        let Request {
            id,
            client_ref,
            call,
        } = request;
        let mut late_ms = 0;
        if call.changes_something() {
            if self.struck(FaultKind::Lose, account).is_some() {
                return;
            }
            if let Some(fault) = self.struck(FaultKind::RateLimit, account) {
                let refusal = Refusal {
                    retry_after_ms: Some(fault.for_ms),
                    ..Refusal::new("slow_down", "too fast")
                };
                return self.answer(client, id, Err(refusal), 0);
            }
            if let Some(fault) = self.struck(FaultKind::Reject, account) {
                let code = fault.code.as_deref().unwrap_or("forbidden");
                return self.answer(client, id, Err(Refusal::new(code, "the script says so")), 0);
            }
            late_ms = self
                .struck(FaultKind::SlowAnswer, account)
                .map_or(0, |fault| fault.for_ms);
        }
        let is_unanswered =
            call.changes_something() && self.struck(FaultKind::NoAnswer, account).is_some();
        let answer = self.carry_out(account, client_ref, call);
        if !is_unanswered {
            self.answer(client, id, answer, late_ms);
        }
    }

    fn carry_out(&mut self, account: &str, client_ref: Option<String>, call: Call) -> Answer {
        let name = call.name();
        let is_send = matches!(call, Call::Send { .. });
        let is_kept = call.changes_something();
        let known = client_ref
            .as_deref()
            .filter(|_| is_kept && self.settings.deduplicates);
        let known = known
            .and_then(|reference| self.answered.get(account, reference))
            .cloned();
        let is_done = known.is_none();
        let answer = match known {
            Some(answer) => Ok(answer),
            None => self.call(account, client_ref.clone(), call),
        };
        if let (Some(reference), Ok(answer), true) = (&client_ref, &answer, is_kept) {
            self.answered
                .keep(account, reference, answer.clone(), self.settings.history);
        }
        let deed = match &answer {
            Ok(post) if is_send => Deed::Sent {
                account: account.to_owned(),
                client_ref,
                post: post["id"].as_str().unwrap_or_default().to_owned(),
                done: is_done,
            },
            _ => Deed::Asked {
                account: account.to_owned(),
                call: name,
                client_ref,
                ok: answer.is_ok(),
            },
        };
        self.record.note(self.now_ms, deed);
        answer
    }

    fn call(&mut self, me: &str, client_ref: Option<String>, call: Call) -> Answer {
        match call {
            Call::Send {
                chat,
                parts,
                quote,
                thread,
                silent: _,
                expires_in_s,
            } => json(self.write(
                &chat,
                me,
                parts,
                Extras {
                    client_ref,
                    quote,
                    thread,
                    expires_in_s,
                },
            )),
            Call::Edit { chat, post, parts } => json(self.edit(&chat, me, &post, parts)),
            Call::Recall {
                chat,
                post,
                for_all,
            } => json(self.recall(&chat, me, &post, for_all)),
            Call::Post { chat, post } => json(self.post(me, chat.as_deref(), &post)),
            Call::Posts {
                chat,
                after,
                before,
                limit,
            } => json(self.posts(me, &chat, after, before, limit.min(PAGE_MAX))),
            Call::React {
                chat,
                post,
                key,
                on,
            } => json(self.react(&chat, me, &post, &key, on)),
            Call::MarkRead { chat, up_to, posts } => {
                json(self.mark_read(&chat, me, up_to.as_deref(), &posts))
            }
            Call::ReadMarks { chat, people } => json(self.read_marks(me, &chat, &people)),
            Call::Typing { chat, on, ttl_ms } => json(self.typing(&chat, me, on, ttl_ms)),
            Call::OpenChat {
                kind,
                chat,
                name,
                picture,
                people,
            } => json(self.open_chat(me, kind, chat, name, picture, &people)),
            Call::ChangeChat {
                chat,
                name,
                picture,
                topic,
            } => {
                self.room_of(&chat, me)?;
                json(self.change_chat(me, &chat, name, picture, topic))
            }
            Call::CloseChat { chat, for_all } => {
                self.room_of(&chat, me)?;
                json(self.close_chat(me, &chat, "dissolved", for_all))
            }
            Call::LeaveChat { chat } => json(self.leave(&chat, me, me, "leave")),
            Call::Chat { chat } => {
                let room = self.room_of(&chat, me)?;
                json(Ok(room.describe(&chat, Some(me))))
            }
            Call::Chats { after, limit } => {
                json(Ok(self.chats(me, after.as_deref(), limit.min(PAGE_MAX))))
            }
            Call::AddPeople { chat, people } => {
                self.room_of(&chat, me)?;
                json(Ok(Self::each(people, |person| {
                    self.join(&chat, person, me, "invite")
                })))
            }
            Call::RemovePeople { chat, people } => {
                self.room_of(&chat, me)?;
                json(Ok(Self::each(people, |person| {
                    self.leave(&chat, person, me, "kick")
                })))
            }
            Call::ChangeSeat {
                chat,
                person,
                role,
                alias,
            } => {
                self.room_of(&chat, me)?;
                json(self.change_seat(me, &chat, &person, role, alias))
            }
            Call::Seats { chat, after, limit } => {
                json(self.seats(me, &chat, after.as_deref(), limit.min(PAGE_MAX)))
            }
            Call::Person { person } => json(self.person(&person)),
            Call::Contacts { after, limit } => {
                json(Ok(self.contacts(me, after.as_deref(), limit.min(PAGE_MAX))))
            }
            Call::AnswerContact { request, accept } => {
                json(self.answer_contact(me, &request, accept))
            }
            Call::Unread { chat } => json(self.unread(me, chat.as_deref())),
            Call::Upload {
                source: _,
                mime,
                name,
            } => json(Ok(self.upload(&mime, name.as_deref()))),
            Call::Sync { after, limit } => json(Ok(self
                .inboxes
                .get(me)
                .map(|inbox| inbox.after(after, limit.min(PAGE_MAX))))),
            Call::Outcome { of } => {
                let answer = self.answered.get(me, &of).cloned();
                json(Ok(Outcome {
                    done: answer.is_some(),
                    answer: answer.map(Into::into),
                }))
            }
            Call::Renew => {
                let expires_ms = self.now_ms + TOKEN_LIFE_MS;
                if let Some(inbox) = self.inboxes.get_mut(me) {
                    inbox.token_expires_ms = expires_ms;
                }
                json(Ok(Token { expires_ms }))
            }
            Call::Status => Ok(json!({
                "people": self.people.len(), "chats": self.rooms.len(), "connections": self.clients.len(),
                "now_ms": self.now_ms,
            })),
        }
    }
}

impl Call {
    /// Reading may be repeated without a thought.
    fn changes_something(&self) -> bool {
        !matches!(
            self,
            Self::Post { .. }
                | Self::Posts { .. }
                | Self::ReadMarks { .. }
                | Self::Chat { .. }
                | Self::Chats { .. }
                | Self::Seats { .. }
                | Self::Person { .. }
                | Self::Contacts { .. }
                | Self::Unread { .. }
                | Self::Sync { .. }
                | Self::Outcome { .. }
                | Self::Renew
                | Self::Status
        )
    }

    /// The name it has in JSON.
    fn name(&self) -> String {
        let json =
            serde_json::to_value(self).expect("calls have string keys only, so they are JSON");
        json["call"].as_str().unwrap_or_default().to_owned()
    }
}

fn json<T: Serialize>(answer: Result<T, Refusal>) -> Answer {
    answer.map(|answer| {
        serde_json::to_value(answer).expect("answers have string keys only, so they are JSON")
    })
}
