//! `config` and `init`.

use super::Place;

fn with_account() -> Place {
    let place = Place::new();
    let plugins = place.with_plugin();
    let text = format!(
        "[plugins]\nstage = \"memory\"\n[plugins.dirs]\nhere = {plugins:?}\n[accounts.sim.demo]\nrooms = 2\n"
    );
    place.file("bridge.toml", &text);
    place
}

#[test]
fn show_names_the_origin_of_every_value() {
    let place = with_account();
    let shown = place
        .run(&["config", "show", "--set", "nats.root=two"])
        .done()
        .data;
    assert!(
        shown.contains("rooms = 2  # ./bridge.toml:6:9\n"),
        "{shown}"
    );
    assert!(
        shown.contains("root = \"two\"  # --set nats.root\n"),
        "{shown}"
    );
    assert!(shown.contains("ttl_s = 20  # default\n"), "{shown}");
    let json = place.run(&["config", "show", "--json"]).done().json();
    assert_eq!(json["accounts.sim.demo.rooms"]["value"], 2);
    assert_eq!(json["nats.lease.ttl_s"]["origin"], "default");
}

#[test]
fn what_no_adapter_describes_is_not_shown() {
    let place = Place::new();
    place.file(
        "bridge.toml",
        "[accounts.acme.a]\npassword = \"hunter2\"\nkey = { file = \"/k\" }\n",
    );
    let shown = place.run(&["config", "show"]).done().data;
    assert!(
        !shown.contains("hunter2") && shown.contains("[hidden: "),
        "{shown}"
    );
    assert!(
        shown.contains("file = \"/k\""),
        "a reference is no secret: {shown}"
    );
    let one = place.run(&["config", "explain", "accounts.acme.a.password"]);
    assert!(
        !one.data.contains("hunter2") && !one.aside.contains("hunter2"),
        "{one:?}"
    );
}

#[test]
fn explain_tells_meaning_range_and_origin() {
    let place = with_account();
    let lease = place
        .run(&["config", "explain", "nats.lease.ttl_s"])
        .done()
        .data;
    assert_eq!(
        lease,
        "nats.lease.ttl_s = 20\n  A lease ends this many seconds after its last renewal.\n  from     default\n  \
         takes    integer\n  range    5 to 300\n  default  20\n"
    );
    let rooms = place
        .run(&["config", "explain", "accounts.sim.demo.rooms"])
        .done()
        .data;
    assert!(
        rooms.starts_with("accounts.sim.demo.rooms = 2\n  Rooms and groups"),
        "{rooms}"
    );
    let token = place
        .run(&["config", "explain", "accounts.sim.demo.token"])
        .done()
        .data;
    assert!(token.contains("a secret"), "{token}");
    let wrong = place.run(&["config", "explain", "nats.lease.tll_s"]);
    wrong.failed(2, "config_unknown_key");
    assert!(
        wrong
            .aside
            .contains("nats.lease has no key `tll_s`; did you mean `ttl_s`?"),
        "{wrong:?}"
    );
}

#[test]
fn diff_says_which_accounts_keep_their_connection() {
    let place = with_account();
    let text = std::fs::read_to_string(place.path().join("bridge.toml")).unwrap();
    place.file(
        "bridge.toml",
        &format!("{text}[accounts.sim.kept]\n[accounts.sim.gone]\n"),
    );
    let then = text.replace("rooms = 2", "rooms = 3")
        + "[accounts.sim.kept]\n[accounts.sim.new]\n[nats]\nname = \"b\"\n\
           [admin]\nwatch_config = false\n[plugins.upgrade]\nauto = false\n";
    place.file("then.toml", &then);
    let diff = place.run(&["config", "diff", "then.toml"]).done();
    assert_eq!(
        diff.data,
        "sim/demo  restarts\nsim/gone  stops\nsim/kept  keeps its connection\nsim/new   starts\n\
         admin.watch_config: true becomes false   needs a restart of im-bridge\n\
         nats.name: \"\" becomes \"b\"   needs a restart of im-bridge\n\
         plugins.upgrade.auto: true becomes false\n"
    );
    let json = place
        .run(&["config", "diff", "then.toml", "--json"])
        .done()
        .json();
    assert_eq!(json["accounts"]["sim/demo"], "restarts");
    assert_eq!(json["changes"][0]["needs_restart"], true);
    let same = place.run(&["config", "diff", "bridge.toml"]).done();
    assert_eq!(same.aside, "nothing would change\n");
    place.file("broken.toml", "[nats\n");
    assert_eq!(place.run(&["config", "diff", "broken.toml"]).code, 2);
}

#[test]
fn the_schema_has_the_adapters() {
    let place = with_account();
    let schema = place.run(&["config", "schema"]).done().json();
    let account = &schema["properties"]["accounts"]["properties"]["sim"]["additionalProperties"];
    assert_eq!(account["properties"]["token"]["$ref"], "#/$defs/Reference");
    let without = Place::new().run(&["config", "schema"]).done().json();
    assert!(without["properties"]["nats"].is_object());
}

#[test]
fn what_init_writes_is_accepted_and_never_overwritten() {
    for (flags, file) in [(&[][..], "bridge.toml"), (&["--yaml"][..], "bridge.yaml")] {
        let place = Place::new();
        let plugins = place.with_plugin();
        let dirs = format!("plugins.dirs.here={}", plugins.display());
        let settings = ["--set", &dirs, "--set", "plugins.stage=memory"];
        let init = [&["init", "--provider", "sim"], flags, &settings].concat();
        let written = place.run(&init).done();
        assert_eq!(written.data, format!("{file}\nim-bridge.schema.json\n"));
        let text = std::fs::read_to_string(place.path().join(file)).unwrap();
        assert!(
            text.lines()
                .next()
                .unwrap()
                .ends_with("./im-bridge.schema.json"),
            "{text}"
        );
        let checked = place
            .run(&[&["check", "--strict"][..], &settings].concat())
            .done();
        assert!(
            checked.data.contains("√ account   sim/main\n"),
            "{checked:?}"
        );
        place.run(&init).failed(2, "config_exists");
        assert_eq!(
            std::fs::read_to_string(place.path().join(file)).unwrap(),
            text
        );
    }
}

#[test]
fn every_key_that_init_writes_as_a_comment_exists() {
    let place = Place::new();
    place.run(&["init"]).done();
    let text = std::fs::read_to_string(place.path().join("bridge.toml")).unwrap();
    let keys = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(key)
            if key
                .split_once(" = ")
                .is_some_and(|(name, _)| !name.contains(' ')) =>
        {
            key
        }
        _ => line,
    });
    let uncommented: Vec<&str> = keys.collect();
    place.file("bridge.toml", &uncommented.join("\n"));
    let shown = place.run(&["config", "show"]).done();
    assert!(
        shown.data.contains("max_waiting = 10000  # ./bridge.toml:"),
        "{shown:?}"
    );
}

#[test]
fn init_knows_which_providers_there_are() {
    let place = Place::new();
    let plugins = place.with_plugin();
    let dirs = format!("plugins.dirs.here={}", plugins.display());
    let wrong = place.run(&[
        "init",
        "--provider",
        "sin",
        "--set",
        &dirs,
        "--set",
        "plugins.stage=memory",
    ]);
    wrong.failed(2, "config_no_provider");
    assert!(wrong.aside.contains("did you mean `sim`?"), "{wrong:?}");
    assert!(!place.path().join("bridge.toml").exists());
}
