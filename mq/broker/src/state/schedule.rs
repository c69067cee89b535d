//! Delay levels: how long each is, and how far each has been delivered.
//!
//! A delayed message lies in queue `level - 1` of the schedule topic; its consume queue entry carries the delivery time
//! in place of a tags code. The table is group state because that time must be equal on every member.

use super::codec::{CodecError, Reader, Writer};
use mq_message::QueueOffset;

/// RocketMQ's default levels 1..=18: `1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h`, in milliseconds.
pub const DEFAULT_DELAYS_MS: [i64; 18] = {
    const S: i64 = 1_000;
    const M: i64 = 60 * S;
    const H: i64 = 60 * M;
    [
        S,
        5 * S,
        10 * S,
        30 * S,
        M,
        2 * M,
        3 * M,
        4 * M,
        5 * M,
        6 * M,
        7 * M,
        8 * M,
        9 * M,
        10 * M,
        20 * M,
        30 * M,
        H,
        2 * H,
    ]
};

/// Most levels a table may have.
pub const LEVELS_MAX: usize = 256;

/// Delay table and progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    delays_ms: Vec<i64>,
    /// Next queue offset to deliver, per level. Longer than the table where a level was taken out of it.
    progress: Vec<QueueOffset>,
}

impl Default for Schedule {
    fn default() -> Self {
        let delays_ms = DEFAULT_DELAYS_MS.to_vec();
        let progress = vec![QueueOffset::default(); delays_ms.len()];
        Self { delays_ms, progress }
    }
}

impl Schedule {
    /// Number of levels a producer may name.
    pub fn levels(&self) -> u32 {
        self.delays_ms.len() as u32
    }

    /// Delays, level 1 first, milliseconds.
    pub fn delays_ms(&self) -> &[i64] {
        &self.delays_ms
    }

    /// Delay of a level (1-based); that of the last for a level no longer in the table.
    pub fn delay_ms(&self, level: u32) -> i64 {
        let index = (level.max(1) as usize - 1).min(self.delays_ms.len().saturating_sub(1));
        self.delays_ms.get(index).copied().unwrap_or(0)
    }

    /// Next queue offset to deliver of every level that ever was, level 1 first.
    pub fn progress(&self) -> &[QueueOffset] {
        &self.progress
    }

    pub(super) fn set_delays(&mut self, delays_ms: Vec<i64>) {
        if self.progress.len() < delays_ms.len() {
            self.progress.resize(delays_ms.len(), QueueOffset::default());
        }
        self.delays_ms = delays_ms;
    }

    pub(super) fn advance(&mut self, level: u32, to: QueueOffset) {
        if let Some(progress) = self.progress.get_mut((level as usize).wrapping_sub(1)) {
            *progress = to.max(*progress);
        }
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.varint(self.delays_ms.len() as u64);
        for delay in &self.delays_ms {
            w.signed(*delay);
        }
        w.varint(self.progress.len() as u64);
        for offset in &self.progress {
            w.varint(offset.get());
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        let delays_ms = (0..r.count()?).map(|_| r.signed()).collect::<Result<_, _>>()?;
        let progress = (0..r.count()?)
            .map(|_| Ok(r.varint()?.into()))
            .collect::<Result<_, CodecError>>()?;
        Ok(Self { delays_ms, progress })
    }
}
