//! mtop over HTTP: what a call looks like, how it is signed, and what its answers mean.
//!
//! A failed call has HTTP status 200, too; `ret` tells. The signature covers the exact text of the data, which is therefore
//! written once.

use md5::{Digest, Md5};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write as _;

use super::{number, text};

/// Key of mtop itself, not of the account's app.
const APP_KEY: &str = "34839810";

pub const LOGIN_TOKEN: Api = Api {
    name: "mtop.taobao.idlemessage.pc.login.token",
    version: "1.0",
};
/// Nick and picture of the other one in a conversation.
pub const USER_QUERY: Api = Api {
    name: "mtop.taobao.idlemessage.pc.user.query",
    version: "4.0",
};

/// An API of mtop.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    pub name: &'static str,
    pub version: &'static str,
}

impl Api {
    /// Its path below the base address.
    pub fn path(self) -> String {
        format!("/h5/{}/{}/", self.name, self.version)
    }

    /// The query of a call, in the order of the provider's client.
    pub fn query(self, signed: &Signed) -> Vec<(&'static str, String)> {
        let fixed = |value: &str| value.to_owned();
        vec![
            ("appKey", fixed(APP_KEY)),
            ("jsv", fixed("2.7.2")),
            ("dataType", fixed("json")),
            ("type", fixed("originaljson")),
            ("sessionOption", fixed("AutoLoginOnly")),
            ("t", signed.t_ms.to_string()),
            ("v", fixed(self.version)),
            ("accountSite", fixed("xianyu")),
            ("timeout", fixed("20000")),
            ("api", fixed(self.name)),
            ("sign", signed.sign.clone()),
            ("spm_cnt", fixed("a21ybx.im.0.0")),
            ("spm_pre", fixed("a21ybx.im.0.0")),
            ("log_id", String::new()),
        ]
    }
}

/// The signature of some data at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub t_ms: i64,
    pub sign: String,
}

impl Signed {
    /// `signing_cookie` is the value of `_m_h5_tk`; empty before the first answer.
    pub fn new(signing_cookie: &str, t_ms: i64, data: &str) -> Self {
        let token = signing_cookie.split('_').next().unwrap_or_default();
        let digest = Md5::digest(format!("{token}&{t_ms}&{APP_KEY}&{data}"));
        let mut sign = String::with_capacity(32);
        for byte in digest {
            let _ = write!(sign, "{byte:02x}");
        }
        Self { t_ms, sign }
    }
}

/// The data of a token's call.
pub fn login_data(app_key: &str, device_id: &str) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Login<'a> {
        app_key: &'a str,
        device_id: &'a str,
    }
    json(&Login { app_key, device_id })
}

/// The data of a question for the other one in a conversation.
pub fn user_data(conversation: &str) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Query<'a> {
        r#type: i64,
        session_type: i64,
        session_id: &'a str,
        is_owner: bool,
    }
    json(&Query {
        r#type: 0,
        session_type: 1,
        session_id: conversation,
        is_owner: false,
    })
}

fn json(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("data has string keys only, so it is JSON")
}

/// A token for the WebSocket.
pub struct Token {
    pub token: String,
    pub valid_ms: i64,
}

/// Validity of a token that does not say how long: the shortest that anybody renews after.
const VALID_MS_DEFAULT: i64 = 3_600_000;

impl Token {
    pub fn read(data: &Value) -> Option<Self> {
        let valid_ms = number(&data["accessTokenExpiredTime"]).filter(|ms| *ms > 0);
        Some(Self {
            token: text(&data["accessToken"])?.to_owned(),
            valid_ms: valid_ms.unwrap_or(VALID_MS_DEFAULT),
        })
    }
}

/// Why mtop did not answer what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No signing token, a bad one or an expired one: the answer brought another.
    SigningToken,
    /// A bad signature, or a caller that is not welcome.
    IllegalAccess,
    /// The login cookies are no longer valid.
    SessionExpired,
    /// Risk control wants a person, at this address.
    Challenge(Option<String>),
    RateLimited,
    Trouble,
    /// No such API or version.
    NoSuchApi,
    Other,
}

