use crate::script::{SOON, chain, run, simulated, start};
use futures_util::{SinkExt, StreamExt};
use im_bridge_sdk::model::ErrorClass;
use im_bridge_sdk::test::{Noise as Class, Recording, State, Status};
use im_bridge_sdk::websocket::{Error, Message, Options, Ping};
use std::future::Future;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_async};

type Socket = WebSocketStream<TcpStream>;

/// A WebSocket server that treats each connection so; what it tells the test.
fn serve<F: Future<Output = ()> + 'static>(
    each: fn(Socket, Sender<String>) -> F,
) -> (String, Receiver<String>) {
    let (told, hear) = channel();
    let (bound, address) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            bound
                .send(listener.local_addr().unwrap().to_string())
                .unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                each(accept_async(stream).await.unwrap(), told.clone()).await;
            }
        });
    });
    (address.recv().unwrap(), hear)
}

/// Sends everything back until the client goes.
async fn echo(mut socket: Socket, told: Sender<String>) {
    while let Some(Ok(frame)) = socket.next().await {
        // The test may have seen enough.
        let _ = told.send(format!("{frame:?}"));
        if frame.is_text() || frame.is_binary() {
            socket.send(frame).await.unwrap();
        }
    }
    let _ = told.send("gone".to_owned());
}

fn details(recording: &Recording) -> Vec<(&str, Class, &str)> {
    let ops = recording.ops.iter();
    ops.map(|op| (op.name.as_str(), op.noise, op.detail.as_str()))
        .collect()
}

fn options(address: &str) -> Options {
    Options::new(format!("ws://{address}/ws?token=hunter2")).template("/ws")
}

#[test]
fn messages_go_both_ways_and_the_closure_is_an_operation() {
    let (address, _hear) = serve(echo);
    let recording = run(&address, |cx, address| {
        Box::pin(async move {
            let (mut reader, writer) = cx.websocket("connect", options(&address)).await.unwrap();
            writer.text("hello").await.unwrap();
            writer.clone().binary(vec![1, 2]).await.unwrap();
            assert_eq!(reader.next().await.unwrap(), Message::Text("hello".into()));
            assert_eq!(reader.next().await.unwrap().as_bytes(), [1, 2]);
            writer.close(1000, "bye").await.unwrap();
            let end = reader.next().await.unwrap_err();
            assert!(
                matches!(
                    end,
                    Error::Closed {
                        code: Some(1000),
                        ..
                    }
                ),
                "{end:?}"
            );
            assert!(!writer.is_open());
            let late = writer.text("late").await.unwrap_err();
            assert!(matches!(late, Error::NotOpen) && late.is_before_send());
        })
    });
    assert_eq!(
        details(&recording),
        [
            ("connect", Class::SESSION, "GET /ws 101"),
            ("connect", Class::AUX, "closed /ws 1000")
        ]
    );
    assert_eq!(
        recording.ops[0].attr("url.full"),
        Some(&*format!("ws://{address}/ws"))
    );
    assert_eq!(recording.mentions("hunter2"), Vec::<String>::new());
}

#[test]
fn closing_with_something_unread_takes_nothing_from_the_peer() {
    const UNREAD: usize = 100;
    let (address, hear) = serve(|mut socket, told| async move {
        for _ in 0..UNREAD {
            socket.send(Frame::Text("push".into())).await.unwrap();
        }
        loop {
            let heard = match socket.next().await {
                Some(Ok(Frame::Text(text))) => text.to_string(),
                Some(Ok(_)) => continue,
                Some(Err(error)) => error.to_string(),
                None => {
                    // Whoever closes does not depend on the peer's letting go of the connection.
                    told.send("closed in order".to_owned()).unwrap();
                    return std::future::pending().await;
                }
            };
            if told.send(heard).is_err() {
                return;
            }
        }
    });
    let recording = run(&address, |cx, address| {
        Box::pin(async move {
            let (mut reader, writer) = cx.websocket("connect", options(&address)).await.unwrap();
            // All but this one are left where they are.
            reader.next().await.unwrap();
            writer.text("ack").await.unwrap();
            reader.close(1000, "").await;
            assert!(!writer.is_open());
        })
    });
    assert_eq!(hear.recv_timeout(SOON).unwrap(), "ack");
    assert_eq!(hear.recv_timeout(SOON).unwrap(), "closed in order");
    assert_eq!(
        details(&recording)[1],
        ("connect", Class::AUX, "closed /ws 1000")
    );
}

