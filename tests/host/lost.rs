//! Calls that never return and calls that panic: what is lost is one instance, and nothing else.

use crate::rig::{FAULTY, IMPATIENT, Rig, WITHIN, command, options};
use im_bridge::loader::host::{
    Call, CallError, Fault, HostEvent, Instance, Phase, Plugin, stuck_instances,
};
use im_bridge_plugin_api::abi::Status;
use std::sync::Arc;

/// Makes the adapter's quick calls happen: settles, commands, a cancel.
fn provoke(rig: &Rig) {
    let silent = rig.instance.execute(command("silent", "{}"));
    rig.instance.execute(command("message.send", "{}"));
    if let Some(id) = silent {
        rig.instance.cancel(id);
    }
}

async fn fault_of_quick_call(kind: &str, call: &str) -> (Arc<Plugin>, Rig, Fault) {
    let plugin = Plugin::new(*FAULTY, IMPATIENT);
    let mut other = Rig::started(&plugin, "{}").await;
    other.assert_works().await;
    let mut rig = Rig::started(&plugin, &format!("{kind}:{call}")).await;
    provoke(&rig);
    let fault = rig.fault().await;
    // The other account of the same file: the same caller thread, or its successor, serves it on.
    for _ in 0..20 {
        other.assert_works().await;
    }
    other.end().await;
    (plugin, rig, fault)
}

#[tokio::test]
async fn a_quick_call_that_never_returns_makes_its_instance_stuck_and_no_other() {
    for (name, call) in [
        ("grant", Call::Grant),
        ("settle", Call::Settle),
        ("execute", Call::Execute),
        ("cancel", Call::Cancel),
    ] {
        let stuck_before = stuck_instances();
        let (_, rig, fault) = fault_of_quick_call("hang", name).await;
        assert_eq!(fault, Fault::Stuck(call));
        assert_eq!(rig.instance.phase(), Phase::Stuck);
        assert!(stuck_instances() > stuck_before);
        assert!(
            rig.instance
                .execute(command("message.send", "{}"))
                .is_none()
        );
        let stopped = rig.instance.stop(WITHIN).await;
        assert!(matches!(
            stopped,
            Err(CallError::NotNow {
                phase: Phase::Stuck,
                ..
            })
        ));
    }
}

#[tokio::test]
async fn a_quick_call_that_panics_poisons_its_instance_and_no_other() {
    for call in ["grant", "settle", "execute", "cancel"] {
        let (_, rig, fault) = fault_of_quick_call("panic", call).await;
        assert_eq!(fault, Fault::Panic, "{call}");
        assert_eq!(rig.instance.phase(), Phase::Poisoned, "{call}");
        rig.end().await;
    }
}

#[tokio::test]
async fn a_task_that_panics_poisons_its_instance() {
    let plugin = Plugin::new(*FAULTY, IMPATIENT);
    let mut rig = Rig::started(&plugin, "{}").await;
    rig.instance.execute(command("panicked", "{}")).unwrap();
    assert_eq!(rig.fault().await, Fault::Panic);
    rig.end().await;
}

#[tokio::test]
async fn commands_that_were_not_offered_surely_did_not_happen() {
    let plugin = Plugin::new(*FAULTY, IMPATIENT);
    let mut rig = Rig::started(&plugin, "panic:execute").await;
    // The first of them panics inside; those queued behind that call were never offered.
    let first = rig.instance.execute(command("silent", "{}")).unwrap();
    assert_eq!(rig.fault().await, Fault::Panic);
    assert!(rig.instance.execute(command("silent", "{}")).is_none());
    while let Some(next) = rig.inbox.try_recv() {
        if let HostEvent::Completed(completed) = next {
            assert_ne!(completed.id, first, "nobody knows what became of it");
            assert_eq!(
                (completed.status, completed.is_certain),
                (Status::E_UNAVAILABLE, true)
            );
        }
    }
    rig.end().await;
}

