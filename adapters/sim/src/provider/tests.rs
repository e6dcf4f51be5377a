//! A world heard through its ports. Time is a number here, so an hour takes no time.

use std::task::{Context, Poll, Waker};

use serde_json::{Value, json};

use super::{Heard, Port, Worlds};

/// A client that does what it is told and keeps nothing.
struct Client {
    port: Port,
    now_ms: i64,
    next_id: u64,
    is_over: bool,
}

impl Client {
    fn new(worlds: &Worlds, settings: Value) -> Self {
        let mut client = Self {
            port: worlds.plug_in(),
            now_ms: 0,
            next_id: 0,
            is_over: false,
        };
        client.say(json!({ "type": "hello", "world": "w", "by": "maker", "settings": settings }));
        client
    }

    fn login(worlds: &Worlds, settings: Value) -> Self {
        let mut client = Self::new(worlds, settings);
        client.log_in("bot");
        assert_eq!(client.next()["type"], "welcome");
        client
    }

    fn log_in(&mut self, person: &str) {
        self.say(json!({ "type": "login", "person": person, "token": "t", "device": "d" }));
    }

    fn say(&mut self, frame: Value) {
        self.port.receive(&frame.to_string(), self.now_ms);
    }

    fn hear(&mut self) -> Option<Value> {
        match self
            .port
            .poll(self.now_ms, &mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(Heard::Frame(text)) => Some(serde_json::from_str(&text).unwrap()),
            Poll::Ready(Heard::End) => {
                self.is_over = true;
                None
            }
            Poll::Pending => None,
        }
    }

    fn next(&mut self) -> Value {
        self.hear().expect("something is said")
    }

    fn all(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.hear()).collect()
    }

    fn texts(&mut self) -> Vec<String> {
        let text = |frame: &Value| {
            frame["item"]["post"]["parts"][0]["text"]
                .as_str()
                .map(str::to_owned)
        };
        self.all().iter().filter_map(text).collect()
    }

    fn ack(&mut self, push: &Value) {
        self.say(json!({ "type": "ack", "push": push["push"] }));
    }

    /// Asks, and gives the answer; what was pushed in between is lost on this client.
    fn ask(&mut self, mut call: Value) -> Value {
        self.next_id += 1;
        call["type"] = json!("request");
        call["id"] = json!(self.next_id);
        self.say(call);
        self.all()
            .into_iter()
            .find(|frame| frame["type"] == "answer")
            .unwrap_or_default()
    }

    fn order(&mut self, mut order: Value) -> Value {
        order["type"] = json!("order");
        order["id"] = json!(0);
        self.say(order);
        let answer = self
            .all()
            .into_iter()
            .find(|frame| frame["type"] == "answer")
            .expect("orders are answered");
        assert!(answer["error"].is_null(), "{answer}");
        answer["ok"].clone()
    }
}

fn hello(text: &str) -> Value {
    json!({ "do": "say", "chat": "lobby", "by": "alice", "text": text })
}

fn send(text: &str, reference: &str) -> Value {
    json!({ "call": "send", "ref": reference, "chat": "lobby", "parts": [{ "part": "text", "text": text }] })
}

#[test]
fn chatter_comes_at_even_intervals_and_is_the_same_for_the_same_seed() {
    let hear = || {
        let mut bot = Client::login(&Worlds::default(), json!({ "rate_per_s": 2.0, "seed": 7 }));
        bot.now_ms = 3_000;
        bot.all()
    };
    let heard = hear();
    let times: Vec<i64> = heard
        .iter()
        .map(|push| push["item"]["at_ms"].as_i64().unwrap())
        .collect();
    assert_eq!(times, [500, 1_000, 1_500, 2_000, 2_500, 3_000]);
    assert_eq!(heard, hear());
}

#[test]
fn a_push_comes_again_after_a_timeout_until_it_is_acknowledged() {
    let mut bot = Client::login(&Worlds::default(), json!({ "ack_timeout_ms": 1_000 }));
    bot.order(hello("one"));
    bot.order(hello("two"));
    bot.now_ms = 1_000;
    let again = bot.all();
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|push| push["redelivered"] == true));
    bot.ack(&again[0]);
    bot.now_ms = 2_000;
    assert_eq!(bot.texts(), ["two"]);
}

