use super::files::Texts;
use super::*;
use serde_json::json;
use std::path::Path;

fn adapters(_: &Early<'_>) -> Vec<AdapterSchema> {
    vec![AdapterSchema {
        provider: "chat".to_owned(),
        schema: json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["user"],
            "properties": {
                "user": { "type": "string" },
                "password": { "type": "string", "x-imb-secret": true },
                "pin": { "type": "string" },
                "retries": { "type": "integer", "minimum": 1 },
                "pace": { "$ref": "#/$defs/Pace" },
            },
            "$defs": { "Pace": { "type": "object", "properties": { "per_s": { "type": "number" } } } },
        }),
    }]
}

struct Case {
    folder: tempfile::TempDir,
    origins: Origins,
}

impl Case {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let origins = Origins {
            files: files
                .iter()
                .map(|(name, _)| folder.path().join(name))
                .collect(),
            flags: Vec::new(),
            variables: Vec::new(),
            working: folder.path().to_owned(),
            system: folder.path().join("none"),
            may_be_empty: false,
        };
        Self { folder, origins }
    }

    fn flag(mut self, flag: &str) -> Self {
        self.origins.flags.push(flag.to_owned());
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.origins
            .variables
            .push((name.to_owned(), value.to_owned()));
        self
    }

    fn loaded(&self) -> Loaded {
        load(&self.origins, adapters).unwrap_or_else(|mistaken| panic!("{mistaken}"))
    }

    /// The mistakes as text, with the folder's name taken out.
    fn mistakes(&self) -> String {
        let text = load(&self.origins, adapters)
            .expect_err("it has mistakes")
            .to_string();
        text.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

const TOML: &str = r#"
[nats]
url = "nats://a:1"
[nats.lease]
ttl_s = 30
[accounts.chat.one]
user = "u"
retries = 3
[accounts.chat.one.bridge]
rate = { per_s = 2.5, burst = 5 }
"#;

#[test]
fn the_three_formats_mean_the_same() {
    let yaml = "nats:\n  url: nats://a:1\n  lease: {ttl_s: 30}\naccounts:\n  chat:\n    one:\n      user: u\n      \
                retries: 3\n      bridge: {rate: {per_s: 2.5, burst: 5}}\n";
    let json = r#"{"nats": {"url": "nats://a:1", "lease": {"ttl_s": 30}},
        "accounts": {"chat": {"one": {"user": "u", "retries": 3, "bridge": {"rate": {"per_s": 2.5, "burst": 5}}}}}}"#;
    let of = |name: &str, text: &str| {
        serde_json::to_value(&Case::new(&[(name, text)]).loaded().config).unwrap()
    };
    let toml = of("a.toml", TOML);
    assert_eq!(toml, of("a.yaml", yaml));
    assert_eq!(toml, of("a.json", json));
    assert_eq!(toml["nats"]["lease"]["ttl_s"], 30);
    assert_eq!(
        toml["nats"]["lease"]["renew_s"], 4,
        "what is not written has its default"
    );
}

#[test]
fn each_layer_wins_over_the_one_before() {
    let case = Case::new(&[("a.toml", TOML), ("b.yaml", "nats:\n  url: nats://b:1\n")]);
    assert_eq!(case.loaded().config.nats.url, "nats://b:1");
    let case = case.variable("IM_BRIDGE__NATS__URL", "nats://c:1");
    assert_eq!(case.loaded().config.nats.url, "nats://c:1");
    let case = case.flag("nats.url=nats://d:1");
    let loaded = case.loaded();
    assert_eq!(loaded.config.nats.url, "nats://d:1");
    assert_eq!(loaded.config.nats.lease.ttl_s, 30, "tables merge");
    assert!(
        show(&loaded).contains("url = \"nats://d:1\"  # --set nats.url"),
        "{}",
        show(&loaded)
    );
    assert!(show(&loaded).contains("a.toml:5:9"), "{}", show(&loaded));
}

