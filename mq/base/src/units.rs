//! Sizes and durations as people write them in settings: `64MiB`, `500ms`, `1d`.

use std::time::Duration;

/// Why a size or a duration cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not a number followed by a known unit.
    #[error("`{0}` is not a number with a unit")]
    Malformed(String),
    /// Does not fit.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

/// Reads a size in bytes: a plain number, or one with `B`, `K`/`KB`/`KiB`, `M`…, `G`…, `T`… (all powers of 1024).
pub fn parse_bytes(text: &str) -> Result<u64, Unreadable> {
    parse(text, |unit| {
        Some(match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            "t" | "tb" | "tib" => 1 << 40,
            _ => return None,
        })
    })
}

/// Reads a duration: a plain number of milliseconds, or one with `ms`, `s`, `m`, `h`, `d`.
pub fn parse_duration(text: &str) -> Result<Duration, Unreadable> {
    parse(text, |unit| {
        Some(match unit {
            "" | "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        })
    })
    .map(Duration::from_millis)
}

fn parse(text: &str, factor: impl Fn(&str) -> Option<u64>) -> Result<u64, Unreadable> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = factor(unit.trim())
        .filter(|_| digits > 0)
        .ok_or_else(|| Unreadable::Malformed(text.to_owned()))?;
    let number: u64 = number.parse().map_err(|_| Unreadable::TooLarge(text.to_owned()))?;
    number
        .checked_mul(factor)
        .ok_or_else(|| Unreadable::TooLarge(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("4K", 4096),
            ("64MiB", 64 << 20),
            (" 1 GB ", 1 << 30),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "K",
            "-1",
            "1.5G",
            "12 parsecs",
            "99999999999999T",
            "99999999999999999999",
        ] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("250", 250),
            ("500ms", 500),
            ("2s", 2000),
            ("5m", 300_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert!(parse_duration("soon").is_err());
    }
}
