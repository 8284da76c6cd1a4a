//! Durations as people write them: `300ms`, `90s`, `1m30s`, `2h`.

/// Pattern of a duration, for schemas.
pub const PATTERN: &str = "^([0-9]{1,9}(ms|s|m|h))+$";

/// Parses a duration into milliseconds; the error says what was expected.
pub fn parse_ms(text: &str) -> Result<i64, String> {
    let refuse = || format!("\"{text}\" is not a duration; write it like 300ms, 90s, 1m30s or 2h");
    let mut total: i64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return Err(refuse());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(refuse)?;
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at_checked(letters).ok_or_else(refuse)?;
        let scale = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(refuse()),
        };
        let number: i64 = number.parse().map_err(|_| refuse())?;
        total = number
            .checked_mul(scale)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(refuse)?;
        rest = tail;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::parse_ms;

    #[test]
    fn reads_what_people_write() {
        for (text, expected) in [
            ("300ms", 300),
            ("90s", 90_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_ms(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_how_to_write_it() {
        for text in [
            "",
            "5",
            "s",
            "5d",
            "1m 30s",
            "-1s",
            "99999999999999999999h",
            "5µs",
        ] {
            let error = parse_ms(text).unwrap_err();
            assert!(error.contains("1m30s"), "{error}");
        }
    }
}
