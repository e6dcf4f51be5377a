//! A configuration while it is being put together: values that remember where they were written.
//!
//! Later layers win, tables merge, `null` removes what an earlier layer set. Every value and every key keeps its
//! [`Place`], so that an error found after merging still points at a line.
//!
//! Not here: reading files and variables (`files`, `overrides`), and what keys there are (`types`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Where something was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// A file as it was named, a variable, or `--set KEY`.
    pub source: Arc<str>,
    /// Line and column in that file, from 1; none for variables and flags.
    pub position: Option<(usize, usize)>,
}

impl Place {
    /// A variable or flag: it has no lines.
    pub fn override_of(name: impl Into<Arc<str>>) -> Self {
        Self {
            source: name.into(),
            position: None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{}:{line}:{column}", self.source),
            None => f.write_str(&self.source),
        }
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    pub at: Place,
    pub value: Value,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub enum Value {
    Table(Table),
    /// Anything with a type of its own: text, number, flag, list.
    Typed(serde_json::Value),
    /// From a variable or flag: which type it has, the schema decides at that place, never the text.
    Untyped(String),
    /// Removes what an earlier layer set.
    Null,
}

/// Keys in order, each with its own place.
#[derive(Clone, Debug, Default)]
pub struct Table(pub BTreeMap<String, Entry>);

/// One key of a table.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key_at: Place,
    pub node: Node,
}

impl Table {
    /// Puts a later layer over this one.
    pub fn merge(&mut self, later: Table) {
        for (key, entry) in later.0 {
            let merged = match (self.0.remove(&key), entry.node.value) {
                (_, Value::Null) => continue,
                (Some(mut own), Value::Table(table))
                    if matches!(own.node.value, Value::Table(_)) =>
                {
                    if let Value::Table(below) = &mut own.node.value {
                        below.merge(table);
                    }
                    own
                }
                (_, Value::Table(table)) => {
                    // Also a table that nothing lies under may hold nulls: they remove nothing, and are gone.
                    let mut fresh = Table::default();
                    fresh.merge(table);
                    let node = Node {
                        at: entry.node.at,
                        value: Value::Table(fresh),
                    };
                    Entry {
                        key_at: entry.key_at,
                        node,
                    }
                }
                (_, value) => Entry {
                    key_at: entry.key_at,
                    node: Node {
                        at: entry.node.at,
                        value,
                    },
                },
            };
            self.0.insert(key, merged);
        }
    }

    /// Puts a value at a path, making the tables on the way.
    pub fn set(&mut self, path: &[String], node: Node) {
        let Some((key, rest)) = path.split_first() else {
            return;
        };
        let at = node.at.clone();
        if rest.is_empty() {
            self.0.insert(key.clone(), Entry { key_at: at, node });
            return;
        }
        let entry = self.0.entry(key.clone()).or_insert_with(|| Entry {
            key_at: at.clone(),
            node: Node {
                at: at.clone(),
                value: Value::Table(Table::default()),
            },
        });
        if !matches!(entry.node.value, Value::Table(_)) {
            entry.node = Node {
                at,
                value: Value::Table(Table::default()),
            };
        }
        if let Value::Table(below) = &mut entry.node.value {
            below.set(rest, node);
        }
    }

    /// The entry at a path.
    pub fn get(&self, path: &[String]) -> Option<&Entry> {
        let (key, rest) = path.split_first()?;
        let entry = self.0.get(key)?;
        match (&entry.node.value, rest.is_empty()) {
            (_, true) => Some(entry),
            (Value::Table(below), false) => below.get(rest),
            _ => None,
        }
    }

    /// The whole as JSON; texts without a type are texts.
    pub fn to_json(&self) -> serde_json::Value {
        let members = self
            .0
            .iter()
            .map(|(key, entry)| (key.clone(), entry.node.value.to_json()));
        serde_json::Value::Object(members.collect())
    }
}

impl Value {
    fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Table(table) => table.to_json(),
            Value::Typed(value) => value.clone(),
            Value::Untyped(text) => serde_json::Value::String(text.clone()),
            Value::Null => serde_json::Value::Null,
        }
    }
}