#[test]
fn messages_written_together_arrive_in_order_or_none_is_sent() {
    let (address, _hear) = serve(echo);
    run(&address, |cx, address| {
        Box::pin(async move {
            let options = options(&address).message_max(1000);
            let (mut reader, writer) = cx.websocket("connect", options).await.unwrap();
            // More than the buffer holds, and more than the system takes at once.
            let texts: Vec<String> = (0..500).map(|n| format!("{n:0900}")).collect();
            let read = async {
                for text in &texts {
                    assert_eq!(reader.next().await.unwrap().as_bytes(), text.as_bytes());
                }
            };
            let (written, ()) = futures_util::future::join(writer.texts(&texts), read).await;
            written.unwrap();
            let error = writer.texts(["a".to_owned(), "x".repeat(1001)]).await;
            assert!(error.unwrap_err().is_before_send());
            writer.text("b").await.unwrap();
            assert_eq!(reader.next().await.unwrap().as_bytes(), b"b");
            writer.texts(Vec::<String>::new()).await.unwrap();
        })
    });
}

#[test]
fn the_peer_says_why_it_closes() {
    let (address, _hear) = serve(|mut socket, _| async move {
        let frame = CloseFrame {
            code: 4001.into(),
            reason: "kicked".into(),
        };
        socket.close(Some(frame)).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    });
    run(&address, |cx, address| {
        Box::pin(async move {
            let (mut reader, _writer) = cx.websocket("connect", options(&address)).await.unwrap();
            let end = reader.next().await.unwrap_err();
            assert_eq!(end.to_string(), "closed by the peer with code 4001: kicked");
        })
    });
}

#[test]
fn pings_of_the_peer_are_answered() {
    let (address, hear) = serve(|mut socket, told| async move {
        socket
            .send(Frame::Ping("are you there".into()))
            .await
            .unwrap();
        let pong = socket.next().await.unwrap().unwrap();
        told.send(format!("{pong:?}")).unwrap();
        socket.send(Frame::Text("done".into())).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    });
    let recording = run(&address, |cx, address| {
        Box::pin(async move {
            let (mut reader, _writer) = cx.websocket("connect", options(&address)).await.unwrap();
            assert_eq!(reader.next().await.unwrap().as_bytes(), b"done");
        })
    });
    assert!(hear.recv_timeout(SOON).unwrap().starts_with("Pong"));
    let beats = recording.ops_named("heartbeat");
    let beats: Vec<_> = beats
        .iter()
        .map(|op| (op.noise, op.detail.as_str()))
        .collect();
    assert_eq!(
        beats,
        [
            (Class::HEARTBEAT, "ping received"),
            (Class::HEARTBEAT, "pong sent")
        ]
    );
}

#[test]
fn own_pings_go_on_and_only_silence_while_listening_ends_the_connection() {
    let (address, _hear) = serve(|mut socket, _| async move {
        // Says one thing and then reads nothing any more, so that no ping is answered.
        socket.send(Frame::Text("hello".into())).await.unwrap();
        std::future::pending::<()>().await;
    });
    let mock = start(simulated, &address, |cx, address| {
        Box::pin(async move {
            let ping = Ping {
                every: Duration::from_secs(20),
                dead_after: Duration::from_secs(50),
            };
            let options = options(&address).ping(ping);
            let (mut reader, _writer) = cx.websocket("connect", options).await.unwrap();
            reader.next().await.unwrap();
            cx.state(im_bridge_sdk::State::catching_up());
            // Without credit nothing is read: that time is no silence of the peer.
            cx.ready().await;
            let before = cx.elapsed();
            let end = reader.next().await.unwrap_err();
            assert!(matches!(end, Error::Silent { .. }), "{end:?}");
            assert_eq!(cx.elapsed() - before, Duration::from_secs(50));
        })
    });
    // By then the timer that bounds the handshake is gone.
    mock.wait_state(State::CATCHING_UP, SOON);
    for pings in 1..=5 {
        mock.wait_timers(1, SOON);
        mock.advance(Duration::from_secs(20));
        mock.wait_ops("heartbeat", pings, SOON);
    }
    assert_eq!(mock.recording().state(), Some(State::CATCHING_UP));
    mock.grant(1, 1);
    // The ping's timer and the one that bounds the silence.
    mock.wait_timers(2, SOON);
    mock.advance(Duration::from_secs(60));
    mock.wait_state(State::ONLINE, SOON);
    let recording = mock.finish();
    let last = recording.ops_named("connect")[1];
    assert_eq!(
        (last.detail.as_str(), last.status),
        ("lost /ws", Status::E_UNAVAILABLE)
    );
}

