//! mtop: what it refuses, and what it is told to answer.

use crate::client::{A, APP_KEY, Provider};
use serde_json::{Value, json};

const LOGIN: &str = "mtop.taobao.idlemessage.pc.login.token";

/// Login cookies with a signing token that is good.
async fn signed_in(provider: &Provider, uid: &str) -> String {
    let login = format!("unb={uid}");
    let first = provider.login_token(&login, "d").await;
    format!("{login}; {}", first.cookies.join("; "))
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_told_apart() {
    let provider = Provider::start();
    let cookies = signed_in(&provider, A).await;
    let data = json!({ "appKey": APP_KEY, "deviceId": "d" }).to_string();
    let ret = async |api: &str, version: &str, cookies: &str, data: &str| {
        provider
            .call(api, version, cookies, data)
            .await
            .unwrap()
            .ret()
    };
    assert!(
        ret(LOGIN, "1.0", &cookies, &data)
            .await
            .starts_with("SUCCESS::")
    );
    let no = provider
        .signed(LOGIN, "1.0", &cookies, &data, "0")
        .await
        .unwrap();
    assert_eq!(
        (no.ret().as_str(), no.cookies.len()),
        ("FAIL_SYS_ILLEGAL_ACCESS::非法请求", 2)
    );
    for (api, version, cookies, data, expected) in [
        (
            LOGIN,
            "2.0",
            cookies.as_str(),
            data.as_str(),
            "FAIL_SYS_API_NOT_FOUNDED",
        ),
        (
            "mtop.nothing",
            "1.0",
            &cookies,
            &data,
            "FAIL_SYS_API_NOT_FOUNDED",
        ),
        (LOGIN, "1.0", &cookies, "{}", "FAIL_SYS_ILLEGAL_REQUEST"),
        (
            LOGIN,
            "1.0",
            "unb=1000000001",
            &data,
            "FAIL_SYS_TOKEN_EMPTY",
        ),
        (
            LOGIN,
            "1.0",
            "unb=1000000001; _m_h5_tk=nobody_1",
            &data,
            "FAIL_SYS_TOKEN_ILLEGAL",
        ),
        // Two values of it, as of two domains.
        (
            LOGIN,
            "1.0",
            &format!("{cookies}; {cookies}"),
            &data,
            "FAIL_SYS_TOKEN_ILLEGAL",
        ),
        (
            LOGIN,
            "1.0",
            &cookies.replace(A, "12x"),
            &data,
            "FAIL_SYS_SESSION_EXPIRED",
        ),
        (
            LOGIN,
            "1.0",
            &cookies.replace("unb", "x"),
            &data,
            "FAIL_SYS_SESSION_EXPIRED",
        ),
    ] {
        let ret = ret(api, version, cookies, data).await;
        assert!(
            ret.starts_with(expected),
            "{api} {version} {cookies} {data}: {ret}"
        );
    }
    let path = format!("/h5/{LOGIN}/1.0/?v=2.0&api={LOGIN}");
    assert!(
        provider
            .post(&path, &cookies, "data=x")
            .await
            .unwrap()
            .ret()
            .contains("ILLEGAL_REQUEST")
    );
}

#[tokio::test]
async fn other_calls_answer_what_clients_look_for() {
    let provider = Provider::start();
    let cookies = signed_in(&provider, A).await;
    let call = async |api: &str, version: &str, data: Value| {
        provider
            .call(api, version, &cookies, &data.to_string())
            .await
            .unwrap()
    };
    let own = call(
        "mtop.idle.web.user.page.head",
        "1.0",
        json!({ "self": true }),
    )
    .await;
    assert_eq!(own.json()["data"]["baseInfo"]["kcUserId"], A);
    let who = json!({ "type": 0, "sessionType": 1, "sessionId": "30000000001", "isOwner": false });
    let peer = call("mtop.taobao.idlemessage.pc.user.query", "4.0", who).await;
    assert_eq!(peer.json()["data"]["userInfo"]["nick"], "nick-2000000002");
    let alive = call("mtop.taobao.idlemessage.pc.loginuser.get", "1.0", json!({})).await;
    assert_eq!(
        (alive.ret().as_str(), alive.cookies.len()),
        ("SUCCESS::调用成功", 2)
    );
}

#[tokio::test]
async fn every_failure_can_be_ordered_and_is_told_once() {
    let provider = Provider::start();
    let cookies = signed_in(&provider, A).await;
    for (order, expected, new_cookies) in [
        (
            json!({ "code": "FAIL_SYS_TOKEN_EXOIRED" }),
            "FAIL_SYS_TOKEN_EXOIRED",
            2,
        ),
        (
            json!({ "code": "FAIL_SYS_SESSION_EXPIRED" }),
            "FAIL_SYS_SESSION_EXPIRED",
            0,
        ),
        (
            json!({ "code": "FAIL_SYS_SESSION_EXPIRED", "set_cookie": true }),
            "FAIL_SYS_SESSION",
            2,
        ),
        (
            json!({ "code": "FAIL_SYS_TRAFFIC_LIMIT" }),
            "FAIL_SYS_TRAFFIC_LIMIT",
            0,
        ),
        (
            json!({ "code": "RGV587_ERROR" }),
            "FAIL_SYS_USER_VALIDATE",
            0,
        ),
        (json!({ "ret": ["OWN"], "data": { "a": 1 } }), "OWN", 0),
    ] {
        let mut fault = json!({ "on": "mtop", "do": "ret" });
        fault
            .as_object_mut()
            .unwrap()
            .extend(order.as_object().unwrap().clone());
        provider.fault(fault).await;
        let hit = provider.login_token(&cookies, "d").await;
        assert!(hit.ret().starts_with(expected), "{order}: {}", hit.text);
        assert_eq!(hit.cookies.len(), new_cookies, "{order}");
        assert!(
            provider
                .login_token(&cookies, "d")
                .await
                .ret()
                .starts_with("SUCCESS")
        );
    }
    provider
        .fault(json!({ "on": "mtop", "do": "status", "status": 503 }))
        .await;
    assert_eq!(provider.login_token(&cookies, "d").await.status, 503);
    provider
        .fault(json!({ "on": "mtop", "do": "text", "text": "<html>" }))
        .await;
    let page = provider.login_token(&cookies, "d").await;
    assert_eq!((page.status, page.text.as_str()), (200, "<html>"));
    provider.fault(json!({ "on": "mtop", "do": "drop" })).await;
    assert!(provider.call(LOGIN, "1.0", &cookies, "{}").await.is_none());
    provider
        .fault(json!({ "on": "mtop", "do": "delay", "ms": 50 }))
        .await;
    assert!(
        provider
            .login_token(&cookies, "d")
            .await
            .ret()
            .starts_with("SUCCESS")
    );
    assert_eq!(provider.control.get("faults").await, json!([]));
}

#[tokio::test]
async fn tokens_and_logins_expire_when_told() {
    let provider = Provider::start();
    let cookies = signed_in(&provider, A).await;
    let ret = async |cookies: &str| provider.login_token(cookies, "d").await.ret();
    provider
        .act("expire", json!({ "what": "signing", "uid": A }))
        .await;
    assert!(ret(&cookies).await.starts_with("FAIL_SYS_TOKEN_EXOIRED"));
    let cookies = signed_in(&provider, A).await;
    provider
        .act(
            "account",
            json!({ "uid": A, "cookies": { "cookie2": "right" } }),
        )
        .await;
    assert!(ret(&cookies).await.starts_with("FAIL_SYS_SESSION_EXPIRED"));
    assert!(
        ret(&format!("{cookies}; cookie2=wrong"))
            .await
            .starts_with("FAIL_SYS_SESSION")
    );
    let cookies = format!("{cookies}; cookie2=right");
    assert!(ret(&cookies).await.starts_with("SUCCESS"));
    provider
        .act("expire", json!({ "what": "login", "uid": A }))
        .await;
    assert!(ret(&cookies).await.starts_with("FAIL_SYS_SESSION_EXPIRED"));
    provider
        .act("account", json!({ "uid": A, "logged_in": true }))
        .await;
    assert!(ret(&cookies).await.starts_with("SUCCESS"));
    let settings = json!({ "access_token_ms": 1234, "signing_token_ms": 0 });
    provider.act("settings", settings).await;
    let granted = provider.login_token(&cookies, "d").await;
    assert_eq!(granted.json()["data"]["accessTokenExpiredTime"], "1234");
    let fresh = signed_in(&provider, A).await;
    assert!(
        ret(&format!("{fresh}; cookie2=right"))
            .await
            .starts_with("FAIL_SYS_TOKEN_EXOIRED")
    );
}

#[tokio::test]
async fn control_refuses_what_it_does_not_understand() {
    let provider = Provider::start();
    let refused = async |what: &str, body: Value| {
        let answer = provider
            .post(&format!("/_sim/{what}"), "", &body.to_string())
            .await
            .unwrap();
        assert_eq!(answer.status, 400, "{what}: {}", answer.text);
        answer.json()["error"].as_str().unwrap().to_owned()
    };
    let why = refused(
        "fault",
        json!({ "on": "push", "do": "withhold", "tiems": 2 }),
    )
    .await;
    assert!(why.contains("tiems"), "{why}");
    assert!(
        refused("settings", json!({ "replay": "x" }))
            .await
            .contains("boolean")
    );
    assert!(
        refused("settings", json!({ "rpelay": true }))
            .await
            .contains("rpelay")
    );
    assert!(
        refused("say", json!({ "from": A, "text": "x" }))
            .await
            .contains("`cid` or `to`")
    );
    assert!(refused("sya", json!({})).await.contains("no call sya"));
    let settings = provider.act("settings", json!({})).await;
    assert_eq!(settings["replay"], true);
}
