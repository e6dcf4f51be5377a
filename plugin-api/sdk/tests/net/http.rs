use crate::script::{SOON, chain, run, start_sharing};
use crate::server::{answer, http, http_once, next};
use im_bridge_sdk::Noise;
use im_bridge_sdk::http::Error;
use im_bridge_sdk::model::ErrorClass;
use im_bridge_sdk::test::{Noise as Class, OpRecord, State as Told, Status};
use serde_json::{Value, json};
use std::time::Duration;

fn only(ops: &[OpRecord]) -> &OpRecord {
    assert_eq!(ops.len(), 1, "{ops:?}");
    &ops[0]
}

#[test]
fn a_request_is_one_operation_without_query_and_user_part() {
    let (address, seen) = http(|_| answer("200 OK", "", r#"{"id":7}"#));
    let recording = run(&address, |cx, address| {
        Box::pin(async move {
            let url = format!("http://me:hunter2@{address}/v1/things/42?token=hunter2");
            let sent = cx
                .http()
                .post("ask", Noise::Command, &url)
                .template("/v1/things/{thing}");
            let sent = sent
                .query([("page", "2")])
                .header("x-key", "k")
                .json(&json!({ "a": 1 }));
            let found = sent.send().await.unwrap();
            assert_eq!(found.json::<Value>().unwrap()["id"], 7);
            assert!(!found.trace().is_none());
        })
    });
    let request = next(&seen);
    assert!(
        request.starts_with("POST /v1/things/42?token=hunter2&page=2 HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(request.contains("x-key: k\r\n") && request.contains("content-type: application/json"));
    assert!(request.ends_with(r#"{"a":1}"#));
    let op = only(&recording.ops);
    assert_eq!(
        (op.noise, op.status, op.items),
        (Class::COMMAND, Status::OK, 8)
    );
    assert_eq!(op.detail, "POST /v1/things/{thing} 200");
    assert_eq!(op.attr("http.request.method"), Some("POST"));
    assert_eq!(op.attr("http.response.status_code"), Some("200"));
    assert_eq!(op.attr("url.template"), Some("/v1/things/{thing}"));
    assert_eq!(
        op.attr("url.full"),
        Some(&*format!("http://{address}/v1/things/42"))
    );
    assert_eq!(recording.mentions("hunter2"), Vec::<String>::new());
}

#[test]
fn accounts_that_share_a_thread_share_its_connections() {
    let address = http_once(|_| answer("200 OK", "", "[]"));
    let mocks = [(); 3].map(|()| {
        let mock = start_sharing(&address, |cx, address| {
            Box::pin(async move {
                let url = format!("http://{address}/");
                let asked = cx.http().get("ask", Noise::Command, &url).send().await;
                asked.expect("an answer by the connection that is there");
            })
        });
        mock.wait_state(Told::ONLINE, SOON);
        mock
    });
    for mock in mocks {
        mock.finish();
    }
}

#[test]
fn a_poll_is_classed_once_it_is_decoded() {
    let (address, _seen) = http(|_| answer("200 OK", "", "[1,2]"));
    let recording = run(&address, |cx, address| {
        Box::pin(async move {
            let poll = || {
                cx.http()
                    .get("poll", Noise::Poll, &format!("http://{address}/"))
                    .send()
            };
            poll().await.unwrap().hit(2);
            poll().await.unwrap().empty();
            drop(poll().await.unwrap());
        })
    });
    let told: Vec<_> = recording
        .ops
        .iter()
        .map(|op| (op.noise, op.items, op.status))
        .collect();
    assert_eq!(
        told[..2],
        [
            (Class::POLL_HIT, 2, Status::OK),
            (Class::POLL_EMPTY, 0, Status::OK)
        ]
    );
    assert!(told[2].0 == Class::AUX && !told[2].2.is_ok(), "{told:?}");
}

#[test]
fn an_error_status_is_an_answer_and_a_failed_operation() {
    let (address, _seen) = http(|_| answer("429 Too Many", "retry-after: 3\r\n", "slow"));
    let recording = run(&address, |cx, address| {
        Box::pin(async move {
            let found = cx
                .http()
                .get("ask", Noise::Command, &format!("http://{address}/"));
            let found = found.send().await.unwrap();
            assert_eq!((found.status(), found.is_success()), (429, false));
            assert_eq!(found.retry_after(), Some(Duration::from_secs(3)));
            assert_eq!(found.text().unwrap(), "slow");
        })
    });
    assert_eq!(only(&recording.ops).status, Status::E_RATE_LIMITED);
}

#[test]
fn what_surely_was_not_sent_is_told_from_what_may_have_been() {
    let (address, _seen) = http(|request| match request {
        r if r.starts_with("GET /broken") => {
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\nx".into()
        }
        _ => String::new(),
    });
    let recording = run(&address, |cx, address| {
        Box::pin(async move {
            let get = |noise, url: String| {
                let get = cx
                    .http()
                    .get("ask", noise, &url)
                    .timeout(Duration::from_millis(300));
                async move { get.send().await.err().expect("an error") }
            };
            let secret = "?token=hunter2";
            // Port 1 of the loopback: nobody listens there.
            let refused = get(
                Noise::Command,
                format!("http://u:hunter2@127.0.0.1:1/{secret}"),
            )
            .await;
            assert!(matches!(refused, Error::Connect { .. }) && refused.is_before_send());
            let silent = get(
                Noise::Command,
                format!("http://u:hunter2@{address}/{secret}"),
            )
            .await;
            assert!(matches!(silent, Error::Timeout { .. }) && !silent.is_before_send());
            assert_eq!(silent.class(), ErrorClass::Uncertain);
            let broken = get(
                Noise::Command,
                format!("http://u:hunter2@{address}/broken{secret}"),
            )
            .await;
            assert!(
                matches!(broken, Error::Broken { .. }) && !broken.is_before_send(),
                "{broken:?}"
            );
            let invalid = get(Noise::Command, format!("ftp://{address}/{secret}")).await;
            assert!(matches!(invalid, Error::Invalid { .. }) && invalid.is_before_send());
            // A server without TLS: the handshake fails before anything of the request is sent.
            let tls = get(Noise::Command, format!("https://{address}/{secret}")).await;
            assert!(
                tls.is_before_send() || matches!(tls, Error::Timeout { .. }),
                "{tls:?}"
            );
            for error in [refused, silent, broken, invalid, tls] {
                let text = format!("{} {error:?}", chain(&error));
                assert!(!text.contains("hunter2"), "{text}");
            }
        })
    });
    assert!(recording.ops.iter().all(|op| !op.status.is_ok()));
    assert_eq!(recording.mentions("hunter2"), Vec::<String>::new());
}

#[test]
fn a_long_poll_that_runs_into_its_own_limit_brought_nothing() {
    let (address, _seen) = http(|_| String::new());
    let recording = run(&address, |cx, address| {
        Box::pin(async move {
            let poll = cx
                .http()
                .get("poll", Noise::Poll, &format!("http://{address}/"));
            let error = poll.timeout(Duration::from_millis(100)).send().await.err();
            assert!(matches!(error, Some(Error::Timeout { .. })));
        })
    });
    let op = only(&recording.ops);
    assert_eq!((op.noise, op.status), (Class::POLL_EMPTY, Status::OK));
}

#[test]
fn an_answer_is_read_up_to_its_limit() {
    let (address, _seen) = http(|request| {
        if request.starts_with("GET /chunked") {
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\nabcdef\r\n0\r\n\r\n".into()
        } else {
            answer("200 OK", "", "abcdefabcdef")
        }
    });
    run(&address, |cx, address| {
        Box::pin(async move {
            for path in ["chunked", "sized"] {
                let url = format!("http://{address}/{path}");
                let get = |most| {
                    cx.http()
                        .get("ask", Noise::Command, &url)
                        .body_max(most)
                        .send()
                };
                assert!(matches!(
                    get(11).await.err(),
                    Some(Error::TooLarge { limit: 11, .. })
                ));
                assert_eq!(get(12).await.unwrap().bytes(), b"abcdefabcdef");
            }
        })
    });
}

#[test]
fn redirects_are_not_followed_and_cookies_not_kept() {
    let (address, seen) = http(|_| {
        answer(
            "302 Found",
            "location: /else\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n",
            "",
        )
    });
    run(&address, |cx, address| {
        Box::pin(async move {
            for _ in 0..2 {
                let get = cx
                    .http()
                    .get("ask", Noise::Command, &format!("http://{address}/here"));
                let found = get.send().await.unwrap();
                assert_eq!(found.header("location"), Some("/else"));
                assert_eq!(
                    found.headers("set-cookie").collect::<Vec<_>>(),
                    ["a=1", "b=2"]
                );
            }
        })
    });
    for _ in 0..2 {
        let request = next(&seen);
        assert!(
            request.starts_with("GET /here") && !request.contains("cookie"),
            "{request}"
        );
    }
}

#[test]
fn a_wrong_answer_is_not_quoted() {
    let (address, _seen) = http(|_| answer("200 OK", "", r#"{"token":"hunter2"}"#));
    run(&address, |cx, address| {
        Box::pin(async move {
            let get = cx
                .http()
                .get("ask", Noise::Command, &format!("http://{address}/"));
            let found = get.send().await.unwrap();
            let error = found
                .json::<std::collections::BTreeMap<String, u64>>()
                .unwrap_err();
            let text = chain(&error);
            assert!(
                !text.contains("hunter2") && text.contains("line 1 column 18"),
                "{text}"
            );
        })
    });
}