#[test]
fn null_removes_what_an_earlier_layer_set() {
    let case = Case::new(&[
        ("a.toml", TOML),
        (
            "b.yaml",
            "accounts:\n  chat:\n    one: null\nnats:\n  lease: ~\n",
        ),
    ]);
    let config = case.loaded().config;
    assert!(config.accounts["chat"].is_empty());
    assert_eq!(config.nats.lease.ttl_s, 20);
}

#[test]
fn texts_of_variables_get_the_type_of_their_place() {
    let case = Case::new(&[("a.toml", TOML)])
        .variable("IM_BRIDGE__ACCOUNTS__CHAT__ONE__PIN", "00123")
        .variable("IM_BRIDGE__ACCOUNTS__CHAT__ONE__RETRIES", "7")
        .variable("IM_BRIDGE__NATS__PROVISION", "false")
        .flag("accounts.chat.one.bridge.silence_s=45");
    let config = case.loaded().config;
    let account = &config.accounts["chat"]["one"];
    assert_eq!(account.adapter["pin"], "00123");
    assert_eq!(account.adapter["retries"], 7);
    assert_eq!(account.bridge.silence_s, 45);
    assert!(!config.nats.provision);
}

#[test]
fn one_underscore_is_for_tools_and_no_configuration() {
    let case = Case::new(&[("a.toml", TOML)])
        .variable("IM_BRIDGE_NONSENSE", "x")
        .variable("IM_BRIDGE_CONFIG", "y");
    case.loaded();
}

#[test]
fn all_mistakes_are_told_with_place_and_nearest_name() {
    let text = "[nats]\nurll = \"x\"\n[nats.lease]\nttl_s = \"long\"\n[accounts.chat.one]\nusr = \"PLANTED\"\n\
                retries = 0\npassword = \"PLANTED\"\n[accounts.chat.\"A.b\"]\nuser = \"u\"\n";
    let told = Case::new(&[("a.toml", text)])
        .flag("nats.leese.ttl_s=3")
        .mistakes();
    for expected in [
        "error[config_unknown_key]: nats has no key `urll`\n",
        "^^^^ did you mean `url`?",
        "--> a.toml:2:1",
        "error[config_type]: nats.lease.ttl_s is a string, expected a whole number",
        "error[config_unknown_key]: accounts.chat.one has no key `usr`\n",
        "^^^ did you mean `user`?",
        "error[config_missing]: accounts.chat.one.user is missing",
        "error[config_range]: accounts.chat.one.retries must be at least 1",
        "error[config_inline_secret]: accounts.chat.one.password holds a secret in the open",
        "error[config_override]: --set nats.leese.ttl_s names no key; did you mean `lease`?",
        "see: im-bridge explain config_unknown_key",
    ] {
        assert!(told.contains(expected), "{expected} is missing in\n{told}");
    }
    assert!(!told.contains("PLANTED"), "{told}");
}

#[test]
fn limits_against_each_other_are_checked() {
    let text = "[nats]\nuser = { env = \"PATH\" }\ntoken = { env = \"PATH\" }\n[nats.lease]\nrenew_s = 6\nttl_s = 18\n\
                [nats.seal]\nuse = \"k\"\n[admin]\nlisten = \"here\"\n[accounts.chat.One]\nuser = \"u\"\n";
    let told = Case::new(&[("a.toml", text)]).mistakes();
    for expected in [
        "nats.user and nats.token exclude each other; remove one",
        "nats.password is missing, which nats.user needs",
        "nats.lease.stop_s must be more than three times renew_s (6)",
        "nats.lease.ttl_s must be more than stop_s (17) and two seconds",
        "nats.seal.use is `k`, which nats.seal.keys has not; add it",
        "admin.listen must be an address with a port",
        "account name `One` does not match",
    ] {
        assert!(told.contains(expected), "{expected} is missing in\n{told}");
    }
}

#[test]
fn secrets_are_references_that_lead_somewhere() {
    let text = "[nats]\ncreds = { file = \"/nonexistent/creds\" }\n[accounts.chat.one]\nuser = \"u\"\n\
                password = { env = \"IM_BRIDGE_TEST_NO_SUCH_VARIABLE\" }\n";
    let told = Case::new(&[("a.toml", text)]).mistakes();
    let expected = "nats.creds refers to /nonexistent/creds, which does not exist; create it";
    assert!(told.contains(expected), "{told}");
    let expected = "accounts.chat.one.password refers to variable IM_BRIDGE_TEST_NO_SUCH_VARIABLE, which does not exist";
    assert!(told.contains(expected), "{told}");
}

