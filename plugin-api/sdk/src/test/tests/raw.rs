//! An adapter written by hand against the raw ABI: its commands are instructions, good and bad.
//!
//! One thread per instance does what the commands say, so that everything happens on a thread of the adapter.

use im_bridge_plugin_api::abi::{
    ABI_MAJOR, ABI_MINOR, Adapter, Buf, ClockAdapter, ClockHost, Command, Completion, Create,
    EXT_CLOCK, EXT_KV, EXT_METRICS, EXT_WEBHOOK, Entry, Event, Host, Instance, KvAdapter, KvHost,
    KvRequest, KvResult, KvVerb, Log, LogLevel, MAGIC, Metric, MetricKind, MetricsHost, Noise, Op,
    Report, Settle, State, Status, Str, Trace, WebhookAdapter, WebhookHost, WebhookRequest,
    WebhookResponse, raw,
};
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::ffi::c_void;
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// What the thread is told.
enum Told {
    Command(u64, String, Value),
    Webhook(u64, Trace, Vec<u8>),
    Kv(u64, Status, u64, Vec<u8>),
    Timer(u64),
}

#[derive(Default)]
struct Inner {
    told: VecDeque<Told>,
    events: i64,
    bytes: i64,
    open: BTreeSet<u64>,
    next_token: u64,
    busy: usize,
    is_stopping: bool,
    kept_value: Option<Kept>,
}

struct Kept(Buf);
// SAFETY: owned buffers may be released on any thread.
unsafe impl Send for Kept {}

struct Raw {
    host: Host,
    config: Value,
    kv: Option<KvHost>,
    clock: Option<ClockHost>,
    webhook: Option<WebhookHost>,
    metrics: Option<MetricsHost>,
    metric: Status,
    inner: Mutex<Inner>,
    changed: Condvar,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}
// SAFETY: the host's functions may be called from any thread; the rest is behind locks.
unsafe impl Send for Raw {}
// SAFETY: as above.
unsafe impl Sync for Raw {}

pub fn entry() -> crate::test::Entry {
    // SAFETY: the entry function below, which keeps the contract except where a test tells it not to.
    unsafe { crate::test::Entry::new(enter) }
}

static ADAPTER: Adapter = Adapter {
    size: 88,
    reserved: 0,
    create: Some(create),
    start: Some(start),
    grant: Some(grant),
    settle: Some(settle),
    execute: Some(execute),
    cancel: Some(cancel),
    drain: Some(drain),
    stop: Some(stop),
    destroy: Some(destroy),
    extension: Some(extension),
};
static KV: KvAdapter = KvAdapter {
    size: 16,
    reserved: 0,
    done: Some(kv_done),
};
static CLOCK: ClockAdapter = ClockAdapter {
    size: 16,
    reserved: 0,
    fired: Some(fired),
};
static WEBHOOK: WebhookAdapter = WebhookAdapter {
    size: 24,
    reserved: 0,
    request: Some(webhook),
    cancel: Some(cancel),
};

unsafe extern "C" fn enter(_: u32) -> *const Entry {
    static ENTRY: Entry = Entry {
        magic: MAGIC,
        size: 72,
        major: ABI_MAJOR,
        minor: ABI_MINOR,
        flags: 0,
        reserved: 0,
        name: Str::new("raw"),
        version: Str::new("1.0.0"),
        describe: Some(describe),
        adapter: &raw const ADAPTER,
    };
    &raw const ENTRY
}

unsafe extern "C" fn describe(out: *mut Str) -> Status {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| {
        json!({
            "describe": 1, "provider": "raw", "operations": { "ask": "command", "tick": "heartbeat" },
            "capabilities": { "events": { "message.created": 2 } }, "meta": [ "sort" ],
            "extensions": { "required": [], "optional": [ "imb.kv/1", "imb.clock/1", "imb.webhook/1" ] },
        })
        .to_string()
    });
    // SAFETY: the host's place to write to.
    unsafe { out.write(Str::new(text)) };
    Status::OK
}

