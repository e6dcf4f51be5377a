//! The supervisor of an account, with a real adapter under it.

use crate::rig::{FAULTY, IMPATIENT, WITHIN, command, options};
use im_bridge::account::{Account, Ended, Ending, Outlet, Request, Settings, Status, Timing};
use im_bridge::loader::host::{HostEvent, InboundEvent, Plugin};
use im_bridge_plugin_api::abi::{self, Outcome};
use im_bridge_test_harness::{eventually, stays};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// What the outlet saw, in order.
#[derive(Debug)]
enum Seen {
    Event,
    Ended(u64, Ended),
    Status(Status),
}

struct Recorder {
    seen: mpsc::Sender<Seen>,
    panics_at_event: bool,
}

impl Recorder {
    fn record(&self, seen: Seen) {
        self.seen
            .try_send(seen)
            .expect("tests do not say that much");
    }
}

impl Outlet for Recorder {
    fn event(&mut self, event: InboundEvent) {
        self.record(Seen::Event);
        assert!(!std::mem::take(&mut self.panics_at_event), "as asked");
        event.ticket.settle(Outcome::STORED);
    }
    fn ended(&mut self, tag: u64, ended: Ended) {
        self.record(Seen::Ended(tag, ended));
    }
    fn status(&mut self, status: Status) {
        self.record(Seen::Status(status));
    }
    fn aside(&mut self, _event: HostEvent) {}
}

struct Rig {
    account: Account,
    requests: mpsc::Sender<Box<Request>>,
    seen: mpsc::Receiver<Seen>,
}

/// An account whose first instances are configured like this, one after the other; later ones work.
fn account(configs: &'static [&'static str], panics_at_event: bool) -> Rig {
    let lives = AtomicUsize::new(0);
    let config = move || {
        let life = lives.fetch_add(1, Ordering::SeqCst);
        configs.get(life).copied().unwrap_or("{}").to_owned()
    };
    account_of(config, panics_at_event)
}

fn account_of(config: impl Fn() -> String + Send + Sync + 'static, panics_at_event: bool) -> Rig {
    let settings = Settings {
        plugin: Plugin::new(*FAULTY, IMPATIENT),
        account: "shop".into(),
        config: Arc::new(move || Ok(config().into())),
        permit: Box::new(|| Box::pin(std::future::ready(()))),
        options: options(),
        commands_max: 4,
        may_overlap: false,
        faults: Arc::default(),
        timing: Timing {
            pause_factor: 0.001,
            stuck_pause: Duration::from_millis(20),
        },
    };
    let (seen_by, seen) = mpsc::channel(1000);
    let (requests, taken) = mpsc::channel(8);
    let outlet = Recorder {
        seen: seen_by,
        panics_at_event,
    };
    Rig {
        account: Account::supervise(settings, taken, outlet),
        requests,
        seen,
    }
}

impl Rig {
    async fn next(&mut self) -> Seen {
        let next = tokio::time::timeout(WITHIN, self.seen.recv()).await;
        next.expect("something happens in time")
            .expect("the account lives")
    }

    async fn send(&self, tag: u64, name: &str) {
        let request = Request {
            tag,
            command: command(name, "{}"),
            is_verify: false,
        };
        self.requests.send(Box::new(request)).await.unwrap();
    }

    async fn until_lost(&mut self) -> Status {
        loop {
            let seen = self.next().await;
            if let Seen::Status(status @ (Status::Lost { .. } | Status::Failed { .. })) = seen {
                return status;
            }
        }
    }

    async fn until_starting(&mut self) {
        while !matches!(self.next().await, Seen::Status(Status::Starting)) {}
    }

    async fn until_ended(&mut self, wanted: u64) -> Ended {
        loop {
            match self.next().await {
                Seen::Ended(tag, ended) if tag == wanted => return ended,
                _ => {}
            }
        }
    }

    async fn assert_works(&mut self, tag: u64) {
        self.send(tag, "message.send").await;
        match self.until_ended(tag).await {
            Ended::Completed(completed) => assert_eq!(completed.status, abi::Status::OK),
            other => panic!("{other:?}"),
        }
    }

    /// Ends the account; everything it still said.
    async fn end(mut self) -> Vec<Seen> {
        let drain = Some(Duration::from_millis(100));
        let ending = Ending {
            drain,
            stop: Duration::from_secs(2),
        };
        self.account.end(ending).await;
        let mut rest = Vec::new();
        while let Ok(seen) = self.seen.try_recv() {
            rest.push(seen);
        }
        assert!(
            matches!(rest.last(), Some(Seen::Status(Status::Stopped))),
            "{rest:?}"
        );
        rest
    }
}

#[tokio::test]
async fn an_account_works_and_ends_when_asked() {
    let mut rig = account(&[], false);
    for tag in 0..50 {
        rig.assert_works(tag).await;
    }
    rig.end().await;
}

