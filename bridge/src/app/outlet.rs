//! Where what one account says goes: events inwards, ends of commands outwards, everything else to its face.
//!
//! It runs on the account's own task and waits for nothing.

use super::face::Face;
use super::figures::Figures;
use crate::account::kv::Kv;
use crate::account::{Ended, Outlet, Status};
use crate::inbound::{Echoed, Intake, Surroundings};
use crate::loader::host::{HostEvent, InboundEvent, Instance, Log};
use crate::outbound::Echoes;
use crate::telemetry::logs;
use im_bridge_plugin_api::abi;
use std::sync::Arc;
use tracing::Level;

/// See the front page.
pub struct AccountOutlet {
    pub face: Arc<Face>,
    pub intake: Intake,
    pub kv: Kv,
    pub figures: Arc<Figures>,
}

impl Outlet for AccountOutlet {
    fn event(&mut self, event: InboundEvent) {
        self.face.signs.event();
        self.intake.accept(event);
    }

    fn ended(&mut self, tag: u64, ended: Ended) {
        if let Ended::Completed(completed) = &ended
            && completed.status.is_ok()
        {
            self.face.signs.heard();
        }
        self.face.hands.ended(tag, ended);
    }

    fn status(&mut self, status: Status) {
        self.face.status(status);
    }

    fn aside(&mut self, event: HostEvent) {
        let account = &self.face.account;
        match event {
            HostEvent::Op(op) => {
                // A poll that was answered, a heartbeat that came back: the provider is there.
                if op.status.is_ok() {
                    self.face.signs.heard();
                }
                self.figures.operation(&account.provider, &op);
            }
            HostEvent::Log(log) => self.log(&log),
            HostEvent::Kv(request) => self.kv.ask(request),
            HostEvent::Misbehaved { kind, count } => {
                self.figures.misbehaved(&account.provider, kind, count);
                tracing::warn!(%account, ?kind, count, "the adapter broke a rule of the plugin contract");
            }
            // Of what the core asked for itself.
            HostEvent::Completed(completed) => {
                if completed.status.is_ok() {
                    self.face.signs.heard();
                }
            }
            HostEvent::Fault(fault) => {
                self.figures.fault(&account.provider, &fault);
                tracing::warn!(%account, ?fault, "the adapter's instance is lost");
            }
            // Handled before they could come here.
            HostEvent::Event(_) | HostEvent::Report(_) => {}
        }
    }

    fn instance(&mut self, instance: Option<&Arc<Instance>>) {
        self.face.set_instance(instance);
    }
}

impl AccountOutlet {
    /// A line of the adapter's in the bridge's log.
    fn log(&self, log: &Log) {
        let level = match log.level {
            abi::LogLevel::ERROR => Level::ERROR,
            abi::LogLevel::WARN => Level::WARN,
            abi::LogLevel::INFO => Level::INFO,
            abi::LogLevel::DEBUG => Level::DEBUG,
            _ => Level::TRACE,
        };
        let account = &self.face.account;
        let said = logs::Said {
            level,
            trace: &log.trace,
            part: log.target(),
            message: log.message(),
            fields: log.fields(),
        };
        logs::of_adapter(account, said);
        if log.dropped_before > 0 {
            self.figures
                .log_dropped(&account.provider, log.dropped_before);
        }
    }
}

/// Names the commands that events echo.
pub struct Known(pub Arc<Echoes>);

impl Surroundings for Known {
    fn echoed(&self, client_ref: &str) -> Option<Echoed> {
        let sent = self.0.get(client_ref)?;
        Some(Echoed {
            correlation_id: sent.correlation_id,
            causation_id: sent.command_id,
        })
    }
}
