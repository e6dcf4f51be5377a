//! What to look for so that a secret is found: the beginnings of its parts, each as it may stand in a text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;

/// Shorter ones are found in every text: nobody could read a log any more, and a secret of five bytes is none.
pub(super) const FORM_BYTES_MIN: usize = 6;

/// A value within a secret is looked for from this length on.
const VALUE_BYTES_MIN: usize = 8;

/// As much of a part is looked for: enough to be no accident, little enough for thousands of accounts.
const PART_BYTES: usize = 16;

/// Each byte percent-encoded.
pub(super) const FORM_BYTES_MAX: usize = 3 * PART_BYTES;

/// The longest values of a secret, so many at most: a cookie has dozens, and its tokens are the long ones.
const VALUES_MAX: usize = 8;

/// The beginnings of a secret and of the values in it.
pub(super) fn parts(secret: &str) -> impl Iterator<Item = &[u8]> {
    let secret = secret.trim();
    let whole = Some(secret).filter(|whole| whole.len() >= FORM_BYTES_MIN);
    let mut values: Vec<&str> = secret
        .split(|c: char| c.is_whitespace() || ";,&=\"'{}".contains(c))
        .filter(|value| value.len() >= VALUE_BYTES_MIN)
        .collect();
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    values.truncate(VALUES_MAX);
    whole
        .into_iter()
        .chain(values)
        .map(|part| &part.as_bytes()[..part.len().min(PART_BYTES)])
}

/// As it is, percent-encoded, and within base64 at each place.
pub(super) fn forms(part: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![part.to_vec()];
    let percent = percent(part);
    if percent.as_bytes() != part {
        forms.push(percent.to_lowercase().into_bytes());
        forms.push(percent.into_bytes());
    }
    for before in 0..3 {
        let form = within_base64(part, before);
        if form.contains(['+', '/']) {
            forms.push(form.replace('+', "-").replace('/', "_").into_bytes());
        }
        forms.push(form.into_bytes());
    }
    forms.retain(|form| form.len() >= FORM_BYTES_MIN);
    forms
}

fn percent(part: &[u8]) -> String {
    let mut out = String::new();
    for byte in part {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Those characters of its base64 that are the same whatever stands around it, with `before` bytes more than a multiple of
/// three in front.
fn within_base64(part: &[u8], before: usize) -> String {
    let text = STANDARD.encode([&[0; 2][..before], part].concat());
    let start = (before * 8).div_ceil(6);
    let end = (before + part.len()) * 8 / 6;
    text[start..end].to_owned()
}
