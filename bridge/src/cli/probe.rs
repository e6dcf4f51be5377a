//! `im-bridge probe`: asks the admin port of this configuration, for containers without an HTTP client, and the whole way.

pub(super) mod roundtrip;

use super::client;
use super::failure::{Exit, Failure};
use super::globals::Globals;
use super::output::Output;
use super::parse;
use crate::bus::Account;
use schemars::JsonSchema;
use serde::Serialize;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// Below the two seconds after which an orchestrator gives up.
const WITHIN: Duration = Duration::from_millis(1_500);
/// The verbose answer has a line per check.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").args(["live", "ready", "roundtrip"]).required(true))]
#[command(after_help = "\
Examples:
  im-bridge probe --ready
  im-bridge probe --roundtrip --account sim/demo

Exit codes: 1 not so, 3 nobody answers, 4 the message did not come back in time")]
pub(super) struct Args {
    /// Whether the process moves.
    #[arg(long)]
    live: bool,
    /// Whether it can work.
    #[arg(long)]
    ready: bool,
    /// Whether it answers over NATS, too; with --account, also a message to it and the event that it comes back as.
    #[arg(long)]
    roundtrip: bool,
    /// Send a test message through this account, as <provider>/<account>.
    #[arg(long, value_parser = parse::account, requires = "roundtrip")]
    account: Option<Account>,
    /// Send it to this channel. Default: the first that the account lists.
    #[arg(long, value_name = "ID", requires = "account")]
    channel: Option<String>,
    /// How long the message may take.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse::duration, requires = "account")]
    timeout: Duration,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &mut Output) -> Result<Exit, Failure> {
    let config = client::configuration(globals, output)?;
    if args.roundtrip {
        let way = roundtrip::Way {
            config: &config,
            account: args.account.as_ref(),
            channel: args.channel.as_deref(),
            within: args.timeout,
        };
        return roundtrip::run(&way, output);
    }
    let path = if args.live { "/livez" } else { "/readyz" };
    let address = reachable(
        config
            .admin
            .listen
            .parse()
            .expect("the configuration was validated"),
    );
    let answer =
        get(address, &format!("{path}?verbose")).map_err(|error| silent(address, path, &error))?;
    let is_ok = answer.status == 200;
    let text = answer.body.trim_end();
    if output.json {
        output.document(&Answered {
            ok: is_ok,
            status: answer.status,
            text,
        })?;
    } else {
        output.line(text)?;
    }
    Ok(if is_ok { Exit::Done } else { Exit::No })
}

fn silent(address: SocketAddr, path: &str, error: &io::Error) -> Failure {
    let text = format!(
        "no bridge answered on http://{address}{path}: {error}; is im-bridge run running there?"
    );
    Failure::new(Exit::Unreachable, "bridge_silent", text)
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

/// What `--live` and `--ready` print with `--json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Answered<'a> {
    ok: bool,
    /// Of HTTP.
    status: u16,
    /// A line per check.
    text: &'a str,
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
