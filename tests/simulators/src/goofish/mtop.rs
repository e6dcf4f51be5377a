//! The mtop gateway: what it checks of a call, in which order, and what it answers.
//!
//! Every failure is HTTP 200 with a `ret`; signing cookies come with every answer to a call whose signing token is not good,
//! and with a wrong signature. Not here: HTTP itself.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::{Value, json};

use super::faults::{Do, On};
use super::wire::{MTOP_APP_KEY, fresh_hex, md5_hex, now_ms};
use super::world::World;

/// Tokens of a kind that are kept; the oldest goes first. More than any test has accounts.
const TOKENS_MAX: usize = 50_000;
const LOGIN_TOKEN: &str = "mtop.taobao.idlemessage.pc.login.token";
/// Where the recorded page of the risk control is.
const PUNISH: &str = "https://h5api.m.goofish.com:443//h5/";

/// Tokens by their text.
pub struct Tokens<T> {
    by_text: HashMap<String, T>,
    age: VecDeque<String>,
}

impl<T> Default for Tokens<T> {
    fn default() -> Self {
        Self {
            by_text: HashMap::new(),
            age: VecDeque::new(),
        }
    }
}

impl<T> Tokens<T> {
    pub fn add(&mut self, text: String, token: T) {
        if self.age.len() == TOKENS_MAX
            && let Some(oldest) = self.age.pop_front()
        {
            self.by_text.remove(&oldest);
        }
        self.age.push_back(text.clone());
        self.by_text.insert(text, token);
    }

    pub fn get(&self, text: &str) -> Option<&T> {
        self.by_text.get(text)
    }

    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.by_text.values_mut()
    }
}

/// A signing token: the first part of `_m_h5_tk`.
pub struct Signing {
    pub uid: Option<String>,
    pub expires_ms: u64,
}

/// An IM token, bound to what asked for it.
pub struct Grant {
    pub uid: String,
    pub app_key: String,
    pub device: String,
    pub expires_ms: u64,
}

/// A call as it came in.
pub struct Call {
    /// From the path.
    pub api: String,
    pub version: String,
    pub query: HashMap<String, String>,
    pub cookies: Vec<(String, String)>,
    pub is_form: bool,
    /// The `data` field, decoded; none if there is not exactly one.
    pub data: Option<String>,
}

/// What the gateway does with it.
pub enum Reply {
    /// The body, and values for `Set-Cookie`.
    Json(Value, Vec<String>),
    Plain(u16, String),
    Never,
    Drop,
}

/// What went wrong, as `ret` tells it.
struct Refusal {
    ret: &'static str,
    set_cookie: bool,
}

const fn refusal(ret: &'static str) -> Refusal {
    Refusal {
        ret,
        set_cookie: false,
    }
}

const fn with_cookies(ret: &'static str) -> Refusal {
    Refusal {
        ret,
        set_cookie: true,
    }
}

const ILLEGAL_REQUEST: Refusal = refusal("FAIL_SYS_ILLEGAL_REQUEST::非法请求");
const SESSION_EXPIRED: Refusal = refusal("FAIL_SYS_SESSION_EXPIRED::Session过期");
const TOKEN_ILLEGAL: Refusal = with_cookies("FAIL_SYS_TOKEN_ILLEGAL::非法令牌");

/// What was recorded for a code: `ret`, `data`, whether cookies came along.
fn recorded(code: &str) -> (Vec<String>, Value, bool) {
    let one = |text: &str| vec![format!("{code}::{text}")];
    match code {
        "FAIL_SYS_TOKEN_EMPTY" => (one("令牌为空"), json!({}), true),
        "FAIL_SYS_TOKEN_ILLEGAL" => (one("非法令牌"), json!({}), true),
        "FAIL_SYS_TOKEN_EXOIRED" | "FAIL_SYS_TOKEN_EXPIRED" => (one("令牌过期"), json!({}), true),
        "FAIL_SYS_ILLEGAL_ACCESS" => (one("非法请求"), json!({}), true),
        "FAIL_SYS_SESSION_EXPIRED" => (one("Session过期"), json!({}), false),
        "FAIL_SYS_USER_VALIDATE" | "RGV587_ERROR" => {
            let url = format!(
                "{PUNISH}{LOGIN_TOKEN}/1.0/_____tmd_____/punish?x5secdata=synthetic&x5step=2&action=captcha&pureCaptcha="
            );
            let ret = [
                "FAIL_SYS_USER_VALIDATE",
                "RGV587_ERROR::SM::哎哟喂,被挤爆啦,请稍后重试",
            ];
            (
                ret.map(str::to_owned).to_vec(),
                json!({ "url": url }),
                false,
            )
        }
        _ => (one("失败"), json!({}), false),
    }
}

