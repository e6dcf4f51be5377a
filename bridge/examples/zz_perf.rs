#![allow(unsafe_code, clippy::unwrap_used, reason = "scratch")]
use im_bridge::bus::objects::Limits;
use im_bridge::bus::*;
use im_bridge::envelope::*;
use im_bridge::inbound::*;
use im_bridge::loader::host::*;
use im_bridge_plugin_api::abi;
use im_bridge_sdk::model::Time;
use im_bridge_sdk::model::ids::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::*;
struct A;
static N: AtomicU64 = AtomicU64::new(0);
unsafe impl GlobalAlloc for A {
    unsafe fn alloc(&self, l: Layout) -> *mut u8 { N.fetch_add(1, Relaxed); unsafe { System.alloc(l) } }
    unsafe fn dealloc(&self, p: *mut u8, l: Layout) { unsafe { System.dealloc(p, l) } }
    unsafe fn realloc(&self, p: *mut u8, l: Layout, n: usize) -> *mut u8 { N.fetch_add(1, Relaxed); unsafe { System.realloc(p, l, n) } }
}
#[global_allocator]
static G: A = A;

fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let v: Vec<&str> = s.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (v[11].parse::<f64>().unwrap() + v[12].parse::<f64>().unwrap()) / 100.0
}

fn main() {
    let account = Account::new("acme".parse().unwrap(), "shop1".parse().unwrap());
    let env = EventEnvelope::new(&account, &"message.created".parse().unwrap(), ModelMinor(0));
    let payload = format!("{{\"a\":\"{}\"}}", "x".repeat(582));
    let t = Instant::now();
    let n0 = N.load(Relaxed);
    const R: u32 = 2_000_000;
    let mut total = 0;
    for i in 0..R {
        let ch = "30000000001";
        let id = event_id(&EventIdentity { provider: "acme", account: "shop1", kind: "message.created", channel: ch, native_id: "4000000000001.PNM", native_rev: "", payload: b"", time_ms: 0 });
        if i < R / 2 { total += id.len(); continue; }
        let token = channel_token(Some(ch));
        let b = env.render(&EventAttributes { id: &id, time: Some(Time::from_ms(1_700_000_000_123 + i64::from(i))), recorded: Time::from_ms(1_700_000_000_171), channel: Some((ch, &token)), origin: abi::Origin::REMOTE, delivery: abi::Delivery::LIVE, order_scope: abi::OrderScope::CHANNEL, order_key: Some("1700000000123.4000000000001.PNM"), client_ref: None, correlation_id: None, causation_id: None, trace: abi::Trace::NONE }, Data::Inline(payload.as_bytes())).unwrap();
        total += b.len();
        if i == R / 2 { println!("id only ns {}", t.elapsed().as_nanos() / u128::from(R / 2)); }
    }
    println!("id + (id+envelope) mean ns {} allocs {:.2} {}", t.elapsed().as_nanos() / u128::from(R), (N.load(Relaxed) - n0) as f64 / f64::from(R/2), total);

    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    rt.block_on(async move {
        let nats = im_bridge_test_harness::Nats::start();
        let settings = Settings { urls: vec![nats.url().to_owned()], name: "a".into(), root: "im".parse().unwrap(), auth: connect::Auth::None, tls: connect::Tls::default(), inbox_prefix: None };
        let bus = Bus::connect(&settings).await.unwrap();
        let limits = Limits::default().at_most_each(256 * 1024 * 1024);
        provision::provision(&bus, &limits, true).await.unwrap();
        let acks = AckTable::start(&bus.data).await.unwrap();
        let gw = Gateway::new(&bus, &acks, &limits);
        let inbound = Inbound::new(&gw, Options { account: account.clone(), model: ModelMinor(0), order: Order::Strict, hold: Hold::forever(), surroundings: Arc::new(Alone) });
        println!("account idle: Inbound {} bytes", std::mem::size_of_val(&inbound));
        let (intake, mut carrier) = inbound.split();
        let (tx, mut rx) = tokio::sync::mpsc::channel::<InboundEvent>(64);
        tokio::spawn(async move {
            tokio::select! { biased; () = async { while let Some(e) = rx.recv().await { intake.accept(e); } } => {}, never = &mut carrier => match never {} }
        });
        let credits = Arc::new(tokio::sync::Semaphore::new(64));
        let payload = bytes::Bytes::from(payload.into_bytes());
        let base: u32 = 0;
        for (round, count) in [(0u32, 5_000u32), (1, 60_000), (2, 60_000)] {
            let (t, c, n) = (Instant::now(), cpu(), N.load(Relaxed));
            for i in 0..count {
                let p = Arc::clone(&credits).acquire_owned().await.unwrap();
                let id = format!("{round}-{i}");
                let ch = format!("c{}", (base + i) % 200);
                let f = EventFacts { kind: "message.created", channel: &ch, native_id: &id, time_ms: Some(1_700_000_000_123), order_scope: 1, order_key: "1700000000123.4000000000001.PNM", ..EventFacts::default() };
                tx.send(InboundEvent::detached(&f, payload.clone(), move |o| { assert_eq!(o, abi::Outcome::STORED); drop(p) })).await.unwrap();
            }
            let _ = credits.acquire_many(64).await.unwrap();
            let e = t.elapsed();
            println!("round {round}: {:.0}/s, cpu {:.2} us/event, allocs {:.1}/event, resends {}", f64::from(count) / e.as_secs_f64(), (cpu() - c) * 1e6 / f64::from(count), (N.load(Relaxed) - n) as f64 / f64::from(count), acks.status().resends);
        }
    });
}
