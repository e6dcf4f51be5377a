//! What holds for an account: what becomes of its events and its commands when something fails.
//!
//! Computed from what is really there, the objects as the server has them and what the account's adapter promises, and
//! never from what somebody wished for. The same words stand in the log, in the status and in `account show`.
//!
//! Not here: finding out what is there (`bus::survey`).

use crate::bus::objects::Names;
use crate::bus::survey::{Object, Survey};
use im_bridge_sdk::model::{CatchUp, Guarantees, InboundAck};
use serde::Serialize;
use std::time::Duration;

/// The statement, a sentence per direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Holds {
    /// Of events.
    #[serde(rename = "in")]
    pub incoming: String,
    /// Of commands.
    #[serde(rename = "out")]
    pub outgoing: String,
    /// Of what both are kept in.
    pub bus: String,
}

/// What holds with these objects and this adapter.
pub fn holds(guarantees: &Guarantees, survey: &Survey, names: &Names) -> Holds {
    Holds {
        incoming: incoming(guarantees, survey.object(&names.events())),
        outgoing: outgoing(guarantees, survey, names),
        bus: bus(survey, names),
    }
}

fn incoming(guarantees: &Guarantees, events: Option<&Object>) -> String {
    let told = match guarantees.inbound_ack {
        InboundAck::Each | InboundAck::Cumulative => {
            "stored before acknowledged; the provider repeats what was not"
        }
        InboundAck::None => {
            "stored as it comes; the provider hears nothing of that and repeats nothing"
        }
    };
    let gaps = match guarantees.catch_up {
        CatchUp::Full => "gaps after an outage are filled",
        CatchUp::Partial => {
            "gaps after an outage are filled in part, the rest is announced as sync.gap"
        }
        CatchUp::None => "gaps after an outage stay and are announced as sync.gap",
    };
    let mut parts = vec![told.to_owned(), gaps.to_owned()];
    if let Some(events) = events {
        parts.push(format!(
            "repeats removed for {}",
            span(events.duplicate_window)
        ));
        let kept = match (events.max_age.is_zero(), events.max_bytes) {
            (true, None) => "kept for ever".to_owned(),
            (false, None) => format!("kept for {}", span(events.max_age)),
            (true, Some(bytes)) => format!("kept up to {}", size(bytes)),
            (false, Some(bytes)) => format!(
                "kept for {} and up to {}",
                span(events.max_age),
                size(bytes)
            ),
        };
        let then = if events.rolls {
            "then the oldest go, read or not"
        } else {
            "a full stream stops reading from the provider"
        };
        parts.push(format!("{kept}, {then}"));
    }
    parts.join("; ")
}

fn outgoing(guarantees: &Guarantees, survey: &Survey, names: &Names) -> String {
    let doubt = match (guarantees.provider_dedup, guarantees.verify_after_timeout) {
        (true, _) => {
            "executed once; after a lost answer it is sent again, and the provider drops the repeat"
        }
        (false, true) => {
            "executed once; after a lost answer the provider is asked; what stays open is reported unknown"
        }
        (false, false) => {
            "executed at most once; after a lost answer it is reported unknown and not sent again"
        }
    };
    match survey.object(&names.commands()) {
        Some(commands) if !commands.max_age.is_zero() => {
            format!("{doubt}; waits for at most {}", span(commands.max_age))
        }
        _ => doubt.to_owned(),
    }
}

/// Objects that are kept the same way, and what that survives.
fn bus(survey: &Survey, names: &Names) -> String {
    let vital = [
        names.events(),
        names.commands(),
        names.results(),
        names.ledger(),
        names.kv(),
    ];
    let mut ways: Vec<(u64, &str, Vec<&str>)> = Vec::new();
    for object in vital.iter().filter_map(|name| survey.object(name)) {
        let known = ways
            .iter_mut()
            .find(|way| (way.0, way.1) == (object.replicas, object.storage.as_str()));
        match known {
            Some(way) => way.2.push(&object.name),
            None => ways.push((object.replicas, &object.storage, vec![&object.name])),
        }
    }
    let mut parts: Vec<String> = ways
        .iter()
        .map(|(replicas, storage, names)| {
            format!(
                "{} R{replicas} {storage}: {}",
                names.join(", "),
                survives(*replicas, storage)
            )
        })
        .collect();
    if ways.iter().any(|(_, storage, _)| *storage == "file") {
        parts.push(
            "fsync is the server's setting (sync_interval), not visible from here".to_owned(),
        );
    }
    parts.join("; ")
}

fn survives(replicas: u64, storage: &str) -> String {
    match (replicas, storage) {
        (0 | 1, "memory") => "lost when its server ends".to_owned(),
        (0 | 1, _) => "survives a restart, lost with its server's disk".to_owned(),
        (2, _) => {
            "survives the loss of a disk, and stands still while either server is away".to_owned()
        }
        (3, _) => "survives any one server".to_owned(),
        (more, _) => format!("survives any {} servers", (more - 1) / 2),
    }
}

