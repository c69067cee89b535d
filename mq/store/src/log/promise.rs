//! A [`Done`] whose outcome can be awaited.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use super::Done;

/// A callback for a log's work and the future of its outcome.
pub fn promise() -> (Done, Promise) {
    let shared = Arc::new(Shared {
        slot: Mutex::new(Slot {
            outcome: None,
            gone: false,
            waker: None,
        }),
        ready: Condvar::new(),
    });
    let keeper = Keeper(shared.clone());
    let done = Box::new(move |outcome| keeper.keep(outcome));
    (done, Promise(shared))
}

/// Resolves when the work is done; to an error if the log went away before.
#[derive(Debug)]
#[must_use]
pub struct Promise(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    slot: Mutex<Slot>,
    ready: Condvar,
}

#[derive(Debug)]
struct Slot {
    outcome: Option<io::Result<()>>,
    gone: bool,
    waker: Option<Waker>,
}

/// Dropped unused when the log drops its work.
struct Keeper(Arc<Shared>);

impl Keeper {
    fn keep(&self, outcome: io::Result<()>) {
        self.0.slot.lock().outcome = Some(outcome);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut slot = self.0.slot.lock();
        slot.gone = true;
        let waker = slot.waker.take();
        drop(slot);
        self.0.ready.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Slot {
    fn outcome(&mut self) -> Option<io::Result<()>> {
        if !self.gone {
            return None;
        }
        let lost = || io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed");
        Some(self.outcome.take().unwrap_or_else(|| Err(lost())))
    }
}

impl Promise {
    /// Blocks until the outcome is known. Never in the simulator or on a runtime's worker.
    pub fn wait(self) -> io::Result<()> {
        let mut slot = self.0.slot.lock();
        loop {
            if let Some(outcome) = slot.outcome() {
                return outcome;
            }
            self.0.ready.wait(&mut slot);
        }
    }

    /// The outcome, if it is known.
    pub fn try_take(&self) -> Option<io::Result<()>> {
        self.0.slot.lock().outcome()
    }
}

impl Future for Promise {
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut slot = self.0.slot.lock();
        match slot.outcome() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
