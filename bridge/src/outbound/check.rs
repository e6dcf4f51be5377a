//! What a command must fulfil before anything is claimed or done for it.
//!
//! In the order in which a caller would mend it: known members and their ranges, the command's level, segments against
//! the capabilities. The first thing that is wrong is the answer, with its place in `data`.
//!
//! Not here: the key (`ledger`), the deadline (`flow`), the pace (`budget`).

use super::Fail;
use super::incoming::{Data, bad_param};
use im_bridge_sdk::model::{
    Capabilities, Command, Content, ErrorCode, Feature, Level, OnUnsupported, Options, Segment,
    SegmentType, params, schema, strict,
};
use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Deepest nesting of messages passed on.
const FORWARD_DEPTH_MAX: usize = 3;

/// Longest id of a channel: what crosses the plugin boundary as one.
const CHANNEL_BYTES_MAX: usize = 512;

/// Members and ranges: what needs no account to be known.
pub fn params(command: Command, data: &mut Data) -> Result<(), Fail> {
    let params = &data.params;
    let message = match command {
        Command::MessageSend => {
            strict::read(params).map(|read: params::MessageSend| Some(read.message))
        }
        Command::MessageUpdate => {
            strict::read(params).map(|read: params::MessageUpdate| Some(read.message))
        }
        _ => command.check(params).map(|()| None),
    };
    let message = message.map_err(|refused| bad_param("/params", &refused))?;
    if let Some(message) = message {
        // Before the schema, which can say less about them.
        for (index, segment) in message.segments.iter().enumerate() {
            well_formed(segment, &format!("/params/message/segments/{index}"), 0)?;
        }
        data.parts = parts(&message);
    }
    let params = &data.params;
    let validator = validator(command);
    if !validator.is_valid(params)
        && let Some(error) = validator.iter_errors(params).next()
    {
        let error = closest(&error);
        let place = format!("/params{}", error.instance_path().as_str());
        return Err(Fail::certain(ErrorCode::BadParam, error.masked().to_string()).at(place));
    }
    channel(&data.params, "/params")?;
    let items = data.params.get("items").and_then(Value::as_array);
    for (index, item) in items.into_iter().flatten().enumerate() {
        channel(item, &format!("/params/items/{index}"))?;
    }
    if command == Command::MessageList
        && data.params.get("after").is_some()
        && data.params.get("before").is_some()
    {
        return Err(
            Fail::certain(ErrorCode::BadParam, "after and before exclude each other")
                .at("/params/before"),
        );
    }
    Ok(())
}

/// An id that no event can bear is no channel's: the echo of what is sent there would be lost.
fn channel(params: &Value, at: &str) -> Result<(), Fail> {
    let places = [
        ("/to/channel_id", &params["to"]["channel_id"]),
        ("/channel_id", &params["channel_id"]),
    ];
    for (place, id) in places {
        let Some(id) = id.as_str() else { continue };
        if id.len() > CHANNEL_BYTES_MAX || id.contains(char::is_control) {
            let text = format!(
                "a channel id has at most {CHANNEL_BYTES_MAX} bytes and no control characters"
            );
            return Err(Fail::certain(ErrorCode::BadParam, text).at(format!("{at}{place}")));
        }
    }
    Ok(())
}

/// Of all that could stand there, what the caller seems to have meant: the kind whose `type` is written.
fn closest<'e>(error: &'e ValidationError<'e>) -> &'e ValidationError<'e> {
    let (ValidationErrorKind::OneOfNotValid { context } | ValidationErrorKind::AnyOf { context }) =
        error.kind()
    else {
        return error;
    };
    let is_meant = |errors: &&Vec<ValidationError<'static>>| {
        let mut paths = errors.iter().map(|error| error.instance_path().as_str());
        !paths.any(|path| path.ends_with("/type"))
    };
    let mut meant = context.iter().filter(is_meant);
    match (meant.next().and_then(|errors| errors.first()), meant.next()) {
        (Some(inner), None) => closest(inner),
        _ => error,
    }
}

/// The schema of the command's parameters, compiled at its first use: most accounts use few of them.
fn validator(command: Command) -> Arc<jsonschema::Validator> {
    static MADE: LazyLock<Mutex<HashMap<Command, Arc<jsonschema::Validator>>>> =
        LazyLock::new(Mutex::default);
    static ALL: LazyLock<Vec<(String, Value)>> = LazyLock::new(schema::all);
    // One for all commands: to read every schema costs more than all that follows.
    static REGISTRY: LazyLock<jsonschema::Registry<'static>> = LazyLock::new(|| {
        let resources = ALL.iter().map(|(name, schema)| (schema::urn(name), schema));
        let registry = resources.fold(jsonschema::Registry::new(), |registry, (urn, schema)| {
            registry
                .add(urn, schema)
                .expect("the model's schemas are schemas")
        });
        registry.prepare().expect("they refer to each other only")
    });
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let validator = made.entry(command).or_insert_with(|| {
        let own = schema::urn(&format!("cmd.{command}"));
        let params = format!("{own}#/properties/params");
        let validator = jsonschema::options()
            .with_registry(&REGISTRY)
            .build(&serde_json::json!({ "$ref": params }))
            .expect("the model's schemas are schemas");
        Arc::new(validator)
    });
    validator.clone()
}

