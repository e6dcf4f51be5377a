//! Configurations that nobody means well with: each ends soon, in little memory, with a code and never with a secret.

use super::{Place, Ran};
use std::path::Path;
use std::process::{Command, Stdio};

impl Place {
    /// The command, bounded: a second per hundred kilobytes would be too slow, and so would be a gigabyte.
    #[track_caller]
    fn bounded(&self, args: &[&str]) -> Ran {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "ulimit -v 4000000; exec timeout -s KILL 40 \"$0\" \"$@\"",
            ])
            .arg(env!("CARGO_BIN_EXE_im-bridge"))
            .args(args)
            .current_dir(self.path())
            .env("IM_BRIDGE_SHOWN_IN_NO_ERROR", SECRET)
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ran = Ran {
            code: output.status.code().unwrap_or(-1),
            data: lossy(&output.stdout),
            aside: lossy(&output.stderr),
        };
        let shown = format!("{}{}", ran.data, ran.aside);
        assert!(!shown.contains(SECRET), "{args:?} shows a secret: {ran:?}");
        let is_plain = |c: char| c == '\n' || !c.is_control();
        assert!(
            shown.chars().all(is_plain),
            "{args:?} prints control characters: {ran:?}"
        );
        assert!(
            shown.len() < 64 * 1024,
            "{args:?} prints {} bytes",
            shown.len()
        );
        ran
    }

    /// `run` refuses this file.
    #[track_caller]
    fn refuses(&self, name: &str, content: &[u8], code: &str) -> Ran {
        std::fs::write(self.path().join(name), content).unwrap();
        let ran = self.bounded(&["run", "--config", name]);
        let is_placed = ran.aside.contains(name);
        let is_told = ran.aside.contains(&format!("error[{code}]: "));
        let shown: String = ran.aside.chars().take(2_000).collect();
        assert!(
            ran.code == 2 && is_told && is_placed,
            "{name}: wanted {code}, ended with {}: {shown}",
            ran.code
        );
        ran
    }
}

const SECRET: &str = "hunter2-is-no-text-to-show";

#[test]
fn what_is_no_text_is_refused() {
    let place = Place::new();
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0".to_vec();
    elf.extend([0xff; 5_000]);
    for name in ["a.toml", "a.yaml", "a.json"] {
        let ran = place.refuses(name, &elf, "config_syntax");
        assert!(ran.aside.contains("is no text in UTF-8"), "{ran:?}");
        place.refuses(name, b"a\0b\0c\x01\x02", "config_syntax");
        place.refuses(name, b"\xff\xfen\0a\0t\0s\0", "config_syntax");
    }
}

#[test]
fn what_is_too_large_is_refused_unread_and_what_is_just_not_ends_soon() {
    let place = Place::new();
    let big = vec![b'#'; 10 << 20];
    for name in ["a.toml", "a.yaml", "a.json"] {
        place.refuses(name, &big, "config_unreadable");
    }
    let lines: String = (0..100_000)
        .map(|number| format!("key{number} = {number}\n"))
        .collect();
    place.refuses("b.toml", lines.as_bytes(), "config_unknown_key");
    place.refuses(
        "b.yaml",
        lines.replace(" = ", ": ").as_bytes(),
        "config_unknown_key",
    );
    let members: Vec<String> = (0..100_000)
        .map(|number| format!("\"key{number}\":{number}"))
        .collect();
    let one_line = format!("{{{}}}", members.join(","));
    place.refuses("b.json", one_line.as_bytes(), "config_unknown_key");
}

