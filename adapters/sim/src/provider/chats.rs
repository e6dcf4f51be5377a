//! Chats: opened, changed, closed, listed.

use std::collections::{BTreeMap, VecDeque};

use super::World;
use crate::native::{Chat, Chats, Opened, Person, Post, Refusal, Seat, Unread, What};

type Answer<T> = Result<T, Refusal>;

pub(super) struct Room {
    kind: u8,
    pub name: Option<String>,
    pub topic: Option<String>,
    pub picture: Option<String>,
    pub seats: BTreeMap<String, Seat>,
    /// Oldest first.
    pub posts: VecDeque<Post>,
    pub last_seq: u64,
    pub reads: BTreeMap<String, u64>,
    /// Raised by each change of the room or its seats.
    pub version: u64,
    pub is_closed: bool,
    /// Whoever logs in for the first time is seated here.
    pub is_for_everybody: bool,
}

impl Room {
    pub fn new(kind: u8, name: Option<String>, first_number: u64) -> Self {
        Self {
            kind,
            name,
            topic: None,
            picture: None,
            seats: BTreeMap::new(),
            posts: VecDeque::new(),
            last_seq: first_number,
            reads: BTreeMap::new(),
            version: 0,
            is_closed: false,
            is_for_everybody: false,
        }
    }

    pub fn seat(&mut self, person: &Person, role: &str, now_ms: i64) -> Seat {
        let seat = Seat {
            person: person.clone(),
            role: role.to_owned(),
            alias: None,
            since_ms: now_ms,
            muted_until_ms: None,
        };
        self.seats.insert(person.id.clone(), seat.clone());
        self.reads.insert(person.id.clone(), self.last_seq);
        seat
    }

    /// As `reader` sees it; without one, what concerns everybody.
    pub fn describe(&self, id: &str, reader: Option<&str>) -> Chat {
        Chat {
            id: id.to_owned(),
            kind: self.kind,
            name: self.name.clone(),
            topic: self.topic.clone(),
            picture: self.picture.clone(),
            seats: reader.map(|_| self.seats.len() as u64),
            unread: reader.map(|reader| self.unread(reader)),
            last_post_ms: reader.and_then(|_| self.posts.back().map(|post| post.at_ms)),
        }
    }

    pub fn unread(&self, reader: &str) -> u64 {
        let read = self.reads.get(reader).copied().unwrap_or(self.last_seq);
        self.posts
            .iter()
            .rev()
            .take_while(|post| post.seq > read)
            .filter(|post| post.from.id != reader)
            .count() as u64
    }

    fn everybody(&self) -> Vec<String> {
        self.seats.keys().cloned().collect()
    }
}

impl World {
    pub(super) fn room(&mut self, id: &str) -> Answer<&mut Room> {
        match self.rooms.get_mut(id) {
            None => Err(Refusal::new("no_such_chat", format!("no chat {id}"))),
            Some(room) if room.is_closed => {
                Err(Refusal::new("gone", format!("chat {id} was closed")))
            }
            Some(room) => Ok(room),
        }
    }

    /// The room, if `person` sits in it.
    pub(super) fn room_of(&mut self, id: &str, person: &str) -> Answer<&mut Room> {
        let room = self.room(id)?;
        if room.seats.contains_key(person) {
            Ok(room)
        } else {
            Err(Refusal::new(
                "not_in_chat",
                format!("{person} does not sit in {id}"),
            ))
        }
    }

    pub(super) fn seated(&self, id: &str) -> Vec<String> {
        self.rooms.get(id).map(Room::everybody).unwrap_or_default()
    }

