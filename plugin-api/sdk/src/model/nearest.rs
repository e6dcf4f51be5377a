//! Did you mean …?

/// The known name with the fewest edits, if those are few for its length: a third of it.
///
/// ```
/// use im_bridge_sdk::model::nearest;
///
/// assert_eq!(nearest("pasword", ["password", "user"]), Some("password"));
/// assert_eq!(nearest("pw", ["password", "user"]), None);
/// ```
#[must_use]
pub fn nearest<'n>(word: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let edits = |name: &'n str| (distance(word, name), name);
    let (edits, name) = known.into_iter().map(edits).min()?;
    (edits <= name.len().div_ceil(3)).then_some(name)
}

/// Levenshtein distance; names are short, so one row is enough.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn the_distance_counts_single_edits() {
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }
}
