//! Sets of GTIDs: what of a source's history is known.
//!
//! Text form as MySQL prints it: `uuid:1-5:8,uuid2:1:tag:3-4`. A transaction is (source uuid, tag, number); most have no tag.

use std::collections::BTreeMap;
use std::fmt;

/// A source's uuid and a tag, which is empty for most.
type Origin = ([u8; 16], String);

/// A set of transactions. Intervals are inclusive, ascending, and never touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GtidSet {
    origins: BTreeMap<Origin, Vec<(u64, u64)>>,
}

/// A text that is no GTID set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no GTID set (wanted: uuid:1-5:7,uuid:…)")]
pub struct Malformed(String);

impl GtidSet {
    /// Reads the text form; spaces and line breaks between parts are ignored.
    ///
    /// # Errors
    /// The text is malformed.
    pub fn parse(text: &str) -> Result<GtidSet, Malformed> {
        let mut set = GtidSet::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let malformed = || Malformed(part.to_owned());
            let mut fields = part.split(':').map(str::trim);
            let uuid = parse_uuid(fields.next().unwrap_or_default()).ok_or_else(malformed)?;
            let mut tag = String::new();
            let mut intervals = 0;
            for field in fields {
                if field.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                    tag = field.to_ascii_lowercase();
                    continue;
                }
                let (first, last) = field.split_once('-').unwrap_or((field, field));
                let (first, last) = (first.parse().ok(), last.parse().ok());
                let (Some(first), Some(last)) = (first, last) else {
                    return Err(malformed());
                };
                if first == 0 || last < first {
                    return Err(malformed());
                }
                set.add_interval((uuid, tag.clone()), first, last);
                intervals += 1;
            }
            if intervals == 0 {
                return Err(malformed());
            }
        }
        Ok(set)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// How many transactions are in it.
    pub fn count(&self) -> u64 {
        let intervals = self.origins.values().flatten();
        intervals.map(|(first, last)| last - first + 1).sum()
    }

    /// Adds one transaction.
    pub fn add(&mut self, source: [u8; 16], tag: &str, number: u64) {
        // The usual case, without a copy of the tag: the next number of a known origin.
        if let Some((_, last)) = self
            .origins
            .get_mut(&(source, String::new()))
            .and_then(|i| i.last_mut())
            && tag.is_empty()
            && number == *last + 1
        {
            *last = number;
            return;
        }
        self.add_interval((source, tag.to_owned()), number, number);
    }

    /// Whether a transaction is in it.
    pub fn contains(&self, source: [u8; 16], tag: &str, number: u64) -> bool {
        let intervals = self.origins.get(&(source, tag.to_owned()));
        intervals.is_some_and(|all| all.iter().any(|(first, last)| (*first..=*last).contains(&number)))
    }

    /// Whether all of `other` is in it.
    pub fn contains_all(&self, other: &GtidSet) -> bool {
        other.minus(self).is_empty()
    }

    /// What is in `self` and not in `other`.
    pub fn minus(&self, other: &GtidSet) -> GtidSet {
        let mut left = GtidSet::default();
        for (origin, intervals) in &self.origins {
            let holes = other.origins.get(origin).map_or(&[][..], Vec::as_slice);
            for (first, last) in intervals {
                let mut from = *first;
                for (hole_first, hole_last) in holes.iter().filter(|(_, hole_last)| hole_last >= first) {
                    if hole_first > last {
                        break;
                    }
                    if *hole_first > from {
                        left.add_interval(origin.clone(), from, hole_first - 1);
                    }
                    from = from.max(hole_last + 1);
                }
                if from <= *last {
                    left.add_interval(origin.clone(), from, *last);
                }
            }
        }
        left
    }

    /// Adds all of `other`.
    pub fn add_all(&mut self, other: &GtidSet) {
        for (origin, intervals) in &other.origins {
            for (first, last) in intervals {
                self.add_interval(origin.clone(), *first, *last);
            }
        }
    }

    /// Its parts: uuid, tag, inclusive intervals.
    pub fn origins(&self) -> impl Iterator<Item = (&[u8; 16], &str, &[(u64, u64)])> {
        let parts = self.origins.iter();
        parts.map(|((uuid, tag), intervals)| (uuid, tag.as_str(), intervals.as_slice()))
    }

    fn add_interval(&mut self, origin: Origin, first: u64, last: u64) {
        let intervals = self.origins.entry(origin).or_default();
        // All that overlap or touch the new one become one with it.
        let from = intervals.partition_point(|(_, l)| l.saturating_add(1) < first);
        let to = intervals.partition_point(|(f, _)| *f <= last.saturating_add(1));
        let first = intervals[from..to].first().map_or(first, |(f, _)| first.min(*f));
        let last = intervals[from..to].last().map_or(last, |(_, l)| last.max(*l));
        intervals.splice(from..to, [(first, last)]);
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut previous: Option<&[u8; 16]> = None;
        for ((uuid, tag), intervals) in &self.origins {
            if previous != Some(uuid) {
                if previous.is_some() {
                    f.write_str(",")?;
                }
                write_uuid(f, uuid)?;
                previous = Some(uuid);
            }
            if !tag.is_empty() {
                write!(f, ":{tag}")?;
            }
            for (first, last) in intervals {
                match first == last {
                    true => write!(f, ":{first}")?,
                    false => write!(f, ":{first}-{last}")?,
                }
            }
        }
        Ok(())
    }
}

