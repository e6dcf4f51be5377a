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
pub struct Problems(Vec<Problem>);

/// Text of the files that were read, so that lines can be quoted.
pub trait Sources {
    /// The file's text, by the name that stands in places.
    fn text(&self, source: &str) -> Option<&str>;
}

impl Problems {
    pub fn push(&mut self, problem: Problem) {
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    pub fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        for problem in problems {
            self.push(problem);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of files and lines.
    pub fn sorted(&self) -> Vec<&Problem> {
        let mut all: Vec<&Problem> = self.0.iter().collect();
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
        let count = self.0.len();
        let _ = write!(
            out,
            "{count} {}",
            if count == 1 { "error" } else { "errors" }
        );
        out
    }
}

fn render(problem: &Problem, sources: &dyn Sources, renderer: &Renderer) -> String {
    let see = format!("see: im-bridge explain {}", problem.code);
    let quoted = problem.place.as_ref().and_then(|place| {
        let (line, column) = place.position?;
        let text = sources.text(&place.source)?.lines().nth(line - 1)?;
        Some((place, line, column, mask(text)))
    });
    let sentence = problem.sentence();
    let title = match &quoted {
        Some(_) => problem.text.as_str(),
        None => sentence.as_str(),
    };
    let title = Level::ERROR.primary_title(title).id(problem.code);
    let no_title = Level::NOTE.no_name();
    let Some((place, line, column, masked)) = quoted else {
        let origin = problem.place.as_ref().map(|place| format!("from: {place}"));
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
    if !problem.hint.is_empty() {
        annotation = annotation.label(problem.hint.as_str());
    }
    let snippet = Snippet::source(masked.as_str())
        .line_start(line)
        .path(&*place.source)
        .annotation(annotation);
    renderer.render(&[title
        .element(snippet)
        .element(no_title.message(see.as_str()))])
}

fn byte_of(text: &str, column: usize) -> usize {
    text.char_indices()
        .nth(column)
        .map_or(text.len(), |(byte, _)| byte)
}

/// The line with everything that is or may be a value replaced by stars; keys, brackets and blanks stay.
///
/// A line that has no key of its own (a list's element, a continued text) is masked whole.
pub fn mask(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let is_header = line.trim_start().starts_with('[') && !line.contains('=');
    if is_header {
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
