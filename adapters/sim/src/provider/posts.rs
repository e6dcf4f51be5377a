//! What people write, change and take back.

use super::{Deed, World};
use crate::native::{Media, Part, Post, PostState, Posts, Quote, Refusal, What};

type Answer<T> = Result<T, Refusal>;

/// What a post may have beside its parts.
#[derive(Default)]
pub(super) struct Extras {
    pub client_ref: Option<String>,
    pub quote: Option<Quote>,
    pub thread: Option<String>,
    pub expires_in_s: Option<u64>,
}

impl World {
    pub(super) fn write(
        &mut self,
        chat: &str,
        by: &str,
        parts: Vec<Part>,
        extras: Extras,
    ) -> Answer<Post> {
        let from = self.person(by)?;
        let id = format!("p{}", self.number());
        let (now_ms, history) = (self.now_ms, self.settings.history);
        let room = self.room_of(chat, by)?;
        if room
            .seats
            .get(by)
            .and_then(|seat| seat.muted_until_ms)
            .is_some_and(|until_ms| until_ms > now_ms)
        {
            return Err(Refusal::new(
                "muted",
                format!("{by} may not write in {chat} now"),
            ));
        }
        if parts.is_empty() {
            return Err(Refusal::new("bad_request", "a post has at least one part"));
        }
        room.last_seq += 1;
        let expires_ms = extras
            .expires_in_s
            .and_then(|s| now_ms.checked_add_unsigned(s.checked_mul(1000)?));
        let post = Post {
            id,
            chat: chat.to_owned(),
            seq: room.last_seq,
            at_ms: now_ms,
            version: 1,
            edited_ms: None,
            expires_ms,
            from,
            client_ref: extras.client_ref,
            parts,
            quote: extras.quote,
            thread: extras.thread,
            state: PostState::Normal,
        };
        room.posts.push_back(post.clone());
        if room.posts.len() > history {
            room.posts.pop_front();
        }
        let deed = Deed::Said {
            chat: chat.to_owned(),
            post: post.id.clone(),
            seq: post.seq,
            by: by.to_owned(),
        };
        self.record.note(now_ms, deed);
        self.tell(
            &self.seated(chat),
            Some(by),
            Some(chat),
            &What::Posted { post: post.clone() },
        );
        Ok(post)
    }

    pub(super) fn edit(
        &mut self,
        chat: &str,
        by: &str,
        post: &str,
        parts: Vec<Part>,
    ) -> Answer<Post> {
        let now_ms = self.now_ms;
        let post = self.own_post(chat, by, post)?;
        post.parts = parts;
        post.version += 1;
        post.edited_ms = Some(now_ms);
        post.state = PostState::Edited;
        let post = post.clone();
        self.tell(
            &self.seated(chat),
            Some(by),
            Some(chat),
            &What::Edited { post: post.clone() },
        );
        Ok(post)
    }

    pub(super) fn recall(&mut self, chat: &str, by: &str, post: &str, for_all: bool) -> Answer<()> {
        let mut people = vec![by.to_owned()];
        if for_all {
            let post = self.own_post(chat, by, post)?;
            post.parts.clear();
            post.state = PostState::Recalled;
            people = self.seated(chat);
        } else {
            self.post_in(chat, by, post)?;
        }
        self.tell(
            &people,
            Some(by),
            Some(chat),
            &What::Recalled {
                post: post.to_owned(),
                for_all,
            },
        );
        Ok(())
    }

    /// By its id alone, or in a chat.
    pub(super) fn post(&mut self, of: &str, chat: Option<&str>, post: &str) -> Answer<Post> {
        let chat = match chat {
            Some(chat) => chat.to_owned(),
            None => {
                let mine = self
                    .rooms
                    .iter()
                    .filter(|(_, room)| room.seats.contains_key(of));
                let found = mine
                    .filter(|(_, room)| room.posts.iter().any(|kept| kept.id == post))
                    .map(|(id, _)| id.clone());
                found.take(1).next().ok_or_else(|| no_such_post(post))?
            }
        };
        let post = self.post_in(&chat, of, post)?.clone();
        Ok(shown_to(of, post))
    }

    pub(super) fn posts(
        &mut self,
        of: &str,
        chat: &str,
        after: Option<u64>,
        before: Option<u64>,
        limit: usize,
    ) -> Answer<Posts> {
        let kept = &self.room_of(chat, of)?.posts;
        let from = after.map_or(0, |after| kept.partition_point(|post| post.seq <= after));
        let to = before.map_or(kept.len(), |before| {
            kept.partition_point(|post| post.seq < before)
        });
        let (from, to) = (from.min(to), to);
        // Forwards from `after`; without it, the newest.
        let (start, end) = if after.is_some() {
            (from, to.min(from.saturating_add(limit)))
        } else {
            (from.max(to.saturating_sub(limit)), to)
        };
        let more = if after.is_some() {
            end < to
        } else {
            start > from
        };
        let posts = kept
            .range(start..end)
            .cloned()
            .map(|post| shown_to(of, post))
            .collect();
        Ok(Posts { posts, more })
    }

    pub(super) fn upload(&mut self, mime: &str, name: Option<&str>) -> Media {
        let (mime, name) = (Some(mime.to_owned()), name.map(str::to_owned));
        Media {
            id: Some(format!("f{}", self.number())),
            mime,
            name,
            ..Media::default()
        }
    }

    pub(super) fn post_in(&mut self, chat: &str, by: &str, id: &str) -> Answer<&mut Post> {
        let posts = &mut self.room_of(chat, by)?.posts;
        posts
            .iter_mut()
            .rev()
            .find(|post| post.id == id)
            .ok_or_else(|| no_such_post(id))
    }

    fn own_post(&mut self, chat: &str, by: &str, id: &str) -> Answer<&mut Post> {
        let post = self.post_in(chat, by, id)?;
        if post.from.id != by {
            return Err(Refusal::new(
                "forbidden",
                format!("post {id} is not {by}'s"),
            ));
        }
        if post.state == PostState::Recalled {
            return Err(Refusal::new("gone", format!("post {id} was recalled")));
        }
        Ok(post)
    }
}

/// A sender's reference is shown to the sender alone.
fn shown_to(reader: &str, mut post: Post) -> Post {
    if post.from.id != reader {
        post.client_ref = None;
    }
    post
}

fn no_such_post(id: &str) -> Refusal {
    Refusal::new("no_such_post", format!("no post {id}"))
}
