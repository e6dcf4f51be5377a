//! Values of one scrape, and the text that scrapers read (format 0.0.4).
//!
//! Equal labels of several sources add up, so that each account counts for itself and the provider's figure is the sum.
//! However many accounts, kinds and operations there are, the number of series stays below the bound of the list: what is
//! beyond it shares one that is called `other`.

use super::histogram::{Histogram, LATENCY_S};
use super::metrics::{Metric, Type};
use super::own::{Families, Family, Own, OwnValue};
use super::redact::redact;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What stands for label values beyond the bound.
pub const OTHER: &str = "other";

/// Values of the labels of one series, in the order of the metric's definition.
pub type Labels = Box<[Box<str>]>;

#[derive(Clone, Debug, Default)]
pub struct Buckets {
    /// Not cumulated; the last one is beyond all bounds.
    pub counts: [u64; LATENCY_S.len() + 1],
    pub sum_s: f64,
}

/// What one scrape is told.
#[derive(Debug, Default)]
pub struct Exposition {
    values: BTreeMap<Metric, BTreeMap<Labels, f64>>,
    histograms: BTreeMap<Metric, BTreeMap<Labels, Buckets>>,
    /// Series that had to share one, by metric.
    overflow: BTreeMap<Metric, u64>,
    own: Families,
    /// Who speaks, as labels.
    resource: BTreeMap<String, String>,
}