#[test]
fn what_a_session_left_unacknowledged_is_pushed_first_in_the_next() {
    let worlds = Worlds::default();
    let mut bot = Client::login(&worlds, json!({}));
    bot.say(json!({ "type": "order", "id": 0, "do": "say", "chat": "lobby", "by": "alice", "text": "one" }));
    let one = bot.all();
    bot.order(hello("two"));
    bot.ack(one.iter().find(|frame| frame["type"] == "push").unwrap());
    drop(bot);
    let mut bot = Client::login(&worlds, json!({}));
    bot.order(hello("three"));
    let mut bot_again = Client::new(&worlds, json!({}));
    drop(bot);
    bot_again.log_in("bot");
    assert_eq!(bot_again.texts(), ["two", "three"]);
}

#[test]
fn what_happened_without_a_session_is_fetched_and_what_was_trimmed_is_said_to_be_missing() {
    let worlds = Worlds::default();
    drop(Client::login(&worlds, json!({ "history": 3 })));
    let mut control = Client::new(&worlds, Value::Null);
    control.order(json!({ "do": "say", "chat": "lobby", "by": "alice", "text": "x", "times": 5 }));
    let mut bot = Client::login(&worlds, json!({ "history": 3 }));
    assert!(bot.texts().is_empty(), "nothing of it is pushed");
    let synced = bot.ask(json!({ "call": "sync", "after": 0, "limit": 2 }));
    let seqs: Vec<u64> = synced["ok"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["seq"].as_u64().unwrap())
        .collect();
    assert_eq!((seqs, &synced["ok"]["more"]), (vec![3, 4], &json!(true)));
    assert_eq!(synced["ok"]["dropped"], json!([1, 2]));
}

#[test]
fn a_slow_client_is_told_what_was_dropped_before_it_took_it() {
    let mut bot = Client::login(&Worlds::default(), json!({ "history": 2, "window": 1 }));
    bot.say(json!({ "type": "order", "id": 0, "do": "say", "chat": "lobby", "by": "alice", "text": "x", "times": 5 }));
    let first = bot.next();
    assert_eq!(first["item"]["seq"], 1);
    bot.ack(&first);
    let rest = bot.all();
    let dropped = rest.iter().find(|frame| frame["type"] == "push").unwrap();
    assert_eq!(
        (&dropped["item"]["from"], &dropped["item"]["to"]),
        (&json!(2), &json!(3))
    );
}

#[test]
fn a_reference_is_echoed_to_its_sender_only_and_remembered() {
    let worlds = Worlds::default();
    let mut bot = Client::login(&worlds, json!({}));
    let mut other = Client::new(&worlds, Value::Null);
    other.log_in("other");
    other.all();
    let sent = bot.ask(send("hi", "k-1"));
    assert_eq!(sent["ok"]["ref"], "k-1");
    assert!(other.next()["item"]["post"]["ref"].is_null());
    let outcome = bot.ask(json!({ "call": "outcome", "of": "k-1" }));
    assert_eq!(outcome["ok"]["answer"]["id"], sent["ok"]["id"]);
    assert_eq!(
        bot.ask(json!({ "call": "outcome", "of": "k-2" }))["ok"]["done"],
        false
    );
}

#[test]
fn the_same_reference_is_one_post_only_where_the_provider_removes_duplicates() {
    for (deduplicates, posts) in [(true, 1), (false, 2)] {
        let mut bot = Client::login(&Worlds::default(), json!({ "deduplicates": deduplicates }));
        bot.ask(send("hi", "k"));
        bot.ask(send("hi", "k"));
        let summary = bot.order(json!({ "do": "summary" }));
        assert_eq!(
            (&summary["posts"]["lobby"], &summary["sends"]["k"]),
            (&json!(posts), &json!(posts))
        );
    }
}

#[test]
fn the_record_shows_sessions_that_overlap() {
    let worlds = Worlds::default();
    let mut one = Client::login(&worlds, json!({}));
    assert_eq!(
        one.order(json!({ "do": "summary" }))["most_sessions"]["bot"],
        1
    );
    let mut two = Client::login(&worlds, json!({}));
    let truth = two.order(json!({ "do": "truth", "kinds": ["login"] }));
    assert_eq!(
        truth["entries"][1]["others"],
        json!([truth["entries"][0]["session"]])
    );
    assert_eq!(
        one.order(json!({ "do": "summary" }))["most_sessions"]["bot"],
        2
    );
}

