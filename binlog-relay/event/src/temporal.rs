//! Dates and times as they are stored, and their texts.
//!
//! Zero and partly zero dates are kept: they are data. Source of the layouts: MySQL's `my_time.cc`.

use crate::Error;
use crate::reader::{big_endian, little_endian};

/// Parts of a DATETIME as stored; any part may be zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DateTime {
    /// 0 to 9999.
    pub year: u16,
    /// 0 to 12.
    pub month: u8,
    /// 0 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999,999.
    pub micro: u32,
}

/// Parts of a TIME.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    /// Before zero.
    pub negative: bool,
    /// 0 to 838.
    pub hour: u16,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999,999.
    pub micro: u32,
}

/// Bytes of the fraction of so many digits.
pub(crate) fn fraction_bytes(fsp: u8) -> usize {
    usize::from(fsp.min(6)).div_ceil(2)
}

/// The microseconds of a stored fraction, which counts hundredths, ten-thousandths or millionths.
fn micros(fraction: u64, bytes: usize) -> Result<u32, Error> {
    let unit = [0, 10_000, 100, 1][bytes.min(3)];
    match fraction * unit {
        micro @ ..1_000_000 => Ok(micro as u32),
        _ => Err(Error::Damaged("a fraction of a second is a second or more")),
    }
}

/// `00` to `99`.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut at = 0;
    while at < 100 {
        pairs[at] = [b'0' + (at / 10) as u8, b'0' + (at % 10) as u8];
        at += 1;
    }
    pairs
};

/// Two digits; of a greater number the last two.
fn pair(value: u32) -> [u8; 2] {
    PAIRS[(value % 100) as usize]
}

/// Writes the point and six digits; answers how many bytes of them are wanted.
fn fraction(micro: u32, fsp: u8, text: &mut [u8; 7]) -> usize {
    if fsp == 0 {
        return 0;
    }
    text[0] = b'.';
    text[1..3].copy_from_slice(&pair(micro / 10_000));
    text[3..5].copy_from_slice(&pair(micro / 100));
    text[5..7].copy_from_slice(&pair(micro));
    1 + usize::from(fsp.min(6))
}

fn date_text(year: u16, month: u8, day: u8) -> [u8; 10] {
    let mut text = *b"0000-00-00";
    text[0..2].copy_from_slice(&pair(u32::from(year) / 100));
    text[2..4].copy_from_slice(&pair(u32::from(year)));
    text[5..7].copy_from_slice(&pair(u32::from(month)));
    text[8..10].copy_from_slice(&pair(u32::from(day)));
    text
}

/// Appends `yyyy-MM-dd`.
pub fn write_date(year: u16, month: u8, day: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&date_text(year, month, day));
}

/// Appends `yyyy-MM-dd HH:mm:ss` and, if `fsp` is not 0, a point and exactly so many digits.
pub fn write_datetime(parts: &DateTime, fsp: u8, out: &mut Vec<u8>) {
    // Put together on the stack and appended at once: the most frequent of all slow texts.
    let mut text = *b"0000-00-00 00:00:00.000000";
    text[0..10].copy_from_slice(&date_text(parts.year, parts.month, parts.day));
    text[11..13].copy_from_slice(&pair(u32::from(parts.hour)));
    text[14..16].copy_from_slice(&pair(u32::from(parts.minute)));
    text[17..19].copy_from_slice(&pair(u32::from(parts.second)));
    let mut tail = [0; 7];
    let bytes = 19 + fraction(parts.micro, fsp, &mut tail);
    text[19..].copy_from_slice(&tail);
    out.extend_from_slice(&text[..bytes]);
}

/// Appends `[-]HH:mm:ss` with two or three digits of hours and, if `fsp` is not 0, a point and exactly so many digits.
pub fn write_time(parts: &Time, fsp: u8, out: &mut Vec<u8>) {
    if parts.negative {
        out.push(b'-');
    }
    if parts.hour > 99 {
        out.extend_from_slice(itoa::Buffer::new().format(parts.hour).as_bytes());
    } else {
        out.extend_from_slice(&pair(u32::from(parts.hour)));
    }
    for part in [parts.minute, parts.second] {
        out.push(b':');
        out.extend_from_slice(&pair(u32::from(part)));
    }
    let mut tail = [0; 7];
    let bytes = fraction(parts.micro, fsp, &mut tail);
    out.extend_from_slice(&tail[..bytes]);
}

/// Appends four digits.
pub fn write_year(year: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&pair(u32::from(year) / 100));
    out.extend_from_slice(&pair(u32::from(year)));
}

/// DATE: 3 bytes, little-endian: day 5 bits, month 4, year 15.
pub(crate) fn date(raw: &[u8]) -> Result<DateTime, Error> {
    let value = little_endian(raw);
    DateTime {
        day: (value & 31) as u8,
        month: (value >> 5 & 15) as u8,
        year: (value >> 9 & 0x7fff) as u16,
        ..DateTime::default()
    }
    .checked()
}

