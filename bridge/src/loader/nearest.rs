//! Did you mean …? The nearest of the permitted names, or the permitted names.

use im_bridge_sdk::model::nearest;

/// Most names listed when none is near.
const LISTED: usize = 8;

/// ``did you mean `password`?``, else ``keys here: `a`, `b` `` with `label` in front; at most eight.
#[must_use]
pub fn hint(written: &str, permitted: &[&str], label: &str) -> String {
    if let Some(name) = nearest(written, permitted.iter().copied()) {
        return format!("did you mean `{name}`?");
    }
    if permitted.is_empty() {
        return format!("{label}: none");
    }
    format!("{label}: {}", listed(permitted))
}

/// The names in back quotes, at most eight.
#[must_use]
pub fn listed(names: &[&str]) -> String {
    let mut text = names
        .iter()
        .take(LISTED)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > LISTED {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_near_name_is_offered() {
        assert_eq!(
            hint("psasword", &["password", "user"], "keys here"),
            "did you mean `password`?"
        );
        assert_eq!(
            hint("pw", &["user", "url"], "keys here"),
            "keys here: `user`, `url`"
        );
    }
}