#[test]
fn a_refused_handshake_tells_its_status() {
    let (address, _seen) =
        crate::server::http(|_| crate::server::answer("401 Unauthorized", "", "no"));
    let recording = run(&address, |cx, address| {
        Box::pin(async move {
            let options = options(&address).header("authorization", "Bearer hunter2");
            let error = cx.websocket("connect", options).await.err().unwrap();
            assert!(matches!(error, Error::Refused { status: 401, .. }) && error.is_before_send());
            assert_eq!(error.class(), ErrorClass::Auth);
            assert!(!format!("{} {error:?}", chain(&error)).contains("hunter2"));
        })
    });
    assert_eq!(
        details(&recording),
        [("connect", Class::SESSION, "GET /ws 401")]
    );
    assert_eq!(recording.ops[0].status, Status::E_AUTH);
    assert_eq!(recording.mentions("hunter2"), Vec::<String>::new());
}

#[test]
fn what_cannot_connect_was_not_sent() {
    let (address, _seen) = crate::server::http(|_| String::new());
    run(&address, |cx, address| {
        Box::pin(async move {
            let try_it = |options: Options| {
                let options = options.handshake_timeout(Duration::from_millis(300));
                let cx = cx.clone();
                async move {
                    cx.websocket("connect", options)
                        .await
                        .err()
                        .expect("an error")
                }
            };
            let refused = try_it(options("127.0.0.1:1")).await;
            assert!(matches!(refused, Error::Connect { .. }), "{refused:?}");
            let silent = try_it(options(&address)).await;
            assert!(matches!(silent, Error::Timeout { .. }), "{silent:?}");
            let user = try_it(Options::new("ws://me:hunter2@127.0.0.1/")).await;
            assert!(matches!(user, Error::Invalid { .. }), "{user:?}");
            // A server without TLS.
            let tls = try_it(Options::new(format!("wss://{address}/?token=hunter2"))).await;
            for error in [refused, silent, user, tls] {
                assert!(error.is_before_send());
                assert!(!format!("{} {error:?}", chain(&error)).contains("hunter2"));
            }
        })
    });
}

#[test]
fn messages_have_a_limit_in_both_directions() {
    let (address, _hear) = serve(|mut socket, _| async move {
        socket
            .send(Frame::Text("x".repeat(1001).into()))
            .await
            .unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    });
    run(&address, |cx, address| {
        Box::pin(async move {
            let options = options(&address).message_max(1000);
            let (mut reader, writer) = cx.websocket("connect", options).await.unwrap();
            let error = writer.text("x".repeat(1001)).await.unwrap_err();
            assert!(matches!(error, Error::TooLarge { limit: 1000 }) && error.is_before_send());
            writer.text("x".repeat(1000)).await.unwrap();
            let error = reader.next().await.unwrap_err();
            assert!(
                matches!(error, Error::TooLarge { limit: 1000 }),
                "{error:?}"
            );
        })
    });
}

#[test]
fn a_dropped_reader_closes_the_connection_and_wakes_writers() {
    let (address, hear) = serve(echo);
    let recording = run(&address, |cx, address| {
        Box::pin(async move {
            let (reader, writer) = cx.websocket("connect", options(&address)).await.unwrap();
            drop(reader);
            assert!(!writer.is_open());
            assert!(matches!(writer.text("x").await, Err(Error::NotOpen)));
        })
    });
    assert_eq!(hear.recv_timeout(SOON).unwrap(), "gone");
    assert_eq!(details(&recording)[1], ("connect", Class::AUX, "left /ws"));
}
