//! What is wrong with a configuration, told so that it can be mended: code, place, both sides, remedy.
//!
//! All problems of a run are collected, none hides the next. A value is never shown: under a wrong place in a file the
//! key is, and every value in the quoted line is masked.

use super::tree::Place;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use std::fmt::Write as _;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Section in `docs/errors.md`.
    pub code: &'static str,
    /// The sentence: both sides, and the remedy unless that is the hint.
    pub text: String,
    /// Dotted path of the key concerned; empty for a whole file.
    pub path: String,
    /// Where it was written.
    pub place: Option<Place>,
    /// How many characters to underline.
    pub width: usize,
    /// Did you mean …? Stands under the marks where a line is quoted, else behind the text; may be empty.
    pub hint: String,
}

impl Problem {
    /// A problem without a place.
    pub fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            path: String::new(),
            place: None,
            width: 0,
            hint: String::new(),
        }
    }

    /// At a key or value of a file, or at a variable or flag.
    pub fn at(mut self, path: &str, place: &Place) -> Self {
        self.width = path.rsplit('.').next().unwrap_or_default().chars().count();
        self.path = path.to_owned();
        self.place = Some(place.clone());
        self
    }

    /// Adds what was probably meant.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Text and hint in one line.
    pub fn sentence(&self) -> String {
        if self.hint.is_empty() {
            self.text.clone()
        } else {
            format!("{}; {}", self.text, self.hint)
        }
    }

    fn sort_key(&self) -> (Option<&str>, Option<(usize, usize)>, &str) {
        let place = self.place.as_ref();
        (
            place.map(|place| &*place.source),
            place.and_then(|place| place.position),
            &self.text,
        )
    }

    /// As a document for programs.
    pub fn to_json(&self) -> serde_json::Value {
        let place = self.place.as_ref();
        let position = place.and_then(|place| place.position);
        serde_json::json!({
            "code": self.code,
            "message": self.sentence(),
            "path": self.path,
            "file": place.map(|place| place.source.to_string()),
            "line": position.map(|(line, _)| line),
            "column": position.map(|(_, column)| column),
            "help": format!("im-bridge explain {}", self.code),
        })
    }
}

/// Everything found wrong in one run.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    kept: Vec<Problem>,
    /// Beyond [`PROBLEMS_MAX`].
    more: usize,
}

/// Nobody reads further, and each is compared with those before it.
const PROBLEMS_MAX: usize = 100;
/// Longer lines are written by programs, and quoting one helps nobody.
const QUOTED_CHARS_MAX: usize = 400;
/// Of a sentence, a hint or an origin: a flag or a key in it may be as long as its writer likes.
const TEXT_CHARS_MAX: usize = 2_000;

/// Text of the files that were read, so that lines can be quoted.
pub trait Sources {
    /// The file's text, by the name that stands in places.
    fn text(&self, source: &str) -> Option<&str>;
}

impl Problems {
    pub fn push(&mut self, problem: Problem) {
        if self.kept.len() >= PROBLEMS_MAX {
            self.more += 1;
        } else if !self.kept.contains(&problem) {
            self.kept.push(problem);
        }
    }

    pub fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        for problem in problems {
            self.push(problem);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// In the order of files and lines.
    pub fn sorted(&self) -> Vec<&Problem> {
        let mut all: Vec<&Problem> = self.kept.iter().collect();
        all.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        all
    }

    /// As a compiler shows them, with the number of errors at the end.
    pub fn render(&self, sources: &dyn Sources, color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut out = String::new();
        for problem in self.sorted() {
            out.push_str(&render(problem, sources, &renderer));
            out.push_str("\n\n");
        }
        let count = self.kept.len();
        let _ = write!(
            out,
            "{count} {}",
            if count == 1 { "error" } else { "errors" }
        );
        if self.more > 0 {
            let _ = write!(out, ", and {} more", self.more);
        }
        out
    }
}

fn render(problem: &Problem, sources: &dyn Sources, renderer: &Renderer) -> String {
    let see = format!("see: im-bridge explain {}", problem.code);
    let quoted = problem.place.as_ref().and_then(|place| {
        let (line, column) = place.position?;
        let text = sources.text(&place.source)?.lines().nth(line - 1)?;
        let is_short = text.chars().nth(QUOTED_CHARS_MAX).is_none();
        is_short.then(|| {
            (
                place,
                line,
                column,
                mask(text, place.source.ends_with(".toml")),
            )
        })
    });
    let title = match &quoted {
        Some(_) => plain(&problem.text),
        None => plain(&problem.sentence()),
    };
    let hint = plain(&problem.hint);
    let title = Level::ERROR.primary_title(title).id(problem.code);
    let no_title = Level::NOTE.no_name();
    let Some((place, line, column, masked)) = quoted else {
        let place = problem.place.as_ref();
        let origin = place.map(|place| plain(&format!("from: {place}")));
        let mut group = title.elements(
            origin
                .iter()
                .map(|origin| no_title.clone().message(origin.as_str())),
        );
        group = group.element(no_title.message(see.as_str()));
        return renderer.render(&[group]);
    };
    let start = byte_of(&masked, column - 1);
    let end = byte_of(&masked, column - 1 + problem.width.max(1))
        .max(start + 1)
        .min(masked.len().max(start + 1));
    let mut annotation = AnnotationKind::Primary.span(start..end.min(masked.len()).max(start));
    if !hint.is_empty() {
        annotation = annotation.label(hint.as_str());
    }
    let snippet = Snippet::source(masked.as_str())
        .line_start(line)
        .path(&*place.source)
        .annotation(annotation);
    renderer.render(&[title
        .element(snippet)
        .element(no_title.message(see.as_str()))])
}

/// What somebody wrote may be long, and may speak to the terminal.
fn plain(text: &str) -> String {
    let is_long = text.chars().nth(TEXT_CHARS_MAX).is_some();
    text.chars()
        .take(TEXT_CHARS_MAX)
        .map(|c| match c {
            '\n' => c,
            _ if c.is_control() => char::REPLACEMENT_CHARACTER,
            _ => c,
        })
        .chain(is_long.then_some('…'))
        .collect()
}

fn byte_of(text: &str, column: usize) -> usize {
    text.char_indices()
        .nth(column)
        .map_or(text.len(), |(byte, _)| byte)
}

/// The line with everything that is or may be a value replaced by stars; keys, brackets and blanks stay.
///
/// A line that has no key of its own (a list's element, a continued text) is masked whole.
pub fn mask(line: &str, is_toml: bool) -> String {
    let indent = line.len() - line.trim_start().len();
    // In the other formats, and with quotes, it is a list.
    let is_header = line.trim_start().starts_with('[') && !line.contains(['=', '"', '\'']);
    if is_toml && is_header {
        return line.to_owned();
    }
    // A key in quotes may hold either sign; everything else before the first of them is the key.
    let after_quote = match line[indent..].chars().next() {
        Some(quote @ ('"' | '\'')) => line[indent + 1..]
            .find(quote)
            .map_or(indent, |end| indent + 1 + end),
        _ => indent,
    };
    let sign = line[after_quote..]
        .find(['=', ':'])
        .map(|sign| after_quote + sign + 1);
    let keep = match sign {
        Some(sign) => sign,
        None => indent,
    };
    let (kept, value) = line.split_at(keep);
    let stars: String = value
        .chars()
        .map(|c| if c.is_whitespace() { c } else { '*' })
        .collect();
    format!("{kept}{stars}")
}