unsafe extern "C" fn extension(name: Str) -> *const c_void {
    // SAFETY: text of the caller.
    match std::str::from_utf8(unsafe { name.bytes() }).expect("text") {
        EXT_KV => (&raw const KV).cast(),
        EXT_CLOCK => (&raw const CLOCK).cast(),
        EXT_WEBHOOK => (&raw const WEBHOOK).cast(),
        _ => std::ptr::null(),
    }
}

unsafe fn this<'a>(instance: *mut Instance) -> &'a Raw {
    // SAFETY: made by `create`, freed by `destroy`.
    unsafe { &*instance.cast::<Raw>() }
}

unsafe fn table<T: raw::Grows>(host: &Host, name: &str) -> Option<T> {
    // SAFETY: the host's function with a text that outlives the call; it answers null or that table.
    unsafe {
        let at = host.extension.expect("there")(host.ctx, Str::new(name));
        raw::read(at.cast::<T>()).ok()
    }
}

unsafe fn text(from: Str) -> String {
    // SAFETY: text of the caller.
    String::from_utf8(unsafe { from.bytes() }.to_vec()).expect("text")
}

fn buf(bytes: Vec<u8>) -> Buf {
    unsafe extern "C" fn free(owner: *mut c_void, _: *const u8, _: usize) {
        // SAFETY: made by `buf`, released once.
        drop(unsafe { Box::from_raw(owner.cast::<Vec<u8>>()) });
    }
    let (ptr, len) = (bytes.as_ptr(), bytes.len());
    let owner = Box::into_raw(Box::new(bytes)).cast::<c_void>();
    Buf {
        ptr,
        len,
        owner,
        release: Some(free),
    }
}

fn free(buf: Buf) {
    if let Some(release) = buf.release {
        // SAFETY: the owner's own call, once.
        unsafe { release(buf.owner, buf.ptr, buf.len) };
    }
}

unsafe extern "C" fn create(args: *const Create, out: *mut *mut Instance, err: *mut Buf) -> Status {
    // SAFETY: the host's arguments.
    unsafe {
        let args = raw::read(args).expect("a host passes it whole");
        let config: Value = serde_json::from_slice(args.config.bytes()).expect("JSON");
        if config["bad_config"] == true {
            let error =
                json!({"code": "invalid_config", "message": "no", "pointer": "/bad_config"});
            err.write(buf(error.to_string().into_bytes()));
            return Status::E_INVALID;
        }
        let host = raw::read(args.host).expect("a host passes it whole");
        if config["emit_in_create"] == true {
            (host.report.expect("there"))(host.ctx, std::ptr::null());
        }
        let metrics: Option<MetricsHost> = table(&host, EXT_METRICS);
        let values = [Str::new("yes"), Str::new("no")];
        let labels = [im_bridge_plugin_api::abi::Label {
            name: Str::new("good"),
            values: values.as_ptr(),
            values_len: 2,
        }];
        let metric = Metric {
            size: 88,
            kind: MetricKind::COUNTER,
            name: Str::new("things_total"),
            unit: Str::new("1"),
            help: Str::new("Things."),
            labels: labels.as_ptr(),
            labels_len: 1,
            buckets: std::ptr::null(),
            buckets_len: 0,
        };
        let define = metrics.and_then(|metrics| metrics.define);
        let metric = define.map_or(Status::E_UNSUPPORTED, |define| {
            define(host.ctx, &raw const metric)
        });
        let raw = Box::new(Raw {
            host,
            config,
            kv: table(&host, EXT_KV),
            clock: table(&host, EXT_CLOCK),
            webhook: table(&host, EXT_WEBHOOK),
            metrics,
            metric,
            inner: Mutex::default(),
            changed: Condvar::new(),
            thread: Mutex::default(),
        });
        out.write(Box::into_raw(raw).cast());
    }
    Status::OK
}

unsafe extern "C" fn start(instance: *mut Instance) -> Status {
    // SAFETY: as for all calls.
    let this = unsafe { this(instance) };
    if this.config["fail_start"] == true {
        return Status::E_UNAVAILABLE;
    }
    this.report(State::ONLINE);
    let thread = std::thread::spawn(move || this.run());
    *this.thread.lock().unwrap() = Some(thread);
    Status::OK
}

