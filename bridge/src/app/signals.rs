//! What the service is told while it runs: by signals, or by the program that it is a part of.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Installed before anything else: process 1 without a handler ignores SIGTERM, and is killed hard when patience ends.
pub struct Signals(Source);

enum Source {
    System {
        terminate: Signal,
        interrupt: Signal,
        hang_up: Signal,
    },
    Program(mpsc::Receiver<Asked>),
}

/// What is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    Stop,
    Reload,
}

impl Signals {
    /// # Errors
    /// The system has no room for a handler.
    pub fn install() -> io::Result<Self> {
        Ok(Self(Source::System {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        }))
    }

    /// For a service within a program that has the signals itself.
    pub fn by_program() -> (mpsc::Sender<Asked>, Self) {
        // Whoever asks has one wish at a time, and a second stop to end at once.
        let (asks, asked) = mpsc::channel(2);
        (asks, Self(Source::Program(asked)))
    }

    /// The next one. Cancel safe.
    pub async fn next(&mut self) -> Asked {
        match &mut self.0 {
            Source::System {
                terminate,
                interrupt,
                hang_up,
            } => tokio::select! {
                biased;
                _ = terminate.recv() => Asked::Stop,
                _ = interrupt.recv() => Asked::Stop,
                _ = hang_up.recv() => Asked::Reload,
            },
            Source::Program(asked) => match asked.recv().await {
                Some(asked) => asked,
                // Nobody is left who could ask.
                None => std::future::pending().await,
            },
        }
    }

    /// Returns when the process is to end. Cancel safe.
    pub async fn stop(&mut self) {
        while self.next().await != Asked::Stop {}
    }
}
