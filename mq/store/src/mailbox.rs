//! How the store's background threads are given work.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// A mailbox with one taker: a thread that blocks, or in the simulator a task.
///
/// Unbounded by itself: what waits here is bounded by the bytes Raft keeps in flight.
pub(crate) struct Mailbox<T> {
    inner: Mutex<Inner<T>>,
    ready: Condvar,
}

struct Inner<T> {
    items: VecDeque<T>,
    closed: bool,
    nudged: bool,
    waker: Option<Waker>,
}

/// What [`Mailbox::take`] returned for.
#[derive(Debug)]
pub(crate) struct Taken<T> {
    pub items: Vec<T>,
    /// Somebody called [`Mailbox::nudge`].
    pub nudged: bool,
    pub closed: bool,
}

impl<T> Mailbox<T> {
    pub fn new() -> Mailbox<T> {
        Mailbox {
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                closed: false,
                nudged: false,
                waker: None,
            }),
            ready: Condvar::new(),
        }
    }

    pub fn push(&self, item: T) {
        self.wake(|inner| inner.items.push_back(item));
    }

    /// Wakes the taker without giving it anything. Cheap when it was nudged already.
    pub fn nudge(&self) {
        if !self.inner.lock().nudged {
            self.wake(|inner| inner.nudged = true);
        }
    }

    /// No more items come.
    pub fn close(&self) {
        self.wake(|inner| inner.closed = true);
    }

    fn wake(&self, change: impl FnOnce(&mut Inner<T>)) {
        let mut inner = self.inner.lock();
        change(&mut inner);
        let waker = inner.waker.take();
        drop(inner);
        match waker {
            Some(waker) => waker.wake(),
            None => {
                self.ready.notify_one();
            }
        }
    }

    /// Everything that waits; returns empty after `patience` (`None`: never).
    pub fn take(&self, patience: Option<Duration>) -> Taken<T> {
        let mut inner = self.inner.lock();
        while !inner.is_ready() {
            match patience {
                None => self.ready.wait(&mut inner),
                Some(patience) => {
                    if self.ready.wait_for(&mut inner, patience).timed_out() {
                        break;
                    }
                }
            }
        }
        inner.taken()
    }

    /// The same for a task.
    pub async fn take_async(&self, patience: Option<Duration>) -> Taken<T> {
        let ready = poll_fn(|cx| {
            let mut inner = self.inner.lock();
            if inner.is_ready() {
                return Poll::Ready(());
            }
            inner.waker = Some(cx.waker().clone());
            Poll::Pending
        });
        match patience {
            None => ready.await,
            Some(patience) => {
                let _ = mq_base::env::clock::timeout(patience, ready).await;
            }
        }
        self.inner.lock().taken()
    }

    /// What waits now.
    #[cfg(test)]
    pub fn poll(&self) -> Taken<T> {
        self.inner.lock().taken()
    }
}

impl<T> Inner<T> {
    fn is_ready(&self) -> bool {
        !self.items.is_empty() || self.closed || self.nudged
    }

    fn taken(&mut self) -> Taken<T> {
        self.waker = None;
        Taken {
            items: self.items.drain(..).collect(),
            nudged: std::mem::take(&mut self.nudged),
            closed: self.closed,
        }
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({})", self.inner.lock().items.len())
    }
}
