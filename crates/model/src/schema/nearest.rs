//! The name that a misspelt one was probably meant to be.

/// The candidate nearest to `written`, if one is near enough to be a slip: the same but for case, `-` and `_`; or at most
/// one edit in three characters (optimal string alignment distance, so two swapped letters are one edit).
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(written);
    let allowed = folded.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, candidate)| (*distance, *candidate))
        .map(|(_, candidate)| candidate)
}

/// A long name that the written one abbreviates or extends is one edit away: `destinationPort`, `destination`.
fn distance(written: &str, candidate: &str) -> usize {
    let (short, long) = if written.len() < candidate.len() { (written, candidate) } else { (candidate, written) };
    if short == long {
        return 0;
    }
    if short.len() >= 4 && long.starts_with(short) {
        return 1;
    }
    // A text far longer than any name is no slip of it; comparing would cost its length squared.
    if long.len() > 200 { usize::MAX } else { strsim::osa_distance(written, candidate) }
}

/// Without what people mix up: case, joiners, and the plural of `-y`.
fn fold(name: &str) -> String {
    let folded: String = name.chars().filter(|letter| !matches!(letter, '-' | '_')).flat_map(char::to_lowercase).collect();
    match folded.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => folded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_seen_and_other_words_are_not() {
        let names = ["weight", "destination", "headers", "retries", "timeout", "mirror", "uri"];
        for (written, want) in [
            ("wieght", Some("weight")),
            ("Weight", Some("weight")),
            ("header", Some("headers")),
            ("retry", Some("retries")),
            ("time_out", Some("timeout")),
            ("dest", Some("destination")),
            ("url", Some("uri")),
            ("fault", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, names), want, "{written}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), names), None);
    }
}
