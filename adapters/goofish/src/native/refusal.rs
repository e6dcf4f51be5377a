//! Why the provider did not do what was asked, and what that means.

use super::frame::OK;

/// Login no longer valid: new token, new socket.
const UNAUTHORIZED: i64 = 401;

/// Why the provider did not do what was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The frame's code; none when it had no code that the protocol knows.
    pub code: Option<i64>,
    /// The body's own code.
    pub body_code: Option<String>,
    pub reason: Option<String>,
    pub more: Option<String>,
}

/// The provider's word for "slow down", in a body.
pub const FLOW_CONTROL: &str = "400600001";

impl Refusal {
    /// The login is no longer valid, whatever was asked.
    pub fn is_unauthorized(&self) -> bool {
        is_unauthorized(self.code, self.reason.as_deref())
    }

    pub fn is_flow_control(&self) -> bool {
        self.code == Some(429) || self.body_code.as_deref() == Some(FLOW_CONTROL)
    }

    pub fn is_content(&self) -> bool {
        let forbids = |text: &str| text.contains("CSI_FORBID");
        self.more.as_deref().is_some_and(forbids) || self.reason.as_deref().is_some_and(forbids)
    }

    /// Too many connections of the account.
    pub fn is_connection_limit(&self) -> bool {
        let reason = self.reason.as_deref().unwrap_or_default().to_lowercase();
        ["connect limit", "session remove", "too many"]
            .iter()
            .any(|words| reason.contains(words))
    }

    /// The provider said no for certain; anything else may have happened.
    pub fn is_certain(&self) -> bool {
        match self.code {
            Some(OK) => true,
            Some(code) => (400..500).contains(&code) && code != 408,
            None => false,
        }
    }

    /// The code that people see: the body's, where it has one.
    pub fn native_code(&self) -> String {
        let code = |code: i64| code.to_string();
        self.body_code
            .clone()
            .or_else(|| self.code.map(code))
            .unwrap_or_default()
    }

    /// What the provider says about it.
    pub fn native_text(&self) -> Option<String> {
        match (&self.reason, &self.more) {
            (Some(reason), Some(more)) => Some(format!("{reason} ({more})")),
            (reason, more) => reason.clone().or_else(|| more.clone()),
        }
    }
}

/// By its code, or by a body that says so.
pub fn is_unauthorized(code: Option<i64>, reason: Option<&str>) -> bool {
    let lost_token = |reason: &str| {
        let reason = reason.to_lowercase();
        reason.contains("token") && reason.contains("not found")
    };
    code == Some(UNAUTHORIZED) || reason.is_some_and(lost_token)
}
