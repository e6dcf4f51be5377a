//! Who sits in which chat.

use super::World;
use super::chats::page;
use crate::native::{People, Refusal, Seat, Seats, What};

type Answer<T> = Result<T, Refusal>;

impl World {
    pub(super) fn join(&mut self, id: &str, person: &str, by: &str, reason: &str) -> Answer<()> {
        let person = self.person(person)?;
        let now_ms = self.now_ms;
        let room = self.room(id)?;
        if room.seats.contains_key(&person.id) {
            return Err(Refusal::new(
                "exists",
                format!("{} sits there already", person.id),
            ));
        }
        room.version += 1;
        let version = room.version;
        let seat = room.seat(&person, "member", now_ms);
        self.tell(
            &self.seated(id),
            Some(by),
            Some(id),
            &What::Joined {
                seat,
                reason: reason.to_owned(),
                version,
            },
        );
        Ok(())
    }

    pub(super) fn leave(&mut self, id: &str, person: &str, by: &str, reason: &str) -> Answer<()> {
        let people = self.seated(id);
        let room = self.room_of(id, person)?;
        room.version += 1;
        let version = room.version;
        let seat = room.seats.remove(person).expect("room_of found the seat");
        self.tell(
            &people,
            Some(by),
            Some(id),
            &What::Left {
                seat,
                reason: reason.to_owned(),
                version,
            },
        );
        Ok(())
    }

    pub(super) fn each(people: Vec<String>, mut act: impl FnMut(&str) -> Answer<()>) -> People {
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for person in people {
            match act(&person) {
                Ok(()) => done.push(person),
                Err(refusal) => failed.push((person, refusal)),
            }
        }
        People { done, failed }
    }

    pub(super) fn change_seat(
        &mut self,
        by: &str,
        id: &str,
        person: &str,
        role: Option<String>,
        alias: Option<String>,
    ) -> Answer<Seat> {
        let room = self.room_of(id, person)?;
        room.version += 1;
        let version = room.version;
        let seat = room.seats.get_mut(person).expect("room_of found the seat");
        let mut fields = Vec::new();
        if let Some(role) = role {
            seat.role = role;
            fields.push("role".to_owned());
        }
        if let Some(alias) = alias {
            seat.alias = Some(alias);
            fields.push("alias".to_owned());
        }
        let seat = seat.clone();
        self.tell(
            &self.seated(id),
            Some(by),
            Some(id),
            &What::SeatChanged {
                seat: seat.clone(),
                fields,
                version,
            },
        );
        Ok(seat)
    }

    pub(super) fn seats(
        &mut self,
        of: &str,
        id: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Answer<Seats> {
        let room = self.room_of(id, of)?;
        let (seats, more) = page(
            room.seats
                .iter()
                .map(|(id, seat)| (id.as_str(), seat.clone())),
            after,
            limit,
        );
        Ok(Seats { seats, more })
    }
}
