//! Where instances live: each on a thread of its own, or all of a plugin on a few.
//!
//! Threads are started by `start` and joined by `stop`; shared ones are joined with the last instance.

use super::core::Core;
use super::inbox::lock;
use super::instance::{Boot, live};
use crate::http::Agent;
use futures_util::task::AtomicWaker;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

/// Threads for blocking work of one runtime: name resolution, little else.
const BLOCKING_THREADS: usize = 4;
/// How long the end of a runtime waits for blocking work, which cannot be interrupted.
const BLOCKING_GRACE: Duration = Duration::from_millis(1_500);

/// What `create` made, until a thread takes it; stays here when no thread can be had.
pub(crate) type BootSlot = Arc<Mutex<Option<Boot>>>;

/// Why an instance got no thread.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot make a runtime; look at the limit of open files")]
    Runtime(#[source] std::io::Error),
    #[error("cannot start a thread; look at the limit of threads")]
    Thread(#[source] std::io::Error),
}

fn runtime() -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(StartError::Runtime)
}

/// True when no blocking work is left.
fn end_runtime(runtime: Runtime) -> bool {
    let began = Instant::now();
    runtime.shutdown_timeout(BLOCKING_GRACE);
    began.elapsed() < BLOCKING_GRACE
}

/// Starts a thread for one instance.
pub(crate) fn start_own(
    name: String,
    core: Arc<Core>,
    boot: BootSlot,
) -> Result<JoinHandle<()>, StartError> {
    // Made here, so that a failure is `start`'s.
    let runtime = runtime()?;
    let body = move || {
        let Some(boot) = lock(&boot).take() else {
            return;
        };
        let tasks = LocalSet::new();
        let life = live(Arc::clone(&core), boot, Rc::default());
        // A task of its own, so that the pump takes turns with the adapter's tasks.
        let ended = tasks.block_on(&runtime, async { tokio::task::spawn_local(life).await });
        if ended.is_err() {
            core.poison();
        }
        drop(tasks);
        let is_clean = end_runtime(runtime);
        core.link.close();
        if is_clean {
            core.finish();
        }
    };
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(StartError::Thread)
}

/// The few threads of a plugin that shares them; one static per plugin, made by the export macro.
pub struct SharedThreads {
    inner: Mutex<Inner>,
}

struct Inner {
    workers: Vec<Worker>,
    instances: usize,
}

struct Worker {
    queue: Arc<Queue>,
    instances: usize,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<VecDeque<(Arc<Core>, Boot)>>,
    is_ended: AtomicBool,
    waker: AtomicWaker,
}

impl SharedThreads {
    #[doc(hidden)]
    #[must_use]
    #[allow(clippy::new_without_default, reason = "only statics are made of it")]
    pub const fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                workers: Vec::new(),
                instances: 0,
            }),
        }
    }

    /// Puts an instance on the thread with the fewest, of at most `threads`; answers which.
    pub(crate) fn start(
        &self,
        name: &str,
        threads: usize,
        core: Arc<Core>,
        boot: &BootSlot,
    ) -> Result<usize, StartError> {
        let mut inner = lock(&self.inner);
        let least = inner
            .workers
            .iter()
            .enumerate()
            .min_by_key(|(_, worker)| worker.instances)
            .map(|(index, worker)| (index, worker.instances));
        let index = match least {
            Some((index, 0)) => index,
            Some((index, _)) if inner.workers.len() >= threads.max(1) => index,
            _ => {
                let worker = Worker::start(format!("{name}/{}", inner.workers.len()))?;
                inner.workers.push(worker);
                inner.workers.len() - 1
            }
        };
        if let Some(boot) = lock(boot).take() {
            let worker = &mut inner.workers[index];
            worker.instances += 1;
            lock(&worker.queue.jobs).push_back((core, boot));
            worker.queue.waker.wake();
            inner.instances += 1;
        }
        Ok(index)
    }

    /// An instance of that thread ended; the last one takes the threads with it.
    pub(crate) fn end(&self, index: usize) {
        let workers = {
            let mut inner = lock(&self.inner);
            inner.instances -= 1;
            inner.workers[index].instances -= 1;
            if inner.instances > 0 {
                return;
            }
            std::mem::take(&mut inner.workers)
        };
        for worker in &workers {
            worker.queue.is_ended.store(true, Ordering::Release);
            worker.queue.waker.wake();
        }
        for worker in workers {
            // A panic of the thread itself would be one of ours; the instances are gone either way.
            let _ = worker.thread.join();
        }
    }
}

impl Worker {
    fn start(name: String) -> Result<Self, StartError> {
        let runtime = runtime()?;
        let queue = Arc::new(Queue::default());
        let jobs = Arc::clone(&queue);
        let body = move || {
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, serve(&jobs));
            drop(tasks);
            end_runtime(runtime);
        };
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(body)
            .map_err(StartError::Thread)?;
        Ok(Self {
            queue,
            instances: 0,
            thread,
        })
    }
}

/// Begins the lives of the instances that are put on this thread, until it is ended.
async fn serve(queue: &Queue) {
    let agent = Rc::new(Agent::default());
    poll_fn(|cx| {
        queue.waker.register(cx.waker());
        let jobs = std::mem::take(&mut *lock(&queue.jobs));
        for (core, boot) in jobs {
            let ended = Arc::clone(&core);
            let life = tokio::task::spawn_local(live(core, boot, Rc::clone(&agent)));
            tokio::task::spawn_local(async move {
                if life.await.is_err() {
                    ended.poison();
                    ended.link.close();
                }
                ended.finish();
            });
        }
        if queue.is_ended.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
