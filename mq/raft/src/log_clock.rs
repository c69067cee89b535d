//! Log time: what all members see as "now" for an entry. It never goes back, runs with the leader's monotonic clock, and
//! drifts towards wall time so slowly that no timer notices.

use mq_base::env::clock;

/// Wall time may correct log time by one part in this many.
const SLEW: i64 = 10;

/// A leader's log clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogClock {
    at: Option<clock::Instant>,
    ms: i64,
}

impl LogClock {
    /// A new leadership: continues after the last entry's time. Time in which nobody led has passed too.
    pub fn start(&mut self, last_entry_ms: i64) {
        self.ms = self.ms.max(last_entry_ms).max(clock::wall_ms());
        self.at = Some(clock::now());
    }

    /// The time for the next entry.
    pub fn now(&mut self) -> i64 {
        let now = clock::now();
        let elapsed = self.at.map_or(0, |at| now.duration_since(at).as_millis() as i64);
        if elapsed > 0 {
            self.ms = advance(self.ms, elapsed, clock::wall_ms());
            // Whole milliseconds only: the rest stays for the next call.
            self.at = self.at.map(|at| at + std::time::Duration::from_millis(elapsed as u64));
        }
        self.ms
    }
}

fn advance(ms: i64, elapsed: i64, wall_ms: i64) -> i64 {
    let next = ms + elapsed;
    let slew = (elapsed + SLEW - 1) / SLEW;
    (next + (wall_ms - next).clamp(-slew, slew)).max(ms)
}

#[cfg(test)]
mod tests {
    use super::advance;

    #[test]
    fn log_time_follows_the_wall_clock_slowly_and_never_goes_back() {
        for (ms, elapsed, wall, expected, why) in [
            (1000, 100, 1100, 1100, "in step"),
            (1000, 100, 9000, 1110, "wall clock ahead: at most a tenth faster"),
            (1000, 100, 0, 1090, "wall clock behind: at most a tenth slower"),
            (1000, 1, 0, 1000, "one millisecond may vanish, time may not turn"),
            (1000, 100, 1105, 1105, "small difference: gone at once"),
        ] {
            assert_eq!(advance(ms, elapsed, wall), expected, "{why}");
        }
    }
}
