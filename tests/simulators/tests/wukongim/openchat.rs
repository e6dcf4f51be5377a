//! OpenChat in both profiles: what its page promises, and what its source does in front of a real server.

use crate::peer::{Peer, connect, group, http, started};
use im_bridge_test_harness::Simulator;
use serde_json::{Value, json};

const HELLO: &str = "eyJjb250ZW50IjoiaGVsbG8iLCJ0eXBlIjoxfQ==";

/// Somebody with an access token.
struct Caller<'a> {
    simulator: &'a Simulator,
    token: String,
}

impl<'a> Caller<'a> {
    async fn new(simulator: &'a Simulator, uid: &str) -> Self {
        let answer = simulator
            .control()
            .act("openchat/token", json!({ "uid": uid }))
            .await;
        let token = answer["token"].as_str().unwrap().to_owned();
        Self { simulator, token }
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let path = format!("/api/v1/im{path}");
        let bearer = format!("Authorization: Bearer {}\r\n", self.token);
        let address = self.simulator.address("openchat");
        let (status, _, answer) = http(address, method, &path, &bearer, body).await;
        (
            status,
            serde_json::from_str(&answer).unwrap_or_else(|_| json!(answer)),
        )
    }

    /// The data of a success.
    async fn get(&self, path: &str) -> Value {
        let (status, mut answer) = self.call("GET", path, None).await;
        assert_eq!(
            (status, &answer["success"]),
            (200, &json!(true)),
            "{path}: {answer}"
        );
        answer["data"].take()
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let (status, mut answer) = self.call("POST", path, Some(body)).await;
        assert_eq!(
            (status, &answer["success"]),
            (201, &json!(true)),
            "{path}: {answer}"
        );
        answer["data"].take()
    }

