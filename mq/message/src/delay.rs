//! Delay levels: the broker's table of waiting times, numbered from 1.

/// RocketMQ's default `messageDelayLevel`.
pub const DEFAULT: &str = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";
/// Most levels a table may have: each is one queue of the schedule topic.
pub const LEVELS_MAX: usize = 64;
/// Longest waiting time of a level.
pub const DELAY_MS_MAX: i64 = 366 * 24 * 3600 * 1000;

/// Why a delay table cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DelayError {
    /// An item is not a number with unit s, m, h or d.
    #[error("delay level {0:?} is not a number with unit s, m, h or d")]
    Item(String),
    /// An item is longer than [`DELAY_MS_MAX`].
    #[error("delay level {0:?} is longer than a year")]
    TooLong(String),
    /// No or more than [`LEVELS_MAX`] levels.
    #[error("{0} delay levels; there must be 1 to 64")]
    Count(usize),
}

/// A table of delay levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    ms: Vec<i64>,
}

impl Levels {
    /// Reads a table such as `1s 5s 1m 2h`; units s, m, h, d.
    pub fn parse(text: &str) -> Result<Self, DelayError> {
        let ms = text.split_ascii_whitespace().map(item).collect::<Result<Vec<_>, _>>()?;
        if ms.is_empty() || ms.len() > LEVELS_MAX {
            return Err(DelayError::Count(ms.len()));
        }
        Ok(Self { ms })
    }

    /// The highest level.
    pub fn max(&self) -> u32 {
        self.ms.len() as u32
    }

    /// The level in force for a requested one: the highest where it exceeds the table; `None` for 0 and below.
    pub fn clamp(&self, level: i32) -> Option<u32> {
        u32::try_from(level)
            .ok()
            .filter(|&level| level > 0)
            .map(|level| level.min(self.max()))
    }

    /// Waiting time of a level in ms; the highest level's where it exceeds the table, 0 for level 0.
    pub fn delay_ms(&self, level: u32) -> i64 {
        match level {
            0 => 0,
            level => self.ms[(level.min(self.max()) - 1) as usize],
        }
    }

    /// Waiting times in ms from level 1 on.
    pub fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        self.ms.iter().copied()
    }
}

impl Default for Levels {
    fn default() -> Self {
        Self::parse(DEFAULT).expect("the default table is valid")
    }
}

fn item(text: &str) -> Result<i64, DelayError> {
    let wrong = || DelayError::Item(text.to_owned());
    let unit = match text.as_bytes().last() {
        Some(b's') => 1000,
        Some(b'm') => 60_000,
        Some(b'h') => 3_600_000,
        Some(b'd') => 86_400_000,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let ms = i64::from(number) * unit;
    if ms > DELAY_MS_MAX {
        Err(DelayError::TooLong(text.to_owned()))
    } else {
        Ok(ms)
    }
}
