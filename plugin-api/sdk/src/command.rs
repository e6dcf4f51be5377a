//! A command as the adapter sees it.
//!
//! [`Command::sent`] is the point of no return. Deadline, cancellation, panic and stop are handled around the adapter's
//! future; what they become is decided by whether `sent` was called.
//!
//! Not here: queueing and completing (`engine::commands`).

use crate::model::ErrorCode;
use crate::{Outcome, Trace};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::cell::Cell;
use std::rc::Rc;

/// Something a service wants done, see [`crate::Adapter::execute`].
#[derive(Debug)]
pub struct Command {
    pub(crate) data: CommandData,
    pub(crate) point: Rc<PointOfNoReturn>,
}

/// What crossed the boundary, copied.
#[derive(Debug, Default)]
pub(crate) struct CommandData {
    pub(crate) id: u64,
    pub(crate) flags: u32,
    pub(crate) deadline_ms: i64,
    pub(crate) name: String,
    pub(crate) channel: String,
    pub(crate) key: String,
    pub(crate) body: String,
    pub(crate) trace: Trace,
    /// Asked by `imb.verify/1`: the answer is a verdict.
    pub(crate) is_verify: bool,
}

/// Shared between the command and those who end it.
#[derive(Debug, Default)]
pub(crate) struct PointOfNoReturn(Cell<bool>);

impl PointOfNoReturn {
    pub(crate) fn is_passed(&self) -> bool {
        self.0.get()
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    options: Option<&'a RawValue>,
}

impl Command {
    /// Its name, for example `message.send`; control of the account is `account.<verb>`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.data.name
    }

    /// The exact native channel id, also where the caller named a user; none where the command names no channel.
    #[must_use]
    pub fn channel(&self) -> Option<&str> {
        (!self.data.channel.is_empty()).then_some(self.data.channel.as_str())
    }

    /// The key that makes repeating harmless, already shortened to the declared limit; the client reference.
    #[must_use]
    pub fn idempotency_key(&self) -> &str {
        &self.data.key
    }

    /// Unix milliseconds after which the command is ended by the SDK.
    #[must_use]
    pub fn deadline_ms(&self) -> i64 {
        self.data.deadline_ms
    }

    /// An earlier attempt may have reached the provider: look before acting, unless the provider removes duplicates.
    #[must_use]
    pub fn is_redelivered(&self) -> bool {
        self.data.flags & im_bridge_plugin_api::abi::CMD_REDELIVERED != 0
    }

    /// Parent of everything done for it; operations and events made with its context have it already.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.data.trace
    }

    /// The parameters as the caller sent them; an error is the outcome to return.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T, Outcome> {
        let raw = self.parts()?.params.map_or("{}", RawValue::get);
        parse(raw, "/params")
    }

    /// The options as the caller sent them; an error is the outcome to return.
    pub fn options<T: DeserializeOwned>(&self) -> Result<T, Outcome> {
        let raw = self.parts()?.options.map_or("{}", RawValue::get);
        parse(raw, "/options")
    }

    /// The point of no return: call it right before the request is handed to the provider.
    pub fn sent(&self) {
        self.point.0.set(true);
    }

    fn parts(&self) -> Result<Body<'_>, Outcome> {
        serde_json::from_str(&self.data.body).map_err(|error| {
            Outcome::error(
                ErrorCode::BadRequest,
                format_args!("the body is malformed: {error}"),
            )
        })
    }
}

fn parse<T: DeserializeOwned>(raw: &str, path: &'static str) -> Result<T, Outcome> {
    serde_json::from_str(raw).map_err(|error| Outcome::error(ErrorCode::BadParam, error).path(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(body: &str) -> Command {
        let data = CommandData {
            body: body.to_owned(),
            ..CommandData::default()
        };
        Command {
            data,
            point: Rc::default(),
        }
    }

    #[test]
    fn parameters_and_options_are_read_apart() {
        let command = command(r#"{"params":{"on":true},"options":{"notify":false}}"#);
        let params: serde_json::Value = command.params().unwrap();
        assert_eq!(params, serde_json::json!({"on": true}));
        let options: serde_json::Value = command.options().unwrap();
        assert_eq!(options, serde_json::json!({"notify": false}));
    }

    #[test]
    fn a_parameter_that_does_not_fit_is_an_outcome_with_its_place() {
        #[derive(Debug, Deserialize)]
        struct Params {
            #[allow(dead_code, reason = "only read from JSON")]
            on: bool,
        }
        let outcome = command(r#"{"params":{"on":7}}"#)
            .params::<Params>()
            .unwrap_err();
        assert_eq!(outcome.code, Some(ErrorCode::BadParam));
    }
}