#[test]
fn a_secret_loses_its_newline_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    std::fs::write(&path, "PLANTED\n").unwrap();
    let secret = secret::Reference::File(path.clone())
        .resolve("nats.token")
        .unwrap();
    assert_eq!(secret.reveal(), "PLANTED");
    assert_eq!(format!("{secret:?}"), "[redacted]");
    std::fs::write(&path, "\n").unwrap();
    let error = secret::Reference::File(path)
        .resolve("nats.token")
        .unwrap_err();
    assert_eq!(error.code(), "secret_empty");
}

#[test]
fn files_that_cannot_be_used_are_told_and_do_not_hide_the_rest() {
    let case = Case::new(&[
        ("a.toml", "[nats\n"),
        ("b.json", "{\"nats\": }"),
        ("c.ini", ""),
        ("d.yaml", "a: *x\n"),
    ]);
    let told = case.mistakes();
    for expected in [
        "a.toml:1",
        "b.json:1:10",
        "c.ini has no known ending",
        "d.yaml:1",
    ] {
        assert!(told.contains(expected), "{expected} is missing in\n{told}");
    }
    assert!(told.ends_with("4 errors"), "{told}");
}

#[test]
fn yaml_that_could_explode_is_refused() {
    for text in [
        "a: &x 1\nb: *x\n",
        "a: {<<: {b: 1}}\n",
        "a: 1\na: 2\n",
        "a: 1\n---\nb: 2\n",
    ] {
        let told = Case::new(&[("a.yaml", text)]).mistakes();
        assert!(told.contains("config_syntax"), "{text}: {told}");
    }
    let deep = format!("a: {}{}\n", "[".repeat(64), "]".repeat(64));
    assert!(
        Case::new(&[("a.yaml", &deep)])
            .mistakes()
            .contains("nested too deep")
    );
}

#[test]
fn json_keys_and_values_have_their_places() {
    let text = "{\n\t\"nats\": {\"url\": \"a\\\"}\\ud83d\\ude00\",\n  \"x\": [1, {\"y\": \"]\"}] , \"lease\" : {}}}";
    let told = Case::new(&[("a.json", text)]).mistakes();
    assert!(told.contains("--> a.json:3:3"), "{told}");
}

#[test]
fn without_files_the_usual_places_are_searched() {
    let folder = tempfile::tempdir().unwrap();
    let find = |named: &[PathBuf]| files::find(named, folder.path(), Path::new("/nonexistent"));
    assert_eq!(find(&[]).unwrap_err().code, "config_not_found");
    std::fs::write(folder.path().join("bridge.yaml"), "").unwrap();
    assert_eq!(find(&[]).unwrap().len(), 1);
    std::fs::write(folder.path().join("bridge.toml"), "").unwrap();
    assert_eq!(find(&[]).unwrap_err().code, "config_ambiguous");
    let inside = find(&[folder.path().to_owned()]).unwrap();
    assert_eq!(inside.len(), 2, "a folder stands for its files");
}

#[test]
fn values_are_masked_in_quoted_lines() {
    for (line, masked) in [
        ("password = \"geheim\"", "password = ********"),
        ("  token: abc def", "  token: *** ***"),
        ("\"a = b\" = 1", "\"a = b\" = *"),
        ("[accounts.chat.one]", "[accounts.chat.one]"),
        ("- secret", "* ******"),
        ("[\"geheim\"]", "**********"),
    ] {
        assert_eq!(problems::mask(line, true), masked);
    }
    assert_eq!(
        problems::mask("[geheim]", false),
        "********",
        "a list of YAML"
    );
}

#[test]
fn a_text_that_was_never_read_is_no_reason_to_fail() {
    let mut problems = Problems::default();
    problems.push(Problem::new("config_name", "x"));
    assert!(
        problems
            .render(&Texts::default(), false)
            .ends_with("1 error")
    );
}
