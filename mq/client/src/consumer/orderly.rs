//! Orderly consumption: one task a queue, one call of the listener at a time, only while the broker grants the lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mq_base::env::clock;
use mq_remoting::code::request;
use tokio::sync::mpsc;

use super::process_queue::ProcessQueue;
use super::push::{Mode, OrderlyStatus, PushShared};
use crate::instance::succeed;
use crate::message::{MessageExt, MessageQueue};
use crate::wire;

/// RocketMQ's clients wait 1 s; a lock request is held for up to 0.8 s while a group elects.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// How often locks are renewed.
pub(crate) const LOCK_INTERVAL: Duration = Duration::from_secs(20);

/// Consumes a queue's messages in order until the queue is taken away.
pub(crate) async fn consume_in_order(
    consumer: Arc<PushShared>,
    queue: Arc<ProcessQueue>,
    mut pulled: mpsc::Receiver<Vec<MessageExt>>,
) {
    let mut waiting: VecDeque<MessageExt> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            let more = tokio::select! {
                () = queue.taken() => return,
                more = pulled.recv() => more,
            };
            match more {
                Some(more) => waiting.extend(more),
                None => return,
            }
        }
        if consumer.is_clustering() && !queue.is_locked() {
            // The keeping task renews locks, or takes the queue away.
            queue.pause(LOCK_TIMEOUT).await;
            if queue.is_dropped() {
                return;
            }
            continue;
        }
        let Some(running) = queue.begin() else { return };
        let retry = consumer.consume_next(&queue, &mut waiting).await;
        drop(running);
        if retry {
            queue.pause(consumer.settings.suspend_queue).await;
        }
        if queue.is_dropped() {
            return;
        }
    }
}

impl PushShared {
    /// Calls the listener with the next messages; says whether they have to be tried again.
    async fn consume_next(&self, queue: &Arc<ProcessQueue>, waiting: &mut VecDeque<MessageExt>) -> bool {
        let Mode::Orderly(listener) = &self.mode else {
            return false;
        };
        let n = waiting.len().min(self.settings.consume_batch);
        let batch: Vec<MessageExt> = waiting.iter().take(n).cloned().collect();
        match listener(batch).await {
            OrderlyStatus::Success => {
                let done = waiting.drain(..n).map(|message| message.queue_offset());
                self.finish(queue, done);
                false
            }
            OrderlyStatus::SuspendCurrentQueueAMoment => self.suspend(queue, waiting, n).await,
        }
    }

    /// Counts a failed try of the first `n` messages. Those that have failed too often leave through the retry topic, which
    /// makes them dead letters.
    async fn suspend(&self, queue: &Arc<ProcessQueue>, waiting: &mut VecDeque<MessageExt>, n: usize) -> bool {
        let max = self.reconsume_times_max();
        let mut kept = VecDeque::with_capacity(n);
        let mut gone = Vec::new();
        for mut message in waiting.drain(..n) {
            let spent = self.is_clustering() && message.reconsume_times() >= max;
            if spent
                && self
                    .send_retry(&message, message.reconsume_times().saturating_add(1), -1)
                    .await
            {
                gone.push(message.queue_offset());
            } else {
                message.count_reconsume();
                kept.push_back(message);
            }
        }
        let retry = !kept.is_empty();
        while let Some(message) = kept.pop_back() {
            waiting.push_front(message);
        }
        self.finish(queue, gone.into_iter());
        retry
    }

    /// Asks for the locks of queues. Returns what each broker granted; brokers that did not answer are left out.
    pub(crate) async fn lock(&self, queues: &[MessageQueue]) -> BTreeMap<String, Vec<MessageQueue>> {
        let mut granted = BTreeMap::new();
        for (broker, queues) in by_broker(queues) {
            let (group, client) = (&self.settings.group, &self.client.client_id);
            let make = || wire::lock_batch(request::LOCK_BATCH_MQ, group, client, &queues);
            let answer = self.client.ask_group(&broker, LOCK_TIMEOUT, make).await;
            match answer.map(|answer| wire::read_locked(&answer.body)) {
                Ok(Ok(locked)) => drop(granted.insert(broker, locked)),
                Ok(Err(error)) => tracing::warn!(%broker, error, "locked queues"),
                Err(error) => tracing::warn!(%broker, %error, "lock queues"),
            }
        }
        granted
    }

    /// Gives locks back.
    pub(crate) async fn unlock(&self, queues: &[MessageQueue]) {
        for (broker, queues) in by_broker(queues) {
            let (group, client) = (&self.settings.group, &self.client.client_id);
            let make = || wire::lock_batch(request::UNLOCK_BATCH_MQ, group, client, &queues);
            let answer = self.client.call_group(&broker, LOCK_TIMEOUT, make).await;
            if let Err(error) = answer.and_then(|answer| succeed(answer, &broker)) {
                tracing::debug!(%broker, %error, "unlock queues");
            }
        }
    }

    /// Renews the locks of all our queues. A queue whose lock was refused, or was not renewed in time, may have been consumed by
    /// another: it is dropped, to be taken up again from the stored offset.
    pub(crate) async fn renew_locks(&self) {
        if !self.is_orderly() || !self.is_clustering() {
            return;
        }
        let assigned: Vec<_> = self.assigned.lock().values().cloned().collect();
        let queues: Vec<_> = assigned.iter().map(|q| q.queue.clone()).collect();
        let asked = clock::now();
        let granted = self.lock(&queues).await;
        for queue in assigned {
            match granted.get(&*queue.queue.broker_name) {
                Some(locked) if locked.contains(&queue.queue) && queue.is_locked() => {
                    queue.set_locked(Some(asked));
                }
                Some(_) => {
                    tracing::warn!(queue = %queue.queue, "lock lost");
                    queue.set_locked(None);
                    queue.drop_queue();
                    self.client.tell_rebalance(&self.settings.group);
                }
                None => {}
            }
        }
    }
}

fn by_broker(queues: &[MessageQueue]) -> BTreeMap<String, Vec<MessageQueue>> {
    let mut brokers: BTreeMap<String, Vec<MessageQueue>> = BTreeMap::new();
    for queue in queues {
        let queues = brokers.entry(queue.broker_name.to_string()).or_default();
        queues.push(queue.clone());
    }
    brokers
}