#[test]
fn a_provider_of_one_session_closes_the_older_one() {
    let worlds = Worlds::default();
    let mut one = Client::login(&worlds, json!({ "one_session": true }));
    let _two = Client::login(&worlds, json!({ "one_session": true }));
    let closing = one.next();
    assert_eq!(
        (&closing["type"], &closing["code"]),
        (&json!("closing"), &json!("replaced"))
    );
    assert!(one.hear().is_none() && one.is_over);
}

#[test]
fn the_truth_is_read_in_pages_and_says_what_it_forgot() {
    let mut bot = Client::login(&Worlds::default(), json!({ "record": 3 }));
    for n in 0..4 {
        bot.order(hello(&n.to_string()));
    }
    let truth = bot.order(json!({ "do": "truth", "after": 0, "limit": 2 }));
    let entries = truth["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["n"], truth["dropped"]);
    let rest = bot.order(json!({ "do": "truth", "after": truth["next"] }));
    assert_eq!(rest["entries"].as_array().unwrap().len(), 1);
}

#[test]
fn a_cut_shuts_everybody_out_for_a_while_and_strikes_once() {
    let worlds = Worlds::default();
    let settings = json!({ "faults": { "disconnect": { "after": 1, "for_ms": 3_000 } } });
    let mut control = Client::new(&worlds, settings.clone());
    let mut bot = Client::login(&worlds, settings.clone());
    control.order(hello("one"));
    assert_eq!(bot.texts(), ["one"]);
    control.order(hello("two"));
    assert!(bot.hear().is_none() && bot.is_over);
    let mut bot = Client::new(&worlds, settings.clone());
    bot.log_in("bot");
    assert_eq!(bot.next()["code"], "down");
    let mut bot = Client::new(&worlds, settings);
    bot.now_ms = 3_000;
    bot.log_in("bot");
    assert_eq!(bot.next()["type"], "welcome");
    assert_eq!(bot.texts(), ["one", "two"]);
}

#[test]
fn silence_keeps_the_connection_and_says_nothing() {
    let mut bot = Client::login(&Worlds::default(), json!({ "ack_timeout_ms": 1_000 }));
    bot.order(json!({ "do": "fault", "kind": "silence", "fault": { "for_ms": 5_000 } }));
    bot.say(json!({ "type": "order", "id": 0, "do": "say", "chat": "lobby", "by": "alice", "text": "one" }));
    bot.all();
    bot.now_ms = 1_000;
    bot.say(json!({ "type": "ping", "id": 1 }));
    assert!(bot.all().is_empty() && !bot.is_over);
    bot.now_ms = 6_000;
    assert_eq!(bot.texts(), ["one"], "pushed again once it speaks again");
}

#[test]
fn answers_are_late_lost_refused_or_never_come() {
    let mut bot = Client::login(&Worlds::default(), json!({}));
    let arm = |bot: &mut Client, kind: &str, fault: Value| {
        bot.order(json!({ "do": "fault", "kind": kind, "fault": fault }));
    };
    arm(&mut bot, "rate_limit", json!({ "for_ms": 70 }));
    assert_eq!(bot.ask(send("a", "a"))["error"]["retry_after_ms"], 70);
    arm(&mut bot, "reject", json!({ "code": "blocked" }));
    assert_eq!(bot.ask(send("b", "b"))["error"]["code"], "blocked");
    arm(&mut bot, "lose", json!({}));
    assert_eq!(bot.ask(send("c", "c")), Value::Null);
    assert_eq!(
        bot.ask(json!({ "call": "outcome", "of": "c" }))["ok"]["done"],
        false
    );
    arm(&mut bot, "no_answer", json!({}));
    assert_eq!(bot.ask(send("d", "d")), Value::Null);
    assert_eq!(
        bot.ask(json!({ "call": "outcome", "of": "d" }))["ok"]["done"],
        true
    );
    arm(&mut bot, "slow_answer", json!({ "for_ms": 2_000 }));
    assert_eq!(bot.ask(send("e", "e")), Value::Null);
    bot.now_ms = 2_000;
    assert_eq!(
        bot.all()
            .iter()
            .filter(|frame| frame["type"] == "answer")
            .count(),
        1
    );
}

#[test]
fn pushes_are_doubled_and_change_places() {
    let mut bot = Client::login(&Worlds::default(), json!({}));
    bot.order(json!({ "do": "fault", "kind": "duplicate" }));
    bot.say(
        json!({ "type": "order", "id": 0, "do": "say", "chat": "lobby", "by": "bob", "text": "x" }),
    );
    assert_eq!(bot.texts(), ["x", "x"]);
    bot.order(json!({ "do": "fault", "kind": "reorder" }));
    for text in ["1", "2", "3"] {
        bot.say(json!({ "type": "order", "id": 0, "do": "say", "chat": "lobby", "by": "bob", "text": text }));
    }
    assert_eq!(bot.texts(), ["2", "1", "3"]);
}

#[test]
fn a_flood_waits_in_the_inbox_for_acknowledgements() {
    let mut bot = Client::login(&Worlds::default(), json!({ "window": 10 }));
    bot.order(json!({ "do": "fault", "kind": "flood", "fault": { "count": 100 } }));
    bot.say(json!({ "type": "order", "id": 0, "do": "say", "chat": "lobby", "by": "alice", "text": "dam" }));
    let mut pushes: Vec<Value> = bot
        .all()
        .into_iter()
        .filter(|frame| frame["type"] == "push")
        .collect();
    assert_eq!(pushes.len(), 10);
    let mut heard = 0;
    while let Some(push) = pushes.pop() {
        heard += 1;
        bot.ack(&push);
        pushes.extend(bot.all());
    }
    assert_eq!(heard, 101);
}

#[test]
fn a_challenge_lasts_until_somebody_answers() {
    let worlds = Worlds::default();
    let settings = json!({ "faults": { "challenge": {} } });
    let mut bot = Client::new(&worlds, settings.clone());
    bot.log_in("bot");
    assert_eq!(bot.next()["challenge"]["kind"], "captcha");
    let mut bot = Client::new(&worlds, settings.clone());
    bot.log_in("bot");
    assert_eq!(bot.next()["code"], "challenge");
    let mut bot = Client::new(&worlds, settings);
    bot.say(
        json!({ "type": "login", "person": "bot", "token": "t", "device": "d", "answer": "42" }),
    );
    assert_eq!(bot.next()["type"], "welcome");
}

#[test]
fn only_the_maker_of_a_world_changes_it_and_faults_do_not_begin_anew() {
    let worlds = Worlds::default();
    let settings = json!({ "rate_per_s": 1.0, "faults": { "rate_limit": {} } });
    let mut bot = Client::login(&worlds, settings.clone());
    let mut other = worlds.plug_in();
    other.receive(
        r#"{"type":"hello","world":"w","by":"other","settings":{"faults":{}}}"#,
        0,
    );
    assert_eq!(bot.ask(send("a", "a"))["error"]["code"], "slow_down");
    let mut again = Client::login(&worlds, settings);
    assert_eq!(again.ask(send("b", "b"))["error"], Value::Null);
    again.now_ms = 1_000;
    assert_eq!(again.texts(), ["hello 1"]);
    let mut faster = Client::login(&worlds, json!({ "rate_per_s": 4.0 }));
    faster.now_ms = 2_000;
    assert_eq!(faster.texts().len(), 4);
}

#[test]
fn an_item_of_an_unknown_kind_keeps_what_it_says() {
    let mut bot = Client::login(&Worlds::default(), json!({}));
    let riddle = json!({ "what": "eclipse", "of": "moon" });
    bot.say(json!({ "type": "order", "id": 0, "do": "riddle", "account": "bot", "body": riddle }));
    let push = bot.next();
    assert_eq!(
        (&push["item"]["what"], &push["item"]["of"]),
        (&json!("eclipse"), &json!("moon"))
    );
    let item: crate::native::Item = serde_json::from_value(push["item"].clone()).unwrap();
    assert!(
        matches!(item.what, crate::native::What::Unknown(_)),
        "{item:?}"
    );
}

#[test]
fn a_world_made_later_continues_above_the_numbers_of_an_earlier_one() {
    let number = |now_ms: i64| {
        let worlds = Worlds::default();
        let mut maker = worlds.plug_in();
        maker.receive(r#"{"type":"hello","world":"w"}"#, now_ms);
        let mut bot = Client::new(&worlds, Value::Null);
        bot.log_in("bot");
        bot.order(hello("x"));
        bot.order(json!({ "do": "truth", "kinds": ["said"] }))["entries"][0]["seq"]
            .as_u64()
            .unwrap()
    };
    assert!(number(2_000) > number(1_000));
}
