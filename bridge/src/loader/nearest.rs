//! Did you mean …? The nearest of the permitted names, or the permitted names.

/// Most names listed when none is near.
const LISTED: usize = 8;

/// The permitted name with the smallest edit distance, if that is at most a third of the length of what was written.
#[must_use]
pub fn nearest<'a>(written: &str, permitted: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = written.chars().count();
    permitted
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .filter(|(distance, _)| distance * 3 <= length)
        .min()
        .map(|(_, name)| name)
}

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
        assert_eq!(nearest("pasword", ["password", "user"]), Some("password"));
        assert_eq!(nearest("psasword", ["password"]), Some("password"));
        assert_eq!(nearest("pw", ["password", "user"]), None);
        assert_eq!(
            hint("pw", &["user", "url"], "keys here"),
            "keys here: `user`, `url`"
        );
    }
}
