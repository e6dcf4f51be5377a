//! What is done about a post without writing: reactions, read marks, typing.

use super::World;
use crate::native::{Changed, Reaction, ReadMark, Refusal, What};

type Answer<T> = Result<T, Refusal>;

impl World {
    pub(super) fn react(
        &mut self,
        chat: &str,
        by: &str,
        post: &str,
        key: &str,
        on: bool,
    ) -> Answer<()> {
        self.post_in(chat, by, post)?;
        let (post, key) = (post.to_owned(), key.to_owned());
        let what = if on {
            What::Reacted { post, key }
        } else {
            What::Unreacted { post, key }
        };
        self.tell(&self.seated(chat), Some(by), Some(chat), &what);
        Ok(())
    }

    /// The whole list of reactions, as providers send it that do not tell single ones.
    pub(super) fn tell_reactions(&mut self, chat: &str, post: &str, reactions: Vec<Reaction>) {
        self.tell(
            &self.seated(chat),
            None,
            Some(chat),
            &What::Reactions {
                post: post.to_owned(),
                reactions,
            },
        );
    }

    /// Up to a post, or up to the newest of some.
    pub(super) fn mark_read(
        &mut self,
        chat: &str,
        by: &str,
        up_to: Option<&str>,
        posts: &[String],
    ) -> Answer<Changed> {
        let mut newest: Option<(u64, String)> = None;
        for id in up_to.into_iter().chain(posts.iter().map(String::as_str)) {
            let seq = self.post_in(chat, by, id)?.seq;
            if newest.as_ref().is_none_or(|(newest, _)| seq > *newest) {
                newest = Some((seq, id.to_owned()));
            }
        }
        let room = self.room_of(chat, by)?;
        let (seq, up_to) = match (newest, room.posts.back()) {
            (Some(newest), _) => newest,
            (None, Some(last)) => (last.seq, last.id.clone()),
            (None, None) => return Ok(Changed { changed: 0 }),
        };
        let unread = room.unread(by);
        let read = room.reads.entry(by.to_owned()).or_default();
        if seq <= *read {
            return Ok(Changed { changed: 0 });
        }
        *read = seq;
        let in_chat = room.unread(by);
        let total = self.unread(by, None)?.total;
        self.tell(
            &self.seated(chat),
            Some(by),
            Some(chat),
            &What::Read {
                person: by.to_owned(),
                up_to,
            },
        );
        self.tell(
            &[by.to_owned()],
            None,
            Some(chat),
            &What::Unread {
                total,
                in_chat: Some(in_chat),
            },
        );
        Ok(Changed {
            changed: unread - in_chat,
        })
    }

    pub(super) fn read_marks(
        &mut self,
        of: &str,
        chat: &str,
        people: &[String],
    ) -> Answer<Vec<ReadMark>> {
        let reads = &self.room_of(chat, of)?.reads;
        let wanted = reads
            .iter()
            .filter(|(person, _)| people.is_empty() || people.contains(person));
        Ok(wanted
            .map(|(person, seq)| ReadMark {
                person: person.clone(),
                seq: *seq,
            })
            .collect())
    }

    pub(super) fn typing(&mut self, chat: &str, by: &str, on: bool, ttl_ms: u64) -> Answer<()> {
        self.room_of(chat, by)?;
        let others: Vec<String> = self
            .seated(chat)
            .into_iter()
            .filter(|person| person != by)
            .collect();
        let what = if on {
            What::Typing { ttl_ms }
        } else {
            What::TypingEnded
        };
        self.tell(&others, Some(by), Some(chat), &what);
        Ok(())
    }
}