/// The command itself, and what it would send, against what this account can.
pub fn abilities(command: Command, data: &Data, can: &Capabilities) -> Result<(), Fail> {
    let level = can.commands.get(command);
    if level <= Level::Dropped {
        let text = format!("the provider does not offer {command}, by its capabilities");
        return Err(Fail::certain(ErrorCode::UnsupportedCommand, text));
    }
    match command {
        Command::MessageSend | Command::MessageUpdate => message(&data.parts, &data.options, can),
        _ => Ok(()),
    }
}

/// All that is looked at of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    kind: SegmentType,
    has_fallback: bool,
    word_bytes: usize,
}

fn parts(message: &params::Draft) -> Vec<Part> {
    let part = |segment: &Segment| Part {
        kind: segment.segment_type(),
        has_fallback: segment.fallback.is_some(),
        word_bytes: words(segment),
    };
    message.segments.iter().map(part).collect()
}

/// Of one message of a checked batch.
pub fn parts_of_item(params: &Value) -> Vec<Part> {
    let item: params::MessageSend = strict::read(params).expect("checked before with its batch");
    parts(&item.message)
}

fn message(parts: &[Part], options: &Options, can: &Capabilities) -> Result<(), Fail> {
    const PLACE: &str = "/params/message";
    for (index, part) in parts.iter().enumerate() {
        let level = can.segments.send.get(part.kind);
        // Level 0 has a rendering of its own; below it only the segment's own words can stand in.
        let has_substitute = level >= Level::Fallback || part.has_fallback;
        let goes = level >= Level::Partial
            || match options.on_unsupported {
                OnUnsupported::Drop => true,
                OnUnsupported::Fallback => has_substitute,
                OnUnsupported::Fail => false,
            };
        if !goes {
            let kind = part.kind;
            let text = format!("the provider cannot carry a segment of type {kind}");
            let hint = match options.on_unsupported {
                OnUnsupported::Fail => "set options.on_unsupported to \"fallback\" or \"drop\"",
                _ => "give the segment a fallback text",
            };
            return Err(Fail::certain(ErrorCode::UnsupportedSegment, text)
                .at(format!("{PLACE}/segments/{index}"))
                .hint(Some(hint.to_owned())));
        }
    }
    let is_mixed = parts.len() > 1 && parts.iter().any(|part| goes_alone(part.kind));
    if is_mixed && can.features.get(Feature::MixedSegments) <= Level::Dropped && !options.split {
        let text = "the provider carries these segments in several messages only";
        let hint = "set options.split to true, or send them one by one".to_owned();
        return Err(Fail::certain(ErrorCode::BadSegment, text)
            .at(format!("{PLACE}/segments"))
            .hint(Some(hint)));
    }
    if let Some(most) = can.limits.max_payload_bytes {
        // The exact size is the provider's encoding's; the words alone are a lower bound of it.
        let words: usize = parts.iter().map(|part| part.word_bytes).sum();
        if words as u64 > most {
            let text = format!("the message has {words} bytes of text, the provider takes {most}");
            return Err(Fail::certain(ErrorCode::PayloadTooLarge, text).at(PLACE));
        }
    }
    Ok(())
}

/// A message of its own where a provider cannot mix.
fn goes_alone(kind: SegmentType) -> bool {
    !matches!(
        kind,
        SegmentType::Text
            | SegmentType::Mention
            | SegmentType::MentionAll
            | SegmentType::Emoji
            | SegmentType::Link
    )
}

fn words(segment: &Segment) -> usize {
    match &segment.content {
        Content::Text(text) => text.text.len(),
        _ => segment.fallback.as_ref().map_or(0, String::len),
    }
}

/// What types and schema cannot say.
fn well_formed(segment: &Segment, place: &str, depth: usize) -> Result<(), Fail> {
    let bad = |text: &str| Err(Fail::certain(ErrorCode::BadSegment, text).at(place));
    match &segment.content {
        Content::Text(text) if text.text.len() > 65_536 => bad("a text has at most 65,536 bytes"),
        Content::Forward(forward) => {
            if depth >= FORWARD_DEPTH_MAX {
                return bad("messages are passed on at most 3 deep");
            }
            forward
                .messages
                .iter()
                .flat_map(|message| &message.segments)
                .try_for_each(|segment| well_formed(segment, place, depth + 1))
        }
        _ => Ok(()),
    }
}

/// Whom a command is about: decides lane and subject of its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Channel(String),
    /// Resolved to the channel of the two before anything else.
    User(String),
    Nothing,
}

/// The target of checked parameters.
pub fn target(params: &Value) -> Target {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(channel) = text(&params["to"]["channel_id"]).or_else(|| text(&params["channel_id"]))
    {
        return Target::Channel(channel);
    }
    text(&params["to"]["user_id"]).map_or(Target::Nothing, Target::User)
}

/// Reads control parameters strictly.
pub fn control(verb: im_bridge_sdk::model::ControlVerb, params: &Value) -> Result<(), Fail> {
    verb.check(params)
        .map_err(|refused: strict::Refused| bad_param("/params", &refused))
}