#[tokio::test]
async fn a_lost_account_comes_back() {
    for config in [
        &["panic:settle"],
        &["hang:settle"],
        &["panic:start"],
        &["hang:create"],
    ] {
        let mut rig = account(config, false);
        rig.send(1, "message.send").await;
        let status = rig.until_lost().await;
        assert!(
            matches!(status, Status::Lost { fault: Some(_), .. }),
            "{status:?}"
        );
        rig.until_starting().await;
        rig.assert_works(2).await;
        rig.end().await;
    }
}

#[tokio::test]
async fn after_three_faults_an_account_is_given_up_until_asked_for() {
    let mut rig = account(&["panic:grant", "panic:grant", "panic:grant"], false);
    for _ in 0..2 {
        assert!(matches!(rig.until_lost().await, Status::Lost { .. }));
    }
    let status = rig.until_lost().await;
    assert!(
        matches!(
            status,
            Status::Failed {
                reason: "adapter_faulty",
                ..
            }
        ),
        "{status:?}"
    );
    // Nobody waits for an instance that may never come.
    rig.send(1, "message.send").await;
    match rig.until_ended(1).await {
        Ended::Completed(completed) => {
            assert_eq!(completed.status, abi::Status::E_UNAVAILABLE);
            assert!(completed.is_certain);
        }
        other => panic!("{other:?}"),
    }
    rig.account.reconnect().await;
    rig.until_starting().await;
    rig.assert_works(2).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_end_was_ordered_while_it_was_made_is_never_started() {
    let (making, made) = std::sync::mpsc::channel();
    let (go_on, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let config = move || {
        making.send(()).unwrap();
        gate.lock().unwrap().recv().unwrap();
        "panic:start".to_owned()
    };
    let mut rig = account_of(config, false);
    tokio::task::block_in_place(|| made.recv()).unwrap();
    let ending = Ending {
        drain: None,
        stop: Duration::from_secs(2),
    };
    let mut end = std::pin::pin!(rig.account.end(ending));
    tokio::select! {
        biased;
        _ = &mut end => panic!("it is being made"),
        () = std::future::ready(()) => {}
    }
    go_on.send(()).unwrap();
    tokio::time::timeout(WITHIN, end).await.unwrap();
    let mut seen = Vec::new();
    while let Ok(one) = rig.seen.try_recv() {
        seen.push(one);
    }
    assert!(
        matches!(
            seen[..],
            [
                Seen::Status(Status::Starting),
                Seen::Status(Status::Stopped)
            ]
        ),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_refused_configuration_is_not_tried_again_by_itself() {
    let mut rig = account(&["minus:create"], false);
    match rig.until_lost().await {
        Status::Failed { reason, detail } => {
            assert_eq!(reason, "config_refused");
            assert!(detail.starts_with(b"{\"code\""));
        }
        other => panic!("{other:?}"),
    }
    rig.account.reconnect().await;
    rig.assert_works(1).await;
    rig.end().await;
}

#[tokio::test]
async fn a_command_without_an_end_is_lost_with_its_instance() {
    let mut rig = account(&[], false);
    rig.send(1, "silent").await;
    rig.assert_works(2).await;
    let rest = rig.end().await;
    let is_lost = |seen: &Seen| matches!(seen, Seen::Ended(1, Ended::Unknown("lost_ack")));
    assert_eq!(
        rest.iter().filter(|seen| is_lost(seen)).count(),
        1,
        "{rest:?}"
    );
}

#[tokio::test]
async fn only_so_many_commands_are_in_flight() {
    let mut rig = account(&[], false);
    for tag in 1..=4 {
        rig.send(tag, "silent").await;
    }
    // The adapter has all it may have: this one waits until the next instance can take it.
    let room = async || (rig.requests.capacity() == 8).then_some(());
    eventually("four are taken", room).await;
    rig.send(5, "message.send").await;
    let room = async || rig.requests.capacity();
    stays("one is not", 7, Duration::from_millis(50), room).await;
    rig.account.reconnect().await;
    let mut lost: Vec<u64> = Vec::new();
    let ended = loop {
        match rig.next().await {
            Seen::Ended(5, ended) => break ended,
            // Those that the adapter had are lost, those that it was too busy to take surely did not happen.
            Seen::Ended(tag, Ended::Unknown("lost_ack")) => lost.push(tag),
            Seen::Ended(tag, Ended::Completed(end)) if end.is_certain => lost.push(tag),
            _ => {}
        }
    };
    lost.sort_unstable();
    assert_eq!(lost, [1, 2, 3, 4], "all ended before the next was taken");
    assert!(matches!(ended, Ended::Completed(_)));
    rig.end().await;
}

#[tokio::test]
async fn a_panic_of_the_core_costs_one_event_and_not_the_account() {
    let mut rig = account(&[], true);
    rig.assert_works(1).await;
    rig.assert_works(2).await;
    let rest = rig.end().await;
    assert!(
        !rest
            .iter()
            .any(|seen| matches!(seen, Seen::Status(Status::Lost { .. })))
    );
}
