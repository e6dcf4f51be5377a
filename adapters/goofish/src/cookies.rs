//! The account's cookies: those that the operator gave, and what the provider made of them since.
//!
//! Values are sent exactly as they came. One value per name: two signing cookies of different domains must never go together.
//!
//! Not here: where they are kept (`login.rs`).

use std::fmt;

/// The signing token of mtop, and its companion.
pub const SIGNING: &str = "_m_h5_tk";
const SIGNING_COMPANION: &str = "_m_h5_tk_enc";

/// Most cookies, and most bytes of one: a browser keeps about as many.
const COOKIES_MAX: usize = 180;
const COOKIE_BYTES_MAX: usize = 4096;

/// Cookies by name, in the order in which they came.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Jar(Vec<(String, String)>);

impl fmt::Debug for Jar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cookies", self.0.len())
    }
}

impl Jar {
    /// From a `Cookie` header.
    pub fn of(header: &str) -> Self {
        let mut jar = Self::default();
        jar.merge(header);
        jar
    }

    /// Takes what stands in a `Cookie` header.
    pub fn merge(&mut self, header: &str) {
        for pair in header.split(';') {
            if let Some((name, value)) = pair.split_once('=') {
                self.set(name.trim(), value.trim());
            }
        }
    }

    /// Takes a `Set-Cookie` header; true when something changed. Of its attributes only the one that deletes matters.
    pub fn take(&mut self, set_cookie: &str) -> bool {
        let mut parts = set_cookie.split(';');
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return false;
        };
        let (name, value) = (name.trim(), value.trim());
        let is_deleted = parts.any(|attribute| {
            let (key, value) = attribute.split_once('=').unwrap_or_default();
            key.trim().eq_ignore_ascii_case("max-age")
                && value
                    .trim()
                    .parse::<i64>()
                    .is_ok_and(|seconds| seconds <= 0)
        });
        if is_deleted {
            return self.remove(name);
        }
        self.set(name, value)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The next call gets a new signing token.
    pub fn forget_signing(&mut self) {
        self.remove(SIGNING);
        self.remove(SIGNING_COMPANION);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a `Cookie` header.
    pub fn header(&self) -> String {
        let pairs: Vec<String> = self
            .0
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("; ")
    }

    fn set(&mut self, name: &str, value: &str) -> bool {
        let is_header = |text: &str| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        let is_good = !name.is_empty()
            && name.len() + value.len() <= COOKIE_BYTES_MAX
            && is_header(name)
            && is_header(value);
        if !is_good {
            return false;
        }
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => {
                let is_new = old != value;
                value.clone_into(old);
                is_new
            }
            None => {
                let has_room = self.0.len() < COOKIES_MAX;
                if has_room {
                    self.0.push((name.to_owned(), value.to_owned()));
                }
                has_room
            }
        }
    }

    fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(key, _)| key != name);
        self.0.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_leave_as_they_came() {
        let header = "unb=1; x=a+b/c==; y=%E4; z=";
        assert_eq!(Jar::of(header).header(), header);
    }

    #[test]
    fn odd_attributes_are_no_hindrance() {
        let mut jar = Jar::of("a=1");
        assert!(jar.take(
            "_m_h5_tk=abc_17;Path=/;Domain=x;Max-Age=604800;SameSite=None;Secure;Partitioned"
        ));
        assert!(!jar.take("_m_h5_tk=abc_17"));
        assert_eq!(jar.get(SIGNING), Some("abc_17"));
        assert!(jar.take("a=; Max-Age=0"));
        assert_eq!(jar.header(), "_m_h5_tk=abc_17");
        jar.forget_signing();
        assert!(jar.is_empty());
    }

    #[test]
    fn what_no_header_can_carry_is_left_out() {
        let mut jar = Jar::default();
        assert!(!jar.take("a=b\r\nx: y"));
        assert!(!jar.take("nothing"));
        assert!(!jar.take(&format!("a={}", "x".repeat(5000))));
        for n in 0..300 {
            jar.take(&format!("c{n}=1"));
        }
        assert_eq!(jar.0.len(), COOKIES_MAX);
    }
}
