//! Wall clock and monotonic clock.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
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

/// An alarm that can be set anew without an allocation, for code that polls by hand.
#[derive(Debug)]
pub struct Timer(Pin<Box<tokio::time::Sleep>>);

impl Timer {
    /// An alarm for `deadline`.
    pub fn at(deadline: Instant) -> Timer {
        Timer(Box::pin(tokio::time::sleep_until(deadline)))
    }

    /// When it goes off.
    pub fn deadline(&self) -> Instant {
        self.0.deadline()
    }

    /// Sets it anew.
    pub fn reset(&mut self, deadline: Instant) {
        self.0.as_mut().reset(deadline);
    }

    /// Ready once the deadline has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

/// The time given to [`timeout`] has passed; the future was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;

/// Waits for `future`, at most `duration`.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(duration, future).await.map_err(|_| Elapsed)
}
