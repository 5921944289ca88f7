//! The known key that a mistyped one probably means.

/// No key is longer, in characters; a longer word is not compared.
const MAX_WORD: usize = 64;

/// The candidate that is nearest to the word, if any is near enough to be meant.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    if word.chars().nth(MAX_WORD).is_some() {
        return None;
    }
    // A third of the letters may differ, at least one: "portt", "max_conections".
    let limit = (word.chars().count() / 3).max(1);
    let folded = fold(word);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let candidate_folded = fold(candidate);
            // At least as far apart as their lengths.
            let apart = folded.len().abs_diff(candidate_folded.len());
            let distance = if apart > limit { apart } else { distance(&folded, &candidate_folded) };
            let lacks_its_unit = word.len() > 2
                && candidate.strip_prefix(word).is_some_and(|rest| rest.starts_with('_'));
            (distance <= limit || lacks_its_unit).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Case and `-` against `_` make no difference to what was meant.
fn fold(word: &str) -> Vec<char> {
    word.to_lowercase().replace('-', "_").chars().collect()
}

/// Letters to insert, delete or replace to come from `a` to `b`; two swapped neighbours cost two.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (other, window) in b.iter().zip(row.windows(2)) {
            let (diagonal, above) = match window {
                [diagonal, above] => (*diagonal, *above),
                _ => continue,
            };
            let replaced = diagonal + usize::from(letter != other);
            left = replaced.min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["listen", "max_connections", "tls", "tls_cert"];

    #[test]
    fn a_typo_finds_its_key() {
        for (typed, meant) in [
            ("lisen", Some("listen")),
            ("max_conections", Some("max_connections")),
            ("max-connections", Some("max_connections")),
            ("TLS", Some("tls")),
            ("tls_crt", Some("tls_cert")),
            ("max", Some("max_connections")),
            ("ma", None),
            ("ssl", None),
            ("replicas", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, KEYS), meant, "{typed}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(&fold(a), &fold(b)), expected, "{a} {b}");
        }
    }
}