#[test]
fn depth_is_refused_and_overflows_nothing() {
    const DEEP: usize = 200_000;
    let place = Place::new();
    let nested = |open: &str, close: &str| open.repeat(DEEP) + &close.repeat(DEEP);
    place.refuses("a.json", nested("[", "]").as_bytes(), "config_syntax");
    place.refuses("a.json", nested("{\"a\":", "}").as_bytes(), "config_syntax");
    place.refuses("a.yaml", nested("[", "]").as_bytes(), "config_syntax");
    place.refuses("a.yaml", "[".repeat(DEEP).as_bytes(), "config_syntax");
    place.refuses("a.yaml", nested("{a: ", "}").as_bytes(), "config_syntax");
    place.refuses("a.yaml", "- ".repeat(DEEP).as_bytes(), "config_syntax");
    place.refuses("a.yaml", "? ".repeat(DEEP).as_bytes(), "config_syntax");
    let by_indent: String = (0..1_500).map(|depth| " ".repeat(depth) + "a:\n").collect();
    place.refuses("a.yaml", by_indent.as_bytes(), "config_syntax");
    place.refuses(
        "a.toml",
        format!("a = {}", nested("[", "]")).as_bytes(),
        "config_syntax",
    );
    place.refuses(
        "a.toml",
        format!("a = {}", nested("{a=", "}")).as_bytes(),
        "config_syntax",
    );
    let dotted = vec!["a"; DEEP].join(".");
    place.refuses(
        "a.toml",
        format!("{dotted} = 1").as_bytes(),
        "config_syntax",
    );
    place.refuses("a.toml", format!("[{dotted}]").as_bytes(), "config_syntax");
    let flag = format!("{dotted}=1");
    std::fs::write(place.path().join("b.toml"), "").unwrap();
    let ran = place.bounded(&["run", "--config", "b.toml", "--set", &flag[..100_000]]);
    assert_eq!(
        ran.code,
        2,
        "{}",
        ran.aside.chars().take(2_000).collect::<String>()
    );
}

#[test]
fn aliases_and_twins_are_refused_with_their_place() {
    let place = Place::new();
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (before, name) in ('a'..='y').zip('b'..='z') {
        bomb += &format!(
            "{name}: &{name} [{}]\n",
            vec![format!("*{before}"); 9].join(",")
        );
    }
    let ran = place.refuses("a.yaml", bomb.as_bytes(), "config_syntax");
    assert!(ran.aside.contains("a.yaml:2:"), "{ran:?}");
    place.refuses("a.yaml", b"a: &a\n  b: *a\n", "config_syntax");
    place.refuses(
        "a.yaml",
        b"nats: &n {url: x}\nadmin:\n  <<: *n\n",
        "config_syntax",
    );
    let twins = format!("[nats]\nurl = \"x\"\nurl = \"{SECRET}\"\n");
    let ran = place.refuses("a.toml", twins.as_bytes(), "config_syntax");
    assert!(ran.aside.contains("a.toml:3:"), "{ran:?}");
    let twins = format!("nats:\n  url: x\n  url: {SECRET}\n");
    let ran = place.refuses("a.yaml", twins.as_bytes(), "config_syntax");
    assert!(ran.aside.contains("a.yaml:3:"), "{ran:?}");
    let twins = format!("{{\"nats\": {{\n\"url\": \"x\",\n\"url\": \"{SECRET}\"}}}}\n");
    let ran = place.refuses("a.json", twins.as_bytes(), "config_syntax");
    assert!(ran.aside.contains("a.json:3:"), "{ran:?}");
}

/// A pipe that nobody writes to.
fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let place = Place::new();
    let at = |name: &str| place.path().join(name);
    std::os::unix::fs::symlink("loop.toml", at("loop.toml")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", at("zero.toml")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("dangling.toml")).unwrap();
    pipe(&at("pipe.toml"));
    for name in [
        "loop.toml",
        "zero.toml",
        "dangling.toml",
        "pipe.toml",
        "none.toml",
    ] {
        let ran = place.bounded(&["run", "--config", name]);
        assert_eq!(ran.code, 2, "{name}: {ran:?}");
        assert!(
            ran.aside.contains("error[config_unreadable]: ") && ran.aside.contains(name),
            "{ran:?}"
        );
    }
    // In a folder, too, nothing that is called a configuration is passed over.
    let folder = place.bounded(&["run", "--config", "."]);
    assert_eq!(folder.code, 2, "{folder:?}");
    for name in ["loop.toml", "zero.toml", "dangling.toml", "pipe.toml"] {
        assert!(folder.aside.contains(name), "{name}: {folder:?}");
    }
    let usual = Place::new();
    std::os::unix::fs::symlink("nowhere", usual.path().join("bridge.toml")).unwrap();
    let ran = usual.bounded(&["run"]);
    assert!(
        ran.code == 2 && ran.aside.contains("error[config_unreadable]: "),
        "{ran:?}"
    );
}