impl Exposition {
    /// A fact about who speaks. OTLP has these beside the values; for scrapers they are labels of `target_info`.
    pub fn resource(&mut self, key: &str, value: &str) {
        let as_label = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let mut name: String = key.chars().map(as_label).collect();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            name.insert(0, '_');
        }
        self.resource.insert(name, redact(value).into_owned());
    }

    /// One value; labels in the order of the metric's definition.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the format has no integers; counts beyond 2^53 are not lived to"
    )]
    pub fn count(&mut self, metric: Metric, labels: &[&str], value: u64) {
        self.value(metric, labels, value as f64);
    }

    /// One value that is no count.
    pub fn value(&mut self, metric: Metric, labels: &[&str], value: f64) {
        let series = self.values.entry(metric).or_default();
        *place(series, metric, labels, &mut self.overflow) += value;
    }

    /// All counts of a histogram.
    pub fn histogram(&mut self, metric: Metric, labels: &[&str], histogram: &Histogram) {
        let series = self.histograms.entry(metric).or_default();
        let own = place(series, metric, labels, &mut self.overflow);
        for (own, count) in own.counts.iter_mut().zip(histogram.counts()) {
            *own += count;
        }
        own.sum_s += histogram.sum_seconds();
    }

    /// Lets accounts beyond the first `max`, in the order of their names, share one: counts add up, of other values the
    /// worst is shown.
    pub fn fold_accounts(&mut self, max: usize) {
        let mut accounts = BTreeSet::new();
        for (metric, series) in &self.values {
            accounts.extend(series.keys().filter_map(|labels| account(*metric, labels)));
        }
        if accounts.len() <= max {
            return;
        }
        let kept: BTreeSet<(Box<str>, Box<str>)> = accounts
            .into_iter()
            .take(max)
            .map(|(provider, account)| (provider.into(), account.into()))
            .collect();
        for (metric, series) in &mut self.values {
            for (mut labels, value) in std::mem::take(series) {
                let is_kept = account(*metric, &labels).is_none_or(|(provider, account)| {
                    kept.contains(&(provider.into(), account.into()))
                });
                if !is_kept {
                    let at = position_of_account(*metric).expect("it has an account");
                    labels[at] = OTHER.into();
                    *self.overflow.entry(*metric).or_default() += 1;
                }
                let is_new = !series.contains_key(&labels);
                let shown = series.entry(labels).or_default();
                *shown = match metric.info().kind {
                    _ if is_new => value,
                    // Owned by somebody is good, everything else is worse the more it is.
                    Type::Gauge if *metric == Metric::AccountOwned => shown.min(value),
                    Type::Gauge => shown.max(value),
                    Type::Counter | Type::Histogram => *shown + value,
                };
            }
        }
    }

    /// How many series had to share one since the last time this was asked.
    pub fn take_overflow(&mut self) -> BTreeMap<Metric, u64> {
        std::mem::take(&mut self.overflow)
    }

    /// Each metric that has values, in the order of the list.
    pub fn series(&self) -> impl Iterator<Item = (Metric, &BTreeMap<Labels, f64>)> {
        self.values.iter().map(|(metric, series)| (*metric, series))
    }

    /// Each histogram that has values, in the order of the list.
    pub fn buckets(&self) -> impl Iterator<Item = (Metric, &BTreeMap<Labels, Buckets>)> {
        self.histograms
            .iter()
            .map(|(metric, series)| (*metric, series))
    }

    /// A series of an adapter's own, with all its labels.
    pub fn own(&mut self, own: &Own<'_>, labels: &[(&str, &str)], value: &OwnValue) {
        self.own.add(own, labels, value);
    }

    /// Those that adapters define, by name without the prefix.
    pub fn of_adapters(&self) -> impl Iterator<Item = (&str, &Family)> {
        self.own.iter()
    }

    /// The text.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for metric in Metric::ALL {
            let name = metric.info().name;
            if let Some(series) = self.values.get(metric) {
                head(&mut out, *metric);
                for (labels, value) in series {
                    let braces = braces(&rendered(*metric, labels));
                    let _ = writeln!(out, "im_bridge_{name}{braces} {value}");
                }
            }
            let Some(series) = self.histograms.get(metric) else {
                continue;
            };
            head(&mut out, *metric);
            for (labels, buckets) in series {
                let labels = rendered(*metric, labels);
                let comma = if labels.is_empty() { "" } else { "," };
                let mut total = 0;
                for (index, count) in buckets.counts.iter().enumerate() {
                    total += count;
                    let bound = LATENCY_S
                        .get(index)
                        .map_or_else(|| "+Inf".to_owned(), f64::to_string);
                    let _ = writeln!(
                        out,
                        "im_bridge_{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}"
                    );
                }
                let braces = braces(&labels);
                let _ = writeln!(out, "im_bridge_{name}_sum{braces} {}", buckets.sum_s);
                let _ = writeln!(out, "im_bridge_{name}_count{braces} {total}");
            }
        }
        self.own.render(&mut out);
        if !self.resource.is_empty() {
            let labels = self.resource.iter();
            let labels: Vec<String> = labels
                .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
                .collect();
            out.push_str("# HELP target_info Who speaks.\n# TYPE target_info gauge\n");
            let _ = writeln!(out, "target_info{{{}}} 1", labels.join(","));
        }
        out
    }
}

/// Where a value of these labels stands. What does not fit any more stands with all the others that did not.
fn place<'s, V: Default>(
    series: &'s mut BTreeMap<Labels, V>,
    metric: Metric,
    labels: &[&str],
    overflow: &mut BTreeMap<Metric, u64>,
) -> &'s mut V {
    let names = metric.info().labels;
    debug_assert_eq!(names.len(), labels.len(), "{metric:?} has labels {names:?}");
    let mut own: Labels = labels.iter().map(|label| Box::from(*label)).collect();
    let is_bounded = position_of_account(metric).is_none();
    if is_bounded && series.len() >= metric.info().series_max() && !series.contains_key(&own) {
        own.fill(OTHER.into());
        *overflow.entry(metric).or_default() += 1;
    }
    series.entry(own).or_default()
}

fn position_of_account(metric: Metric) -> Option<usize> {
    let labels = metric.info().labels;
    labels.iter().position(|name| *name == "account")
}

/// Provider and account of a series that has one.
fn account(metric: Metric, labels: &Labels) -> Option<(&str, &str)> {
    // Every metric with an account has its provider in front.
    let at = position_of_account(metric)?;
    Some((&labels[at - 1], &labels[at]))
}