#[tokio::test]
async fn a_control_call_that_never_returns_makes_its_instance_stuck() {
    let plugin = Plugin::new(*FAULTY, IMPATIENT);
    let mut other = Rig::started(&plugin, "{}").await;
    let created = Instance::create(&plugin, "shop", b"hang:create".to_vec(), options()).await;
    assert!(matches!(
        created.err(),
        Some(CallError::Stuck(Call::Create))
    ));

    let rig = Rig::created(&plugin, "hang:start").await;
    let started = rig.instance.start().await;
    assert!(matches!(started, Err(CallError::Stuck(Call::Start))));
    assert_eq!(rig.instance.phase(), Phase::Stuck);

    let brief = std::time::Duration::from_millis(50);
    let rig = Rig::started(&plugin, "hang:drain").await;
    assert!(matches!(
        rig.instance.drain(brief).await,
        Err(CallError::Stuck(Call::Drain))
    ));

    let rig = Rig::started(&plugin, "hang:stop").await;
    assert!(matches!(
        rig.instance.stop(brief).await,
        Err(CallError::Stuck(Call::Stop))
    ));

    let rig = Rig::started(&plugin, "hang:destroy").await;
    rig.instance.stop(brief).await.unwrap();
    assert!(matches!(
        rig.instance.destroy().await,
        Err(CallError::Stuck(Call::Destroy))
    ));

    other.assert_works().await;
    other.end().await;
}

#[tokio::test]
async fn a_control_call_that_panics_is_poison_or_worse() {
    let plugin = Plugin::new(*FAULTY, IMPATIENT);
    let mut other = Rig::started(&plugin, "{}").await;
    let created = Instance::create(&plugin, "shop", b"panic:create".to_vec(), options()).await;
    assert!(matches!(
        created.err(),
        Some(CallError::Panicked(Call::Create))
    ));

    let rig = Rig::created(&plugin, "panic:start").await;
    assert!(matches!(
        rig.instance.start().await,
        Err(CallError::Panicked(Call::Start))
    ));
    assert_eq!(rig.instance.phase(), Phase::Poisoned);
    rig.end().await;

    let rig = Rig::started(&plugin, "panic:drain").await;
    assert!(matches!(
        rig.instance.drain(WITHIN).await,
        Err(CallError::Panicked(Call::Drain))
    ));
    rig.end().await;

    let rig = Rig::started(&plugin, "panic:stop").await;
    assert!(matches!(
        rig.instance.stop(WITHIN).await,
        Err(CallError::Stuck(Call::Stop))
    ));

    let rig = Rig::started(&plugin, "panic:destroy").await;
    rig.instance.stop(WITHIN).await.unwrap();
    assert!(matches!(
        rig.instance.destroy().await,
        Err(CallError::Stuck(Call::Destroy))
    ));

    other.assert_works().await;
    other.end().await;
}

#[tokio::test]
async fn each_command_has_an_end_however_busy_the_adapter_was_when_it_drained() {
    let plugin = Plugin::new(*FAULTY, IMPATIENT);
    for _ in 0..20 {
        let mut rig = Rig::started(&plugin, "{}").await;
        // It takes one per call, so that most of them wait when it drains.
        for _ in 0..10 {
            rig.instance
                .execute(command("settled early", "{}"))
                .unwrap();
        }
        rig.instance.drain(WITHIN).await.unwrap();
        rig.instance.stop(WITHIN).await.unwrap();
        let mut ends = 0;
        while let Some(next) = rig.inbox.try_recv() {
            if let HostEvent::Completed(completed) = next {
                let is_refused = completed.status == Status::E_UNAVAILABLE && completed.is_certain;
                assert!(completed.status == Status::OK || is_refused);
                ends += 1;
            }
        }
        assert_eq!(ends, 10);
        rig.instance.destroy().await.unwrap();
    }
}
