//! The C header says what the Rust definitions say: each fact becomes an assertion in a C11 and in a C++17 program
//! that includes the header, and the header holds nothing else.
//!
//! Needs `cc` and a C++ compiler (`CC` and `CXX` name others). Without one its test is skipped aloud; name `cc` or
//! `c++` in `IM_BRIDGE_REQUIRE` to make it fail instead.
//!
//! Not here: which changes are allowed; `layout.rs` knows that.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use im_bridge_plugin_api::abi::facts;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const INCLUDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include");
const HEADER: &str = include_str!("../include/im_bridge_plugin.h");

/// Macros that are no facts of the ABI: attributes of C source and the include guard.
const NOT_FACTS: [&str; 1] = ["IMB_EXPORT"];

#[test]
fn every_fact_holds_in_c11() {
    prove(Language::C);
}

#[test]
fn every_fact_holds_in_cxx17() {
    prove(Language::Cxx);
}

#[test]
fn a_wrong_fact_does_not_compile_or_makes_the_program_fail() {
    for language in [Language::C, Language::Cxx] {
        let Some(compiler) = Compiler::find(language) else {
            continue;
        };
        compiler.run("right", &program(language, "")).unwrap();
        for wrong in [
            "imb_event size 216 align 8",
            "imb_event size 208 align 4",
            "imb_event.token offset 16 type uint64_t",
            "imb_event.token offset 8 type int64_t",
            "imb_trace.trace_id offset 0 type uint8_t[8]",
            "imb_host.report offset 32 type imb_status (*)(void *, imb_report *)",
            "im_bridge_adapter_v1 type const imb_entry *(*)(uint64_t)",
            "imb_status type uint32_t",
            "IMB_E_AUTH = -7",
            "IMB_KV_ANY = 18446744073709551614",
            "IMB_EXT_KV = \"imb.kv/2\"",
            "IMB_MAGIC = \"IMBRIDGF\"",
            "imb_str opaque",
        ] {
            let outcome = compiler.run("wrong", &program(language, wrong));
            assert!(outcome.is_err(), "{language:?} believed: {wrong}");
        }
    }
}

#[test]
fn the_header_names_nothing_that_rust_does_not_know_and_the_reverse() {
    let code = without_comments(HEADER);
    let words = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let in_header: BTreeSet<_> = words
        .filter(|word| word.starts_with("IMB_") || word.starts_with("imb_"))
        .filter(|word| !NOT_FACTS.contains(word))
        .map(String::from)
        .collect();
    let in_rust: BTreeSet<_> = facts()
        .lines()
        .map(|fact| fact.split([' ', '.']).next().unwrap().to_owned())
        .filter(|name| name != "im_bridge_adapter_v1")
        .collect();
    assert_eq!(in_header, in_rust);
    assert!(code.contains("im_bridge_adapter_v1(uint32_t host_minor);"));
}

#[test]
fn each_struct_of_the_header_has_the_fields_of_the_rust_struct_in_their_order() {
    let code = without_comments(HEADER);
    for of in facts::structs() {
        let fields: Vec<_> = body(&code, of.name)
            .split(';')
            .filter_map(field_name)
            .collect();
        let expected: Vec<_> = of.fields.iter().map(|field| field.name).collect();
        assert_eq!(fields, expected, "{}", of.name);
    }
}

#[test]
fn the_sizes_and_offsets_in_the_comments_are_true() {
    for of in facts::structs() {
        let text = body(HEADER, of.name);
        assert!(
            text.contains(&format!("[{}]", of.size))
                || HEADER.contains(&format!("}} {}; /* [{}]", of.name, of.size)),
            "{} is {} bytes long; say so in its first comment",
            of.name,
            of.size
        );
        for field in of.fields {
            let told = told_offset(text, field.name);
            // One struct is declared on one line, whose comment has another form.
            if of.name != "imb_pair" {
                assert_eq!(
                    told,
                    Some(field.offset),
                    "comment of {}.{}",
                    of.name,
                    field.name
                );
            }
        }
    }
}

