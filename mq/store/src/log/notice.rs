//! Damage that reads came upon, for whoever repairs it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use super::Damage;

/// Most places that wait; one that does not fit is found again by the next read.
const WAITING_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Notices(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    damage: VecDeque<Damage>,
    taker: Option<Waker>,
}

impl Notices {
    /// Hands a read's result on and notes the damage in it.
    pub fn pass<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && let Some(damage) = Damage::of(error)
        {
            self.add(damage);
        }
        result
    }

    fn add(&self, damage: &Damage) {
        let mut waiting = self.0.lock();
        let known = waiting.damage.iter().any(|other| other.offset == damage.offset);
        if !known && waiting.damage.len() < WAITING_MAX {
            waiting.damage.push_back(damage.clone());
        }
        if let Some(taker) = waiting.taker.take() {
            taker.wake();
        }
    }

    /// The next place; each is handed out once, and again when another read comes upon it.
    pub async fn next(&self) -> Damage {
        poll_fn(|cx| {
            let mut waiting = self.0.lock();
            match waiting.damage.pop_front() {
                Some(damage) => Poll::Ready(damage),
                None => {
                    waiting.taker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
