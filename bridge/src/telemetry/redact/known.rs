//! Which secrets are known, and where one of their forms stands in a text.
//!
//! Nothing of a secret is kept but seeded hashes of its forms: a few dozen bytes each, for thousands of accounts. A text is
//! gone through once; its places are hashed only where the first bytes of some form may stand, which a bitmap tells.
//!
//! Not here: which forms a secret has (`forms`), what becomes of a text (the front page of the folder).

use super::forms::{self, FORM_BYTES_MAX, FORM_BYTES_MIN};
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// Forms that are known at once: some hundred of each of hundred accounts. The oldest are forgotten first: they are of the
/// token that was replaced longest ago.
const FORMS_MAX: usize = 64 << 10;
/// So many are forgotten together, because the bitmap is then made anew.
const FORGOTTEN_TOGETHER: usize = FORMS_MAX / 8;
/// A quarter of the bits is set when as many forms are known as may be.
const BITS: u32 = 18;

const _: () = assert!(FORM_BYTES_MAX < u64::BITS as usize);

/// See the front page.
#[derive(Default)]
pub(super) struct Known {
    seed: RandomState,
    hashes: HashSet<u64>,
    by_age: VecDeque<Form>,
    /// Bit n: there are forms of n bytes.
    lengths: u64,
    /// Where the beginnings of forms lead to.
    beginnings: Vec<u64>,
}

struct Form {
    hash: u64,
    beginning: u32,
}

impl Known {
    pub(super) fn learn(&mut self, secret: &str) {
        for form in forms::parts(secret).flat_map(forms::forms) {
            let Some(beginning) = beginning(&form) else {
                continue;
            };
            let hash = self.seed.hash_one(&*form);
            if self.hashes.insert(hash) {
                self.by_age.push_back(Form { hash, beginning });
                self.lengths |= 1 << form.len();
                self.mark(beginning);
            }
        }
        if self.by_age.len() > FORMS_MAX {
            self.forget();
        }
    }

    fn forget(&mut self) {
        for form in self.by_age.drain(..FORGOTTEN_TOGETHER) {
            self.hashes.remove(&form.hash);
        }
        self.beginnings.fill(0);
        for at in 0..self.by_age.len() {
            self.mark(self.by_age[at].beginning);
        }
    }

    fn mark(&mut self, beginning: u32) {
        self.beginnings.resize(1 << (BITS - 6), 0);
        self.beginnings[(beginning >> 6) as usize] |= 1 << (beginning & 63);
    }

    /// Where forms begin and end, in the order of their beginnings; of those that begin at the same place the longest.
    pub(super) fn find<'t>(
        &self,
        text: &'t str,
    ) -> impl Iterator<Item = (usize, usize)> + use<'_, 't> {
        let text = text.as_bytes();
        // Nothing known, nothing looked at.
        let ends = if self.by_age.is_empty() {
            0
        } else {
            text.len()
        };
        (0..ends).filter_map(move |at| {
            let rest = &text[at..];
            let is_possible = self.may_begin(beginning(rest)?);
            let len = is_possible.then(|| self.longest(rest)).flatten()?;
            Some((at, at + len))
        })
    }

    fn may_begin(&self, beginning: u32) -> bool {
        self.beginnings[(beginning >> 6) as usize] & 1 << (beginning & 63) != 0
    }

    fn longest(&self, text: &[u8]) -> Option<usize> {
        let mut lengths = self.lengths;
        while lengths != 0 {
            let len = lengths.ilog2();
            lengths &= !(1 << len);
            let form = text.get(..len as usize);
            if form.is_some_and(|form| self.hashes.contains(&self.seed.hash_one(form))) {
                return Some(len as usize);
            }
        }
        None
    }
}

/// Where the first bytes of a form lead to in the bitmap; none of fewer bytes than a form has.
fn beginning(text: &[u8]) -> Option<u32> {
    let head = text.first_chunk::<FORM_BYTES_MIN>()?;
    let mut bytes = [0; 8];
    bytes[..FORM_BYTES_MIN].copy_from_slice(head);
    // Fibonacci hashing: the upper bits of the product depend on all of the bytes.
    let spread = u64::from_le_bytes(bytes).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u32::try_from(spread >> (u64::BITS - BITS)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_bounded_and_the_oldest_goes() {
        let mut known = Known::default();
        let secret = |n: usize| format!("{n:012}");
        let knows = |known: &Known, n: usize| known.find(&secret(n)).next() == Some((0, 12));
        let mut learnt = 0;
        while known.by_age.len() < FORMS_MAX - 8 {
            known.learn(&secret(learnt));
            learnt += 1;
        }
        assert!(knows(&known, 0), "there is room for it");
        for n in learnt..2 * learnt {
            known.learn(&secret(n));
            assert!(known.by_age.len() <= FORMS_MAX + 8);
            assert_eq!(known.by_age.len(), known.hashes.len());
        }
        assert!(!knows(&known, 0) && knows(&known, 2 * learnt - 1));
    }

    #[test]
    fn the_bitmap_forgets_with_the_forms() {
        let mut known = Known::default();
        let set =
            |known: &Known| -> u32 { known.beginnings.iter().map(|it| it.count_ones()).sum() };
        for n in 0..FORMS_MAX / 2 {
            known.learn(&format!("{n:012}"));
        }
        let known_now = u32::try_from(known.by_age.len()).unwrap();
        assert!(set(&known) <= known_now, "{} of {known_now}", set(&known));
    }
}