unsafe extern "C" fn grant(instance: *mut Instance, events: u32, bytes: u64) -> Status {
    // SAFETY: as for all calls.
    let this = unsafe { this(instance) };
    if this.config["grant_emits"] == true {
        this.emit(&[this.event(1, "m1", &payload("m1"), None)], true);
    }
    if this.config["grant_fails"] == true {
        return Status::E_INTERNAL;
    }
    let mut inner = this.inner.lock().unwrap();
    inner.events += i64::from(events);
    inner.bytes += i64::try_from(bytes).unwrap();
    this.changed.notify_all();
    Status::OK
}

unsafe extern "C" fn settle(instance: *mut Instance, settles: *const Settle, n: u32) -> Status {
    // SAFETY: as for all calls; an array of the host.
    let (this, settles) = unsafe { (this(instance), raw::slice(settles, n as usize, 1024)) };
    let mut inner = this.inner.lock().unwrap();
    for settle in settles.expect("an array") {
        inner.open.remove(&settle.token);
    }
    this.changed.notify_all();
    Status::OK
}

unsafe extern "C" fn execute(instance: *mut Instance, commands: *const Command, n: u32) -> Status {
    // SAFETY: as for all calls; an array of the host.
    let (this, commands) = unsafe { (this(instance), raw::elements(commands, n, 0)) };
    let mut taken = 0;
    for command in commands.expect("an array") {
        let command = command.expect("known flags");
        // SAFETY: texts of the host's argument.
        let (name, body) = unsafe { (text(command.name), command.body.bytes()) };
        match name.as_str() {
            "refuse" => return Status::E_UNSUPPORTED,
            "panic" => return Status::E_PANIC,
            "more" => return Status(5),
            "hang" => std::thread::sleep(Duration::from_millis(800)),
            "early" => this.complete(command.id, Status::OK, None),
            _ => {}
        }
        taken += 1;
        if name == "early" || name == "lose" || name == "hang" {
            continue;
        }
        let body: Value = serde_json::from_slice(body).expect("JSON");
        let told = Told::Command(command.id, name, body["params"].clone());
        this.tell(told);
    }
    Status(taken)
}

unsafe extern "C" fn cancel(_: *mut Instance, _: u64) -> Status {
    Status::OK
}

unsafe extern "C" fn kv_done(instance: *mut Instance, results: *const KvResult, n: u32) -> Status {
    // SAFETY: as for all calls; an array of the host.
    let (this, results) = unsafe { (this(instance), raw::elements(results, n, 0)) };
    for result in results.expect("an array") {
        let result = result.expect("no flags");
        // SAFETY: the buffer is ours now.
        let bytes = unsafe {
            Str {
                ptr: result.value.ptr,
                len: result.value.len,
            }
            .bytes()
        }
        .to_vec();
        match this.config["value"].as_str() {
            Some("leak") => {}
            Some("keep") => this.inner.lock().unwrap().kept_value = Some(Kept(result.value)),
            Some("twice") => {
                free(result.value);
                free(result.value);
            }
            _ => free(result.value),
        }
        this.tell(Told::Kv(
            result.request,
            result.status,
            result.revision,
            bytes,
        ));
    }
    Status::OK
}

unsafe extern "C" fn fired(instance: *mut Instance, ids: *const u64, n: u32) -> Status {
    // SAFETY: as for all calls; an array of the host.
    let (this, ids) = unsafe { (this(instance), raw::slice(ids, n as usize, 1024)) };
    for id in ids.expect("an array") {
        this.tell(Told::Timer(*id));
    }
    Status::OK
}

unsafe extern "C" fn webhook(instance: *mut Instance, request: *const WebhookRequest) -> Status {
    // SAFETY: as for all calls; a request of the host.
    let (this, request) = unsafe { (this(instance), raw::read(request).expect("a request")) };
    // SAFETY: text and buffer of the host's argument.
    let (path, body) = unsafe {
        let body = Str {
            ptr: request.body.ptr,
            len: request.body.len,
        };
        (text(request.path), body.bytes().to_vec())
    };
    if path != "/known" {
        return Status::E_NOT_FOUND;
    }
    free(request.body);
    this.tell(Told::Webhook(request.id, request.trace, body));
    Status::OK
}

