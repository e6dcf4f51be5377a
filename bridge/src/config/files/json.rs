//! JSON. `serde_json` judges the syntax; a second, small pass finds where keys and values stand.

use super::Lines;
use crate::config::problems::Problem;
use crate::config::tree::{Entry, Node, Table, Value};
use std::sync::Arc;

pub fn parse(text: &str, source: &Arc<str>) -> Result<Table, Problem> {
    let lines = Lines::new(source, text);
    // Into values, because only these have a bound of depth.
    serde_json::from_str::<serde_json::Value>(text).map_err(|error| {
        let line_start: usize = text
            .split_inclusive('\n')
            .take(error.line().saturating_sub(1))
            .map(str::len)
            .sum();
        lines.syntax(
            line_start + error.column().saturating_sub(1),
            error.to_string(),
        )
    })?;
    let mut reader = Reader { lines, at: 0 };
    reader.blanks();
    let start = reader.at;
    match reader.value()?.value {
        Value::Table(table) => Ok(table),
        _ => Err(reader
            .lines
            .syntax(start, "a configuration is an object; begin it with {")),
    }
}

/// Walks text that is known to be JSON.
struct Reader<'a> {
    lines: Lines<'a>,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.lines.text[self.at..]
    }

    fn blanks(&mut self) {
        self.at += self.rest().len()
            - self
                .rest()
                .trim_start_matches([' ', '\t', '\r', '\n'])
                .len();
    }

    /// The next byte that is not blank, which is taken.
    fn take(&mut self) -> u8 {
        self.blanks();
        let byte = self.rest().as_bytes().first().copied().unwrap_or_default();
        self.at += 1;
        byte
    }

    /// The extent of the value that begins here, brackets balanced and texts skipped.
    fn skip(&mut self) -> &str {
        let start = self.at;
        let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
        for (offset, byte) in self.rest().bytes().enumerate() {
            let is_end = match byte {
                _ if is_escaped => {
                    is_escaped = false;
                    false
                }
                b'\\' if is_text => {
                    is_escaped = true;
                    false
                }
                b'"' => {
                    is_text = !is_text;
                    if !is_text && depth == 0 {
                        self.at = start + offset + 1;
                        return &self.lines.text[start..self.at];
                    }
                    false
                }
                _ if is_text => false,
                b'[' | b'{' => {
                    depth += 1;
                    false
                }
                b']' | b'}' if depth > 0 => {
                    depth -= 1;
                    if depth == 0 {
                        self.at = start + offset + 1;
                        return &self.lines.text[start..self.at];
                    }
                    false
                }
                b',' | b']' | b'}' => depth == 0,
                _ => false,
            };
            if is_end {
                self.at = start + offset;
                return self.lines.text[start..self.at].trim_end();
            }
        }
        self.at = self.lines.text.len();
        self.lines.text[start..].trim_end()
    }

    fn value(&mut self) -> Result<Node, Problem> {
        self.blanks();
        let at = self.lines.place(self.at);
        if !self.rest().starts_with('{') {
            let value = serde_json::from_str(self.skip()).expect("the whole text is JSON");
            let value = if value == serde_json::Value::Null {
                Value::Null
            } else {
                Value::Typed(value)
            };
            return Ok(Node { at, value });
        }
        self.at += 1;
        let mut table = Table::default();
        self.blanks();
        while !self.rest().starts_with('}') {
            self.blanks();
            let (key_start, key_at) = (self.at, self.lines.place(self.at));
            let key: String = serde_json::from_str(self.skip()).expect("a key is a text");
            self.take();
            let node = self.value()?;
            let entry = Entry { key_at, node };
            if table.0.insert(key, entry).is_some() {
                return Err(self
                    .lines
                    .syntax(key_start, "this key stands here twice; keep one"));
            }
            self.blanks();
            if self.rest().starts_with(',') {
                self.at += 1;
                self.blanks();
            }
        }
        self.at += 1;
        Ok(Node {
            at,
            value: Value::Table(table),
        })
    }
}
