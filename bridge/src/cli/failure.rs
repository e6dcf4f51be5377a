//! How a command ends: what it tells the shell, and why it could not do what it was asked.

use super::output::Output;
use crate::bus::connect::ConnectError;
use crate::bus::provision::ProvisionError;
use crate::config::Mistaken;
use crate::config::secret::SecretError;
use std::borrow::Cow;
use std::io;
use std::process::ExitCode;

/// What a finished command tells the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Nothing to complain about.
    Done,
    /// Done, and the answer is no.
    No,
    /// Refused before anything was done.
    Refused,
    /// NATS or the bridge cannot be reached.
    Unreachable,
    /// Not within the time asked for.
    Late,
    /// It may or may not have happened.
    Unknown,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Refused => 2,
            Exit::Unreachable => 3,
            Exit::Late => 4,
            Exit::Unknown => 5,
        })
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub enum Failure {
    /// Standard output cannot be written; a closed pipe among others.
    Output(io::Error),
    /// An error that a user can look up.
    Told {
        code: Cow<'static, str>,
        text: String,
        exit: Exit,
    },
    /// Mistakes in the configuration, all of them.
    Configuration(Box<Mistaken>),
}

impl Failure {
    pub fn new(exit: Exit, code: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Self {
        Self::Told {
            code: code.into(),
            text: text.into(),
            exit,
        }
    }

    /// Tells it on standard error.
    pub(super) fn tell(self, output: &mut Output) -> io::Result<Exit> {
        match self {
            Self::Output(error) => Err(error),
            Self::Told { code, text, exit } => {
                output.error(&code, &text)?;
                Ok(exit)
            }
            Self::Configuration(mistaken) => {
                output.mistakes(&mistaken)?;
                Ok(Exit::Refused)
            }
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<Box<Mistaken>> for Failure {
    fn from(mistaken: Box<Mistaken>) -> Self {
        Self::Configuration(mistaken)
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        Self::new(Exit::Refused, error.code(), error.to_string())
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::new(Exit::Unreachable, error.code(), error.to_string())
    }
}

impl From<ProvisionError> for Failure {
    fn from(error: ProvisionError) -> Self {
        Self::new(Exit::No, error.code(), error.to_string())
    }
}
