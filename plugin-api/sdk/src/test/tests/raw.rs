//! An adapter written by hand against the raw ABI: its commands are instructions, good and bad.
//!
//! One thread per instance does what the commands say, so that everything happens on a thread of the adapter.

mod deeds;

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
            "hang" => this.hang(),
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