/// Codes by what they mean, the gravest first: a challenge comes with a second code that alone would say something else.
const CODES: &[(&str, Refusal)] = &[
    ("FAIL_SYS_USER_VALIDATE", Refusal::Challenge(None)),
    ("RGV587_ERROR", Refusal::Challenge(None)),
    ("FAIL_SYS_SESSION_EXPIRED", Refusal::SessionExpired),
    ("SID_INVALID", Refusal::SessionExpired),
    ("NEED_LOGIN", Refusal::SessionExpired),
    ("FAIL_BIZ_USER_NOT_LOGIN", Refusal::SessionExpired),
    ("FAIL_SYS_TRAFFIC_LIMIT", Refusal::RateLimited),
    ("FAIL_SYS_USER_LIMIT", Refusal::RateLimited),
    ("FAIL_SYS_TOKEN_EMPTY", Refusal::SigningToken),
    ("FAIL_SYS_TOKEN_ILLEGAL", Refusal::SigningToken),
    ("FAIL_SYS_TOKEN_EXOIRED", Refusal::SigningToken),
    ("FAIL_SYS_TOKEN_EXPIRED", Refusal::SigningToken),
    ("FAIL_SYS_ILLEGAL_ACCESS", Refusal::IllegalAccess),
    ("FAIL_SYS_ILLEGAL_REQUEST", Refusal::IllegalAccess),
    ("FAIL_SYS_API_NOT_FOUNDED", Refusal::NoSuchApi),
    ("FAIL_SYS_SERVICE_NOT_EXIST", Refusal::NoSuchApi),
    ("FAIL_SYS_TIMEOUT", Refusal::Trouble),
    ("FAIL_SYS_ERROR", Refusal::Trouble),
];

/// What an answer says: its data, or why not, with the provider's own words.
pub fn outcome(mut answer: Value) -> Result<Value, (Refusal, String)> {
    let ret: Vec<&str> = match &answer["ret"] {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        Value::String(one) => vec![one],
        _ => Vec::new(),
    };
    if ret.is_empty() {
        return Err((Refusal::Other, "the answer says nothing in ret".to_owned()));
    }
    let code = |entry: &&str| {
        entry
            .split("::")
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let codes: Vec<String> = ret.iter().map(code).collect();
    let said = ret.join("; ");
    // A code may have more words around it: FAIL_SYS_SESSION_EXPIRED_2, FAIL_BIZ_SID_INVALID.
    let is_said = |known: &str| codes.iter().any(|code| code.contains(known));
    match CODES.iter().find(|(known, _)| is_said(known)) {
        Some((_, Refusal::Challenge(_))) => {
            let url = text(&answer["data"]["url"]).map(str::to_owned);
            Err((Refusal::Challenge(url), said))
        }
        Some((_, refusal)) => Err((refusal.clone(), said)),
        None if codes.iter().any(|code| code == "SUCCESS") => Ok(answer["data"].take()),
        None => Err((Refusal::Other, said)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_signature_is_the_one_of_the_protocol() {
        let data = login_data("444e9908a51d1cb236a27862abc769c9", "D-1");
        assert_eq!(
            data,
            r#"{"appKey":"444e9908a51d1cb236a27862abc769c9","deviceId":"D-1"}"#
        );
        let signed = Signed::new(
            "0123456789abcdef0123456789abcdef_1700000000000",
            1_700_000_000_000,
            &data,
        );
        assert_eq!(signed.sign, "ddb6e9418bc726c5ef51798b3bdd2873");
    }

    #[test]
    fn every_code_is_told_apart() {
        let of = |ret: Value| {
            outcome(json!({ "ret": ret, "data": { "url": "https://x" } }))
                .unwrap_err()
                .0
        };
        for (code, wanted) in CODES {
            let wanted = match wanted {
                Refusal::Challenge(_) => Refusal::Challenge(Some("https://x".into())),
                other => other.clone(),
            };
            assert_eq!(of(json!([format!("{code}::text")])), wanted);
            assert_eq!(of(json!([code])), wanted);
            assert_eq!(of(json!([format!("ERR_{code}_2::text")])), wanted);
        }
        assert_eq!(
            of(json!(["FAIL_SYS_TRAFFIC_LIMIT::x", "RGV587_ERROR::SM::x"])),
            Refusal::Challenge(Some("https://x".into()))
        );
        assert_eq!(of(json!(["SOMETHING::new"])), Refusal::Other);
        for nothing in [json!(null), json!([])] {
            let said = outcome(json!({ "ret": nothing })).unwrap_err().1;
            assert_eq!(said, "the answer says nothing in ret");
        }
        assert_eq!(
            outcome(json!({ "ret": ["SUCCESS::ok"], "data": 7 })),
            Ok(json!(7))
        );
    }

    #[test]
    fn a_token_without_a_time_is_renewed_soon() {
        assert_eq!(
            Token::read(&json!({ "accessToken": "t" }))
                .unwrap()
                .valid_ms,
            VALID_MS_DEFAULT
        );
        let token = json!({ "accessToken": "t", "accessTokenExpiredTime": "86400000" });
        assert_eq!(Token::read(&token).unwrap().valid_ms, 86_400_000);
        assert!(Token::read(&json!({ "accessToken": "" })).is_none());
    }
}
