//! Commands: what the server is asked for each, and what its answer means.
//!
//! Where both APIs are configured the server's own is asked: several routes of OpenChat lead nowhere, and what passes
//! through it is rounded.
//!
//! * `content.rs`: from segments to bodies. `send.rs`: handing over and outcomes. `messages.rs`, `channels.rs`: the rest.
//! * `control.rs`: control of the account.

mod channels;
mod content;
mod control;
mod messages;
mod send;

use std::sync::Arc;

use im_bridge_sdk::model::{self, ErrorCode};
use im_bridge_sdk::{Command, Context, Outcome, Verdict};

use crate::WukongIm;
use crate::native::channel::ChannelId;

pub use channels::Unread;

/// The error side is an outcome as well: why the command failed.
type Done = Result<Outcome, Outcome>;

pub async fn execute(wukongim: &WukongIm, cx: &Context, command: &Command) -> Outcome {
    use model::Command as C;
    let done = match command.name().parse::<C>() {
        Ok(C::MessageSend) => send::send(wukongim, cx, command).await,
        Ok(C::MessageGet) => messages::get(wukongim, cx, command).await,
        Ok(C::MessageList) => messages::list(wukongim, cx, command).await,
        Ok(C::ChannelCreate) => channels::create(wukongim, cx, command).await,
        Ok(C::ChannelDelete) => channels::delete(wukongim, cx, command).await,
        Ok(C::ChannelList) => channels::list(wukongim, cx, command).await,
        Ok(C::MemberAdd) => channels::add(wukongim, cx, command).await,
        Ok(C::MemberRemove) => channels::remove(wukongim, cx, command).await,
        Ok(C::UnreadGet) => channels::unread(wukongim, cx, command).await,
        Ok(_) => Err(not_implemented(command)),
        Err(_) => control::execute(wukongim, cx, command).await,
    };
    done.unwrap_or_else(|failed| failed)
}

/// Asks what became of the command, without acting.
pub async fn verify(wukongim: &WukongIm, cx: &Context, command: &Command) -> Verdict {
    match command.name().parse::<model::Command>() {
        Ok(model::Command::MessageSend) => send::verify(wukongim, cx, command).await,
        // Everything else does the same thing twice without harm.
        Ok(_) => Verdict::DidNotHappen,
        Err(_) => Verdict::Unknown,
    }
}

fn not_implemented(command: &Command) -> Outcome {
    Outcome::error(
        ErrorCode::NotImplemented,
        format_args!("{} is not known here", command.name()),
    )
}

/// The own uid; without it nothing can be asked.
fn own(wukongim: &WukongIm) -> Result<String, Outcome> {
    wukongim.uid().ok_or_else(|| {
        Outcome::error(
            ErrorCode::NotConnected,
            "the own uid is not known yet; the account is still logging in",
        )
    })
}

/// The channel that the command is about.
fn channel(wukongim: &WukongIm, command: &Command) -> Result<Arc<ChannelId>, Outcome> {
    let missing =
        || Outcome::error(ErrorCode::BadParam, "no channel is named").path("/params/channel_id");
    let id = command.channel().ok_or_else(missing)?;
    let mut id = parse(id, "/params/channel_id")?;
    if let Some(me) = wukongim.uid() {
        id = id.stored(&me);
    }
    Ok(wukongim.book().id(id))
}

fn parse(id: &str, path: &str) -> Result<ChannelId, Outcome> {
    id.parse().map_err(|error| {
        Outcome::error(
            ErrorCode::ChannelNotFound,
            format_args!("no such channel: {error}"),
        )
        .path(path)
    })
}
