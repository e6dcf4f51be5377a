//! Streams that store nothing, told once each.

use crate::bus::ack::Troubled;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A stream that is full again and again is told of once: it has to be well for this long first.
const WELL_AFTER: Duration = Duration::from_secs(30);

/// What was told, and when it was seen last.
#[derive(Default)]
pub struct Troubles(BTreeMap<(Arc<str>, &'static str), Instant>);

impl Troubles {
    /// Tells what is new and what is over. Returns those that last, for whoever asks.
    pub fn look(&mut self, seen: &[Troubled], now: Instant) -> Vec<String> {
        let lasting: Vec<&Troubled> = seen.iter().filter(|it| it.is_lasting()).collect();
        for it in &lasting {
            let (stream, code) = (Arc::clone(&it.stream), it.code());
            if self.0.insert((stream, code), now).is_none() {
                tracing::warn!(code, stream = &*it.stream, "{it}");
            }
        }
        self.0.retain(|(stream, code), last| {
            let is_over = now.duration_since(*last) >= WELL_AFTER;
            if is_over {
                tracing::info!(code = *code, stream = &**stream, "the stream stores again");
            }
            !is_over
        });
        let told = lasting.iter().map(|it| format!("{}: {it}", it.code()));
        told.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::ack::Trouble;

    #[test]
    fn what_lasts_is_told_and_what_passes_is_not() {
        let mut troubles = Troubles::default();
        let seen = |trouble, lasts| Troubled {
            stream: "IM_EVT".into(),
            subject: "s.a".into(),
            trouble,
            lasts: Duration::from_secs(lasts),
        };
        let now = Instant::now();
        let look = |troubles: &mut Troubles, one, after| {
            troubles.look(&[one], now + Duration::from_secs(after))
        };
        assert!(look(&mut troubles, seen(Trouble::Unavailable, 3), 0).is_empty());
        assert!(look(&mut troubles, seen(Trouble::NoStream, 29), 0).is_empty());
        let told = look(&mut troubles, seen(Trouble::NoStream, 30), 1);
        assert_eq!(
            told,
            ["nats_object_missing: stream IM_EVT does not exist; run im-bridge streams apply"]
        );
        let told = look(&mut troubles, seen(Trouble::Full, 0), 2);
        assert!(told[0].starts_with("bus_full: stream IM_EVT is full"));
        assert_eq!(troubles.0.len(), 2);
        assert!(troubles.look(&[], now + Duration::from_secs(29)).is_empty());
        assert_eq!(troubles.0.len(), 2, "not yet over");
        troubles.look(&[], now + WELL_AFTER + Duration::from_secs(2));
        assert!(troubles.0.is_empty());
    }
}
