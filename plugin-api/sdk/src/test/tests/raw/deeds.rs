//! What the adapter's thread does when it is told to.

use super::*;

impl Raw {
    /// Does not come back until the host has given up.
    pub(super) fn hang(&self) {
        let inner = self.inner.lock().unwrap();
        let _ = self
            .changed
            .wait_timeout_while(inner, Duration::from_millis(800), |_| true);
    }

    pub(super) fn tell(&self, told: Told) {
        self.inner.lock().unwrap().told.push_back(told);
        self.changed.notify_all();
    }

    pub(super) fn run(&self) {
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

    pub(super) fn event(&self, token: u64, id: &str, payload: &str, trace: Option<Trace>) -> Event {
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
    pub(super) fn emit(&self, events: &[Event], is_registered: bool) {
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

    pub(super) fn complete(&self, id: u64, status: Status, certain: Option<u8>) {
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

    pub(super) fn report(&self, state: State) {
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

    pub(super) fn log(&self, message: &str) {
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