impl Call {
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let mut values = self.cookies.iter().filter(|(key, _)| key == name);
        values.next().map(|(_, value)| value.as_str())
    }

    fn signing_cookies(&self) -> usize {
        let is_it = |(key, _): &&(String, String)| key == "_m_h5_tk";
        self.cookies.iter().filter(is_it).count()
    }
}

impl World {
    /// New values for both signing cookies, as `Set-Cookie` has them.
    fn signing_cookies(&mut self, uid: Option<&str>) -> Vec<String> {
        let token = fresh_hex();
        let expires_ms = now_ms() + self.settings.signing_token_ms;
        let uid = uid.map(str::to_owned);
        self.signing.add(token.clone(), Signing { uid, expires_ms });
        let attributes =
            "Path=/;Domain=goofish.com;Max-Age=604800;SameSite=None;Secure;Partitioned";
        vec![
            format!("_m_h5_tk={token}_{expires_ms};{attributes}"),
            format!("_m_h5_tk_enc={};{attributes}", fresh_hex()),
        ]
    }

    /// Answers a call. How long to wait with it is the fault's.
    pub fn mtop(&mut self, call: &Call) -> (Reply, u64) {
        let uid = call.cookie("unb").map(str::to_owned);
        let answer = |ret: Vec<String>, data: Value| json!({ "api": call.api, "data": data, "ret": ret, "v": call.version });
        let checked = self.check(call);
        if let Err(Refusal { ret, set_cookie }) = checked {
            let cookies = if set_cookie {
                self.signing_cookies(uid.as_deref())
            } else {
                vec![]
            };
            self.tell_mtop(call, ret, None);
            return (
                Reply::Json(answer(vec![ret.to_owned()], json!({})), cookies),
                0,
            );
        }
        if let Some((id, fault)) = self.hit(On::Mtop, uid.as_deref(), &call.api) {
            let hit = Some(fault.what);
            match fault.what {
                Do::Ret => {
                    let code = fault.code.as_ref().and_then(Value::as_str);
                    let known = code.map(recorded);
                    let (ret, data, cookies) =
                        known.unwrap_or_else(|| (vec![], json!({}), fault.set_cookie));
                    let ret = fault.ret.unwrap_or(ret);
                    let data = fault.data.unwrap_or(data);
                    let cookies = if cookies || fault.set_cookie {
                        self.signing_cookies(uid.as_deref())
                    } else {
                        vec![]
                    };
                    self.tell_mtop(call, &ret.join(" "), hit);
                    return (Reply::Json(answer(ret, data), cookies), 0);
                }
                Do::Status | Do::Text => {
                    let status = fault.status.unwrap_or(200);
                    self.tell_mtop(call, &format!("status {status}"), hit);
                    return (Reply::Plain(status, fault.text.unwrap_or_default()), 0);
                }
                Do::Withhold | Do::Drop => {
                    self.tell_mtop(call, "", hit);
                    let is_drop = fault.what == Do::Drop;
                    return (if is_drop { Reply::Drop } else { Reply::Never }, 0);
                }
                Do::Delay => {
                    let reply = self.served(call, &answer);
                    return (reply, fault.ms.unwrap_or_default());
                }
                _ => eprintln!("simulator: fault {id} does nothing to mtop"),
            }
        }
        (self.served(call, &answer), 0)
    }

    fn tell_mtop(&mut self, call: &Call, ret: &str, fault: Option<Do>) {
        let uid = call.cookie("unb");
        let fields = json!({ "api": call.api, "uid": uid, "ret": ret, "fault": fault });
        self.tell("mtop", fields);
    }

