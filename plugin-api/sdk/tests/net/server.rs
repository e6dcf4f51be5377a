//! A server of a few lines: what it says is written by the test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// One request as it came, head and body.
pub type Seen = Receiver<String>;

/// Answers every request with what `answer` makes of it; the address, and the requests seen.
pub fn http(answer: fn(&str) -> String) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, seen) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let told = told.clone();
            std::thread::spawn(move || serve(stream.unwrap(), answer, &told));
        }
    });
    (address, seen)
}

/// The same for one connection only: whoever wants another one is refused.
pub fn http_once(answer: fn(&str) -> String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        drop(listener);
        serve(stream, answer, &channel().0);
    });
    address
}

fn serve(mut stream: TcpStream, answer: fn(&str) -> String, told: &Sender<String>) {
    let mut text = String::new();
    loop {
        let mut chunk = [0; 4096];
        let Ok(n @ 1..) = stream.read(&mut chunk) else {
            return;
        };
        text.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| {
                line.to_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            })
            .unwrap_or(0);
        if body.len() < length {
            continue;
        }
        // The test may have seen enough.
        let _ = told.send(text.clone());
        let answer = answer(&text);
        if answer.is_empty() {
            // Says nothing until the client gives up.
            let _ = stream.read(&mut chunk);
            return;
        }
        if stream.write_all(answer.as_bytes()).is_err() || answer.contains("connection: close") {
            return;
        }
        text.clear();
    }
}

/// An HTTP answer with a body.
pub fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

pub fn next(seen: &Seen) -> String {
    seen.recv_timeout(Duration::from_secs(10))
        .expect("a request")
}
