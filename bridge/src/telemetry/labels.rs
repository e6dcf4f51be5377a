//! Every label that a metric may have: what its values are, and how many at most.
//!
//! The bound of a metric is the product of its labels' bounds, so that what users say can never make series.

/// One label.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    pub name: &'static str,
    /// What its values are, for people.
    pub values: &'static str,
    pub max: usize,
}

const fn label(name: &'static str, values: &'static str, max: usize) -> Label {
    Label { name, values, max }
}

/// All of them, by name.
pub const LABELS: &[Label] = &[
    label("abi", "version of the plugin contract", 1),
    label(
        "account",
        "aliases of the configuration, the first of them by name, then `other`",
        1_001,
    ),
    label("class", "error classes, or `none`", 11),
    label(
        "code",
        "codes of errors.md that a file can be refused with",
        128,
    ),
    label(
        "command",
        "commands that an adapter declares, else `other`",
        65,
    ),
    label("connection", "`data`, `control`", 2),
    label("isolation", "`in_process`", 2),
    label(
        "kind",
        "event kinds that an adapter declares, else `other`; kinds of faults and of broken rules",
        65,
    ),
    label("level", "`error`, `warn`, `info`, `debug`, `trace`", 5),
    label("metric", "names of metrics", 128),
    label("noise", "noise classes", 8),
    label(
        "operation",
        "operations that an adapter declares, else `other`",
        65,
    ),
    label("outcome", "a few words for each metric", 4),
    label("path", "`durable`, `request`", 2),
    label("provider", "providers of the configuration", 16),
    label("reason", "a few words for each metric", 8),
    label(
        "result",
        "`duplicate`, `in_progress`, `key_reused`, `verified`",
        4,
    ),
    label("sha256", "beginning of a file's hash", 16),
    label("signal", "`traces`, `metrics`, `logs`", 3),
    label("source", "`event`, `command`", 2),
    label("state", "states of an account", 16),
    label("status", "HTTP statuses", 100),
    label("version", "of the bridge or of a plugin file", 4),
];

/// What is known of a label.
pub fn of(name: &str) -> Option<&'static Label> {
    LABELS
        .binary_search_by(|label| label.name.cmp(name))
        .ok()
        .map(|at| &LABELS[at])
}
