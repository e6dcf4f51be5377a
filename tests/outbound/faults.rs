//! What a server that dies, and an owner that dies, cost: time, and nothing else.

use super::provider::{Provider, Says};
use super::world::{Caller, Owner, account, bus};
use im_bridge_test_harness::{Nats, eventually, eventually_within, seeded};
use std::collections::HashSet;
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
