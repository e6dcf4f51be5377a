//! People and whom they know.

use serde_json::{Value, json};

use super::World;
use super::chats::page;
use crate::native::{Contacts, Person, Refusal, What};

type Answer<T> = Result<T, Refusal>;

impl World {
    pub(super) fn person(&self, id: &str) -> Answer<Person> {
        let someone = self
            .people
            .get(id)
            .ok_or_else(|| Refusal::new("no_such_person", format!("no person {id}")))?;
        Ok(someone.person.clone())
    }

    pub(super) fn contacts(&self, of: &str, after: Option<&str>, limit: usize) -> Contacts {
        let contacts = self
            .people
            .get(of)
            .map(|someone| &someone.contacts)
            .into_iter()
            .flatten();
        let people =
            contacts.filter_map(|id| Some((id.as_str(), self.people.get(id)?.person.clone())));
        let (people, more) = page(people, after, limit);
        Contacts { people, more }
    }

    pub(super) fn set_contact(&mut self, of: &str, other: &str, is_contact: bool) -> Answer<()> {
        let (person, contact) = (self.person(of)?, self.person(other)?);
        for (of, other) in [(&person, &contact), (&contact, &person)] {
            let contacts = &mut self
                .people
                .get_mut(&of.id)
                .expect("looked up above")
                .contacts;
            if is_contact {
                contacts.insert(other.id.clone())
            } else {
                contacts.remove(&other.id)
            };
            let person = other.clone();
            let what = if is_contact {
                What::ContactAdded { person }
            } else {
                What::ContactRemoved { person }
            };
            self.tell(std::slice::from_ref(&of.id), Some(&other.id), None, &what);
        }
        Ok(())
    }

    pub(super) fn ask_contact(
        &mut self,
        by: &str,
        account: &str,
        text: Option<String>,
    ) -> Answer<Value> {
        let person = self.person(by)?;
        let request = format!("r{}", self.number());
        self.contact_requests
            .insert(request.clone(), (by.to_owned(), account.to_owned()));
        let what = What::ContactAsked {
            person,
            request: request.clone(),
            text,
        };
        self.tell(&[account.to_owned()], Some(by), None, &what);
        Ok(json!({ "request": request }))
    }

    pub(super) fn answer_contact(
        &mut self,
        me: &str,
        request: &str,
        accept: bool,
    ) -> Result<(), Refusal> {
        let asked = self
            .contact_requests
            .get(request)
            .filter(|(_, asked)| asked == me);
        let (asker, _) = asked
            .cloned()
            .ok_or_else(|| Refusal::new("no_such_request", format!("no request {request}")))?;
        self.contact_requests.remove(request);
        if accept {
            self.set_contact(me, &asker, true)
        } else {
            Ok(())
        }
    }
}