/// The snapshot as the definitions render it.
fn facts() -> String {
    let mut text = String::new();
    facts::write(&mut text).expect("a String takes everything");
    text
}

fn prove(language: Language) {
    let Some(compiler) = Compiler::find(language) else {
        return;
    };
    if let Err(why) = compiler.run("facts", &program(language, &facts())) {
        panic!("the header is not what the Rust definitions say:\n{why}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Language {
    C,
    Cxx,
}

/// A program with an assertion for each fact: what the compiler can tell it tells, texts are compared by `main`.
fn program(language: Language, facts: &str) -> String {
    let mut top = String::from(
        "#include \"im_bridge_plugin.h\"\n#include \"im_bridge_plugin.h\"\n#include <string.h>\n",
    );
    top += match language {
        Language::C => "#define ASSERT _Static_assert\n#define ALIGN _Alignof\n",
        Language::Cxx => {
            "#include <type_traits>\n#define ASSERT static_assert\n#define ALIGN alignof\n"
        }
    };
    let mut main = String::new();
    for fact in facts.lines() {
        let (name, said) = fact.split_once(' ').unwrap();
        let words: Vec<_> = said.splitn(4, ' ').collect();
        let mut assert = |condition: &str| writeln!(top, "ASSERT({condition}, {fact:?});").unwrap();
        match (words.as_slice(), name.split_once('.')) {
            (["=", text], _) if name == "IMB_MAGIC" => {
                writeln!(main, "  static const uint8_t magic[] = {name};").unwrap();
                let differs = format!("sizeof magic != 8 || memcmp(magic, {text}, 8)");
                writeln!(main, "  if ({differs}) return __LINE__;").unwrap();
            }
            (["=", text], _) if text.starts_with('"') => {
                writeln!(main, "  if (strcmp({name}, {text})) return __LINE__;").unwrap();
            }
            (["=", value], _) => {
                let unsigned = if value.parse::<i64>().is_err() {
                    "u"
                } else {
                    ""
                };
                assert(&format!("{name} == {value}{unsigned}"));
            }
            // Only an incomplete type may be completed.
            (["opaque"], _) => writeln!(top, "struct {name} {{ int completed; }};").unwrap(),
            (["size", size, "align", align], _) => {
                assert(&format!(
                    "sizeof({name}) == {size} && ALIGN({name}) == {align}"
                ));
            }
            (["offset", offset, "type", c_type], Some((of, field))) => {
                assert(&format!("offsetof({of}, {field}) == {offset}"));
                assert(&match language {
                    // By address, because the operand of _Generic decays.
                    Language::C => {
                        is_generic(&format!("&(({of} *)0)->{field}"), &pointer_to(c_type))
                    }
                    Language::Cxx => is_same(&format!("decltype({of}::{field})"), c_type),
                });
            }
            (["type", ..], None) => {
                let c_type = said.strip_prefix("type ").unwrap();
                let is_function = c_type.contains("(*)");
                assert(&match (language, is_function) {
                    (Language::C, true) => is_generic(&format!("&{name}"), c_type),
                    (Language::C, false) => {
                        is_generic(&format!("({name} *)0"), &pointer_to(c_type))
                    }
                    (Language::Cxx, true) => is_same(&format!("decltype(&{name})"), c_type),
                    (Language::Cxx, false) => is_same(name, c_type),
                });
            }
            _ => panic!("no assertion is known for the fact {fact:?}"),
        }
    }
    format!("{top}int main(void) {{\n{main}  return 0;\n}}\n")
}

fn is_generic(value: &str, c_type: &str) -> String {
    format!("_Generic({value}, {c_type}: 1, default: 0)")
}

fn is_same(one: &str, other: &str) -> String {
    format!("(std::is_same<{one}, {other}>::value)")
}

/// The C type of a pointer to a value of `c_type`.
fn pointer_to(c_type: &str) -> String {
    if c_type.contains("(*)") {
        c_type.replacen("(*)", "(**)", 1)
    } else if let Some((element, length)) = c_type.split_once('[') {
        format!("{element} (*)[{length}")
    } else {
        format!("{c_type} *")
    }
}

struct Compiler {
    command: String,
    args: &'static [&'static str],
    extension: &'static str,
}

impl Compiler {
    /// The first one that makes a program of a trivial file; none: the test that asked is skipped, or fails.
    fn find(language: Language) -> Option<Self> {
        let env = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        let cc = env("CC", "cc");
        const CXX: &[&str] = &["-x", "c++", "-std=c++17"];
        let (name, candidates, args, extension, trivial) = match language {
            Language::C => (
                "cc",
                vec![cc],
                &["-std=c11"][..],
                "c",
                "int main(void) { return 0; }\n",
            ),
            Language::Cxx => (
                "c++",
                vec![env("CXX", "c++"), cc],
                CXX,
                "cpp",
                "#include <type_traits>\nint main() { return 0; }\n",
            ),
        };
        let found = candidates
            .into_iter()
            .map(|command| Self {
                command,
                args,
                extension,
            })
            .find(|compiler| compiler.run("trivial", trivial).is_ok());
        if found.is_none() {
            skip(
                name,
                "no such compiler makes a program",
                "install one, for example the package g++",
            );
        }
        found
    }

    /// Compiles `source` and runs the program.
    fn run(&self, name: &str, source: &str) -> Result<(), String> {
        let folder = tempdir();
        let file = folder.join(format!("{name}.{}", self.extension));
        let program = folder.join(name);
        std::fs::write(&file, source).unwrap();
        let compiled = Command::new(&self.command)
            .args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-I", INCLUDE])
            .args(self.args)
            .arg(&file)
            .arg("-o")
            .arg(&program)
            .output();
        let ran = success(compiled).and_then(|()| success(Command::new(&program).output()));
        std::fs::remove_dir_all(&folder).unwrap();
        ran
    }
}

fn success(output: std::io::Result<Output>) -> Result<(), String> {
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}\n{text}", output.status))
}

