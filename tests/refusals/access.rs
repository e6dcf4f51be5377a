//! Who the bridge is to NATS, and what it may do there.

use super::{Folder, WITHIN, files, refused, welcomed};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use im_bridge_test_harness::{Bridge, Files, Nats, eventually};
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

fn key(kind: KeyPairType) -> KeyPair {
    let mut seed = [0; 32];
    fastrand::fill(&mut seed);
    KeyPair::new_from_raw(kind, seed).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_by_the_key_that_names_it() {
    let folder = Folder::new();
    let nats = folder.server("authorization { user: desk, password: right }\n");
    let user = folder.file("user", "desk\n");
    let nats_with = |password: &str| {
        let password = folder.file("password", password);
        files(
            nats.url(),
            json!({ "user": { "file": user }, "password": { "file": password } }),
        )
    };
    let text = "NATS refuses the credentials of nats.user; check what it refers to";
    let wrong = nats_with("a-wrong-secret");
    refused(&wrong, "nats_auth", text);
    let ran = wrong.run_to_end(&["run"], WITHIN);
    assert!(!format!("{ran:?}").contains("a-wrong-secret"), "{ran:?}");
    let text = "NATS refuses the credentials of nats.url; check what it refers to";
    refused(&files(nats.url(), json!({})), "nats_auth", text);
    welcomed(&nats_with("right\n")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_told() {
    let folder = Folder::new();
    let nats = folder.server("authorization { token: right }\n");
    let with = |token: &str| {
        let token = folder.file("token", token);
        files(nats.url(), json!({ "token": { "file": token } }))
    };
    let text = "NATS refuses the credentials of nats.token; check what it refers to";
    refused(&with("wrong"), "nats_auth", text);
    welcomed(&with("right")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_nkey_is_proven_and_a_stranger_or_no_key_refused() {
    let (known, stranger) = (key(KeyPairType::User), key(KeyPairType::User));
    let folder = Folder::new();
    let user = known.public_key();
    let nats = folder.server(&format!(
        "authorization {{ users: [{{ nkey: {user} }}] }}\n"
    ));
    let with = |seed: &str| {
        let seed = folder.file("seed", seed);
        files(nats.url(), json!({ "nkey": { "file": seed } }))
    };
    let text = "NATS refuses the credentials of nats.nkey; check what it refers to";
    refused(&with(&stranger.seed().unwrap()), "nats_auth", text);
    refused(&with("this is no seed"), "nats_auth", text);
    welcomed(&with(&known.seed().unwrap())).await;
}

/// A token that this key signs, as operators, accounts and users have them.
fn jwt(issuer: &KeyPair, subject: &str, kind: &str, mut nats: Value) -> String {
    nats["type"] = kind.into();
    nats["version"] = 2.into();
    let head = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let claims = json!({
        "jti": format!("{:016x}", fastrand::u64(..)), "iat": 1_700_000_000, "iss": issuer.public_key(), "name": kind,
        "sub": subject, "nats": nats,
    });
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let text = format!(
        "{}.{}",
        part(head.to_string().as_bytes()),
        part(claims.to_string().as_bytes())
    );
    let signature = issuer.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", part(&signature))
}

fn credentials(account: &KeyPair, user: &KeyPair) -> String {
    let token = jwt(
        account,
        &user.public_key(),
        "user",
        json!({ "subs": -1, "data": -1, "payload": -1 }),
    );
    let seed = user.seed().unwrap();
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_an_operator_are_taken_and_those_of_another_account_refused() {
    let operator = key(KeyPairType::Operator);
    let (account, system, other) = (
        key(KeyPairType::Account),
        key(KeyPairType::Account),
        key(KeyPairType::Account),
    );
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of = |account: &KeyPair, limits: Value| {
        jwt(
            &operator,
            &account.public_key(),
            "account",
            json!({ "limits": limits }),
        )
    };
    let plain = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1 });
    let preload = format!(
        "{}: {}\n{}: {}\n",
        account.public_key(),
        of(&account, limits),
        system.public_key(),
        of(&system, plain)
    );
    let folder = Folder::new();
    let nats = folder.server(&format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{preload}}}\n",
        jwt(&operator, &operator.public_key(), "operator", json!({})),
        system.public_key()
    ));
    let with = |text: &str| {
        let creds = folder.file("user.creds", text);
        files(nats.url(), json!({ "creds": { "file": creds } }))
    };
    let user = key(KeyPairType::User);
    let text = "NATS refuses the credentials of nats.creds; check what it refers to";
    refused(&with(&credentials(&other, &user)), "nats_auth", text);
    refused(&with("not a key"), "nats_auth", text);
    let good = credentials(&account, &user);
    welcomed(&with(good.trim_end())).await;
}

/// A server whose user `desk-7431` has the role `runtime`, without the lines that contain this.
struct Restricted {
    nats: Nats,
    folder: Folder,
}

impl Restricted {
    fn new(without: Option<&str>) -> Self {
        let place = files("nats://127.0.0.1:1", json!({}));
        let role = place
            .run_to_end(&["streams", "permissions", "--role", "runtime"], WITHIN)
            .out;
        let is_kept = |line: &&str| without.is_none_or(|without| !line.contains(without));
        let kept: Vec<&str> = role.lines().filter(is_kept).collect();
        assert_eq!(
            kept.len() < role.lines().count(),
            without.is_some(),
            "{role}"
        );
        let kept = kept.join("\n");
        let folder = Folder::new();
        let nats = folder.server(&format!(
            "authorization {{ users: [\n{{ user: admin, password: p }}\n{{ user: desk-7431, password: p\n{kept}\n}}\n] }}\n"
        ));
        Self { nats, folder }
    }

    fn files(&self, user: &str, keys: Value) -> Arc<Files> {
        let (name, password) = (
            self.folder.file(user, user),
            self.folder.file("password", "p"),
        );
        let mut nats = keys;
        nats["user"] = json!({ "file": name });
        nats["password"] = json!({ "file": password });
        files(self.nats.url(), nats)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_make_streams_is_told_which() {
    let restricted = Restricted::new(None);
    let files = restricted.files("desk-7431", json!({}));
    let since = Instant::now();
    super::run_refuses(
        &files,
        "nats_permission",
        "NATS forbids publishing to $JS.API.STREAM.CREATE.IM_EVT; see im-bridge streams permissions",
    );
    assert!(since.elapsed().as_secs() < 20, "{:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_ask_jetstream_is_told_so() {
    let restricted = Restricted::new(Some("$JS.API.INFO"));
    let text = "NATS forbids publishing to $JS.API.INFO; see im-bridge streams permissions";
    refused(
        &restricted.files("desk-7431", json!({})),
        "nats_permission",
        text,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_that_is_not_ours_is_told() {
    let restricted = Restricted::new(None);
    let files = restricted.files("desk-7431", json!({ "inbox_prefix": "_INBOX_other" }));
    refused(
        &files,
        "nats_permission",
        "NATS forbids subscribing to _INBOX_other.",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_is_forbidden_is_told_and_waits() {
    let restricted = Restricted::new(Some("im.v1.evt.>"));
    restricted
        .files("admin", json!({}))
        .run_to_end(&["streams", "apply"], WITHIN);
    let files = restricted.files("desk-7431", json!({ "provision": false }));
    let mut config = serde_json::from_str::<Value>(
        &std::fs::read_to_string(files.path().join("bridge.json")).unwrap(),
    )
    .unwrap();
    config["accounts"] = json!({ "sim": { "demo": { "rate_per_s": 5.0 } } });
    files.configure(&config);
    let bridge = Bridge::start(&files, "a");
    let trouble = eventually("the trouble is in the status", || async {
        let troubles = bridge.status()["nats"]["troubles"].as_array()?.clone();
        troubles
            .into_iter()
            .find(|it| it["code"] == "nats_permission")
    })
    .await;
    assert_eq!(trouble["stream"], "IM_EVT");
    let text = trouble["text"].as_str().unwrap();
    assert!(
        text.starts_with("NATS forbids publishing to im.v1.evt.sim.demo."),
        "{text}"
    );
    eventually("it is a warning", || async {
        let verbose = bridge.get("/readyz?verbose").1;
        verbose
            .contains("nats_permission: NATS forbids publishing to")
            .then_some(())
    })
    .await;
    assert_eq!(
        bridge.said("NATS forbids publishing to im.v1.evt"),
        1,
        "{:?}",
        bridge.log()
    );
    assert_eq!(bridge.get("/readyz").0, 200);
}