/// DATETIME since 5.6: 5 bytes, big-endian, plus the fraction: sign bit (always set), year and month as `year * 13 +
/// month` 17 bits, day 5, hour 5, minute 6, second 6.
pub(crate) fn datetime(raw: &[u8]) -> Result<DateTime, Error> {
    let (whole, fraction) = raw.split_at_checked(5).ok_or(Error::Short("a DATETIME"))?;
    let value = big_endian(whole)
        .checked_sub(1 << 39)
        .ok_or(Error::Damaged("a DATETIME is negative"))?;
    packed(value, micros(big_endian(fraction), fraction.len())?)
}

/// The bits of [`datetime`] without the sign.
fn packed(value: u64, micro: u32) -> Result<DateTime, Error> {
    let (day, months) = (value >> 17 & 31, value >> 22);
    DateTime {
        year: (months / 13).min(u64::from(u16::MAX)) as u16,
        month: (months % 13) as u8,
        day: day as u8,
        hour: (value >> 12 & 31) as u8,
        minute: (value >> 6 & 63) as u8,
        second: (value & 63) as u8,
        micro,
    }
    .checked()
}

impl DateTime {
    fn checked(self) -> Result<Self, Error> {
        if self.year <= 9999 && self.month <= 12 && self.hour <= 23 && self.minute <= 59 && self.second <= 59 {
            Ok(self)
        } else {
            Err(Error::Damaged("a date or time has a part that is out of range"))
        }
    }