    /// Everything that is the same for all calls, in the gateway's order.
    fn check(&mut self, call: &Call) -> Result<(), Refusal> {
        let asked = |key: &str| call.query.get(key).map(String::as_str);
        let known = [
            (LOGIN_TOKEN, "1.0"),
            ("mtop.taobao.idlemessage.pc.loginuser.get", "1.0"),
            ("mtop.idle.web.user.page.head", "1.0"),
            ("mtop.taobao.idlemessage.pc.user.query", "4.0"),
        ];
        if !known.contains(&(call.api.as_str(), call.version.as_str())) {
            return Err(refusal("FAIL_SYS_API_NOT_FOUNDED::请求API不存在"));
        }
        let is_same = asked("api") == Some(&call.api) && asked("v") == Some(&call.version);
        let t = asked("t").filter(|t| t.len() == 13 && t.bytes().all(|it| it.is_ascii_digit()));
        let is_whole = is_same && call.is_form && asked("appKey") == Some(MTOP_APP_KEY);
        let (Some(t), Some(data), true) = (t, &call.data, is_whole) else {
            return Err(ILLEGAL_REQUEST);
        };
        let cookie = match (call.cookie("_m_h5_tk"), call.signing_cookies()) {
            (Some(cookie), 1) => cookie,
            (None, _) => return Err(with_cookies("FAIL_SYS_TOKEN_EMPTY::令牌为空")),
            (Some(_), _) => return Err(TOKEN_ILLEGAL),
        };
        let token = cookie.split('_').next().unwrap_or_default();
        let signing = self.signing.get(token).ok_or(TOKEN_ILLEGAL)?;
        if signing.expires_ms <= now_ms() {
            return Err(with_cookies("FAIL_SYS_TOKEN_EXOIRED::令牌过期"));
        }
        let sign = md5_hex(format!("{token}&{t}&{MTOP_APP_KEY}&{data}").as_bytes());
        if asked("sign") != Some(&sign) {
            return Err(if self.settings.sign_failure == "FAIL_SYS_TOKEN_ILLEGAL" {
                TOKEN_ILLEGAL
            } else {
                with_cookies("FAIL_SYS_ILLEGAL_ACCESS::非法请求")
            });
        }
        self.check_login(&call.cookies)
            .map_err(|()| SESSION_EXPIRED)
    }

    /// Whether these cookies are those of an account that is logged in.
    pub fn check_login(&mut self, cookies: &[(String, String)]) -> Result<(), ()> {
        let cookies: BTreeMap<&str, &str> = cookies
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let person = cookies
            .get("unb")
            .and_then(|uid| self.person(uid))
            .ok_or(())?;
        let has_all = person
            .cookies
            .iter()
            .all(|(key, value)| cookies.get(key.as_str()) == Some(&value.as_str()));
        if person.logged_in && has_all {
            Ok(())
        } else {
            Err(())
        }
    }

    /// A call that nothing is wrong with, of an account that is logged in.
    fn served(&mut self, call: &Call, answer: &dyn Fn(Vec<String>, Value) -> Value) -> Reply {
        let uid = call.cookie("unb").unwrap_or_default().to_owned();
        let data: Value = call
            .data
            .as_deref()
            .and_then(|data| serde_json::from_str(data).ok())
            .unwrap_or_default();
        let text = |key: &str| data[key].as_str().filter(|text| !text.is_empty());
        let given = match call.api.as_str() {
            LOGIN_TOKEN => text("appKey").zip(text("deviceId")).map(|(app_key, device)| {
                let token = format!("oauth_k1:synthetic-{}", fresh_hex());
                let valid_ms = self.settings.access_token_ms;
                let grant = Grant {
                    uid: uid.clone(),
                    app_key: app_key.to_owned(),
                    device: device.to_owned(),
                    expires_ms: now_ms().saturating_add(valid_ms),
                };
                self.grants.add(token.clone(), grant);
                json!({
                    "accessToken": token,
                    "accessTokenExpiredTime": valid_ms.to_string(),
                    "refreshToken": format!("oauth_k1:synthetic-refresh-{}", fresh_hex()),
                })
            }),
            "mtop.idle.web.user.page.head" => {
                Some(json!({ "baseInfo": { "kcUserId": uid, "self": true } }))
            }
            "mtop.taobao.idlemessage.pc.user.query" => {
                text("sessionId").and_then(|cid| self.peer_of(&uid, cid)).map(|(peer, nick)| {
                    json!({ "userInfo": {
                        "userId": peer, "nick": nick, "logo": "https://img.example.invalid/logo.png",
                    } })
                })
            }
            _ => Some(json!({ "userId": uid })),
        };
        let Some(given) = given else {
            self.tell_mtop(call, ILLEGAL_REQUEST.ret, None);
            return Reply::Json(
                answer(vec![ILLEGAL_REQUEST.ret.to_owned()], json!({})),
                vec![],
            );
        };
        self.tell_mtop(call, "SUCCESS", None);
        // The keep-alive renews the signing cookies.
        let renews = call.api.ends_with("loginuser.get");
        let cookies = if renews {
            self.signing_cookies(Some(&uid))
        } else {
            vec![]
        };
        Reply::Json(answer(vec!["SUCCESS::调用成功".to_owned()], given), cookies)
    }
}