    /// The message of a failure.
    async fn fails(&self, method: &str, path: &str, body: Option<&Value>) -> String {
        let (status, answer) = self.call(method, path, body).await;
        let wanted = if method == "POST" { 201 } else { 200 };
        assert_eq!(
            (status, &answer["success"]),
            (wanted, &json!(false)),
            "{path}: {answer}"
        );
        answer["message"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn the_seed_profile_keeps_its_promises() {
    let simulator = started(&json!({ "token_auth": true }));
    let bot = Caller::new(&simulator, "bot").await;
    let config = bot.get("/config").await;
    assert_eq!(config["wsUrl"], simulator.address("ws"));
    assert_eq!(config.get("uid"), None);
    let token = bot.post("/token", &json!({})).await["token"].clone();
    let mut login = connect("bot", 5);
    login.token = token.as_str().unwrap().to_owned();
    let mut live = Peer::login(&simulator, "tcp", &login).await;
    let team = json!({ "channelId": "team", "channelType": 2, "name": "n" });
    assert_eq!(bot.post("/channel/create", &team).await, team);
    let members = json!({ "channelId": "team", "channelType": 2, "subscribers": ["bot", "ann"] });
    assert_eq!(
        bot.post("/channel/subscriber/add", &members).await,
        json!({ "added": 2 })
    );
    let message = |number: &str| json!({ "channelId": "team", "channelType": 2, "payload": HELLO, "clientMsgNo": number });
    let sent = bot.post("/message/send", &message("n1")).await;
    assert_eq!(sent["messageSeq"], 1);
    let heard = live.recv().await;
    assert_eq!((&*heard.client_msg_no, &*heard.from_uid), ("n1", "bot"));
    assert_eq!(sent["messageId"], heard.message_id.to_string());
    let batch = json!([message("n2"), message("n3")]);
    let sent = bot.post("/message/sendbatch", &batch).await;
    assert_eq!(
        (&sent[0]["messageSeq"], &sent[1]["messageSeq"]),
        (&json!(2), &json!(3))
    );
    let query = "/message/sync?channelId=team&channelType=2&lastMessageSeq=1&limit=1";
    let page = bot.get(query).await;
    assert_eq!(page.as_array().unwrap().len(), 1);
    assert_eq!(
        (&page[0]["messageSeq"], &page[0]["clientMsgNo"]),
        (&json!(2), &json!("n2"))
    );
    assert!(
        page[0]["timestamp"].as_i64().unwrap() > 100_000_000_000,
        "milliseconds"
    );
    let members = json!({ "channelId": "team", "channelType": 2, "subscribers": ["ann"] });
    assert_eq!(
        bot.post("/channel/subscriber/remove", &members).await,
        json!({ "removed": 1 })
    );
    let gone = json!({ "channelId": "team", "channelType": 2 });
    assert_eq!(
        bot.post("/channel/delete", &gone).await,
        json!({ "channelId": "team" })
    );
    bot.fails("POST", "/message/send", Some(&message("n4")))
        .await;
    let needs = "channelId and channelType are required";
    assert_eq!(
        bot.fails(
            "POST",
            "/channel/create",
            Some(&json!({ "channelId": "x" }))
        )
        .await,
        needs
    );
    assert_eq!(bot.fails("GET", "/message/sync", None).await, needs);
    let health = bot.get("/health").await;
    assert_eq!(health["status"], "healthy");
    assert!(bot.get("/system/info").await["uptime"].is_u64());
    // The token is one of level 1: a new one throws the connection out.
    bot.post("/token", &json!({})).await;
    while !matches!(
        live.next().await,
        Some(crate::codec::packets::Packet::Disconnect { .. })
    ) {}
}

#[tokio::test]
async fn the_observed_profile_fails_where_the_source_does() {
    let simulator = started(&json!({ "openchat": { "profile": "observed" } }));
    let control = simulator.control();
    let bot = Caller::new(&simulator, "bot").await;
    group(&simulator, "team", &["bot"]).await;
    assert_eq!(bot.get("/config").await["uid"], "bot");
    let message =
        json!({ "channelId": "team", "channelType": 2, "payload": HELLO, "clientMsgNo": "n" });
    let sent = bot.post("/message/send", &message).await;
    assert_eq!(
        (&sent["status"], &sent["data"]["client_msg_no"]),
        (&json!(200), &json!("n"))
    );
    let kept = control.record(&["send"]).await.pop().unwrap();
    let exact: i64 = kept["message_id"].as_str().unwrap().parse().unwrap();
    let told = sent["data"]["message_id"].as_i64().unwrap();
    assert!(
        (told - exact).abs() < 1_000 && told % 100 == 0,
        "{told} for {exact}"
    );
    let channel = json!({ "channelId": "team", "channelType": 2, "subscribers": ["ann"] });
    let (not_found, wrong) = (
        "Request failed with status code 404",
        "Request failed with status code 400",
    );
    for (method, path, body, said) in [
        ("POST", "/message/sendbatch", Some(json!([message])), wrong),
        (
            "GET",
            "/message/sync?channelId=team&channelType=2",
            None,
            not_found,
        ),
        ("POST", "/channel/create", Some(channel.clone()), not_found),
        (
            "POST",
            "/channel/subscriber/add",
            Some(channel.clone()),
            not_found,
        ),
        (
            "POST",
            "/channel/subscriber/remove",
            Some(channel.clone()),
            not_found,
        ),
    ] {
        assert_eq!(bot.fails(method, path, body.as_ref()).await, said, "{path}");
    }
    assert_eq!(
        bot.post("/channel/delete", &channel).await,
        json!({ "status": 200 })
    );
    let person = json!({ "channelId": "ann", "channelType": 1 });
    assert_eq!(
        bot.fails("POST", "/channel/delete", Some(&person)).await,
        wrong
    );
    assert!(
        bot.get("/system/info").await["uptime"]
            .as_str()
            .unwrap()
            .ends_with('s')
    );
    assert!(
        bot.post("/token", &json!({})).await["token"]
            .as_str()
            .unwrap()
            .starts_with("wk1.")
    );
    control
        .act("settings", json!({ "openchat": { "token_fails": true } }))
        .await;
    assert_eq!(bot.fails("POST", "/token", Some(&json!({}))).await, wrong);
}

#[tokio::test]
async fn who_is_not_known_is_refused_in_the_other_envelope() {
    let simulator = started(&json!({ "openchat": { "rate_limit": 2 } }));
    let control = simulator.control();
    let mut bot = Caller::new(&simulator, "bot").await;
    let address = simulator.address("openchat");
    let good = std::mem::replace(&mut bot.token, "nonsense".to_owned());
    let (status, refused) = bot.call("GET", "/config", None).await;
    assert_eq!((status, &refused["code"]), (401, &json!(2005)));
    for key in ["message", "timestamp", "path", "requestId"] {
        assert!(refused[key].is_string(), "{refused}");
    }
    assert_eq!(
        http(address, "GET", "/api/v1/im/health", "", None).await.0,
        200,
        "it is public"
    );
    let (status, refused) = bot.call("GET", "/unknown", None).await;
    assert_eq!((status, &refused["code"]), (404, &json!(1002)));
    bot.token = good;
    bot.get("/config").await;
    control.act("openchat/expire", json!({})).await;
    assert_eq!(bot.call("GET", "/config", None).await.0, 401);
    let login = json!({ "username": "bot", "password": "wrong" });
    assert_eq!(
        http(address, "POST", "/api/v1/auth/login", "", Some(&login))
            .await
            .0,
        401
    );
    let login = json!({ "username": "bot", "password": "bot-password" });
    let (status, _, answer) = http(address, "POST", "/api/v1/auth/login", "", Some(&login)).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["user"]["id"]), (201, &json!("bot")));
    let refresh = json!({ "refreshToken": answer["refreshToken"] });
    let (status, _, answer) =
        http(address, "POST", "/api/v1/auth/refresh", "", Some(&refresh)).await;
    assert_eq!(status, 201);
    assert_eq!(
        http(address, "POST", "/api/v1/auth/refresh", "", Some(&refresh))
            .await
            .0,
        401,
        "once"
    );
    let answer: Value = serde_json::from_str(&answer).unwrap();
    bot.token = answer["token"].as_str().unwrap().to_owned();
    bot.get("/config").await;
    let (status, refused) = bot.call("GET", "/config", None).await;
    assert_eq!((status, &refused["code"]), (429, &json!(1006)));
    let bearer = format!("Authorization: Bearer {}\r\n", bot.token);
    let (_, head, _) = http(address, "GET", "/api/v1/im/config", &bearer, None).await;
    assert!(
        head.to_lowercase().contains("retry-after-login: "),
        "{head}"
    );
    let expired = control
        .act("openchat/token", json!({ "uid": "bot", "ttl_s": -1 }))
        .await;
    bot.token = expired["token"].as_str().unwrap().to_owned();
    assert_eq!(bot.call("GET", "/health", None).await.0, 200);
    assert_eq!(bot.call("POST", "/token", None).await.0, 401);
}

#[tokio::test]
async fn requests_fail_as_they_are_told_to() {
    let simulator = started(&json!({}));
    let control = simulator.control();
    let bot = Caller::new(&simulator, "bot").await;
    let arm = |fault: Value| control.act("fault", fault);
    arm(
        json!({ "on": "http", "do": "refuse", "status": 503, "port": "openchat", "path": "/config",
                "headers": { "Retry-After": "1" } }),
    )
    .await;
    assert_eq!(bot.get("/health").await["status"], "healthy");
    let (status, refused) = bot.call("GET", "/config", None).await;
    assert_eq!((status, &refused["code"]), (503, &json!(1007)));
    arm(json!({ "on": "http", "do": "fail", "path": "/health" })).await;
    bot.fails("GET", "/health", None).await;
    for act in ["drop", "truncate"] {
        arm(json!({ "on": "http", "do": act })).await;
        let message =
            json!({ "channelId": "ann", "channelType": 1, "payload": HELLO, "clientMsgNo": act });
        let (_, answer) = bot.call("POST", "/message/send", Some(&message)).await;
        assert!(answer.is_string(), "{act}: {answer}");
    }
    arm(json!({ "on": "http", "do": "drop", "effect": false })).await;
    let message =
        json!({ "channelId": "ann", "channelType": 1, "payload": HELLO, "clientMsgNo": "lost" });
    bot.call("POST", "/message/send", Some(&message)).await;
    let sent = control.record(&["send"]).await;
    let numbers: Vec<_> = sent
        .iter()
        .map(|it| it["client_msg_no"].as_str().unwrap())
        .collect();
    assert_eq!(numbers, ["drop", "truncate"]);
    arm(json!({ "on": "http", "do": "delay", "ms": 300, "port": "native" })).await;
    let begun = std::time::Instant::now();
    http(simulator.address("http"), "GET", "/health", "", None).await;
    assert!(begun.elapsed().as_millis() >= 300);
}

#[tokio::test]
async fn later_versions_have_two_prefixes() {
    let prefixes = json!({ "prefix": "/im/v3/wukongim", "admin_prefix": "/admin/im/v3/wukongim" });
    let simulator = started(&json!({ "openchat": prefixes }));
    let bot = Caller::new(&simulator, "bot").await;
    let bearer = format!("Authorization: Bearer {}\r\n", bot.token);
    let address = simulator.address("openchat");
    for (path, status) in [
        ("/im/v3/wukongim/config", 200),
        ("/im/v3/wukongim/health", 404),
        ("/admin/im/v3/wukongim/health", 200),
        ("/admin/im/v3/wukongim/config", 404),
        ("/api/v1/im/config", 404),
    ] {
        assert_eq!(
            http(address, "GET", path, &bearer, None).await.0,
            status,
            "{path}"
        );
    }
}