/// The usual form, in lower case.
pub fn write_uuid(out: &mut impl fmt::Write, uuid: &[u8; 16]) -> fmt::Result {
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.write_char('-')?;
        }
        write!(out, "{byte:02x}")?;
    }
    Ok(())
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    if digits.len() != 32 {
        return None;
    }
    let mut uuid = [0; 16];
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high * 16 + low) as u8;
    }
    Some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        GtidSet::parse(&text.replace('A', A).replace('B', B)).unwrap()
    }

    #[test]
    fn texts_are_normalised() {
        for (text, wanted) in [
            ("", ""),
            ("A:1", "A:1"),
            ("A:1-3:4-5", "A:1-5"),
            ("A:7:1-3", "A:1-3:7"),
            ("B:1,\nA:2-2", "A:2,B:1"),
            ("A:1-3:tag_1:5:6", "A:1-3:tag_1:5-6"),
            ("A:1,A:3,A:2", "A:1-3"),
        ] {
            assert_eq!(set(text), set(wanted));
            assert_eq!(set(text).to_string(), wanted.replace('A', A).replace('B', B), "{text}");
        }
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in ["A", "x:1", "A:", "A:0", "A:5-3", "A:1-", "A:tag", "A:-1"] {
            let text = text.replace('A', A);
            assert!(GtidSet::parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn differences() {
        for (left, right, wanted) in [
            ("A:1-10", "A:3-4", "A:1-2:5-10"),
            ("A:1-10", "A:1-10", ""),
            ("A:1-10", "A:1-3:5:9-20", "A:4:6-8"),
            ("A:5", "B:5", "A:5"),
            ("A:1-3:t:1-3", "A:1-3", "A:t:1-3"),
        ] {
            assert_eq!(set(left).minus(&set(right)), set(wanted), "{left} - {right}");
            assert_eq!(set(right).contains_all(&set(left)), wanted.is_empty());
        }
    }

    #[test]
    fn adding_in_any_order_gives_one_interval() {
        let uuid = parse_uuid(A).unwrap();
        let mut numbers = GtidSet::default();
        for n in [1, 3, 5, 4, 2, 9, 8, 6, 7, 10] {
            numbers.add(uuid, "", n);
            assert!(numbers.contains(uuid, "", n));
        }
        assert_eq!(numbers, set("A:1-10"));
        assert_eq!(numbers.count(), 10);
        let mut other = set("A:20,B:1");
        other.add_all(&numbers);
        assert_eq!(other, set("A:1-10:20,B:1"));
    }
}
