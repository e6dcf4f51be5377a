//! What comes into an account's hand: whole, as a place in the stream, or to be refused at once.

use super::{IN_HAND_BYTES_MAX, IN_HAND_MAX, Place, Queue, REQUESTS_MAX};
use crate::bus::Kind;
use crate::bus::consumer::Delivered;
use crate::outbound::Fail;
use crate::outbound::account::Arrival;
use crate::outbound::check::Target;
use crate::outbound::flow::{expired, not_now};
use crate::outbound::lanes::LaneKey;
use crate::outbound::requests::Asked;
use crate::outbound::tail::{Body, Read};
use crate::outbound::work::{Intake, Origin, What, Work};
use futures_util::FutureExt;
use im_bridge_sdk::model::{Command, Durable, Effect, ErrorCode};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

impl Queue {
    pub(super) fn arrived(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Durable(delivered, command) => self.delivered(*delivered, command),
            Arrival::Strange(delivered, kind) => {
                let mut work = self.of(&delivered, *kind);
                self.hold(&mut work);
                self.act(Place::Beside, work);
            }
            Arrival::Asked(asked) => self.asked(*asked),
        }
    }

    fn of(&self, delivered: &Delivered, kind: Kind) -> Box<Work> {
        Box::new(Work::read(Intake {
            kind,
            is_control: false,
            headers: &delivered.headers,
            payload: &delivered.payload,
            origin: Origin::Durable {
                sequence: delivered.sequence,
            },
            since_ms: delivered.stored_ms,
            commands_max_age: self.desk.gateway.commands_max_age,
        }))
    }

    fn delivered(&mut self, delivered: Delivered, command: Command) {
        if self.has_room() && self.tail.is_empty() {
            let work = self.of(&delivered, kind(command));
            return self.admit(work);
        }
        let max_age = self.desk.gateway.commands_max_age;
        self.tail.push(delivered, command, max_age);
    }

    pub(super) fn asked(&mut self, asked: Asked) {
        let mut work = Box::new(asked.into_work(&self.desk));
        if self.held_requests >= REQUESTS_MAX && work.fail.is_none() {
            work.fail = Some(overloaded());
        }
        self.admit(work);
    }

    pub(super) fn has_room(&self) -> bool {
        self.held + self.tail.reading() < IN_HAND_MAX && self.held_bytes < IN_HAND_BYTES_MAX
    }

    pub(super) fn hold(&mut self, work: &mut Work) {
        self.desk.begin_span(work);
        self.held += 1;
        self.held_bytes += work.bytes;
        self.held_requests += usize::from(matches!(work.origin, Origin::Request { .. }));
    }

    pub(super) fn let_go(&mut self, work: &mut Work) {
        self.held -= 1;
        self.held_bytes -= work.bytes;
        self.held_requests -= usize::from(matches!(work.origin, Origin::Request { .. }));
        self.desk.free_key(work);
    }

    /// Takes a command in, whole.
    pub(super) fn admit(&mut self, mut work: Box<Work>) {
        self.hold(&mut work);
        if work.fail.is_some() {
            return self.act(Place::Beside, work);
        }
        if let What::Control(_) = work.what {
            return self.act(Place::Beside, work);
        }
        let durable = self.known.durable();
        let is_over = match durable {
            Durable::Run => false,
            Durable::Wait => !work.is_durable,
            Durable::Refused => true,
        };
        if is_over {
            return self.fail(work, not_now(durable));
        }
        if work.what == What::Command(Command::MessageSendBatch) {
            let items = self.batches.split(work);
            for item in items {
                self.admit(Box::new(item));
            }
            return;
        }
        match work.effect() {
            Some(Effect::Mutating) => {
                self.readdress(&mut work);
                let target = work.target.clone();
                self.lanes.push(&target, work);
            }
            _ => self.reads.push(&Target::Nothing, work),
        }
    }

    /// A user whose channel is known is that channel; unless earlier commands for the user are still waiting for it.
    fn readdress(&mut self, work: &mut Work) {
        if let Target::User(user) = &work.target
            && !self.lanes.has(&LaneKey::User(user.as_str().into()))
            && let Some(channel) = self.addresses.get(user)
        {
            work.channel = Some(channel.to_owned());
            work.target = Target::Channel(channel.to_owned());
        }
    }

    /// Takes what comes next in the stream, or begins to read it again.
    pub(super) fn read_more(&mut self) {
        while self.has_room() && !self.is_ending {
            match self.tail.take_next(&self.desk) {
                Some(read) => self.read(read),
                None if self.tail.read_next(&self.desk) => {}
                None => return,
            }
        }
    }

    pub(super) fn read(&mut self, read: Read) {
        let mut work = match read.body {
            Body::Work(work) => work,
            Body::Gone => {
                // There is nothing to do and nobody to tell.
                let in_hand = Arc::clone(&self.desk.in_hand);
                let sequence = read.sequence;
                self.lates
                    .push(async move { in_hand.done(sequence).await }.boxed());
                return;
            }
            // It is the next owner's.
            Body::Lost => return,
        };
        if read.is_expired {
            self.hold(&mut work);
            self.fail(work, expired());
        } else {
            self.admit(work);
        }
    }
}

pub(in crate::outbound) fn kind(command: Command) -> Kind {
    static KINDS: LazyLock<HashMap<Command, Kind>> = LazyLock::new(|| {
        let kind = |command: &Command| command.as_str().parse();
        let all = Command::ALL.iter().map(|command| {
            let kind = kind(command).expect("every command is a resource and an action");
            (*command, kind)
        });
        all.collect()
    });
    KINDS[&command].clone()
}

pub(in crate::outbound) fn overloaded() -> Fail {
    let text = format!("{REQUESTS_MAX} requests of the account are waiting already");
    Fail::certain(ErrorCode::Overloaded, text)
}
