//! `check`: a broken installation per line, and a good one.

use super::{Place, Ran};
use im_bridge_test_harness::{Jetstream, Nats};
use serde_json::json;

/// A good installation, which a test then breaks.
struct Installation {
    place: Place,
    text: String,
}

impl Installation {
    fn new() -> Self {
        let place = Place::new();
        let plugins = place.with_plugin();
        let text = format!(
            "[plugins]\nstage = \"memory\"\n[plugins.dirs]\nhere = {plugins:?}\n[accounts.sim.demo]\n"
        );
        Self { place, text }
    }

    fn with(mut self, lines: &str) -> Self {
        self.text.push_str(lines);
        self
    }

    fn check(&self, args: &[&str]) -> Ran {
        self.place.file("bridge.toml", &self.text);
        self.place.run(&[&["check"], args].concat())
    }

    /// Exactly one line that is not good: this one.
    #[track_caller]
    fn finds(&self, args: &[&str], sign: &str, code: &str) {
        let ran = self.check(args);
        let bad: Vec<&str> = ran
            .data
            .lines()
            .filter(|line| !line.starts_with('√'))
            .collect();
        assert!(
            bad.len() == 1 && bad[0].starts_with(sign) && bad[0].ends_with(code),
            "wanted {sign} {code}: {ran:?}"
        );
        assert_eq!(ran.code, i32::from(sign.starts_with('×')), "{ran:?}");
    }
}

/// Small objects, so that many servers fit on one disk; wider than the defaults nowhere.
const SMALL: &str = "[nats.events]\nmax_mib = 8\n[nats.results]\nmax_mib = 8\n[nats.commands]\nmax_mib = 8\n\
                     [nats.dead_letters]\nmax_mib = 8\n[nats.ledger]\nmax_mib = 8\n[nats.kv]\nmax_mib = 8\n";

#[test]
fn a_good_installation_has_nothing_to_tell() {
    let good = Installation::new();
    let ran = good.check(&["--strict"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.aside, "");
    assert_eq!(
        ran.data,
        "√ config    ./bridge.toml: 1 account of 1 provider\n√ plugin    sim 0.1.0\n√ account   sim/demo\n"
    );
    let quiet = good.check(&["-q"]);
    assert_eq!(
        (quiet.code, quiet.data.as_str(), quiet.aside.as_str()),
        (0, "", "")
    );
}

#[test]
fn each_fault_of_the_files_has_its_line() {
    Installation::new()
        .with("[nats]\nurll = \"x\"\n")
        .finds(&[], "× config", "config_unknown_key");
    Installation::new()
        .with("rooms = \"two\"\n")
        .finds(&[], "× config", "config_type");
    Installation::new()
        .with("token = \"open\"\n")
        .finds(&[], "× config", "config_inline_secret");
    Installation::new()
        .with("token = { file = \"/nowhere\" }\n")
        .finds(&[], "× secret", "secret_missing");
    Installation::new()
        .with("[nats.lease]\nstop_s = 19\n")
        .finds(&[], "× config", "config_range");
    Installation::new()
        .with("[nats.seal]\nuse = \"k\"\n")
        .finds(&[], "× nats", "nats_seal");
    Installation::new()
        .with("[accounts.sin.demo]\n")
        .finds(&[], "× account", "config_no_provider");
    Installation::new()
        .with("[nats\n")
        .finds(&[], "× config", "config_syntax");
}

#[test]
fn each_plugin_that_is_refused_has_its_line() {
    let broken = Installation::new();
    broken.place.file("plugins/bad.so", "#!/bin/sh\n");
    broken.finds(&[], "× plugin", "plugin_not_elf");
    Installation::new()
        .with("[plugins.trust]\nlock_file = \"/nowhere\"\n")
        .check(&[])
        .has("plugin", "config_unreadable");
}

impl Ran {
    #[track_caller]
    fn has(&self, subject: &str, code: &str) {
        let is_there = self
            .data
            .lines()
            .any(|line| line.starts_with(&format!("× {subject}")) && line.ends_with(code));
        assert!(is_there, "wanted × {subject} {code}: {self:?}");
    }
}

#[test]
fn a_place_that_others_write_to_is_doubtful_and_strictly_wrong() {
    use std::os::unix::fs::PermissionsExt;
    let warned = Installation::new();
    let text = warned
        .text
        .replace("[accounts", "[plugins.trust]\nplace = \"warn\"\n[accounts");
    let warned = Installation { text, ..warned };
    let file = warned.place.path().join("plugins/sim.so");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o666)).unwrap();
    warned.finds(&[], "‼ plugin", "plugin_writable");
    warned.finds(&["--strict"], "× plugin", "plugin_writable");
}

#[test]
fn an_account_that_is_off_needs_no_adapter() {
    let off = Installation::new().with("[accounts.acme.a.bridge]\nenabled = false\n");
    assert_eq!(off.check(&["--strict"]).code, 0);
}

