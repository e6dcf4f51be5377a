//! What a server that dies, and an owner that dies, cost: time, and nothing else.

use super::provider::{Provider, Says, capabilities};
use super::world::{Caller, Owner, account, bus, saying};
use im_bridge_sdk::model::AccountState;
use im_bridge_test_harness::{Nats, eventually, eventually_within, seeded};
use serde_json::json;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_in_the_middle_costs_no_effect_and_no_answer() {
    const COMMANDS: usize = 300;
    let mut random = seeded("a_server_that_is_killed_in_the_middle_costs_no_effect_and_no_answer");
    let mut nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|_| Says::Done);
    let _outbound = owner.serve(&account(), &provider).await;
    let mut kill_at: HashSet<usize> = HashSet::new();
    while kill_at.len() < 2 {
        kill_at.insert(random.usize(20..COMMANDS - 20));
    }
    for number in 0..COMMANDS {
        if kill_at.contains(&number) {
            nats.restart();
        }
        let channel = format!("c{}", number % 7);
        let text = number.to_string();
        caller
            .say(&account(), &channel, &format!("k{number}"), &text)
            .await;
    }
    eventually_within(Duration::from_secs(60), "all are done", || async {
        let done: HashSet<String> = provider.done().into_iter().collect();
        (done.len() == COMMANDS).then_some(())
    })
    .await;
    caller.all_acknowledged().await;
    assert_eq!(provider.done().len(), COMMANDS, "an effect came twice");
    for channel in 0..7_usize {
        let done = provider.done_in(&format!("c{channel}"));
        assert!(done.is_sorted_by_key(|text| text.parse::<usize>().unwrap()));
    }
    let results = caller.results().await;
    // A caller whose acknowledgement was lost publishes again: then the key is answered from the ledger.
    let first: Vec<_> = results
        .iter()
        .filter(|result| result["duplicate"] == false)
        .collect();
    assert_eq!(first.len(), COMMANDS);
    assert!(results.iter().all(|result| result["status"] == "ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_that_die_one_after_the_other_do_each_command_at_most_once_and_answer_it() {
    const COMMANDS: usize = 60;
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    for number in 0..COMMANDS {
        let (channel, text) = (format!("c{}", number % 5), number.to_string());
        caller
            .say(&account(), &channel, &format!("k{number}"), &text)
            .await;
    }
    let mut done = Vec::new();
    for epoch in 1..=3 {
        let owner = Owner::new(&bus, epoch).await;
        let mut left = 12;
        // Some end, the others are with the provider when the owner dies.
        let provider = Provider::new(move |_| {
            left -= 1;
            if left > 0 || epoch == 3 {
                Says::Done
            } else {
                Says::Nothing
            }
        });
        let outbound = owner.serve(&account(), &provider).await;
        if epoch < 3 {
            eventually("some are done, some hang", || async {
                (provider.seen().len() >= 13).then_some(())
            })
            .await;
        } else {
            caller.all_acknowledged().await;
        }
        done.extend(provider.done());
        drop((outbound, owner));
    }
    let distinct: HashSet<&String> = done.iter().collect();
    assert_eq!(distinct.len(), done.len(), "an effect came twice");
    let results = caller.results().await;
    let answered: HashSet<String> = results
        .iter()
        .map(|result| result["command_id"].to_string())
        .collect();
    assert_eq!(answered.len(), COMMANDS);
    // What hung when its owner died is unknown, and nothing else is.
    let unknown = results.iter().filter(|one| one["status"] == "unknown");
    let ok = results.iter().filter(|one| one["status"] == "ok").count();
    assert_eq!(unknown.count() + ok, results.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_outlives_three_owners_is_given_up() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    caller.say(&account(), "lobby", "k1", "deadly").await;
    // A provider that removes duplicates: each owner may try again.
    let can = capabilities(|can| can["guarantees"]["provider_dedup"] = json!(true));
    for epoch in 1..=3 {
        let owner = Owner::new(&bus, epoch).await;
        let provider = Provider::with(Arc::clone(&can), AccountState::Online, |_| Says::Nothing);
        let outbound = owner.serve(&account(), &provider).await;
        eventually("it is with the provider", || async {
            (provider.seen().len() == 1).then_some(())
        })
        .await;
        assert_eq!(provider.seen()[0].is_redelivered, epoch > 1);
        drop((outbound, owner));
    }
    let owner = Owner::new(&bus, 4).await;
    let provider = Provider::with(can, AccountState::Online, |_| Says::Done);
    let _outbound = owner.serve(&account(), &provider).await;
    assert_eq!(caller.hears(1).await[0]["status"], "unknown");
    assert!(provider.seen().is_empty());
    caller.all_acknowledged().await;
    assert_eq!(caller.dead_letters().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truth_that_comes_late_replaces_unknown() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|_| Says::DoneAndLate);
    let _outbound = owner.serve(&account(), &provider).await;
    let data = saying("lobby", "k1", "hello");
    let (_, answer) = caller.ask(&account(), "message.send", &data).await;
    assert_eq!(answer["data"]["status"], "unknown");
    eventually("the truth is kept", || async {
        provider.tell_late();
        let (_, answer) = caller.ask(&account(), "message.send", &data).await;
        (answer["data"]["status"] == "ok").then_some(())
    })
    .await;
    assert_eq!(provider.done().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_made_anew_gets_its_commands_again() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let away = Provider::with(capabilities(|_| {}), AccountState::Backoff, |_| Says::Done);
    let first = owner.serve(&account(), &away).await;
    for number in 0..5 {
        let (key, text) = (format!("k{number}"), number.to_string());
        caller.say(&account(), "lobby", &key, &text).await;
    }
    eventually("all are in hand", || async {
        (owner.in_hand.len() == 5).then_some(())
    })
    .await;
    drop((first, owner.accounts.remove(&account())));
    let provider = Provider::new(|_| Says::Done);
    let _second = owner.serve(&account(), &provider).await;
    caller.all_acknowledged().await;
    assert_eq!(provider.done(), ["0", "1", "2", "3", "4"]);
    assert!(away.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_ends_finishes_what_is_with_the_adapter_and_leaves_the_rest() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|_| Says::Nothing);
    let outbound = owner.serve(&account(), &provider).await;
    for number in 0..3 {
        let (key, text) = (format!("k{number}"), number.to_string());
        caller.say(&account(), "lobby", &key, &text).await;
    }
    eventually("the first is with the adapter", || async {
        (provider.seen().len() == 1 && owner.in_hand.len() == 3).then_some(())
    })
    .await;
    let ending = outbound.end(Duration::from_secs(20));
    let finishing = async {
        tokio::task::yield_now().await;
        provider.finish_all();
    };
    tokio::join!(ending, finishing);
    assert_eq!(provider.done(), ["0"]);
    assert_eq!(caller.hears(1).await.len(), 1);
    drop(owner);
    let owner = Owner::new(&bus, 2).await;
    let provider = Provider::new(|_| Says::Done);
    let _outbound = owner.serve(&account(), &provider).await;
    caller.all_acknowledged().await;
    assert_eq!(provider.done(), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_or_the_dead_letters_refuse_for_good_blocks_nothing() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|seen| match seen.text.as_str() {
        "first" => Says::Nothing,
        _ => Says::Done,
    });
    let _outbound = owner.serve(&account(), &provider).await;
    caller.say(&account(), "lobby", "k1", "first").await;
    eventually("it is with the provider", || async {
        (provider.seen().len() == 1).then_some(())
    })
    .await;
    caller.limit_messages("KV_IM_DEDUP", 1).await;
    provider.finish_all();
    let results = caller.hears(1).await;
    assert_eq!(results[0]["status"], "ok", "it was done, and that is told");
    caller.limit_messages("KV_IM_DEDUP", -1).await;
    caller.say(&account(), "lobby", "k2", "second").await;
    assert_eq!(caller.hears(2).await[1]["status"], "ok");
    // Nobody wrote how it ended, so nobody may do it again.
    caller.say(&account(), "lobby", "k1", "first").await;
    assert_eq!(caller.hears(3).await[2]["status"], "unknown");
    assert_eq!(provider.done(), ["first", "second"]);

    caller.limit_messages("IM_DLQ", 1).await;
    let bad =
        json!({"idempotency_key": "k3", "params": {"to": {"channel_id": "lobby"}, "mesage": {}}});
    caller.send(&account(), "message.send", &bad).await;
    assert_eq!(caller.hears(4).await[3]["error"]["code"], "bad_param");
    caller.all_acknowledged().await;
    let figures = owner.gateway.figures().provider(&account().provider);
    let given_up = figures.writes_given_up();
    assert_eq!(
        given_up.into_iter().collect::<Vec<_>>(),
        [("dead_letter", 1), ("ledger", 1)]
    );
}
