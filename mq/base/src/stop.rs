//! A cooperative stop signal: one source, many listeners, pulled once.

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

/// Waits for SIGTERM or SIGINT, the polite ways to end a program.
pub async fn terminate_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        }
        // Without handlers the default action of the signal ends the process, which is all we can offer.
        _ => std::future::pending().await,
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
