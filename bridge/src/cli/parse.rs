//! How accounts and times are written on the command line.

use crate::bus::Account;
use std::time::Duration;

/// `<provider>/<alias>`
pub fn account(text: &str) -> Result<Account, String> {
    let (provider, alias) = text
        .split_once('/')
        .ok_or("write <provider>/<account>, such as sim/demo")?;
    let provider = provider
        .parse()
        .map_err(|error: crate::bus::token::TokenError| error.to_string())?;
    let alias = alias
        .parse()
        .map_err(|error: crate::bus::token::TokenError| error.to_string())?;
    Ok(Account::new(provider, alias))
}

/// A subject to publish to.
pub fn subject(text: &str) -> Result<String, String> {
    let is_token = |token: &str| {
        let is_wild = token.contains(['*', '>']);
        !token.is_empty()
            && !is_wild
            && !token.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if text.split('.').all(is_token) {
        Ok(text.to_owned())
    } else {
        Err("write tokens with dots between them, without blanks and wildcards".to_owned())
    }
}

/// `500ms`, `10s`, `5m`, `2h`, `7d`
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor_ms: u64 = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("write 500ms, 10s, 5m, 2h or 7d".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "write 500ms, 10s, 5m, 2h or 7d".to_owned())?;
    let ms = number
        .checked_mul(factor_ms)
        .ok_or("that is longer than any time")?;
    Ok(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_tokens_without_wildcards() {
        assert_eq!(subject("orders.new.x"), Ok("orders.new.x".to_owned()));
        for text in ["", "im..x", "im.v1 x", "im.*.x", "im.>", "im.\r\nPUB"] {
            assert!(subject(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("3", 3_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "s",
            "5w",
            "-1s",
            "1.5s",
            "99999999999999999999d",
            "99999999999999999d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_account_has_both_names() {
        assert_eq!(account("acme/demo").unwrap().to_string(), "acme/demo");
        for text in [
            "acme",
            "acme/",
            "/demo",
            "Acme/demo",
            "acme/de mo",
            "acme/a/b",
        ] {
            assert!(account(text).is_err(), "{text}");
        }
    }
}
