//! The reference page says what the types say, both ways.

use crate::file;
use im_bridge_sdk::model::{
    AccountState, AdapterState, AdapterVerb, CatchUp, ChallengeKind, ChangeReason, ChannelKind,
    Command, ControlVerb, DegradationAction, Delivery, Durable, Effect, ErrorClass, ErrorCode,
    EventKind, Feature, GapReason, GapScope, Inbound, InboundAck, Level, MediaBy, MemberRole,
    MentionScope, MessageStatus, NoiseClass, OnUnsupported, OpaqueEncoding, OrderScope, Origin,
    Outbound, PresenceStatus, RawDirection, ResultStatus, Scope, SegmentType, SendAck, Severity,
    TextFormat, TimeSource, UserAction, UserKind,
};
use std::collections::BTreeMap;

fn page() -> String {
    std::fs::read_to_string(file("docs/events.md")).unwrap()
}

/// Cells of the table rows of a text; rules and headings of tables aside.
fn rows(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_rule = |line: &str| line.starts_with("| ---");
    let mut rows = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let is_heading = lines.get(at + 1).is_some_and(|next| is_rule(next));
        if line.starts_with("| ") && !is_rule(line) && !is_heading {
            let cells = line.trim_matches('|').split(" | ");
            rows.push(cells.map(|cell| cell.trim().to_owned()).collect());
        }
    }
    rows
}

/// Rows of the section under a heading.
fn section(heading: &str) -> Vec<Vec<String>> {
    let page = page();
    let start = page
        .find(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("no {heading}"));
    let body = &page[start + heading.len() + 2..];
    let level = heading.chars().take_while(|c| *c == '#').count();
    let end = body
        .lines()
        .scan(0, |at, line| {
            let start = *at;
            *at += line.len() + 1;
            Some((start, line))
        })
        .find(|(_, line)| {
            let depth = line.chars().take_while(|c| *c == '#').count();
            (1..=level).contains(&depth)
        })
        .map_or(body.len(), |(start, _)| start);
    let rows = rows(&body[..end]);
    assert!(!rows.is_empty(), "{heading} has no table");
    rows
}

/// The only code in a cell.
fn code(cell: &str) -> &str {
    cell.trim_matches('`')
}

fn first_cells(heading: &str) -> Vec<String> {
    section(heading)
        .iter()
        .map(|row| code(&row[0]).to_owned())
        .collect()
}

macro_rules! words {
    ($($set:ident $(: $number:expr)?),+ $(,)?) => {
        BTreeMap::from([$((stringify!($set).to_owned(), words!(@of $set $(, $number)?))),+])
    };
    (@of $set:ident) => {
        $set::NAMES.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>()
    };
    (@of $set:ident, $number:expr) => {
        $set::ALL.iter().map(|value| numbered(value.as_str(), $number(*value))).collect::<Vec<String>>()
    };
}

fn numbered(word: &str, number: Option<impl std::fmt::Display>) -> String {
    number.map_or_else(|| word.to_owned(), |number| format!("{word}={number}"))
}

fn sets() -> BTreeMap<String, Vec<String>> {
    words! {
        EventKind, Command, ControlVerb, AdapterVerb,
        ErrorClass: |class: ErrorClass| Some(class.number()),
        ErrorCode: |code: ErrorCode| Some(code.num()),
        ResultStatus,
        AccountState: |state: AccountState| state.abi(),
        UserAction, AdapterState, ChallengeKind,
        Origin: |origin: Origin| Some(origin.number()),
        Delivery: |delivery: Delivery| Some(delivery.number()),
        OrderScope: |scope: OrderScope| Some(scope.number()),
        TimeSource,
        NoiseClass: |class: NoiseClass| Some(class.number()),
        ChannelKind, UserKind, MemberRole, ChangeReason, Scope, GapReason, GapScope, PresenceStatus, Severity,
        MessageStatus, SegmentType, TextFormat, MentionScope, OpaqueEncoding, OnUnsupported, DegradationAction,
        RawDirection, Inbound, Outbound, SendAck, InboundAck, CatchUp, MediaBy,
        Level: |level: Level| Some(level.number()),
        Feature,
    }
}

