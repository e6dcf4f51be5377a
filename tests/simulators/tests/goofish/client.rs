//! A client that does what the page says and nothing else; it shares no code with the simulator.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use im_bridge_test_harness::{Control, within};
use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub const APP_KEY: &str = "444e9908a51d1cb236a27862abc769c9";
pub const CID: &str = "30000000001@goofish";
pub const A: &str = "1000000001";
pub const B: &str = "2000000002";
pub const SEND: &str = "/r/MessageSend/sendByReceiverScope";

/// The simulator of this build; it ends with this value.
pub struct Provider {
    child: Child,
    pub http: String,
    pub ws: String,
    pub control: Control,
}

impl Provider {
    pub fn start() -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_im-bridge-test-simulators"));
        let mut child = Command::new(program)
            .args(["goofish", "--http", "127.0.0.1:0", "--ws", "127.0.0.1:0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let said = child.stdout.take().unwrap();
        BufReader::new(said).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let address = |of: &str| told[of].as_str().unwrap().to_owned();
        Self {
            child,
            control: Control::new(&address("http")),
            http: address("http"),
            ws: address("ws"),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub async fn act(&self, act: &str, body: Value) -> Value {
        self.control.act(act, body).await
    }

    pub async fn fault(&self, fault: Value) {
        self.act("fault", fault).await;
    }

    /// One `POST`; what it answers, or nothing if the connection ended without.
    pub async fn post(&self, path: &str, cookies: &str, body: &str) -> Option<Posted> {
        let authority = self.http.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(authority).await.unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nCookie: {cookies}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let cookies = head
            .lines()
            .filter_map(|line| line.strip_prefix("set-cookie: "))
            .filter_map(|line| line.split(';').next().map(str::to_owned));
        Some(Posted {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            cookies: cookies.collect(),
            text: body.to_owned(),
        })
    }

    /// One signed call of mtop.
    pub async fn call(
        &self,
        api: &str,
        version: &str,
        cookies: &str,
        data: &str,
    ) -> Option<Posted> {
        let token = cookies.split("_m_h5_tk=").nth(1).unwrap_or_default();
        let token = token.split(['_', ';']).next().unwrap_or_default();
        let signed = format!("{token}&1700000000000&34839810&{data}");
        self.signed(api, version, cookies, data, &md5(&signed))
            .await
    }

    pub async fn signed(
        &self,
        api: &str,
        version: &str,
        cookies: &str,
        data: &str,
        sign: &str,
    ) -> Option<Posted> {
        let path = format!(
            "/h5/{api}/{version}/?sign={sign}&v={version}&api={api}&t=1700000000000&appKey=34839810&x=y"
        );
        self.post(&path, cookies, &format!("data={}", form(data)))
            .await
    }

    pub async fn login_token(&self, cookies: &str, device: &str) -> Posted {
        let data = json!({ "appKey": APP_KEY, "deviceId": device }).to_string();
        let api = "mtop.taobao.idlemessage.pc.login.token";
        self.call(api, "1.0", cookies, &data)
            .await
            .expect("an answer")
    }

    /// An IM token, from nothing but the login cookie.
    pub async fn token(&self, uid: &str, device: &str) -> String {
        let login = format!("unb={uid}; cookie2=synthetic");
        let first = self.login_token(&login, device).await;
        assert!(
            first.ret().starts_with("FAIL_SYS_TOKEN_EMPTY"),
            "{}",
            first.text
        );
        let cookies = format!("{login}; {}", first.cookies.join("; "));
        let second = self.login_token(&cookies, device).await;
        let data = second.json()["data"].clone();
        data["accessToken"]
            .as_str()
            .unwrap_or_else(|| panic!("{}", second.text))
            .to_owned()
    }

    /// Registered and synchronised, with all pushes acknowledged from here on, the hints taken.
    pub async fn online(&self, uid: &str) -> Client {
        let device = format!("device-{uid}");
        let token = self.token(uid, &device).await;
        let mut client = Client::connect(&self.ws).await;
        let registered = client.register(&token, &device).await;
        assert_eq!(registered["headers"]["reg-uid"], format!("{uid}@goofish"));
        let state = client
            .ask("/r/SyncStatus/getState", json!([{ "topic": "sync" }]))
            .await;
        let synced = client
            .ask("/r/SyncStatus/ackDiff", json!([state["body"]]))
            .await;
        assert_eq!(synced["code"], 200);
        client
    }

    /// What a person says with a phone; the id.
    pub async fn say(&self, from: &str, text: &str) -> String {
        let said = json!({ "from": from, "cid": CID, "text": text });
        let said = self.act("say", said).await;
        said["message_ids"][0].as_str().unwrap().to_owned()
    }

    /// How many messages had an effect, and their texts.
    pub async fn sent(&self) -> Vec<String> {
        let sent = self.control.record(&["sent"]).await;
        sent.iter()
            .map(|it| it["summary"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Provider {
    /// Why connections ended, in their order.
    pub async fn ended(&self) -> Vec<String> {
        let ended = self.control.record(&["ended"]).await;
        ended
            .iter()
            .map(|it| it["why"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

#[derive(Debug)]
pub struct Posted {
    pub status: u16,
    pub cookies: Vec<String>,
    pub text: String,
}

impl Posted {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub fn ret(&self) -> String {
        self.json()["ret"][0].as_str().unwrap().to_owned()
    }
}

pub fn md5(text: &str) -> String {
    Md5::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Every byte escaped: a form as good as any.
fn form(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Pushes that came while an answer was waited for, and answers while a push was.
    kept: VecDeque<Value>,
    last_mid: u64,
}

/// What comes next on a socket.
#[derive(Debug, PartialEq)]
pub enum Next {
    Frame(Value),
    Raw(String),
    Closed(u16),
    Gone,
}

impl Client {
    pub async fn connect(ws: &str) -> Self {
        let (socket, _) = tokio_tungstenite::connect_async(ws).await.unwrap();
        Self {
            socket,
            kept: VecDeque::new(),
            last_mid: 0,
        }
    }

    pub async fn register(&mut self, token: &str, device: &str) -> Value {
        let headers = json!({
            "cache-header": "app-key token ua wv", "app-key": APP_KEY, "token": token,
            "ua": "Mozilla/5.0 DingTalk(2.2.0) DingWeb/2.2.0", "dt": "j", "wv": "im:3,au:3,sy:6",
            "sync": "0,0;0;0;", "did": device,
        });
        let mid = self.send_with("/reg", headers, None).await;
        self.answer(&mid).await
    }

    pub async fn ask(&mut self, lwp: &str, body: Value) -> Value {
        let mid = self.send(lwp, body).await;
        self.answer(&mid).await
    }

    /// Sends a request; its `mid`.
    pub async fn send(&mut self, lwp: &str, body: Value) -> String {
        self.send_with(lwp, json!({}), Some(body)).await
    }

    async fn send_with(&mut self, lwp: &str, mut headers: Value, body: Option<Value>) -> String {
        self.last_mid += 1;
        let mid = format!("{}1700000000000 0", self.last_mid % 1000);
        headers["mid"] = mid.clone().into();
        let mut frame = json!({ "lwp": lwp, "headers": headers });
        if let Some(body) = body {
            frame["body"] = body;
        }
        self.raw(&frame.to_string()).await;
        mid
    }

    pub async fn raw(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Says a text in the conversation of both; the `mid`.
    pub async fn send_text(&mut self, text: &str) -> String {
        self.send(SEND, message(text)).await
    }

    pub async fn acknowledge(&mut self, push: &Value) {
        let ack = json!({ "code": 200, "headers": push["headers"] });
        self.raw(&ack.to_string()).await;
    }

    /// Whatever comes next, in order; what was kept comes first.
    pub async fn next(&mut self) -> Next {
        match self.kept.pop_front() {
            Some(frame) => Next::Frame(frame),
            None => within("something from the provider", self.read()).await,
        }
    }

    async fn read(&mut self) -> Next {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let frame = serde_json::from_str(&text);
                    return frame.map_or_else(|_| Next::Raw(text.to_string()), Next::Frame);
                }
                Some(Ok(Message::Binary(bytes))) => {
                    return Next::Frame(serde_json::from_slice(&bytes).unwrap());
                }
                Some(Ok(Message::Close(frame))) => {
                    return Next::Closed(frame.map_or(1005, |frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Next::Gone,
            }
        }
    }

    /// The answer to this request; other frames are kept.
    pub async fn answer(&mut self, mid: &str) -> Value {
        let is_it = |frame: &Value| frame["lwp"].is_null() && frame["headers"]["mid"] == mid;
        self.find(&format!("the answer to {mid}"), is_it).await
    }

    /// The next push on this path; other frames are kept.
    pub async fn push(&mut self, lwp: &str) -> Value {
        self.find(&format!("a push on {lwp}"), |frame| frame["lwp"] == lwp)
            .await
    }

    async fn find(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.kept.iter().position(&is_it) {
            return self.kept.remove(at).unwrap();
        }
        loop {
            match within(what, self.read()).await {
                Next::Frame(frame) if is_it(&frame) => return frame,
                Next::Frame(frame) => self.kept.push_back(frame),
                other => panic!("{what}: {other:?}"),
            }
        }
    }

    /// What is left of what was heard while something else was waited for.
    pub fn next_of_kept(&mut self) -> Option<Value> {
        self.kept.pop_front()
    }

    /// Everything that was said before this moment: an answer leaves in its turn.
    pub async fn heard(&mut self) -> Vec<Value> {
        self.ask("/!", Value::Null).await;
        self.kept.drain(..).collect()
    }
}

/// The body of a send.
pub fn message(text: &str) -> Value {
    let inner = json!({ "contentType": 1, "text": { "text": text } });
    message_of(&inner.to_string())
}

pub fn message_of(inner: &str) -> Value {
    use base64::Engine as _;
    let data = base64::engine::general_purpose::STANDARD.encode(inner);
    json!([
        {
            "uuid": format!("-{}", md5(inner)), "cid": CID, "conversationType": 1,
            "content": { "contentType": 101, "custom": { "type": 1, "data": data } },
        },
        { "actualReceivers": [format!("{A}@goofish"), format!("{B}@goofish")] },
    ])
}

/// Items in a push.
pub fn items(push: &Value) -> &Vec<Value> {
    push["body"]["syncPushPackage"]["data"].as_array().unwrap()
}

/// Whether one of its items has these bytes in it.
pub fn says(push: &Value, text: impl AsRef<[u8]>) -> bool {
    use base64::Engine as _;
    let text = text.as_ref();
    items(push).iter().any(|item| {
        let data = item["data"].as_str().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(data);
        let bytes = bytes.unwrap();
        bytes.windows(text.len()).any(|it| it == text)
    })
}
