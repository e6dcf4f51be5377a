//! Which traces are recorded, decided by the trace id alone, so that everybody who sees the id decides the same.

use crate::config::types::Traces;
use crate::telemetry::context::{self, TraceContext};

/// Names that are known, as `OTEL_TRACES_SAMPLER` has them.
pub const NAMES: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// As many parts of the ids are told apart: the last 63 bits, as OpenTelemetry's own libraries do, so that a ratio means the
/// same traces everywhere.
const PARTS: u64 = 1 << 63;

/// See the front page.
#[derive(Debug)]
pub struct Sampler {
    /// Of these parts the first so many are recorded.
    recorded: u64,
    follows_parent: bool,
    trusts_remote: bool,
}

impl Sampler {
    /// None: no sampler has this name.
    pub fn new(config: &Traces) -> Option<Self> {
        let name = config.sampler.as_str();
        let own = name.strip_prefix("parentbased_");
        Some(Self {
            recorded: match own.unwrap_or(name) {
                "always_on" => PARTS,
                "always_off" => 0,
                "traceidratio" => parts(config.sampler_arg),
                _ => return None,
            },
            follows_parent: own.is_some(),
            trusts_remote: config.trust_remote_flags,
        })
    }

    /// Whether a trace that begins here is recorded.
    pub fn records_root(&self, trace_id: [u8; 16]) -> bool {
        let [.., a, b, c, d, e, f, g, h] = trace_id;
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 < self.recorded
    }

    /// Whether a span below one of another process is.
    pub fn records_below_remote(&self, parent: &TraceContext) -> bool {
        if self.follows_parent && self.trusts_remote {
            return context::is_sampled(parent);
        }
        self.records_root(parent.trace_id)
    }

    /// Whether a span below one of ours is.
    pub fn records_below(&self, parent: &TraceContext) -> bool {
        if self.follows_parent {
            return context::is_sampled(parent);
        }
        self.records_root(parent.trace_id)
    }
}

/// Of all parts; a ratio has fewer digits than a part.
fn parts(ratio: f64) -> u64 {
    const LEFT: i32 = 63;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 2^63, whatever the ratio"
    )]
    let parts = (ratio.clamp(0.0, 1.0) * 2_f64.powi(LEFT)) as u64;
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(name: &str, ratio: f64, trusts: bool) -> Sampler {
        Sampler::new(&Traces {
            sampler: name.to_owned(),
            sampler_arg: ratio,
            trust_remote_flags: trusts,
            ..Traces::default()
        })
        .unwrap()
    }

    fn parent(first: u8, flags: u8) -> TraceContext {
        TraceContext {
            trace_id: [first; 16],
            span_id: [1; 8],
            flags,
            pad: [0; 7],
        }
    }

    #[test]
    fn a_trusted_parent_decides_and_any_other_does_not() {
        let none = sampler("parentbased_traceidratio", 0.0, true);
        assert!(none.records_below_remote(&parent(1, 1)));
        assert!(!none.records_below_remote(&parent(1, 0)));
        assert!(!none.records_root([1; 16]));
        let all = sampler("parentbased_always_on", 0.0, false);
        assert!(all.records_below_remote(&parent(1, 0)) && !all.records_below(&parent(1, 0)));
        let plain = sampler("traceidratio", 1.0, true);
        assert!(plain.records_below_remote(&parent(1, 0)) && plain.records_below(&parent(1, 0)));
    }

    #[test]
    fn a_ratio_records_about_its_share() {
        let tenth = sampler("traceidratio", 0.1, true);
        let mut random = fastrand::Rng::with_seed(7);
        let recorded = (0..10_000)
            .filter(|_| tenth.records_root(random.u128(..).to_be_bytes()))
            .count();
        assert!((800..1_200).contains(&recorded), "{recorded}");
    }

    #[test]
    fn every_known_name_is_a_sampler_and_no_other() {
        for name in NAMES {
            sampler(name, 0.5, true);
        }
        let unknown = Traces {
            sampler: "jaeger_remote".to_owned(),
            ..Traces::default()
        };
        assert!(Sampler::new(&unknown).is_none());
    }
}
