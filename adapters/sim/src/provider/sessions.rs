//! Who gets in, and what is acknowledged.

use std::collections::{BTreeMap, VecDeque};

use super::clients::Session;
use super::inbox::Inbox;
use super::{Deed, FaultKind, World};
use crate::native::{Challenge, Down, Login, Refused, Welcome};

const TOKEN_LIFE_MS: i64 = 24 * 3_600_000;

impl World {
    pub(super) fn login(&mut self, client: u64, login: &Login) {
        if let Some(refused) = self.refuses(login) {
            let deed = Deed::LoginRefused {
                account: login.person.clone(),
                code: refused.code.clone(),
            };
            self.record.note(self.now_ms, deed);
            self.say(client, &Down::Refused(refused), 0);
            self.end(client, "refused");
            return;
        }
        let account = login.person.clone();
        let others: Vec<(u64, u64)> = self.sessions_of(&account);
        if self.settings.one_session {
            for (_, other) in &others {
                self.close(*other, "replaced", "another device logged in");
            }
        }
        let person = self.person_or_new(&account, true);
        self.start_chatter();
        let first_number = self.first_number;
        // The token's end is set by the first login.
        if self
            .inboxes
            .get(&account)
            .is_none_or(|inbox| inbox.token_expires_ms == 0)
        {
            for room in self.rooms.values_mut().filter(|room| room.is_for_everybody) {
                room.seat(&person, "member", self.now_ms);
            }
        }
        let inbox = self
            .inboxes
            .entry(account.clone())
            .or_insert_with(|| Inbox::new(first_number));
        inbox.token_expires_ms = self.now_ms + TOKEN_LIFE_MS;
        let (last_seq, token_expires_ms) = (inbox.last_seq, inbox.token_expires_ms);
        let again = std::mem::take(&mut inbox.left_over).into_values().collect();
        let id = self.number();
        self.record.note(
            self.now_ms,
            Deed::Login {
                account: account.clone(),
                session: id,
                device: login.device.clone(),
                others: if self.settings.one_session {
                    vec![]
                } else {
                    others.iter().map(|(id, _)| *id).collect()
                },
            },
        );
        if let Some(client) = self.clients.get_mut(&client) {
            client.session = Some(Session {
                id,
                account,
                next_seq: last_seq + 1,
                unacknowledged: BTreeMap::new(),
                again,
                passing: VecDeque::new(),
                held_back: None,
            });
        }
        self.say(
            client,
            &Down::Welcome(Welcome {
                session: id,
                person,
                last_seq,
                token_expires_ms,
            }),
            0,
        );
    }

    fn refuses(&mut self, login: &Login) -> Option<Refused> {
        let refused = |code: &str, text: &str| {
            Some(Refused {
                code: code.to_owned(),
                text: text.to_owned(),
                challenge: None,
            })
        };
        if self.now_ms < self.shut_until_ms {
            return refused("down", "nobody is let in for a while");
        }
        if login.token.is_empty()
            || login.token == "wrong"
            || self
                .script
                .strikes(FaultKind::RefuseLogin, &login.person)
                .is_some()
        {
            return refused("bad_token", "unknown token");
        }
        let challenged = self
            .script
            .strikes(FaultKind::Challenge, &login.person)
            .is_some();
        let first_number = self.first_number;
        let inbox = self
            .inboxes
            .entry(login.person.clone())
            .or_insert_with(|| Inbox::new(first_number));
        if challenged {
            let url = "https://sim.invalid/challenge".to_owned();
            inbox.challenge = Some(Challenge {
                kind: "captcha".to_owned(),
                url,
                expires_ms: self.now_ms + TOKEN_LIFE_MS,
            });
        }
        match (&inbox.challenge, login.answer.as_deref()) {
            (None, _) => None,
            (Some(_), Some(answer)) if answer != "wrong" => {
                inbox.challenge = None;
                None
            }
            (challenge, _) => {
                let text = "a person must answer first".to_owned();
                Some(Refused {
                    code: "challenge".to_owned(),
                    text,
                    challenge: challenge.clone(),
                })
            }
        }
    }

    pub(super) fn acknowledge(&mut self, client: u64, push: u64) {
        let Some(session) = self
            .clients
            .get_mut(&client)
            .and_then(|client| client.session.as_mut())
        else {
            return;
        };
        // A push that was acknowledged before is acknowledged again without harm.
        let Some(acknowledged) = session.unacknowledged.remove(&push) else {
            return;
        };
        let seq = acknowledged.item.seq;
        let deed = Deed::Acked {
            account: session.account.clone(),
            session: session.id,
            push,
            seq,
        };
        if let Some(inbox) = self.inboxes.get_mut(&session.account) {
            inbox.left_over.remove(&seq);
        }
        self.record.note(self.now_ms, deed);
    }
}
