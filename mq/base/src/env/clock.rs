//! Wall clock and monotonic clock.

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point on the monotonic clock. Follows the paused clock of tests and of the simulator.
pub type Instant = tokio::time::Instant;

/// Milliseconds since the Unix epoch. May jump, in both directions.
#[inline]
pub fn wall_ms() -> i64 {
    #[cfg(feature = "sim")]
    if let Some(ms) = super::sim::wall_ms() {
        return ms;
    }
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    }
}

/// Now, on the monotonic clock.
#[inline]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits for `duration`.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits until `deadline`.
pub async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(deadline).await;
}

/// The time given to [`timeout`] has passed; the future was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;

/// Waits for `future`, at most `duration`.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(duration, future)
        .await
        .map_err(|_| Elapsed)
}