fn braces(labels: &str) -> String {
    if labels.is_empty() {
        String::new()
    } else {
        format!("{{{labels}}}")
    }
}

fn head(out: &mut String, metric: Metric) {
    let info = metric.info();
    let kind = info.kind.as_str();
    let _ = writeln!(out, "# HELP im_bridge_{} {}", info.name, info.help);
    let _ = writeln!(out, "# TYPE im_bridge_{} {kind}", info.name);
}

fn rendered(metric: Metric, labels: &Labels) -> String {
    let names = metric.info().labels;
    let mut out = String::new();
    for (index, (name, value)) in names.iter().zip(labels).enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let value = escaped(value);
        let _ = write!(out, "{comma}{name}=\"{value}\"");
    }
    out
}

/// As it may stand between quotes.
pub(super) fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Registry, Source};
    use std::sync::Arc;
    use std::time::Duration;

    /// Somebody who says more than there may be: of every metric, with every label made up.
    struct Hostile;

    impl Source for Hostile {
        fn collect(&self, to: &mut Exposition) {
            // Of how many share a series only the registry speaks.
            let all = Metric::ALL.iter();
            for metric in all.filter(|it| **it != Metric::MetricsOverflowTotal) {
                let labels = metric.info().labels;
                let at = position_of_account(*metric);
                for number in 0..1_500 {
                    let own = |index: usize| match at {
                        Some(at) if index == at => format!("alias{number}"),
                        // Which states and statuses there are is not for strangers to say.
                        Some(_) => "fixed".to_owned(),
                        None => format!("\"}} evil{{{number}"),
                    };
                    let own: Vec<String> = (0..labels.len()).map(own).collect();
                    let own: Vec<&str> = own.iter().map(String::as_str).collect();
                    match metric.info().kind {
                        Type::Histogram => to.histogram(*metric, &own, &Histogram::default()),
                        Type::Counter | Type::Gauge => to.count(*metric, &own, 1),
                    }
                }
            }
        }
    }

    #[test]
    fn labels_are_bounded() {
        let registry = Registry::new(1_000);
        let hostile = Arc::new(Hostile);
        registry.add(&hostile);
        let values = registry.ask();
        let of_values = values
            .series()
            .map(|(metric, series)| (metric, series.len()));
        let of_buckets = values
            .buckets()
            .map(|(metric, series)| (metric, series.len()));
        let mut seen = 0;
        for (metric, count) in of_values.chain(of_buckets) {
            let max = match position_of_account(metric) {
                Some(_) => 1_000,
                None => metric.info().series_max(),
            };
            // And the one that the others share.
            assert!(
                count <= max + 1,
                "{metric:?}: {count} series, {max} at most"
            );
            seen += 1;
        }
        assert!(seen >= Metric::ALL.len());
        let text = values.render();
        assert!(text.contains("account=\"other\""));
        assert!(text.contains("im_bridge_metrics_overflow_total{metric=\"account_state\"} 500\n"));
        // A label's value ends where it should.
        assert!(!text.contains("=\"\"} evil"), "a value was not escaped");
    }

    struct Account(u64, Histogram);

    impl Source for Account {
        fn collect(&self, to: &mut Exposition) {
            to.count(
                Metric::EventsTotal,
                &["chat", "message.created", "stored"],
                self.0,
            );
            to.histogram(Metric::EventStoreSeconds, &["chat"], &self.1);
            to.value(Metric::LeasesHeld, &[], 1.0);
        }
    }

    #[test]
    fn accounts_of_a_provider_add_up_and_those_gone_are_not_asked() {
        let registry = Registry::default();
        let (one, two) = (
            Arc::new(Account(2, Histogram::default())),
            Arc::new(Account(3, Histogram::default())),
        );
        one.1.record(Duration::from_millis(2));
        two.1.record(Duration::from_secs(60));
        registry.add(&one);
        registry.add(&two);
        let text = registry.render();
        let line = "im_bridge_events_total{provider=\"chat\",kind=\"message.created\",outcome=\"stored\"} 5\n";
        assert!(text.contains(line), "{text}");
        assert!(
            text.contains("# TYPE im_bridge_events_total counter"),
            "{text}"
        );
        assert!(
            text.contains("event_store_seconds_bucket{provider=\"chat\",le=\"0.0025\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("event_store_seconds_bucket{provider=\"chat\",le=\"+Inf\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("im_bridge_leases_held 2\n"), "{text}");
        drop(two);
        assert!(registry.render().contains("stored\"} 2\n"));
    }

    #[test]
    fn who_speaks_is_one_series_whatever_its_facts_are_called() {
        let mut exposition = Exposition::default();
        for (key, value) in [
            ("service.name", "im-bridge"),
            ("1\"}", "a\"b"),
            ("a-b", "c"),
        ] {
            exposition.resource(key, value);
        }
        let text = exposition.render();
        let line = "target_info{_1__=\"a\\\"b\",a_b=\"c\",service_name=\"im-bridge\"} 1\n";
        assert!(text.ends_with(line), "{text}");
    }

    #[test]
    fn labels_cannot_break_the_format() {
        let mut exposition = Exposition::default();
        exposition.count(Metric::PluginRefusedTotal, &["a\"b\\c\nd"], 1);
        assert!(exposition.render().contains(r#"{code="a\"b\\c\nd"} 1"#));
    }

    #[test]
    fn accounts_beyond_the_bound_share_one_and_the_worst_of_them_is_shown() {
        let mut exposition = Exposition::default();
        for n in 0..3_000_u64 {
            let account = format!("a{n:04}");
            let labels = ["chat", account.as_str()];
            exposition.count(Metric::AccountReconnectsTotal, &labels, 1);
            exposition.count(Metric::CommandsWaiting, &labels, n);
            exposition.count(Metric::AccountOwned, &labels, u64::from(n < 2_999));
        }
        exposition.fold_accounts(1_000);
        let text = exposition.render();
        for line in [
            "im_bridge_account_reconnects_total{provider=\"chat\",account=\"a0999\"} 1\n",
            "im_bridge_account_reconnects_total{provider=\"chat\",account=\"other\"} 2000\n",
            "im_bridge_commands_waiting{provider=\"chat\",account=\"other\"} 2999\n",
            "im_bridge_account_owned{provider=\"chat\",account=\"other\"} 0\n",
        ] {
            assert!(text.contains(line), "{line}");
        }
        assert!(!text.contains("a1000"));
        assert_eq!(
            text.lines()
                .filter(|line| line.contains("reconnects_total{"))
                .count(),
            1_001
        );
        let overflow = exposition.take_overflow();
        assert_eq!(overflow[&Metric::AccountReconnectsTotal], 2_000);
    }

    #[test]
    fn whatever_labels_say_there_are_never_more_series_than_the_list_allows() {
        let mut exposition = Exposition::default();
        let max = Metric::CommandRetriesTotal.info().series_max();
        for n in 0..2 * max {
            let class = format!("class {n}");
            exposition.count(Metric::CommandRetriesTotal, &["chat", &class], 1);
        }
        let (_, series) = exposition.series().next().unwrap();
        assert_eq!(series.len(), max + 1);
        assert_eq!(series.values().sum::<f64>(), 2.0 * max as f64);
        assert_eq!(
            exposition.take_overflow()[&Metric::CommandRetriesTotal],
            max as u64
        );
    }

    #[test]
    fn names_follow_the_rules_of_scrapers() {
        for metric in Metric::ALL {
            let info = metric.info();
            assert!(
                info.name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            );
            assert_eq!(
                info.name.ends_with("_total"),
                info.kind == Type::Counter,
                "{}",
                info.name
            );
            assert!(info.help.ends_with('.'), "{}", info.name);
        }
    }
}
