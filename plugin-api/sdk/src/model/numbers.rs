//! What unknown numbers of the plugin ABI mean, and how levels are written.

use super::names::{AccountState, Delivery, ErrorClass, Level, NoiseClass, OrderScope, Origin};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

impl ErrorClass {
    /// The class of a failed status; an unknown one is [`ErrorClass::Internal`].
    #[must_use]
    pub fn from_abi(status: i32) -> Self {
        Self::from_number(status).unwrap_or(Self::Internal)
    }
}

impl Origin {
    /// Unknown: [`Origin::Remote`].
    #[must_use]
    pub fn from_abi(number: u8) -> Self {
        Self::from_number(number).unwrap_or(Self::Remote)
    }
}

impl Delivery {
    /// Unknown: [`Delivery::Live`].
    #[must_use]
    pub fn from_abi(number: u8) -> Self {
        Self::from_number(number).unwrap_or(Self::Live)
    }
}

impl OrderScope {
    /// Unknown: [`OrderScope::None`].
    #[must_use]
    pub fn from_abi(number: u8) -> Self {
        Self::from_number(number).unwrap_or(Self::None)
    }
}

impl NoiseClass {
    /// Unknown: [`NoiseClass::Aux`].
    #[must_use]
    pub fn from_abi(number: u16) -> Self {
        Self::from_number(number).unwrap_or(Self::Aux)
    }
}

impl AccountState {
    /// The number of a state that an adapter may report; none for those that only the core sets.
    #[must_use]
    pub const fn abi(self) -> Option<u32> {
        Some(match self {
            Self::Stopped | Self::Starting | Self::Unconfigured => return None,
            Self::LoggingIn => 1,
            Self::Connecting => 2,
            Self::CatchingUp => 3,
            Self::Online => 4,
            Self::Degraded => 5,
            Self::Backoff => 6,
            Self::ChallengeRequired => 7,
            Self::Conflicted => 8,
            Self::BadCredentials => 9,
            Self::LoggedOut => 10,
            Self::Failed => 11,
        })
    }

    /// The state of a reported number; an unknown one is [`AccountState::Degraded`].
    #[must_use]
    pub fn from_abi(number: u32) -> Self {
        let known = Self::ALL.iter().find(|state| state.abi() == Some(number));
        known.copied().unwrap_or(Self::Degraded)
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i8(self.number())
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = i8::deserialize(from)?;
        Self::from_number(number).ok_or_else(|| {
            serde::de::Error::custom(format_args!("unknown level {number}; use -2 to 2"))
        })
    }
}

impl schemars::JsonSchema for Level {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Level".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": -2, "maximum": 2 })
    }
}
