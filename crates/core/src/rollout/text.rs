//! Words for people.

/// A span such as `1m30s`; `0s` when nothing is left.
pub(super) fn span(span_ms: i64) -> String {
    let seconds = span_ms.max(0).saturating_add(999) / 1_000;
    let (hours, minutes, rest) = (seconds / 3_600, seconds % 3_600 / 60, seconds % 60);
    match (hours, minutes, rest) {
        (0, 0, rest) => format!("{rest}s"),
        (0, minutes, 0) => format!("{minutes}m"),
        (0, minutes, rest) => format!("{minutes}m{rest}s"),
        (hours, 0, _) => format!("{hours}h"),
        (hours, minutes, _) => format!("{hours}h{minutes}m"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn spans_read_as_people_write_them() {
        for (span_ms, text) in [
            (-5, "0s"),
            (1, "1s"),
            (90_000, "1m30s"),
            (120_000, "2m"),
            (3_660_000, "1h1m"),
        ] {
            assert_eq!(super::span(span_ms), text);
        }
    }
}
