//! What is counted of an account.

use im_bridge_sdk::{Counter, Gauge, Host, Metric};

use crate::native::item::Item;

const KINDS: &[&str] = &[
    "message",
    "read",
    "typing",
    "order",
    "session_hint",
    "unknown",
    "undecodable",
];

pub struct Metrics {
    items: Counter,
    odd_frames: Counter,
    waiting: Gauge,
    held: Gauge,
}

impl Metrics {
    pub fn new(host: &Host) -> Self {
        Self {
            items: host.counter(
                &Metric::new("items_total", "Items that pushes held, by kind.")
                    .label("kind", KINDS),
            ),
            odd_frames: host.counter(&Metric::new(
                "odd_frames_total",
                "Frames that are not what the protocol says.",
            )),
            waiting: host.gauge(&Metric::new(
                "requests_waiting",
                "Requests that wait for their answers.",
            )),
            held: host.gauge(&Metric::new(
                "items_held",
                "Items that were read and are not emitted yet.",
            )),
        }
    }

    pub fn item(&self, item: &Item) {
        let kind = match item {
            Item::Message(_) => 0,
            Item::Read { .. } => 1,
            Item::Typing { .. } => 2,
            Item::Order { .. } => 3,
            Item::SessionHint { .. } => 4,
            Item::Unknown { .. } => 5,
            Item::Undecodable { .. } => 6,
        };
        self.items.add(1.0, &[kind]);
    }

    pub fn odd_frame(&self) {
        self.odd_frames.add(1.0, &[]);
    }

    pub fn lengths(&self, waiting: usize, held: usize) {
        let figure = |length: usize| u32::try_from(length).map_or(f64::MAX, f64::from);
        self.waiting.set(figure(waiting), &[]);
        self.held.set(figure(held), &[]);
    }
}