unsafe extern "C" fn drain(instance: *mut Instance, timeout_ms: u32) -> Status {
    // SAFETY: as for all calls.
    let this = unsafe { this(instance) };
    if this.config["drain_lies"] == true {
        return Status::OK;
    }
    let deadline = Instant::now() + Duration::from_millis(u64::from(timeout_ms));
    let mut inner = this.inner.lock().unwrap();
    loop {
        let open = inner.open.len() + inner.told.len() + inner.busy;
        let left = deadline.saturating_duration_since(Instant::now());
        if open == 0 || left.is_zero() {
            return Status(i32::try_from(open).unwrap());
        }
        inner = this.changed.wait_timeout(inner, left).unwrap().0;
    }
}

unsafe extern "C" fn stop(instance: *mut Instance, _: u32) -> Status {
    // SAFETY: as for all calls.
    let this = unsafe { this(instance) };
    this.inner.lock().unwrap().is_stopping = true;
    this.changed.notify_all();
    if let Some(thread) = this.thread.lock().unwrap().take() {
        thread.join().unwrap();
    }
    if this.config["stop_fails"] == true {
        return Status::E_INTERNAL;
    }
    Status::OK
}

unsafe extern "C" fn destroy(instance: *mut Instance) -> Status {
    // SAFETY: made by `create`; nobody calls it afterwards.
    let this = unsafe { Box::from_raw(instance.cast::<Raw>()) };
    if this.config["log_in_destroy"] == true {
        this.log("bye");
    }
    if let Some(kept) = this.inner.lock().unwrap().kept_value.take() {
        free(kept.0);
    }
    Status::OK
}

pub fn payload(id: &str) -> String {
    json!({ "self": { "user_id": "me" }, "channel": { "id": "c1", "kind": "dm" }, "message": { "id": id } })
        .to_string()
}

impl Raw {
    fn tell(&self, told: Told) {
        self.inner.lock().unwrap().told.push_back(told);
        self.changed.notify_all();
    }

    fn run(&self) {
        loop {
            let told = {
                let mut inner = self.inner.lock().unwrap();
                loop {
                    if let Some(told) = inner.told.pop_front() {
                        inner.busy += 1;
                        break told;
                    }
                    if inner.is_stopping {
                        return;
                    }
                    inner = self.changed.wait(inner).unwrap();
                }
            };
            self.obey(told);
            self.inner.lock().unwrap().busy -= 1;
            self.changed.notify_all();
        }
    }

    fn obey(&self, told: Told) {
        let (id, name, params) = match told {
            Told::Command(id, name, params) => (id, name, params),
            Told::Webhook(id, trace, body) => return self.answer(id, trace, &body),
            Told::Kv(request, status, revision, value) => {
                let value = String::from_utf8(value).unwrap();
                return self.log(&format!("kv {request} {} {revision} {value}", status.0));
            }
            Told::Timer(timer) => {
                self.op("tick", Noise::HEARTBEAT, &[]);
                return self.timer(timer, 1000);
            }
        };
        let m = |id: &str| self.event(7, id, &payload(id), None);
        match name.as_str() {
            "emit" => self.emit_well(params["n"].as_u64().unwrap(), None),
            "emit_anyway" => self.emit(&[m("m1")], false),
            "same_token" => self.emit(&[m("m1"), m("m2")], false),
            "same_buffer" => {
                let mut second = m("m2");
                let first = m("m1");
                free(second.payload);
                second.payload = first.payload;
                second.token = 8;
                self.emit(&[first, second], false);
            }
            "short_struct" => {
                let mut event = m("m1");
                event.size = 200;
                self.emit(&[event], false);
            }
            "undeclared" => {
                let mut event = m("m1");
                event.kind = Str::new("message.dreamt");
                self.emit(&[event], false);
            }
            "other_channel" => {
                let mut event = m("m1");
                event.channel = Str::new("c2");
                self.emit(&[event], false);
            }
            "no_json" => self.emit(&[self.event(7, "m1", "{", None)], false),
            "long_key" => {
                let key = "9".repeat(65);
                let mut event = m("m1");
                event.order_key = Str::new(&key);
                self.emit(&[event], false);
            }
            "meta" => {
                let pair = im_bridge_plugin_api::abi::Pair {
                    key: Str::new("shade"),
                    value: Str::new("red"),
                };
                let mut event = m("m1");
                event.meta = &raw const pair;
                event.meta_len = 1;
                self.emit(&[event], false);
            }
            "twice" => self.complete(id, Status::OK, None),
            "unknown_id" => self.complete(999, Status::OK, None),
            "sure_unsure" => return self.complete(id, Status::E_UNCERTAIN, Some(1)),
            "op" => self.op(params["name"].as_str().unwrap(), Noise::COMMAND, &[]),
            "url" => self.op(
                "ask",
                Noise::COMMAND,
                &[("url.full", "https://me:pw@host/x?token=1")],
            ),
            "log" => self.log("hello"),
            "panicked" => self.report(State::PANICKED),
            "kv" => self.kv(&params),
            "timer" => self.timer(1, 1000),
            "metric" => {
                let record = self.metrics.and_then(|metrics| metrics.record).unwrap();
                let index = [u16::try_from(params["at"].as_u64().unwrap()).unwrap()];
                // SAFETY: the host's function with an array that outlives the call.
                unsafe {
                    record(
                        self.host.ctx,
                        u32::try_from(self.metric.0).unwrap(),
                        2.0,
                        index.as_ptr(),
                        1,
                    )
                };
            }
            _ => {}
        }
        self.complete(id, Status::OK, None);
    }