    pub(super) fn open_chat(
        &mut self,
        by: &str,
        kind: u8,
        id: Option<String>,
        name: Option<String>,
        picture: Option<String>,
        people: &[String],
    ) -> Answer<Opened> {
        let mut seated = vec![self.person(by)?];
        for id in people {
            let person = self.person(id)?;
            if !seated.contains(&person) {
                seated.push(person);
            }
        }
        if kind == 1 && seated.len() > 2 {
            return Err(Refusal::new(
                "bad_request",
                "two people make a chat of kind 1",
            ));
        }
        let id = match id {
            Some(id) => id,
            None if kind == 1 => dm_id(&seated),
            None => format!("g-{}", self.number()),
        };
        if let Some(room) = self.rooms.get(&id).filter(|room| !room.is_closed) {
            let chat = room.describe(&id, Some(by));
            return if kind == 1 {
                Ok(Opened {
                    chat,
                    created: false,
                })
            } else {
                Err(Refusal::new("exists", format!("chat {id} exists")))
            };
        }
        let now_ms = self.now_ms;
        let mut room = Room::new(kind, name, self.first_number);
        room.picture = picture;
        room.version = 1;
        for person in &seated {
            let role = if kind != 1 && person.id == by {
                "owner"
            } else {
                "member"
            };
            room.seat(person, role, now_ms);
        }
        let chat = room.describe(&id, Some(by));
        self.rooms.insert(id.clone(), room);
        self.tell(&self.seated(&id), Some(by), Some(&id), &What::ChatOpened);
        Ok(Opened {
            chat,
            created: true,
        })
    }

    pub(super) fn change_chat(
        &mut self,
        by: &str,
        id: &str,
        name: Option<String>,
        picture: Option<String>,
        topic: Option<String>,
    ) -> Answer<Chat> {
        let room = self.room(id)?;
        let mut fields = Vec::new();
        for (field, new, place) in [
            ("name", name, &mut room.name),
            ("picture", picture, &mut room.picture),
            ("topic", topic, &mut room.topic),
        ] {
            if new.is_some() {
                *place = new;
                fields.push(field.to_owned());
            }
        }
        room.version += 1;
        let (chat, version) = (room.describe(id, Some(by)), room.version);
        self.tell(
            &self.seated(id),
            Some(by),
            Some(id),
            &What::ChatChanged { fields, version },
        );
        Ok(chat)
    }

    /// Closed for everybody, or put away by one.
    pub(super) fn close_chat(
        &mut self,
        by: &str,
        id: &str,
        reason: &str,
        for_all: bool,
    ) -> Answer<()> {
        let room = self.room(id)?;
        room.is_closed = for_all;
        let people = if for_all {
            room.everybody()
        } else {
            vec![by.to_owned()]
        };
        self.tell(
            &people,
            Some(by),
            Some(id),
            &What::ChatClosed {
                reason: reason.to_owned(),
                for_all,
            },
        );
        Ok(())
    }

    pub(super) fn chats(&self, of: &str, after: Option<&str>, limit: usize) -> Chats {
        let mine = self
            .rooms
            .iter()
            .filter(|(_, room)| !room.is_closed && room.seats.contains_key(of));
        let (chats, more) = page(
            mine.map(|(id, room)| (id.as_str(), room.describe(id, Some(of)))),
            after,
            limit,
        );
        Chats { chats, more }
    }

    pub(super) fn unread(&mut self, of: &str, id: Option<&str>) -> Answer<Unread> {
        if let Some(id) = id {
            let unread = self.room_of(id, of)?.unread(of);
            return Ok(Unread {
                total: unread,
                chats: vec![(id.to_owned(), unread)],
            });
        }
        let mine = self
            .rooms
            .iter()
            .filter(|(_, room)| !room.is_closed && room.seats.contains_key(of));
        let chats: Vec<(String, u64)> = mine
            .map(|(id, room)| (id.clone(), room.unread(of)))
            .filter(|(_, unread)| *unread > 0)
            .collect();
        Ok(Unread {
            total: chats.iter().map(|(_, unread)| unread).sum(),
            chats,
        })
    }
}

/// The first `limit` after an id, and whether there are more.
pub(super) fn page<'a, T>(
    all: impl Iterator<Item = (&'a str, T)>,
    after: Option<&str>,
    limit: usize,
) -> (Vec<T>, bool) {
    let mut rest = all
        .filter(|(id, _)| after.is_none_or(|after| *id > after))
        .map(|(_, thing)| thing);
    let page = rest.by_ref().take(limit).collect();
    (page, rest.next().is_some())
}

fn dm_id(people: &[Person]) -> String {
    let mut ids: Vec<&str> = people.iter().map(|person| person.id.as_str()).collect();
    ids.sort_unstable();
    format!("dm-{}", ids.join("-"))
}
