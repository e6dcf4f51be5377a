//! Drain, stop, settle and drop at random moments, while the adapter emits as fast as it may.

use crate::rig::{FAULTY, Rig, WITHIN, command};
use im_bridge::loader::host::{HostEvent, Misbehaviour, Patience, Phase, Plugin, Window};
use im_bridge_plugin_api::abi::{Outcome, Status};
use im_bridge_test_harness::seeded;
use std::collections::HashSet;

/// What must be true of an instance at any time.
#[derive(Default)]
struct Model {
    given: HashSet<u64>,
    completed: HashSet<u64>,
    last_token: u64,
}

impl Model {
    fn see(&mut self, event: &HostEvent) {
        match event {
            HostEvent::Event(event) => {
                // Emissions that were refused have used tokens, too.
                let token = event.ticket.token();
                assert!(token > self.last_token, "in the order of emission");
                self.last_token = token;
            }
            HostEvent::Completed(completed) => {
                assert!(self.given.contains(&completed.id));
                assert!(self.completed.insert(completed.id), "completed once");
                assert!(completed.status == Status::OK || completed.is_certain);
            }
            HostEvent::Misbehaved { kind, .. } => {
                // The streaming thread tries until it is refused: that is its way of asking.
                let expected = [Misbehaviour::EmitWithoutCredit, Misbehaviour::BadStruct];
                assert!(expected.contains(kind), "{kind:?}");
            }
            HostEvent::Fault(fault) => panic!("{fault:?}"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_when_an_instance_ends_clean() {
    let mut random = seeded("whatever_happens_when_an_instance_ends_clean");
    let plugin = Plugin::new(*FAULTY, Patience::default());
    for _ in 0..60 {
        let mut rig = Rig::started(&plugin, "{}").await;
        let (mut model, mut kept) = (Model::default(), Vec::new());
        model
            .given
            .extend(rig.instance.execute(command("stream", r#"{"n":1}"#)));
        for _ in 0..random.usize(0..300) {
            match random.u8(0..10) {
                0 => model
                    .given
                    .extend(rig.instance.execute(command("short struct", "{}"))),
                1 => model
                    .given
                    .extend(rig.instance.execute(command("settled early", "{}"))),
                2 if !kept.is_empty() => {
                    let ticket: im_bridge::loader::host::Ticket =
                        kept.swap_remove(random.usize(0..kept.len()));
                    ticket.settle(Outcome::STORED);
                }
                3 => kept.truncate(random.usize(0..=kept.len())),
                _ => {
                    while let Some(event) = rig.inbox.try_recv() {
                        model.see(&event);
                        match event {
                            HostEvent::Event(event) if random.bool() => kept.push(event.ticket),
                            HostEvent::Event(event) => event.ticket.settle(Outcome::STORED),
                            _ => {}
                        }
                    }
                    tokio::task::yield_now().await;
                }
            }
            assert!(rig.instance.credits().held_events <= Window::default().events);
        }
        if random.bool() {
            rig.instance.drain(WITHIN).await.unwrap();
        }
        match random.u8(0..4) {
            0 => drop(rig.instance), // stops and destroys it on a thread
            1 => {
                rig.instance.poison();
                rig.instance.stop(WITHIN).await.unwrap();
                rig.instance.destroy().await.unwrap();
            }
            _ => {
                rig.instance.stop(WITHIN).await.unwrap();
                assert_eq!(rig.instance.phase(), Phase::Stopped);
                while let Some(event) = rig.inbox.try_recv() {
                    model.see(&event);
                }
                // Nothing comes any more.
                tokio::task::yield_now().await;
                assert!(rig.inbox.try_recv().is_none());
                rig.instance.destroy().await.unwrap();
            }
        }
    }
}