/// A fresh folder below the target directory.
fn tempdir() -> PathBuf {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("header-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Says aloud that a test did not run, or fails when `IM_BRIDGE_REQUIRE` names it.
fn skip(name: &str, reason: &str, remedy: &str) {
    let required = std::env::var("IM_BRIDGE_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|required| required.trim() == name),
        "{name}: {reason}; {remedy}"
    );
    let line = format!("SKIP {name}: {reason}; {remedy}\n");
    // The handle itself: the test runner swallows what print macros write in passing tests.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("tmp lies in the target directory");
    let skips = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(target.join("skips.txt"));
    skips
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap();
}

fn without_comments(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some((before, comment)) = rest.split_once("/*") {
        code += before;
        rest = comment.split_once("*/").expect("the comment ends").1;
    }
    code + rest
}

/// What stands between the braces of a struct.
fn body<'a>(source: &'a str, name: &str) -> &'a str {
    let begin = format!("typedef struct {name} {{");
    let (_, rest) = source
        .split_once(&begin)
        .unwrap_or_else(|| panic!("{name} is not in the header"));
    rest.split_once(&format!("}} {name};"))
        .expect("the struct ends")
        .0
}

/// The name of the field that `declaration` declares, if it declares one.
fn field_name(declaration: &str) -> Option<&str> {
    let declarator = match declaration.split_once("(*") {
        Some((_, function)) => function.split_once(')')?.0,
        None => declaration.split('[').next()?.trim_end(),
    };
    declarator
        .rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .next()
        .filter(|name| !name.is_empty())
}

/// The offset in the comment that follows a field on its line.
fn told_offset(body: &str, name: &str) -> Option<usize> {
    let line = body.lines().find(|line| {
        let code = line.trim_start();
        !code.starts_with("/*")
            && code.split_once(';').and_then(|(code, _)| field_name(code)) == Some(name)
    })?;
    let comment = line
        .split_once("; ")?
        .1
        .trim_start()
        .strip_prefix("/*")?
        .trim_start();
    comment
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}