#[test]
fn an_adapter_whose_secrets_nothing_seals_is_doubtful() {
    let keeps = |lines: &str| {
        let with = Installation::new()
            .with("[accounts.c-echo.shop]\n")
            .with(lines);
        c_adapter(&with.place, r#"-DMORE=",\"keeps_secrets\":true""#);
        with
    };
    keeps("").finds(
        &[],
        "‼ account   no key seals what c-echo/shop",
        "nats_seal",
    );
    keeps("").finds(
        &["--strict"],
        "× account   no key seals what c-echo/shop",
        "nats_seal",
    );
    let sealed = keeps("[nats.seal]\nuse = \"k\"\n[nats.seal.keys]\nk = { file = \"key\" }\n");
    let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    sealed.place.file("key", key);
    let ran = sealed.check(&["--strict"]);
    assert_eq!((ran.code, ran.aside.as_str()), (0, ""), "{ran:?}");
}

/// The adapter in C, in the plugin folder.
fn c_adapter(place: &Place, definition: &str) {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-fvisibility=hidden", definition, "-I"])
        .arg(root.join("plugin-api/include"))
        .arg("-o")
        .arg(place.path().join("plugins/c_echo.so"))
        .arg(root.join("tests/zoo/c/adapter.c"))
        .status();
    assert!(built.unwrap().success());
}

#[test]
fn an_account_without_room_for_all_objects_is_told_beforehand() {
    let place = tempfile::tempdir().unwrap();
    let server = place.path().join("server.conf");
    let small = "accounts { A { jetstream { max_mem: 1MB, max_file: 256MB }, users: [{ user: a, password: b }] } }\n\
                 no_auth_user: a\n";
    std::fs::write(&server, small).unwrap();
    let nats = Nats::start_with(Jetstream::On, &["-c", server.to_str().unwrap()]);
    let url = format!("nats.url={}", nats.url());
    let online = ["--online", "--set", &url];
    let wide = Installation::new();
    let ran = wide.check(&online);
    ran.has("stream", "nats_storage");
    assert!(
        ran.data.contains("NATS has no room for IM_EVT: what is still to be made asks for 3728 MiB, 256 MiB are left; \
                           lower nats.events.max_mib, nats.ledger.max_mib, nats.results.max_mib"),
        "{ran:?}"
    );
    let fits = Installation::new().with(SMALL);
    assert_eq!(fits.check(&online).code, 0);
    fits.place.run(&["streams", "apply", "--set", &url]).done();
    let after = fits.check(&[&online[..], &["--strict"]].concat());
    assert_eq!(
        (after.code, after.aside.as_str()),
        (0, ""),
        "what is there is not asked for again: {after:?}"
    );
}

#[test]
fn what_is_found_is_json_line_by_line() {
    let items = Installation::new()
        .with("[accounts.sin.demo]\n")
        .check(&["--json"])
        .items();
    assert_eq!(items[0]["mark"], "good");
    let bad = items.iter().find(|item| item["mark"] == "wrong").unwrap();
    assert_eq!(
        (&bad["subject"], &bad["code"]),
        (&"account".into(), &"config_no_provider".into())
    );
}

#[test]
fn a_good_nats_is_told_with_what_an_ack_is_worth() {
    let nats = Nats::start();
    let url = format!("nats.url={}", nats.url());
    let online = ["--online", "--strict", "--set", &url];
    let good = Installation::new().with(SMALL);
    let before = good.check(
        &online[..1]
            .iter()
            .chain(&online[2..])
            .copied()
            .collect::<Vec<_>>(),
    );
    assert_eq!(
        (before.code, before.data.matches("‼").count()),
        (0, 10),
        "{before:?}"
    );
    assert!(before.data.contains(
        "‼ stream    IM_EVT does not exist; im-bridge run makes it   nats_object_missing\n"
    ));
    good.place.run(&["streams", "apply", "--set", &url]).done();
    let ran = good.check(&online);
    assert_eq!((ran.code, ran.aside.as_str()), (0, ""), "{ran:?}");
    assert!(
        ran.data
            .contains("√ stream    10 of 10 objects are as wanted\n"),
        "{ran:?}"
    );
    assert!(
        ran.data
            .contains("IM_EVT has it, file storage on one server"),
        "{ran:?}"
    );
    assert!(ran.data.contains("√ clock     agrees"), "{ran:?}");
    assert!(
        ran.data
            .contains("√ nats      permits what the bridge does\n"),
        "{ran:?}"
    );

    let forgetful = Installation::new()
        .with(&SMALL.replace("[nats.events]", "[nats.events]\nduplicate_window_s = 60"));
    let other = Nats::start();
    let url = format!("nats.url={}", other.url());
    forgetful.check(&["--set", &url]);
    forgetful
        .place
        .run(&["streams", "apply", "--set", &url])
        .done();
    forgetful.finds(&["--online", "--set", &url], "‼ stream", "nats_window");
}

#[test]
fn each_permission_that_is_missing_has_its_line() {
    let place = Place::new();
    let roles = ["runtime", "provision"].map(|role| {
        let document = place.run(&["streams", "permissions", "--role", role, "--json"]);
        document.done().json()
    });
    let all = |way: &str| -> Vec<serde_json::Value> {
        let of = roles
            .iter()
            .flat_map(|role| role[way]["allow"].as_array().unwrap());
        of.cloned().collect()
    };
    let user = |name: &str, publish: Vec<serde_json::Value>| {
        let permissions = json!({
            "publish": { "allow": publish }, "subscribe": { "allow": all("subscribe") },
            "allow_responses": { "max": 1, "expires": "2m" },
        });
        json!({ "user": name, "password": "secret", "permissions": permissions })
    };
    let mut fewer = all("publish");
    fewer.retain(|subject| subject != "im.v1.evt.>");
    let users = [user("whole", all("publish")), user("fewer", fewer)];
    let server = place.file(
        "server.conf",
        &json!({ "authorization": { "users": users } }).to_string(),
    );
    let nats = Nats::start_with(Jetstream::On, &["-c", server.to_str().unwrap()]);
    let url = format!("nats.url={}", nats.url());
    let good = Installation::new()
        .with(SMALL)
        .with("[nats]\nuser = { file = \"user\" }\npassword = { file = \"password\" }\n");
    good.place.file("user", "whole");
    good.place.file("password", "secret");
    good.check(&["--set", &url]);
    good.place.run(&["streams", "apply", "--set", &url]).done();
    let ran = good.check(&["--online", "--strict", "--set", &url]);
    assert_eq!((ran.code, ran.aside.as_str()), (0, ""), "{ran:?}");
    good.place.file("user", "fewer");
    good.finds(&["--online", "--set", &url], "× nats", "nats_permission");
}

#[test]
fn accounts_are_logged_in_only_when_asked() {
    let good = Installation::new();
    let ran = good.check(&["--login", "--strict"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.data.ends_with("√ login     sim/demo as demo\n"),
        "{ran:?}"
    );

    let wrong = Installation::new().with("token = { file = \"token\" }\n");
    wrong.place.file("token", "wrong");
    assert_eq!(
        wrong.check(&["--strict"]).code,
        0,
        "nothing is known without a login"
    );
    wrong.finds(&["--login"], "× login", "bad_credentials");

    let away = Installation::new().with("url = \"ws://127.0.0.1:1\"\n");
    away.finds(
        &["--login", "--timeout", "2s"],
        "× login",
        "deadline_exceeded",
    );
}

#[test]
fn each_fault_of_nats_has_its_line() {
    let url = |nats: &Nats| format!("nats.url={}", nats.url());
    Installation::new().finds(
        &["--online", "--set", "nats.url=nats://127.0.0.1:1"],
        "× nats",
        "nats_unreachable",
    );

    let off = Nats::start_with(Jetstream::Off, &[]);
    Installation::new().finds(
        &["--online", "--set", &url(&off)],
        "× nats",
        "nats_no_jetstream",
    );

    let folder = tempfile::tempdir().unwrap();
    let server = folder.path().join("server.conf");
    std::fs::write(&server, "max_payload: 1000\n").unwrap();
    let small = Nats::start_with(Jetstream::On, &["-c", server.to_str().unwrap()]);
    Installation::new().finds(
        &["--online", "--set", &url(&small)],
        "× nats",
        "nats_payload",
    );

    let locked = Nats::start_with(Jetstream::On, &["--user", "a", "--pass", "b"]);
    Installation::new().finds(&["--online", "--set", &url(&locked)], "× nats", "nats_auth");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_differ_have_their_line() {
    let nats = Nats::start();
    let url = format!("nats.url={}", nats.url());
    let online = ["--online", "--set", &url];
    let good = Installation::new()
        .with(SMALL)
        .with("[nats]\nprovision = false\n");
    good.check(&online).has("stream", "nats_object_missing");
    good.place.run(&["streams", "apply", "--set", &url]).done();

    let longer = Installation::new()
        .with(SMALL)
        .with("duplicate_window_s = 0\n");
    assert_eq!(
        longer.check(&[]).code,
        1,
        "a window of nothing is out of range"
    );
    let text = good
        .text
        .replace("[nats.events]", "[nats.events]\nduplicate_window_s = 1800");
    let longer = Installation {
        text,
        ..Installation::new()
    };
    longer.finds_in(&good.place, &online, "× stream", "nats_window");

    let client = async_nats::connect(nats.url()).await.unwrap();
    let stream = json!({ "name": "OTHER", "subjects": ["im.v1.req.>"] }).to_string();
    client
        .request("$JS.API.STREAM.CREATE.OTHER", stream.into())
        .await
        .unwrap();
    good.finds(&online, "× stream", "nats_captured");
}

impl Installation {
    /// In the folder of another one.
    #[track_caller]
    fn finds_in(self, place: &Place, args: &[&str], sign: &str, code: &str) {
        place.file("bridge.toml", &self.text);
        let ran = place.run(&[&["check"], args].concat());
        let bad: Vec<&str> = ran
            .data
            .lines()
            .filter(|line| !line.starts_with('√'))
            .collect();
        assert!(
            bad.len() == 1 && bad[0].starts_with(sign) && bad[0].ends_with(code),
            "{ran:?}"
        );
    }
}