    fn event(&self, token: u64, id: &str, payload: &str, trace: Option<Trace>) -> Event {
        Event {
            size: 208,
            flags: 0,
            token,
            time_ms: 0,
            kind: Str::new("message.created"),
            channel: Str::new("c1"),
            native_id: Str::new(id),
            native_rev: Str::EMPTY,
            order_key: Str::EMPTY,
            client_ref: Str::EMPTY,
            delivery: 0,
            origin: 0,
            order_scope: 0,
            noise: 0,
            reserved: 0,
            trace: trace.unwrap_or(Trace::NONE),
            payload: buf(payload.as_bytes().to_vec()),
            meta: std::ptr::null(),
            meta_len: 0,
        }
    }

    /// Emits at once, with no look at credit; `is_registered` is whether the tokens are kept as open.
    fn emit(&self, events: &[Event], is_registered: bool) {
        if is_registered {
            self.inner
                .lock()
                .unwrap()
                .open
                .extend(events.iter().map(|event| event.token));
        }
        // SAFETY: the host's function with an array that outlives the call.
        let taken = unsafe {
            self.host.emit.unwrap()(
                self.host.ctx,
                events.as_ptr(),
                u32::try_from(events.len()).unwrap(),
            )
        };
        for event in &events[usize::try_from(taken.0).unwrap_or(0)..] {
            free(event.payload);
        }
    }

    /// As the contract wants it: waits for credit, registers the token first, tries again what was not taken.
    fn emit_well(&self, n: u64, trace: Option<Trace>) {
        for _ in 0..n {
            let mut inner = self.inner.lock().unwrap();
            while inner.events < 1 || inner.bytes <= 0 {
                if inner.is_stopping {
                    return;
                }
                inner = self.changed.wait(inner).unwrap();
            }
            inner.next_token += 1;
            let token = inner.next_token;
            let id = format!("m{token}");
            let event = self.event(token, &id, &payload(&id), trace);
            inner.events -= 1;
            inner.bytes -= i64::try_from(event.payload.len).unwrap();
            inner.open.insert(token);
            drop(inner);
            let events = [event];
            loop {
                // SAFETY: the host's function with an array that outlives the call.
                let taken = unsafe { self.host.emit.unwrap()(self.host.ctx, events.as_ptr(), 1) };
                if taken.0 == 1 {
                    break;
                }
                // A later grant says when to try again.
                let inner = self.inner.lock().unwrap();
                let _ = self
                    .changed
                    .wait_timeout(inner, Duration::from_millis(50))
                    .unwrap();
            }
        }
    }

