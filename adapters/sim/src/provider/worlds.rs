//! Worlds by name, and the plug a client is put into.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use super::clients::frame;
use super::{Heard, Settings, World};
use crate::native::{Down, Up};

/// Worlds that may exist at once; a thousand accounts with a world of their own fit.
const WORLDS_MAX: usize = 4_096;

/// All worlds of a process. Cheap to clone: clones are the same worlds.
#[derive(Clone, Default)]
pub struct Worlds {
    worlds: Arc<Mutex<BTreeMap<String, Shared>>>,
    next_client: Arc<std::sync::atomic::AtomicU64>,
}

/// One world, used by several clients. Lock order: the map of worlds before a world.
#[derive(Clone)]
struct Shared(Arc<Mutex<World>>);

/// One connection of a client to a world.
pub struct Port {
    worlds: Worlds,
    client: u64,
    place: Place,
}

enum Place {
    /// Hello has not come yet.
    Outside(Option<std::task::Waker>),
    In(Shared),
    /// Shown the door, with a reason to read.
    Refused(Option<String>),
}

impl Worlds {
    /// A new connection; the first frame says which world it goes to.
    #[must_use]
    pub fn plug_in(&self) -> Port {
        let client = self
            .next_client
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Port {
            worlds: self.clone(),
            client,
            place: Place::Outside(None),
        }
    }

    fn open(
        &self,
        name: &str,
        by: &str,
        settings: Option<Settings>,
        now_ms: i64,
    ) -> Option<Shared> {
        let mut worlds = locked(&self.worlds);
        if let Some(world) = worlds.get(name) {
            if let Some(settings) = settings {
                world.locked().change(by, settings);
            }
            return Some(world.clone());
        }
        if worlds.len() >= WORLDS_MAX {
            return None;
        }
        let world = World::new(by, settings.unwrap_or_default(), now_ms);
        let world = Shared(Arc::new(Mutex::new(world)));
        worlds.insert(name.to_owned(), world.clone());
        Some(world)
    }
}

impl Port {
    /// A frame from the client.
    pub fn receive(&mut self, text: &str, now_ms: i64) {
        let frame = match serde_json::from_str::<Up>(text) {
            Ok(frame) => frame,
            Err(error) => return self.refuse(&error.to_string()),
        };
        match (&mut self.place, frame) {
            (
                Place::Outside(waker),
                Up::Hello {
                    world,
                    by,
                    settings,
                },
            ) => {
                let waker = waker.take();
                let settings = match settings {
                    serde_json::Value::Null => None,
                    settings => match serde_json::from_value(settings) {
                        Ok(settings) => Some(settings),
                        Err(error) => return self.refuse(&error.to_string()),
                    },
                };
                let Some(world) = self.worlds.open(&world, &by, settings, now_ms) else {
                    return self.refuse("there are too many worlds");
                };
                world.locked().connect(self.client);
                self.place = Place::In(world);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            (Place::Outside(_), _) => self.refuse("say hello first"),
            (Place::In(world), frame) => world.locked().receive(self.client, frame, now_ms),
            (Place::Refused(_), _) => {}
        }
    }

    /// The next thing to tell the client. Wakes the task when there may be something; [`Port::due_ms`] tells when to
    /// come back without being woken.
    pub fn poll(&mut self, now_ms: i64, cx: &mut Context<'_>) -> Poll<Heard> {
        match &mut self.place {
            Place::Outside(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Place::In(world) => world.locked().poll(self.client, now_ms, cx),
            Place::Refused(reason) => Poll::Ready(reason.take().map_or(Heard::End, Heard::Frame)),
        }
    }

    /// Unix milliseconds; none while nothing will happen by itself.
    #[must_use]
    pub fn due_ms(&self) -> Option<i64> {
        match &self.place {
            Place::In(world) => world.locked().due_ms(self.client),
            Place::Outside(_) | Place::Refused(_) => None,
        }
    }

    fn refuse(&mut self, text: &str) {
        let reason = frame(&Down::Closing {
            code: "bad_frame".to_owned(),
            text: text.to_owned(),
        });
        match &mut self.place {
            Place::In(world) => world.locked().close(self.client, "bad_frame", text),
            Place::Outside(waker) => {
                let waker = waker.take();
                self.place = Place::Refused(Some(reason));
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Place::Refused(_) => {}
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Place::In(world) = &self.place {
            world.locked().hang_up(self.client);
        }
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, World> {
        locked(&self.0)
    }
}

/// A panic while a world was changed leaves at worst one item half told; the others go on.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
