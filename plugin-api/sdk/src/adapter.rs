//! The trait that a provider adapter implements.
//!
//! One value of the implementing type is one account. Everything but `describe` and `create` is called on the one
//! thread that the instance lives on, so futures need not be `Send` and the type needs no locks.
//!
//! Not here: how the functions become a plugin (`export`), and what they are given (`context`).

use crate::{
    Command, ConfigError, Context, Description, Fault, Host, Outcome, Verdict, WebhookRequest,
    WebhookResponse,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::future::Future;

/// A provider adapter; one value is one account.
///
/// Made into a plugin by [`export_adapter!`](crate::export_adapter). A panic in any function ends this instance only.
pub trait Adapter: Send + Sized + 'static {
    /// Provider id, `[a-z][a-z0-9-]{0,31}`: the descriptor is a constant, `describe` is not.
    const PROVIDER: &'static str;

    /// The adapter's part of an account's configuration.
    type Config: DeserializeOwned + JsonSchema + 'static;

    /// What the adapter can do. Called once per process.
    fn describe() -> Description;

    /// Validates and allocates: no input or output, no threads. Metrics are defined here.
    fn create(config: Self::Config, host: &Host) -> Result<Self, ConfigError>;

    /// The session: connect, read, emit, acknowledge, reconnect.
    ///
    /// Returns after [`Context::draining`] fired and the last acknowledgement is written. An `Err` made by
    /// [`Fault::retry`] is reported as `backoff` and `run` is called again; after [`Fault::permanent`] it is called
    /// again upon `account.reconnect` or [`Context::reconnect`]. Dropped at any await point by a stop.
    fn run(&self, cx: &Context) -> impl Future<Output = Result<(), Fault>>;

    /// Executes one command; several run at the same time. Dropped at its deadline, by a cancellation and by a stop.
    ///
    /// `cx` carries the command's trace: operations and events made with it belong to the command.
    ///
    /// Control of the account comes the same way, named `account.<verb>`: `login`, `logout`, `reconnect`,
    /// `refresh_token`, `answer_challenge`, `sync`, `health`, `info`. `account.reconnect` is answered by the SDK while
    /// `run` waits after a fault, and ends the waiting; all others, and `reconnect` while `run` is running, are the
    /// adapter's. A verb that repairs what made `run` fail ends with [`Context::reconnect`].
    fn execute(&self, cx: &Context, command: Command) -> impl Future<Output = Outcome>;

    /// Answers whether a command happened, without acting. Offered only if [`Description::verify`] was called.
    fn verify(&self, cx: &Context, command: Command) -> impl Future<Output = Verdict> {
        let _ = (cx, command);
        async { Verdict::Unknown }
    }

    /// Answers an HTTP request of the provider. Offered only if [`Description::webhook`] was called.
    fn webhook(
        &self,
        cx: &Context,
        request: WebhookRequest,
    ) -> impl Future<Output = WebhookResponse> {
        let _ = (cx, request);
        async { WebhookResponse::status(404) }
    }
}
