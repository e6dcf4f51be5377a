//! Orders to a world: its one who plays the provider makes people act, breaks things and asks for the truth.

use serde_json::{Value, json};

use super::orders::Order;
use super::posts::Extras;
use super::{Deed, World};
use crate::native::{Part, Refusal, What};

/// Entries of the record in one answer, unless fewer are asked for.
const EXCERPT_MAX: usize = 10_000;

impl World {
    pub(super) fn order(&mut self, order: Value) -> Result<Value, Refusal> {
        let name = order["do"].as_str().unwrap_or_default().to_owned();
        let order: Order = serde_json::from_value(order)
            .map_err(|error| Refusal::new("bad_request", error.to_string()))?;
        if !matches!(order, Order::Truth { .. } | Order::Summary) {
            self.record.note(self.now_ms, Deed::Ordered { order: name });
        }
        self.obey(order)
    }

    fn obey(&mut self, order: Order) -> Result<Value, Refusal> {
        match order {
            Order::Say {
                chat,
                by,
                text,
                mut parts,
                quote,
                times,
            } => {
                parts.extend(text.map(|text| Part::Text { text, markup: None }));
                let mut posts = Vec::new();
                for _ in 0..times.unwrap_or(1) {
                    let extras = Extras {
                        quote: quote.clone(),
                        ..Extras::default()
                    };
                    posts.push(self.write(&chat, &by, parts.clone(), extras)?.id);
                }
                return Ok(json!({ "posts": posts }));
            }
            Order::Edit {
                chat,
                by,
                post,
                text,
            } => {
                self.edit(&chat, &by, &post, vec![Part::Text { text, markup: None }])?;
            }
            Order::Recall { chat, by, post } => self.recall(&chat, &by, &post, true)?,
            Order::React {
                chat,
                by,
                post,
                key,
                on,
            } => self.react(&chat, &by, &post, &key, on)?,
            Order::Reactions {
                chat,
                post,
                reactions,
            } => self.tell_reactions(&chat, &post, reactions),
            Order::Deliver { chat, by, posts } => {
                let what = What::Delivered {
                    person: by.clone(),
                    posts,
                };
                self.tell(&self.seated(&chat), Some(&by), Some(&chat), &what);
            }
            Order::Read { chat, by, up_to } => {
                self.mark_read(&chat, &by, Some(&up_to), &[])?;
            }
            Order::Type { chat, by, on } => self.typing(&chat, &by, on, 6_000)?,
            Order::Person { person } => {
                self.person_or_new(&person, false);
            }
            Order::OpenChat {
                by,
                kind,
                chat,
                name,
                people,
            } => {
                let opened = self.open_chat(&by, kind, chat, name, None, &people)?;
                return Ok(json!({ "chat": opened.chat.id, "created": opened.created }));
            }
            Order::ChangeChat {
                chat,
                by,
                name,
                topic,
            } => {
                self.change_chat(&by, &chat, name, None, topic)?;
            }
            Order::CloseChat { chat, by, reason } => self.close_chat(&by, &chat, &reason, true)?,
            Order::Join {
                chat,
                person,
                by,
                reason,
            } => self.join(&chat, &person, &by, &reason)?,
            Order::Leave {
                chat,
                person,
                by,
                reason,
            } => self.leave(&chat, &person, &by, &reason)?,
            Order::ChangeSeat {
                chat,
                person,
                by,
                role,
            } => {
                self.change_seat(&by, &chat, &person, Some(role), None)?;
            }
            Order::Mute {
                chat,
                person,
                for_ms,
            } => {
                let until_ms = self.now_ms + for_ms;
                let room = self.room_of(&chat, &person)?;
                room.seats
                    .get_mut(&person)
                    .expect("room_of found the seat")
                    .muted_until_ms = Some(until_ms);
            }
            Order::AskContact { by, account, text } => {
                return self.ask_contact(&by, &account, text);
            }
            Order::Contact {
                by,
                account,
                is_contact,
            } => self.set_contact(&account, &by, is_contact)?,
            Order::Rate { per_s } => self.set_rate(per_s),
            Order::Fault { kind, fault } => self.script.arm(kind, fault),
            Order::Heal => {
                self.script.disarm();
                self.shut_until_ms = i64::MIN;
                self.unhush();
            }
            Order::Solve { account } => {
                if let Some(inbox) = self.inboxes.get_mut(&account) {
                    inbox.challenge = None;
                }
            }
            Order::Kick { account, code } => {
                for (_, client) in self.sessions_of(&account) {
                    self.close(client, &code, "the script says so");
                }
            }
            Order::Forget { account, keep } => {
                if let Some(inbox) = self.inboxes.get_mut(&account) {
                    inbox.trim(keep);
                }
            }
            Order::Settings { settings } => self.configure(settings),
            order @ (Order::Fail { .. }
            | Order::Presence { .. }
            | Order::Notice { .. }
            | Order::Riddle { .. }) => {
                self.tell_of(order);
            }
            Order::Truth {
                after,
                limit,
                kinds,
            } => {
                let excerpt = self.record.excerpt(
                    after,
                    limit.unwrap_or(EXCERPT_MAX).min(EXCERPT_MAX),
                    &kinds,
                );
                return Ok(json!(excerpt));
            }
            Order::Summary => return Ok(json!(self.summary())),
        }
        Ok(json!({}))
    }

    /// Things that change nothing in the world and are only told.
    fn tell_of(&mut self, order: Order) {
        match order {
            Order::Fail {
                account,
                chat,
                client_ref,
                code,
            } => {
                let text = "could not be delivered".to_owned();
                self.tell(
                    &[account],
                    None,
                    Some(&chat),
                    &What::Failed {
                        client_ref,
                        code,
                        text,
                    },
                );
            }
            Order::Presence { person, status } => {
                let everybody: Vec<String> = self.inboxes.keys().cloned().collect();
                let what = What::Presence {
                    status,
                    since_ms: self.now_ms,
                };
                self.tell(&everybody, Some(&person), None, &what);
            }
            Order::Notice {
                account,
                name,
                title,
                text,
                warning,
            } => {
                let id = format!("n{}", self.number());
                self.tell(
                    &[account],
                    None,
                    None,
                    &What::Notice {
                        id,
                        name,
                        title,
                        text,
                        warning,
                        body: json!({}),
                    },
                );
            }
            Order::Riddle { account, body } => {
                self.tell(&[account], None, None, &What::Unknown(body))
            }
            _ => {}
        }
    }

    /// What can be said in a line, with what is open right now.
    #[must_use]
    pub fn summary(&self) -> super::Summary {
        let mut summary = self.record.summary();
        for (account, inbox) in &self.inboxes {
            let open = self.unacknowledged(account);
            summary
                .unacknowledged
                .insert(account.clone(), inbox.left_over.len() + open);
        }
        summary.posts = self
            .rooms
            .iter()
            .map(|(id, room)| (id.clone(), room.posts.len()))
            .collect();
        summary
    }
}
