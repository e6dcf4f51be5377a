//! `im-bridge probe`: asks the admin port of this configuration, for containers without an HTTP client.

use super::client;
use super::failure::{Exit, Failure};
use super::globals::Globals;
use super::output::Output;
use serde_json::json;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// Below the two seconds after which an orchestrator gives up.
const WITHIN: Duration = Duration::from_millis(1_500);
/// The verbose answer has a line per check.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Whether the process moves.
    #[arg(long, conflicts_with = "ready", required_unless_present = "ready")]
    live: bool,
    /// Whether it can work.
    #[arg(long)]
    ready: bool,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &mut Output) -> Result<Exit, Failure> {
    let config = client::configuration(globals, output)?;
    let path = if args.live { "/livez" } else { "/readyz" };
    let address = reachable(
        config
            .admin
            .listen
            .parse()
            .expect("the configuration was validated"),
    );
    let answer = get(address, &format!("{path}?verbose")).map_err(|error| {
        let text = format!(
            "no bridge answered on http://{address}{path}: {error}; is im-bridge run running there?"
        );
        Failure::new(Exit::Unreachable, "bridge_silent", text)
    })?;
    let is_ok = answer.status == 200;
    let text = answer.body.trim_end();
    if output.json {
        output.document(&json!({ "ok": is_ok, "status": answer.status, "text": text }))?;
    } else {
        output.line(text)?;
    }
    Ok(if is_ok { Exit::Done } else { Exit::No })
}

/// Whoever listens everywhere is reached here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(IpAddr::from([127, 0, 0, 1])),
        IpAddr::V6(ip) if ip.is_unspecified() => {
            address.set_ip(std::net::Ipv6Addr::LOCALHOST.into())
        }
        _ => {}
    }
    address
}

struct Answer {
    status: u16,
    body: String,
}

fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut socket = TcpStream::connect_timeout(&address, WITHIN)?;
    socket.set_read_timeout(Some(WITHIN))?;
    socket.set_write_timeout(Some(WITHIN))?;
    // HTTP/1.0: the answer ends with the connection and is not in chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut text = String::new();
    socket.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("it does not speak HTTP"))?;
    Ok(Answer {
        status,
        body: body.to_owned(),
    })
}
