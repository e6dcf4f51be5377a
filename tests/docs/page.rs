//! A document that is executed: its `sh run` fences in order, each compared with the `text out` fence behind it.
//!
//! `cargo run -- …` and `im-bridge …` are the binary that is built already. `cargo run -- demo` runs on while the rest of
//! the page is executed. Numbers, and words that are different each time, are patterns; so are blanks.

use crate::home::{Home, Ran, Running};
use crate::tree::root;

/// The fences of a page that say something about a run.
pub struct Page {
    name: String,
    steps: Vec<Step>,
}

/// Commands, and what they print, if the page says so.
struct Step {
    commands: Vec<String>,
    printed: Vec<String>,
}

impl Page {
    pub fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(root().join(name)).unwrap();
        let mut steps: Vec<Step> = Vec::new();
        let mut mark: Option<String> = None;
        for line in text.lines() {
            if let Some(found) = line.strip_prefix("```") {
                mark = match mark {
                    Some(_) => None,
                    None => Some(found.trim().to_owned()),
                };
                if mark.as_deref() == Some("sh run") {
                    steps.push(Step {
                        commands: Vec::new(),
                        printed: Vec::new(),
                    });
                }
                continue;
            }
            let is_blank = line.trim().is_empty();
            match (mark.as_deref(), steps.last_mut()) {
                (Some("sh run"), Some(step)) if !is_blank => step.commands.push(line.to_owned()),
                (Some("text out"), Some(step)) if !is_blank => step.printed.push(line.to_owned()),
                (Some("text out"), None) => panic!("{name}: output of nothing"),
                _ => {}
            }
        }
        assert!(!steps.is_empty(), "{name} has nothing to run");
        Self {
            name: name.to_owned(),
            steps,
        }
    }

    /// Executes it, beside a demo that runs already or that the page starts; answers that demo.
    pub fn play(&self, home: &Home, mut demo: Option<Running>) -> Option<Running> {
        for step in &self.steps {
            for (index, command) in step.commands.iter().enumerate() {
                let is_last = index + 1 == step.commands.len();
                let printed = if is_last { &step.printed[..] } else { &[] };
                let words = words(command);
                if words == ["demo"] {
                    let mut started = home.start(&[]);
                    for line in printed {
                        started.until_like(line, pattern);
                    }
                    demo = Some(started);
                    continue;
                }
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let ran = home.run(&words);
                assert_eq!(ran.code, Some(0), "{}: {command}: {ran:?}", self.name);
                self.compare(command, printed, &ran);
            }
        }
        demo
    }

    /// Each line of the page stands in the output, in their order.
    fn compare(&self, command: &str, printed: &[String], ran: &Ran) {
        let mut said = ran.aside.lines().chain(ran.said.lines());
        for line in printed {
            let wanted = pattern(line);
            assert!(
                said.any(|line| pattern(line) == wanted),
                "{}: {command} does not print `{line}`: {ran:?}",
                self.name
            );
        }
    }
}

/// Words of a command for the binary, without the comment behind it.
fn words(command: &str) -> Vec<String> {
    let command = command.split(" # ").next().unwrap_or_default().trim();
    let rest = ["cargo run -- ", "im-bridge "]
        .iter()
        .find_map(|start| command.strip_prefix(start))
        .unwrap_or_else(|| panic!("only commands of im-bridge are executed: {command}"));
    let mut words = Vec::new();
    for (index, part) in rest.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// The line without what is different each time.
fn pattern(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let has_digit = word.contains(|c: char| c.is_ascii_digit());
        // A hash, an id: letters and digits without a meaning.
        let is_hash = word.len() >= 8 && word.chars().all(|c| c.is_ascii_alphanumeric());
        if has_digit && is_hash {
            return "#".to_owned();
        }
        let mut pattern = String::new();
        for c in word.chars() {
            match c {
                '0'..='9' if pattern.ends_with('#') => {}
                '0'..='9' => pattern.push('#'),
                c => pattern.push(c),
            }
        }
        pattern
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn what_differs_each_time_is_a_pattern() {
    assert_eq!(
        pattern("  12:01:03.412  in   sim/demo  lobby  bob: hello 1   seq 17   2 ms"),
        "#:#:#.# in sim/demo lobby bob: hello # seq # # ms"
    );
    assert_eq!(pattern("sha256 91c4b2d0  loaded"), "sha# # loaded");
}

#[test]
fn commands_are_those_of_the_binary() {
    assert_eq!(words("cargo run -- demo      # all of it"), ["demo"]);
    assert_eq!(
        words("im-bridge send sim/demo --channel lobby \"hi there\""),
        ["send", "sim/demo", "--channel", "lobby", "hi there"]
    );
}