#[test]
fn secrets_that_cannot_be_are_told_all_at_once() {
    let place = Place::new();
    let at = |name: &str| place.path().join(name);
    std::fs::create_dir(at("folder")).unwrap();
    std::fs::write(at("empty"), "\n").unwrap();
    std::fs::write(at("large"), SECRET.repeat(10_000)).unwrap();
    std::fs::write(
        at("bytes"),
        format!("{SECRET}\n\n")
            .into_bytes()
            .into_iter()
            .chain([0xff])
            .collect::<Vec<u8>>(),
    )
    .unwrap();
    std::os::unix::fs::symlink("loop", at("loop")).unwrap();
    pipe(&at("pipe"));
    let wanted = [
        ("missing", "secret_missing"),
        ("folder", "secret_unreadable"),
        ("empty", "secret_empty"),
        ("large", "secret_too_large"),
        ("bytes", "secret_unreadable"),
        ("loop", "secret_unreadable"),
        ("pipe", "secret_unreadable"),
        ("/dev/zero", "secret_unreadable"),
    ];
    let mut text = "[nats.seal]\nuse = \"k0\"\n[nats.seal.keys]\n".to_owned();
    for (number, (file, _)) in wanted.iter().enumerate() {
        text += &format!("k{number} = {{ file = \"{file}\" }}\n");
    }
    std::fs::write(at("bridge.toml"), text).unwrap();
    let ran = place.bounded(&["run"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    for (number, (file, code)) in wanted.iter().enumerate() {
        let error = format!("error[{code}]: nats.seal.keys.k{number} refers to {file}");
        assert!(
            ran.aside.contains(&error),
            "wanted `{error}`: {}",
            ran.aside
        );
    }
    assert!(ran.aside.contains("8 errors"), "{ran:?}");
}

#[test]
fn control_characters_are_not_passed_on() {
    let place = Place::new();
    let toml =
        "\"a\\u001b[31m\\u0007b\\r\" = 1\n[accounts.\"s\\u001b]0;x\\u0007\".\"\\u009b1m\"]\n";
    place.refuses("a.toml", toml.as_bytes(), "config_unknown_key");
    place.refuses(
        "a.json",
        br#"{"a\u001b[31m\u0007b\r\n": 1}"#,
        "config_unknown_key",
    );
    place.refuses("a.yaml", b"\"a\\e[31m\\ab\\r\": 1\n", "config_unknown_key");
    place.refuses("b.toml", b"a\x1b[31m = 1\n", "config_syntax");
    place.refuses("b.json", b"{\"a\x1b[31m\": 1}", "config_syntax");
    place.refuses("b.yaml", b"a\x1b[31m: 1\n", "config_unknown_key");
    std::fs::write(place.path().join("c.toml"), "").unwrap();
    for flag in [
        "a\u{1b}[31m=1",
        "nats.ur\u{7}l=x",
        "\u{9b}1m",
        "nats.root=\u{1b}[31m",
    ] {
        let ran = place.bounded(&["run", "--config", "c.toml", "--set", flag]);
        assert_eq!(ran.code, 2, "{flag:?}: {ran:?}");
    }
    let ran = place.bounded(&["run", "--config", "no\u{1b}[31mwhere.toml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_quoted() {
    let place = Place::new();
    for text in [
        format!("nats:\n  password:\n    [\"{SECRET}\"]\n"),
        format!("nats:\n  password:\n  - {SECRET}\n  - [{SECRET}\n"),
        format!("[{SECRET}]\n"),
        format!("nats: {{ password: {SECRET} }}\n"),
        format!("{SECRET}\n"),
    ] {
        std::fs::write(place.path().join("a.yaml"), &text).unwrap();
        assert_eq!(
            place.bounded(&["run", "--config", "a.yaml"]).code,
            2,
            "{text}"
        );
    }
    for text in [
        format!("[nats]\npassword = [\n[\"{SECRET}\"]\n]\n"),
        format!("[nats]\npassword = \"{SECRET}\"\nurl = \"nats://u:{SECRET}@h:1x\"\n"),
        format!("[nats]\npassword = {SECRET}\n"),
        format!("{SECRET}\n"),
        format!("[nats]\nroot = \"{SECRET}\"\n"),
    ] {
        std::fs::write(place.path().join("a.toml"), &text).unwrap();
        assert_eq!(
            place.bounded(&["run", "--config", "a.toml"]).code,
            2,
            "{text}"
        );
    }
}
