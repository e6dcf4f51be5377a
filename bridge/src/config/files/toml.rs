//! TOML, with the spans that `toml_edit` keeps.

use super::Lines;
use crate::config::problems::Problem;
use crate::config::tree::{Entry, Node, Table, Value};
use std::sync::Arc;
use toml_edit::{Document, Item, Key, TableLike};

pub fn parse(text: &str, source: &Arc<str>) -> Result<Table, Problem> {
    let lines = Lines::new(source, text);
    let document = Document::parse(text).map_err(|error| {
        lines.syntax(error.span().map_or(0, |span| span.start), error.message())
    })?;
    table(
        document
            .as_item()
            .as_table_like()
            .expect("a document is a table"),
        &lines,
        0,
    )
}

fn table(from: &dyn TableLike, lines: &Lines<'_>, at: usize) -> Result<Table, Problem> {
    let mut own = Table::default();
    for (name, item) in from.iter() {
        let key = from.key(name);
        let key_at = key.and_then(Key::span).map_or(at, |span| span.start);
        let value_at = item.span().map_or(key_at, |span| span.start);
        let value = value(item, lines, value_at)?;
        let node = Node {
            at: lines.place(value_at),
            value,
        };
        own.0.insert(
            name.to_owned(),
            Entry {
                key_at: lines.place(key_at),
                node,
            },
        );
    }
    Ok(own)
}

fn value(item: &Item, lines: &Lines<'_>, at: usize) -> Result<Value, Problem> {
    if let Some(below) = item.as_table_like() {
        return Ok(Value::Table(table(below, lines, at)?));
    }
    let value = match item {
        Item::Value(value) => plain(value, lines, at)?,
        Item::ArrayOfTables(_) => {
            return Err(lines.syntax(
                at,
                "[[…]] makes a list, and sets are tables here; write [table.name]",
            ));
        }
        Item::None | Item::Table(_) => return Ok(Value::Null),
    };
    Ok(Value::Typed(value))
}

fn plain(
    value: &toml_edit::Value,
    lines: &Lines<'_>,
    at: usize,
) -> Result<serde_json::Value, Problem> {
    Ok(match value {
        toml_edit::Value::String(text) => text.value().as_str().into(),
        toml_edit::Value::Integer(number) => (*number.value()).into(),
        toml_edit::Value::Float(number) => (*number.value()).into(),
        toml_edit::Value::Boolean(flag) => (*flag.value()).into(),
        toml_edit::Value::Datetime(_) => {
            return Err(lines.syntax(
                at,
                "a date stands here, and no key takes one; put it in quotes",
            ));
        }
        toml_edit::Value::Array(list) => {
            let items: Result<Vec<_>, _> = list.iter().map(|item| plain(item, lines, at)).collect();
            items?.into()
        }
        toml_edit::Value::InlineTable(below) => table(below, lines, at)?.to_json(),
    })
}
