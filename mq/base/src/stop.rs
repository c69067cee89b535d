//! A cooperative stop signal: one source, many listeners, pulled once; and the system's signals that pull it.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Pulls the signal. Dropping the source pulls it too.
#[derive(Debug)]
pub struct StopSource(watch::Sender<bool>);

/// Sees the signal. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl StopSource {
    /// A source and its first listener.
    pub fn new() -> (StopSource, Stop) {
        let (sender, receiver) = watch::channel(false);
        (StopSource(sender), Stop(receiver))
    }

    /// Pulls the signal.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Another listener.
    pub fn listener(&self) -> Stop {
        Stop(self.0.subscribe())
    }
}

impl Stop {
    /// Waits until the signal is pulled; at once if it was.
    pub async fn wait(&self) {
        let mut receiver = self.0.clone();
        let _ = receiver.wait_for(|stopped| *stopped).await;
    }

    /// Whether the signal was pulled.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

/// SIGTERM and SIGINT, the polite ways to end a program, from the moment this exists.
///
/// Make it before telling anybody that the program is there: until then a signal ends the process, and not politely.
#[derive(Debug)]
pub struct Terminations {
    terminate: Signal,
    interrupt: Signal,
}

impl Terminations {
    /// Takes the signals over; within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The system refuses a handler.
    pub fn listen() -> std::io::Result<Terminations> {
        Ok(Terminations {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one. Those of a kind that came since the last call count as one.
    pub async fn next(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_listener_sees_the_stop_once_pulled() {
        let (source, stop) = StopSource::new();
        let late = source.listener();
        assert!(!stop.is_stopped());
        source.stop();
        stop.wait().await;
        late.wait().await;
        source.listener().wait().await;
        assert!(stop.is_stopped() && late.is_stopped());
    }

    #[tokio::test]
    async fn a_dropped_source_is_a_stop() {
        let (source, stop) = StopSource::new();
        drop(source);
        stop.wait().await;
        assert!(stop.is_stopped());
    }
}