    fn complete(&self, id: u64, status: Status, certain: Option<u8>) {
        let completion = Completion {
            size: 96,
            status,
            id,
            retry_after_ms: 0,
            code: Str::EMPTY,
            native_id: Str::new("n1"),
            body: buf(br#"{"done":true}"#.to_vec()),
            certain: certain.unwrap_or(0),
            pad: [0; 7],
        };
        // SAFETY: the host's function with a struct that outlives the call.
        let answer =
            unsafe { self.host.complete.unwrap()(self.host.ctx, &raw const completion, 1) };
        if !answer.is_ok() {
            free(completion.body);
        }
    }

    fn report(&self, state: State) {
        let report = Report {
            size: 80,
            state,
            next_attempt_ms: 0,
            reason: Str::EMPTY,
            self_id: Str::new("me"),
            transport: Str::new("tcp"),
            detail: Str::EMPTY,
        };
        // SAFETY: the host's function with a struct that outlives the call.
        unsafe { self.host.report.unwrap()(self.host.ctx, &raw const report) };
    }

    fn log(&self, message: &str) {
        let log = Log {
            size: 88,
            level: LogLevel::INFO,
            target: Str::new("raw"),
            message: Str::new(message),
            fields: std::ptr::null(),
            fields_len: 0,
            trace: Trace::NONE,
        };
        // SAFETY: the host's function with a struct that outlives the call.
        unsafe { self.host.log.unwrap()(self.host.ctx, &raw const log) };
    }

    fn op(&self, name: &str, noise: Noise, attrs: &[(&str, &str)]) {
        let attrs: Vec<_> = attrs
            .iter()
            .map(|(key, value)| im_bridge_plugin_api::abi::Pair {
                key: Str::new(key),
                value: Str::new(value),
            })
            .collect();
        let op = Op {
            size: 112,
            noise: u16::try_from(noise.0).unwrap(),
            status: 0,
            items: 0,
            start_ns: 1,
            end_ns: 2,
            name: Str::new(name),
            detail: Str::EMPTY,
            parent: Trace::NONE,
            attrs: attrs.as_ptr(),
            attrs_len: attrs.len(),
        };
        let mut span = Trace::NONE;
        // SAFETY: the host's function with a struct that outlives the call and a place to write to.
        unsafe { self.host.op.unwrap()(self.host.ctx, &raw const op, &raw mut span) };
    }

    fn kv(&self, params: &Value) {
        let key = params["key"].as_str().unwrap();
        let value = params["value"].as_str().unwrap_or("");
        let request = KvRequest {
            size: 64,
            flags: 0,
            request: params["request"].as_u64().unwrap(),
            revision: params["revision"].as_u64().unwrap_or(u64::MAX),
            verb: KvVerb(u32::try_from(params["verb"].as_u64().unwrap()).unwrap()),
            ttl_s: u32::try_from(params["ttl"].as_u64().unwrap_or(0)).unwrap(),
            key: Str::new(key),
            value: Str::new(value),
        };
        let submit = self.kv.and_then(|kv| kv.submit).unwrap();
        // SAFETY: the host's function with a struct that outlives the call.
        let taken = unsafe { submit(self.host.ctx, &raw const request, 1) };
        if taken != Status(1) {
            self.log(&format!("kv refused {}", taken.0));
        }
    }

    fn timer(&self, id: u64, delay_ms: u64) {
        let timer = self.clock.and_then(|clock| clock.timer).unwrap();
        // SAFETY: the host's function.
        unsafe { timer(self.host.ctx, id, delay_ms) };
    }

    fn answer(&self, id: u64, trace: Trace, body: &[u8]) {
        self.emit_well(1, Some(trace));
        let mut inner = self.inner.lock().unwrap();
        while body != b"hurry" && !inner.open.is_empty() && !inner.is_stopping {
            inner = self.changed.wait(inner).unwrap();
        }
        drop(inner);
        if body == b"forget" {
            return;
        }
        let response = WebhookResponse {
            size: 64,
            status: 200,
            id,
            headers: std::ptr::null(),
            headers_len: 0,
            body: buf(b"ok".to_vec()),
        };
        // SAFETY: the host's function with a struct that outlives the call.
        let answer = unsafe {
            self.webhook.and_then(|w| w.respond).unwrap()(self.host.ctx, &raw const response)
        };
        if !answer.is_ok() {
            free(response.body);
        }
    }
}