#[test]
fn the_table_of_names_is_that_of_the_enums() {
    let page = page();
    let (_, after) = page.split_once("<!-- names -->").unwrap();
    let (table, _) = after.split_once("<!-- /names -->").unwrap();
    let mut written: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows(table) {
        let words = code(&row[1]).split(' ').map(str::to_owned);
        written
            .entry(code(&row[0]).to_owned())
            .or_default()
            .extend(words);
    }
    assert_eq!(written, sets());
}

#[test]
fn every_word_is_read_back_as_its_value_and_no_other() {
    macro_rules! check {
        ($($set:ident)+) => {
            $(for (value, word) in $set::ALL.iter().zip($set::NAMES) {
                assert_eq!(word.parse::<$set>().unwrap(), *value);
                assert_eq!(value.to_string(), *word);
            }
            let unknown = "no-such-word".parse::<$set>().unwrap_err();
            assert_eq!(unknown.known(), $set::NAMES);)+
        };
    }
    check!(EventKind Command ControlVerb AdapterVerb ErrorClass ErrorCode ResultStatus AccountState UserAction
        AdapterState ChallengeKind Origin Delivery OrderScope TimeSource NoiseClass ChannelKind UserKind MemberRole
        ChangeReason Scope GapReason GapScope PresenceStatus Severity MessageStatus SegmentType TextFormat MentionScope
        OpaqueEncoding OnUnsupported DegradationAction RawDirection Inbound Outbound SendAck InboundAck CatchUp MediaBy
        Level Feature);
}

#[test]
fn unknown_numbers_of_the_abi_mean_what_the_contract_says() {
    assert_eq!(ErrorClass::from_abi(-99), ErrorClass::Internal);
    assert_eq!(ErrorClass::from_abi(-6), ErrorClass::RateLimited);
    assert_eq!(
        (Origin::from_abi(9), Delivery::from_abi(9)),
        (Origin::Remote, Delivery::Live)
    );
    assert_eq!(
        (OrderScope::from_abi(9), NoiseClass::from_abi(99)),
        (OrderScope::None, NoiseClass::Aux)
    );
    assert_eq!(
        (AccountState::from_abi(99), AccountState::from_abi(4)),
        (AccountState::Degraded, AccountState::Online)
    );
}

#[test]
fn the_page_lists_every_kind_of_event_once() {
    assert_eq!(first_cells("### Kinds"), EventKind::NAMES);
}

#[test]
fn the_page_lists_every_command_with_its_effect() {
    let written: Vec<(String, String)> = section("### Catalogue")
        .iter()
        .map(|row| (code(&row[0]).to_owned(), row[1].clone()))
        .collect();
    let effect = |command: &Command| match command.effect() {
        Effect::Mutating => "m",
        Effect::ReadOnly => "r",
        Effect::Ephemeral => "e",
    };
    let expected: Vec<(String, String)> = Command::ALL
        .iter()
        .map(|command| (command.to_string(), effect(command).to_owned()))
        .collect();
    assert_eq!(written, expected);
}

#[test]
fn the_page_lists_every_segment_state_and_verb() {
    assert_eq!(first_cells("### Types"), SegmentType::NAMES);
    assert_eq!(first_cells("### States"), AccountState::NAMES);
    assert_eq!(first_cells("### Verbs"), ControlVerb::NAMES);
    assert_eq!(first_cells("### Statuses"), ResultStatus::NAMES);
    assert_eq!(first_cells("### Classes"), ErrorClass::NAMES);
}

#[test]
fn the_page_says_what_each_state_means_for_commands_and_people() {
    for (state, row) in AccountState::ALL.iter().zip(section("### States")) {
        let durable = match state.durable() {
            Durable::Run => "run",
            Durable::Wait => "wait",
            Durable::Refused => "refused",
        };
        assert_eq!(row[1..3], [durable, state.action().as_str()], "{state}");
    }
}

#[test]
fn the_page_lists_every_error_code_with_number_class_and_retryability() {
    let written: Vec<Vec<String>> = section("### Codes")
        .iter()
        .map(|row| row[..4].iter().map(|cell| code(cell).to_owned()).collect())
        .collect();
    let expected: Vec<Vec<String>> = ErrorCode::ALL
        .iter()
        .map(|code| {
            let retryable = if code.is_retryable() { "yes" } else { "no" };
            vec![
                code.to_string(),
                code.num().to_string(),
                code.class().to_string(),
                retryable.to_owned(),
            ]
        })
        .collect();
    assert_eq!(written, expected);
}
