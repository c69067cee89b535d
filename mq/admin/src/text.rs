//! How values are written in columns: times, flags.

use anyhow::{Context, Result};
use time::OffsetDateTime;
use time::format_description::{self, BorrowedFormatItem};

fn format(text: &'static str) -> Vec<BorrowedFormatItem<'static>> {
    // The texts are constants of this file; a test uses each.
    format_description::parse_borrowed::<2>(text).unwrap_or_default()
}

fn at(ms: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()
}

/// `2026-11-21 09:31:18,887`, UTC; empty for 0.
pub fn time_ms(ms: i64) -> String {
    written(ms, "[year]-[month]-[day] [hour]:[minute]:[second],[subsecond digits:3]")
}

/// `2026-11-21 09:31:18`, UTC; empty for 0.
pub fn time_s(ms: i64) -> String {
    written(ms, "[year]-[month]-[day] [hour]:[minute]:[second]")
}

fn written(ms: i64, layout: &'static str) -> String {
    if ms == 0 {
        return String::new();
    }
    at(ms)
        .and_then(|at| at.format(&format(layout)).ok())
        .unwrap_or_else(|| ms.to_string())
}

/// A time as `resetOffsetByTime` takes it: `now`, milliseconds, or `yyyy-MM-dd#HH:mm:ss:SSS` (UTC).
pub fn parse_time(text: &str, now_ms: i64) -> Result<i64> {
    if text == "now" {
        return Ok(now_ms);
    }
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let layout = format("[year]-[month]-[day]#[hour]:[minute]:[second]:[subsecond digits:3]");
    let time = time::PrimitiveDateTime::parse(text, &layout)
        .with_context(|| format!("'{text}' is none of now, milliseconds, yyyy-MM-dd#HH:mm:ss:SSS"))?;
    Ok(i64::try_from(time.assume_utc().unix_timestamp_nanos() / 1_000_000)?)
}

/// `RW-`: read, write, inherit.
pub fn perm(bits: u32) -> String {
    let mark = |bit, letter| if bits & bit != 0 { letter } else { '-' };
    [mark(4, 'R'), mark(2, 'W'), mark(1, 'X')].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_back() {
        let ms = 1_795_253_478_887;
        assert_eq!(time_ms(ms), "2026-11-21 09:31:18,887");
        assert_eq!(time_s(ms), "2026-11-21 09:31:18");
        assert_eq!(time_ms(0), "");
        assert_eq!(parse_time("2026-11-21#09:31:18:887", 0).unwrap(), ms);
        assert_eq!(parse_time("now", 5).unwrap(), 5);
        assert_eq!(parse_time("-1", 5).unwrap(), -1);
        assert!(
            parse_time("yesterday", 5)
                .unwrap_err()
                .to_string()
                .contains("yyyy-MM-dd#HH:mm:ss:SSS")
        );
    }

    #[test]
    fn permissions_are_three_letters() {
        assert_eq!([6, 4, 2, 0].map(perm), ["RW-", "R--", "-W-", "---"]);
    }
}
