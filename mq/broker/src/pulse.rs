//! Whether this process was frozen a moment ago (SIGSTOP, a paused machine, a host without time to give).
//!
//! What clients sent meanwhile lies in the sockets, and they have given up on it and asked another member. So a member that
//! was frozen forwards with the mark of a resend, which lets the leader find out whether it has the message already.

use mq_base::env::clock::{self, Instant};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How often it beats.
const EVERY: Duration = Duration::from_millis(100);
/// A pause this long between two beats is a freeze. The shortest time-out of clients is 1 s.
const FROZEN_MS: u64 = 1_000;
/// What lay in the sockets is read within this time.
const THAWING_MS: u64 = 1_000;

/// Beats while the process runs.
pub struct Pulse {
    born: Instant,
    /// Milliseconds since `born`, as the next one.
    beat: AtomicU64,
    /// When the last freeze was over; 0 if there was none.
    thawed: AtomicU64,
}

impl Pulse {
    pub(crate) fn new() -> Pulse {
        Pulse {
            born: clock::now(),
            beat: AtomicU64::new(0),
            thawed: AtomicU64::new(0),
        }
    }

    fn now_ms(&self) -> u64 {
        self.born.elapsed().as_millis() as u64
    }

    fn beat(&self) {
        let now = self.now_ms();
        if now - self.beat.swap(now, Relaxed).min(now) > FROZEN_MS {
            self.thawed.store(now, Relaxed);
        }
    }

    /// Whether a request that is read now may have waited for long.
    pub fn was_frozen(&self) -> bool {
        let (now, thawed) = (self.now_ms(), self.thawed.load(Relaxed));
        now.saturating_sub(self.beat.load(Relaxed)) > FROZEN_MS || (thawed > 0 && now - thawed.min(now) < THAWING_MS)
    }

    /// Beats for ever.
    pub(crate) async fn run(&self) {
        loop {
            self.beat();
            clock::sleep(EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_freeze_is_noticed_until_a_moment_after_it() {
        let pulse = Pulse::new();
        for _ in 0..30 {
            pulse.beat();
            tokio::time::advance(EVERY).await;
            assert!(!pulse.was_frozen());
        }
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(pulse.was_frozen(), "read before the first beat");
        pulse.beat();
        assert!(pulse.was_frozen(), "and just behind it");
        for _ in 0..10 {
            tokio::time::advance(EVERY).await;
            pulse.beat();
        }
        assert!(!pulse.was_frozen());
    }
}
