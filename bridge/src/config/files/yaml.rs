//! YAML 1.2, from the parser's marked events.

use super::{DEPTH_MAX, Lines};
use crate::config::problems::Problem;
use crate::config::tree::{Entry, Node, Place, Table, Value};
use std::sync::Arc;
use yaml_rust2::Yaml;
use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::{Marker, TScalarStyle};

pub fn parse(text: &str, source: &Arc<str>) -> Result<Table, Problem> {
    let lines = Lines::new(source, text);
    let events = events(text, &lines)?;
    let mut reader = Reader {
        lines,
        events: events.into_iter().peekable(),
    };
    let content = |event: &Event| {
        !matches!(
            event,
            Event::StreamStart | Event::DocumentStart | Event::DocumentEnd | Event::StreamEnd
        )
    };
    while reader
        .events
        .next_if(|(event, _)| matches!(event, Event::StreamStart | Event::DocumentStart))
        .is_some()
    {}
    if !reader
        .events
        .peek()
        .is_some_and(|(event, _)| content(event))
    {
        return Ok(Table::default());
    }
    let root = reader.node()?;
    if let Some((_, mark)) = reader
        .events
        .find(|(event, _)| matches!(event, Event::DocumentStart))
    {
        let place = place(&reader.lines, &mark);
        return Err(Problem::new(
            "config_syntax",
            "a second document begins; use a file for each",
        )
        .at("", &place));
    }
    match root.value {
        Value::Table(table) => Ok(table),
        Value::Null => Ok(Table::default()),
        _ => Err(
            Problem::new("config_syntax", "a configuration is a mapping of keys").at("", &root.at),
        ),
    }
}

/// All events. The parser's own walk is recursive without a bound, so this one is none.
fn events(text: &str, lines: &Lines<'_>) -> Result<Vec<(Event, Marker)>, Problem> {
    let mut parser = Parser::new_from_str(text);
    let (mut events, mut depth) = (Vec::new(), 0_usize);
    loop {
        let (event, mark) = parser.next_token().map_err(|error| {
            let place = place(lines, error.marker());
            Problem::new("config_syntax", error.info().to_owned()).at("", &place)
        })?;
        match event {
            Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
            Event::MappingEnd | Event::SequenceEnd => depth -= 1,
            _ => {}
        }
        if depth > DEPTH_MAX {
            let place = place(lines, &mark);
            return Err(Problem::new("config_syntax", "nested too deep").at("", &place));
        }
        let is_last = event == Event::StreamEnd;
        events.push((event, mark));
        if is_last {
            return Ok(events);
        }
    }
}

fn place(lines: &Lines<'_>, mark: &Marker) -> Place {
    Place {
        source: lines.source.clone(),
        position: Some((mark.line(), mark.col() + 1)),
    }
}

struct Reader<'a> {
    lines: Lines<'a>,
    events: std::iter::Peekable<std::vec::IntoIter<(Event, Marker)>>,
}

impl Reader<'_> {
    fn node(&mut self) -> Result<Node, Problem> {
        let (event, mark) = self.events.next().expect("the parser closes what it opens");
        let at = place(&self.lines, &mark);
        let refuse = |text: &str| Err(Problem::new("config_syntax", text).at("", &at));
        let value = match event {
            Event::Scalar(text, style, _, _) => scalar(text, style),
            Event::MappingStart(..) => Value::Table(self.mapping()?),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                while self
                    .events
                    .next_if(|(event, _)| matches!(event, Event::SequenceEnd))
                    .is_none()
                {
                    items.push(json(self.node()?.value));
                }
                Value::Typed(items.into())
            }
            Event::Alias(_) => return refuse("an alias stands here; write the value itself"),
            _ => return refuse("a value is missing"),
        };
        Ok(Node { at, value })
    }

    fn mapping(&mut self) -> Result<Table, Problem> {
        let mut table = Table::default();
        while self
            .events
            .next_if(|(event, _)| matches!(event, Event::MappingEnd))
            .is_none()
        {
            let (event, mark) = self.events.next().expect("the parser closes what it opens");
            let key_at = place(&self.lines, &mark);
            let refuse = |text: &str| Err(Problem::new("config_syntax", text).at("", &key_at));
            let Event::Scalar(key, style, _, _) = event else {
                return refuse("a key is a text");
            };
            if key == "<<" && style == TScalarStyle::Plain {
                return refuse("a merge key stands here; write the keys themselves");
            }
            let node = self.node()?;
            if table
                .0
                .insert(
                    key,
                    Entry {
                        key_at: key_at.clone(),
                        node,
                    },
                )
                .is_some()
            {
                return refuse("this key stands here twice; keep one");
            }
        }
        Ok(table)
    }
}

fn scalar(text: String, style: TScalarStyle) -> Value {
    if style != TScalarStyle::Plain {
        return Value::Typed(text.into());
    }
    match Yaml::from_str(&text) {
        Yaml::Null => Value::Null,
        Yaml::Boolean(flag) => Value::Typed(flag.into()),
        Yaml::Integer(number) => Value::Typed(number.into()),
        Yaml::Real(_) => {
            let number = text
                .parse::<f64>()
                .ok()
                .and_then(serde_json::Number::from_f64);
            Value::Typed(number.map_or(serde_json::Value::String(text), serde_json::Value::Number))
        }
        _ => Value::Typed(text.into()),
    }
}

fn json(value: Value) -> serde_json::Value {
    match value {
        Value::Table(table) => table.to_json(),
        Value::Typed(value) => value,
        Value::Untyped(text) => text.into(),
        Value::Null => serde_json::Value::Null,
    }
}