    /// From the number of seconds since 1970, in UTC.
    pub fn from_unix(seconds: u32, micro: u32) -> Self {
        // Days counted from 0000-03-01, so that the leap day ends a year; years of 400, 100, 4 years.
        let days = seconds / 86_400 + 719_468;
        let era_day = days % 146_097;
        let era_year = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
        let year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
        let from_march = (5 * year_day + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        let second = seconds % 86_400;
        Self {
            year: (days / 146_097 * 400 + era_year + u32::from(month <= 2)) as u16,
            month: month as u8,
            day: (year_day - (153 * from_march + 2) / 5 + 1) as u8,
            hour: (second / 3600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
            micro,
        }
    }
}

/// DATETIME before 5.6: 8 bytes, little-endian, the decimal number `yyyyMMddHHmmss`.
pub(crate) fn datetime_old(raw: &[u8]) -> Result<DateTime, Error> {
    let value = little_endian(raw);
    let part = |by: u64| (value / by % 100) as u8;
    DateTime {
        year: (value / 10_000_000_000).min(u64::from(u16::MAX)) as u16,
        month: part(100_000_000),
        day: part(1_000_000),
        hour: part(10_000),
        minute: part(100),
        second: part(1),
        micro: 0,
    }
    .checked()
}

/// TIMESTAMP since 5.6: seconds since 1970 as u32, big-endian, plus the fraction. 0 is the zero date.
pub(crate) fn timestamp(raw: &[u8]) -> Result<DateTime, Error> {
    let (seconds, fraction) = raw.split_first_chunk().ok_or(Error::Short("a TIMESTAMP"))?;
    let micro = micros(big_endian(fraction), fraction.len())?;
    match u32::from_be_bytes(*seconds) {
        0 => Ok(DateTime {
            micro,
            ..DateTime::default()
        }),
        seconds => Ok(DateTime::from_unix(seconds, micro)),
    }
}

/// TIME since 5.6: 3 bytes, big-endian, plus the fraction, all one number around its middle: hour 10 bits, minute 6,
/// second 6, fraction. Negative times are the negated number, fraction included.
pub(crate) fn time(raw: &[u8]) -> Result<Time, Error> {
    let bytes = raw.len().checked_sub(3).ok_or(Error::Short("a TIME"))?;
    if bytes > 3 {
        return Err(Error::Damaged("a TIME has more than 6 bytes"));
    }
    let value = big_endian(raw).cast_signed() - (0x80_0000 << (8 * bytes));
    let magnitude = value.unsigned_abs();
    let whole = magnitude >> (8 * bytes);
    time_of(value < 0, whole, micros(magnitude & ((1 << (8 * bytes)) - 1), bytes)?)
}

fn time_of(negative: bool, whole: u64, micro: u32) -> Result<Time, Error> {
    let time = Time {
        negative,
        hour: (whole >> 12).min(u64::from(u16::MAX)) as u16,
        minute: (whole >> 6 & 63) as u8,
        second: (whole & 63) as u8,
        micro,
    };
    if time.hour <= 838 && time.minute <= 59 && time.second <= 59 {
        Ok(time)
    } else {
        Err(Error::Damaged("a TIME has a part that is out of range"))
    }
}

/// TIME before 5.6: 3 bytes, little-endian, signed, the decimal number `HHHmmss`.
pub(crate) fn time_old(raw: &[u8]) -> Result<Time, Error> {
    let value = (little_endian(raw) << 40).cast_signed() >> 40;
    let number = value.unsigned_abs();
    let whole = (number / 10_000) << 12 | (number / 100 % 100) << 6 | (number % 100);
    if number / 100 % 100 > 59 || number % 100 > 59 {
        return Err(Error::Damaged("a TIME has a part that is out of range"));
    }
    time_of(value < 0, whole, 0)
}

/// The 8 bytes inside JSON: as [`datetime`] or [`time`] without an offset, with 24 bits of microseconds below.
pub(crate) fn json_datetime(value: i64) -> Result<DateTime, Error> {
    let value = u64::try_from(value).map_err(|_| Error::Damaged("a date in a JSON value is negative"))?;
    packed(value >> 24, micros(value & 0xff_ffff, 3)?)
}

/// See [`json_datetime`].
pub(crate) fn json_time(value: i64) -> Result<Time, Error> {
    let magnitude = value.unsigned_abs();
    time_of(value < 0, magnitude >> 24, micros(magnitude & 0xff_ffff, 3)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time_text(raw: &[u8], fsp: u8) -> String {
        let mut out = Vec::new();
        write_time(&time(raw).unwrap(), fsp, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// `TIME` as the server stores it, from a number of microseconds.
    fn store_time(micros: i64, fsp: u8) -> Vec<u8> {
        let bytes = fraction_bytes(fsp);
        let magnitude = micros.unsigned_abs();
        let (seconds, micro) = (magnitude / 1_000_000, magnitude % 1_000_000);
        let whole = (seconds / 3600) << 12 | (seconds / 60 % 60) << 6 | (seconds % 60);
        let unit = [1_000_000, 10_000, 100, 1][bytes];
        let mut value = ((whole << (8 * bytes)) | (micro / unit)).cast_signed();
        if micros < 0 {
            value = -value;
        }
        let stored = value + (0x80_0000 << (8 * bytes));
        stored.to_be_bytes()[5 - bytes..].to_vec()
    }

    proptest! {
        #[test]
        fn times_as_the_slow_model_writes_them(micros in -3_020_399_999_999i64..=3_020_399_999_999, fsp in 0u8..=6) {
            let unit = 10i64.pow(6 - u32::from(fsp));
            let micros = micros / unit * unit;
            let seconds = micros.abs() / 1_000_000;
            let mut expected = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
            if micros < 0 {
                expected.insert(0, '-');
            }
            if fsp > 0 {
                expected += &format!(".{:06}", micros.abs() % 1_000_000)[..=usize::from(fsp)];
            }
            prop_assert_eq!(time_text(&store_time(micros, fsp), fsp), expected);
        }

        #[test]
        fn days_as_the_slow_calendar_counts_them(day in 0u32..=49_710) {
            let (mut left, mut year, mut month) = (day, 1970u16, 1u8);
            let leap = |year: u16| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
            let length = |year, month| match month { 2 if leap(year) => 29, 2 => 28, 4 | 6 | 9 | 11 => 30, _ => 31 };
            while left >= length(year, month) {
                left -= length(year, month);
                (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            }
            let got = DateTime::from_unix(day * 86_400, 0);
            prop_assert_eq!((got.year, got.month, got.day), (year, month, left as u8 + 1));
        }

        #[test]
        fn nothing_panics(raw in proptest::collection::vec(any::<u8>(), 0..12), value: i64) {
            let _ = (date(&raw), datetime(&raw), datetime_old(&raw), timestamp(&raw), time(&raw), time_old(&raw));
            let _ = (json_datetime(value), json_time(value));
        }
    }

    #[test]
    fn corners() {
        // -01:02:03.45, which the stock reader gets wrong
        assert_eq!(time_text(&store_time(-3_723_450_000, 2), 2), "-01:02:03.45");
        assert_eq!(time_text(&store_time(-500_000, 1), 1), "-00:00:00.5");
        assert_eq!(time_text(&store_time(0, 0), 0), "00:00:00");
        assert_eq!(time_text(&store_time(3_020_399_000_000, 0), 0), "838:59:59");
        let last = DateTime::from_unix(u32::MAX, 0);
        assert_eq!((last.year, last.month, last.day, last.hour), (2106, 2, 7, 6));
        assert_eq!(timestamp(&[0, 0, 0, 0]), Ok(DateTime::default()));
        assert_eq!(datetime_old(&20_260_102_030_405u64.to_le_bytes()).unwrap().minute, 4);
        assert_eq!(
            time_old(&[0xff, 0xff, 0xff]).unwrap(),
            Time {
                negative: true,
                second: 1,
                ..Time::default()
            }
        );
    }
}
