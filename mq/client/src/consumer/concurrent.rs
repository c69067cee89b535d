//! Concurrent consumption: a fixed number of workers calls the listener; what fails is given back to the broker, which
//! delivers it again later through the group's retry topic.

use std::sync::Arc;
use std::time::Duration;

use mq_base::env::{clock, task};
use tokio::sync::{Mutex, mpsc};

use super::process_queue::ProcessQueue;
use super::push::{ConsumeStatus, Mode, PushShared};
use crate::message::MessageExt;

/// Tries of a concurrent consumer unless set otherwise.
pub(crate) const RECONSUME_TIMES_MAX: i32 = 16;
/// Pause before messages that could not even be given back are tried again here.
const RETRY_HERE_AFTER: Duration = Duration::from_secs(5);

/// Messages for one call of the listener.
pub(crate) struct Work {
    pub(crate) queue: Arc<ProcessQueue>,
    pub(crate) messages: Vec<MessageExt>,
}

/// Starts the workers. They end with the consumer.
pub(crate) fn start_workers(consumer: &Arc<PushShared>, work: mpsc::Receiver<Work>) {
    let work = Arc::new(Mutex::new(work));
    for _ in 0..consumer.settings.workers {
        let (consumer, work) = (consumer.clone(), work.clone());
        task::spawn("consume", async move {
            loop {
                let next = async { work.lock().await.recv().await };
                let next = tokio::select! {
                    next = next => next,
                    () = consumer.stop.wait() => None,
                };
                match next {
                    Some(work) => consumer.consume(work).await,
                    None => return,
                }
            }
        });
    }
}

impl PushShared {
    async fn consume(&self, work: Work) {
        let Mode::Concurrent { listener, .. } = &self.mode else {
            return;
        };
        let Work { queue, mut messages } = work;
        loop {
            // Messages that timed out while they waited have been given back.
            messages.retain(|message| queue.holds(message.queue_offset()));
            let Some(running) = queue.begin() else { return };
            if messages.is_empty() {
                return;
            }
            let status = listener(messages.clone()).await;
            let left = self.conclude(&queue, messages, status).await;
            drop(running);
            if left.is_empty() {
                return;
            }
            messages = left;
            queue.pause(RETRY_HERE_AFTER).await;
        }
    }

    /// Books what the listener said; returns messages that could not be given back.
    async fn conclude(
        &self,
        queue: &Arc<ProcessQueue>,
        messages: Vec<MessageExt>,
        status: ConsumeStatus,
    ) -> Vec<MessageExt> {
        let delay_level = match status {
            ConsumeStatus::Success => None,
            ConsumeStatus::ReconsumeLater => Some(0),
            ConsumeStatus::ReconsumeAfter(level) => Some(i32::try_from(level).unwrap_or(i32::MAX)),
            ConsumeStatus::DeadLetter => Some(-1),
        };
        let mut left = Vec::new();
        let mut done = Vec::with_capacity(messages.len());
        for mut message in messages {
            let offset = message.queue_offset();
            match delay_level {
                Some(level) if self.is_clustering() => {
                    if self.give_back(&message, level).await {
                        done.push(offset);
                    } else {
                        message.count_reconsume();
                        left.push(message);
                    }
                }
                // A broadcasting group does not try again.
                Some(_) => {
                    tracing::warn!(%offset, queue = %queue.queue, "broadcast message failed and is dropped");
                    done.push(offset);
                }
                None => done.push(offset),
            }
        }
        self.finish(queue, done.into_iter());
        left
    }

    /// Gives back what has been held for longer than the time limit, as RocketMQ's client does.
    pub(crate) async fn give_back_overdue(&self) {
        if self.is_orderly() || !self.is_clustering() {
            return;
        }
        let before = clock::now().checked_sub(self.settings.consume_timeout);
        let Some(before) = before else { return };
        let queues: Vec<_> = self.assigned.lock().values().cloned().collect();
        for queue in queues {
            for message in queue.older_than(before) {
                tracing::warn!(queue = %queue.queue, offset = %message.queue_offset(), "consuming takes too long; given back");
                if self.give_back(&message, 3).await {
                    self.finish(&queue, std::iter::once(message.queue_offset()));
                }
            }
        }
    }
}
