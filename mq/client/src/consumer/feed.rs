//! The pulling task of one queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mq_base::env::clock;
use mq_message::QueueOffset;
use tokio::sync::mpsc;

use super::concurrent::Work;
use super::process_queue::ProcessQueue;
use super::pull::{Pulled, pause_after};
use super::push::{Mode, PushShared};
use super::subscription::Subscription;
use crate::message::MessageExt;

/// Where pulled messages go.
pub(crate) enum Sink {
    /// To the workers, cut to the listener's size.
    Workers(mpsc::Sender<Work>),
    /// To the queue's own task.
    Queue(mpsc::Sender<Vec<MessageExt>>),
}

/// Pulls until the queue is taken away.
pub(crate) async fn feed(
    consumer: Arc<PushShared>,
    queue: Arc<ProcessQueue>,
    subscription: Arc<Subscription>,
    from: QueueOffset,
    sink: Sink,
) {
    let mut next = from;
    let mut suggested = 0;
    let mut failures = 0;
    while !queue.is_dropped() {
        queue.room(consumer.settings.limits).await;
        let now = clock::wall_ms();
        queue.last_pull_ms.store(now, Ordering::Relaxed);
        let style = &consumer.style;
        let pull = style.pull(&consumer.client, &queue.queue, &subscription, next, suggested);
        let pulled = tokio::select! {
            () = queue.taken() => return,
            pulled = pull => pulled,
        };
        match pulled {
            Ok(Pulled::Messages(messages, answer)) => {
                failures = 0;
                next = answer.next;
                suggested = answer.suggested_broker;
                queue.put(&messages, next);
                if messages.is_empty() {
                    // Nothing for us up to `next`: if nothing is held either, that much is done.
                    consumer.finish(&queue, std::iter::empty());
                } else if sink.give(&consumer, &queue, messages).await.is_none() {
                    return;
                }
            }
            Ok(Pulled::Moved) => suggested = 0,
            Ok(Pulled::Illegal(answer)) => {
                tracing::warn!(queue = %queue.queue, at = %next, go_on = %answer.next, "offset does not exist");
                consumer.correct(&queue, answer.next);
                return;
            }
            Err(error) => {
                suggested = 0;
                let pause = pause_after(&error, failures);
                failures += 1;
                if failures > 3 {
                    tracing::warn!(queue = %queue.queue, %error, failures, "pull");
                }
                queue.pause(pause).await;
            }
        }
    }
}

impl Sink {
    /// `None` if the queue was taken away or the consumer ends.
    async fn give(&self, consumer: &PushShared, queue: &Arc<ProcessQueue>, messages: Vec<MessageExt>) -> Option<()> {
        match self {
            Self::Queue(sender) => tokio::select! {
                () = queue.taken() => None,
                given = sender.send(messages) => given.ok(),
            },
            Self::Workers(sender) => {
                let mut messages = messages.into_iter().peekable();
                while messages.peek().is_some() {
                    let size = consumer.settings.consume_batch;
                    let work = Work {
                        queue: queue.clone(),
                        messages: messages.by_ref().take(size).collect(),
                    };
                    tokio::select! {
                        () = queue.taken() => return None,
                        given = sender.send(work) => given.ok()?,
                    }
                }
                Some(())
            }
        }
    }

    pub(crate) fn for_workers(mode: &Mode) -> Option<Self> {
        match mode {
            Mode::Concurrent { work, .. } => Some(Self::Workers(work.clone())),
            Mode::Orderly(_) => None,
        }
    }
}

impl PushShared {
    /// The broker does not have our offset and offers another: start the queue anew from there.
    fn correct(&self, queue: &Arc<ProcessQueue>, offset: QueueOffset) {
        if !self.owns(queue) {
            return;
        }
        queue.drop_queue();
        self.offsets.reset(&queue.queue, offset);
        self.client.tell_rebalance(&self.settings.group);
    }
}