/// A time in its largest whole unit.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    for (unit, name) in [(86_400, "d"), (3_600, "h"), (60, "min")] {
        if seconds >= unit && seconds.is_multiple_of(unit) {
            return format!("{} {name}", seconds / unit);
        }
    }
    format!("{seconds} s")
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    match bytes {
        bytes if bytes.is_multiple_of(1024 * MIB) => format!("{} GiB", bytes / (1024 * MIB)),
        bytes if bytes >= MIB => format!("{} MiB", bytes / MIB),
        bytes => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::objects::ObjectKind;
    use im_bridge_sdk::model::{OrderScope, TimeSource};

    fn guarantees(ack: InboundAck, catch_up: CatchUp, dedup: bool, verify: bool) -> Guarantees {
        Guarantees {
            ordering: OrderScope::Channel,
            inbound_ack: ack,
            catch_up,
            sender_in_event: true,
            provider_dedup: dedup,
            verify_after_timeout: verify,
            message_time: TimeSource::Provider,
            self_echo: true,
        }
    }

    fn object(name: &str, replicas: u64, storage: &str) -> Object {
        Object {
            kind: ObjectKind::Stream,
            name: name.to_owned(),
            storage_key: "nats.events.max_mib",
            replicas,
            storage: storage.to_owned(),
            rolls: true,
            max_age: Duration::from_secs(7 * 86_400),
            max_bytes: Some(1024 * 1024 * 1024),
            duplicate_window: Duration::from_secs(900),
            bytes: 0,
            messages: 0,
            first: 1,
            last: 0,
        }
    }

    fn told(guarantees: &Guarantees, objects: Vec<Object>) -> Holds {
        let survey = Survey {
            objects,
            clock_differs_ms: None,
        };
        holds(guarantees, &survey, &Names::new(&"im".parse().unwrap()))
    }

    #[test]
    fn a_provider_that_repeats_and_can_be_asked_on_three_servers() {
        let can = guarantees(InboundAck::Each, CatchUp::Full, false, true);
        let mut commands = object("IM_CMD", 3, "file");
        commands.max_age = Duration::from_secs(86_400);
        let told = told(&can, vec![object("IM_EVT", 3, "file"), commands]);
        assert_eq!(
            told.incoming,
            "stored before acknowledged; the provider repeats what was not; gaps after an outage are filled; \
             repeats removed for 15 min; kept for 7 d and up to 1 GiB, then the oldest go, read or not"
        );
        assert_eq!(
            told.outgoing,
            "executed once; after a lost answer the provider is asked; what stays open is reported unknown; \
             waits for at most 1 d"
        );
        assert_eq!(
            told.bus,
            "IM_EVT, IM_CMD R3 file: survives any one server; \
             fsync is the server's setting (sync_interval), not visible from here"
        );
    }

    #[test]
    fn a_provider_that_promises_nothing_on_a_full_stream_that_stops() {
        let can = guarantees(InboundAck::None, CatchUp::None, false, false);
        let mut events = object("IM_EVT", 1, "memory");
        events.rolls = false;
        events.max_age = Duration::ZERO;
        events.max_bytes = Some(5 * 1024 * 1024);
        events.duplicate_window = Duration::from_secs(100);
        let told = told(&can, vec![events]);
        assert_eq!(
            told.incoming,
            "stored as it comes; the provider hears nothing of that and repeats nothing; gaps after an outage stay and \
             are announced as sync.gap; repeats removed for 100 s; kept up to 5 MiB, a full stream stops reading from \
             the provider"
        );
        assert_eq!(
            told.outgoing,
            "executed at most once; after a lost answer it is reported unknown and not sent again"
        );
        assert_eq!(told.bus, "IM_EVT R1 memory: lost when its server ends");
    }

    #[test]
    fn a_provider_that_drops_repeats_and_objects_that_are_kept_in_different_ways() {
        let can = guarantees(InboundAck::Cumulative, CatchUp::Partial, true, true);
        let objects = vec![
            object("IM_EVT", 5, "file"),
            object("IM_CMD", 1, "file"),
            object("IM_DEDUP", 2, "file"),
        ];
        let told = told(&can, objects);
        assert!(
            told.incoming.starts_with("stored before acknowledged"),
            "{told:?}"
        );
        assert!(told.incoming.contains("filled in part"), "{told:?}");
        assert!(
            told.outgoing.contains("the provider drops the repeat"),
            "{told:?}"
        );
        assert_eq!(
            told.bus,
            "IM_EVT R5 file: survives any 2 servers; IM_CMD R1 file: survives a restart, lost with its server's disk; \
             IM_DEDUP R2 file: survives the loss of a disk, and stands still while either server is away; \
             fsync is the server's setting (sync_interval), not visible from here"
        );
    }

    #[test]
    fn objects_that_are_not_there_promise_nothing() {
        let can = guarantees(InboundAck::Each, CatchUp::Full, false, true);
        let told = told(&can, Vec::new());
        assert!(!told.incoming.contains("removed"), "{told:?}");
        assert_eq!(told.bus, "");
    }
}
