//! What tools can ask of a push consumer.

use std::collections::BTreeMap;
use std::sync::Arc;

use mq_base::env::clock;
use mq_remoting::body::{
    ConsumeMessageDirectlyResult, ConsumerRunningInfo, GetConsumerStatusBody, to_fastjson, to_standard,
};
use serde_json::json;

use super::push::{ConsumeStatus, Mode, OrderlyStatus, PushShared};
use crate::inbound::ConsumerEvent;
use crate::message::MessageExt;
use crate::wire;

impl PushShared {
    pub(super) async fn handle(self: &Arc<Self>, event: ConsumerEvent) {
        match event {
            ConsumerEvent::Rebalance => {}
            ConsumerEvent::ResetOffsets(offsets) => self.reset(offsets).await,
            ConsumerEvent::Status { topic, reply } => {
                let all = self.offsets.all().into_iter();
                let of_topic = all.filter(|(queue, _)| *queue.topic == *topic);
                let table = of_topic.map(|(q, o)| (wire::write_queue(&q).into(), o.to_wire()));
                let body = GetConsumerStatusBody {
                    message_queue_table: table.collect(),
                    ..GetConsumerStatusBody::default()
                };
                reply.body(to_fastjson(&body));
            }
            ConsumerEvent::RunningInfo(reply) => reply.body(to_fastjson(&self.running_info())),
            ConsumerEvent::ConsumeDirectly { message, reply } => {
                let result = self.consume_directly(*message).await;
                reply.body(to_standard(&result));
            }
        }
    }

    fn running_info(&self) -> ConsumerRunningInfo {
        let mut queues = BTreeMap::new();
        for queue in self.assigned.lock().values() {
            let held = queue.snapshot();
            let committed = self.offsets.get(&queue.queue);
            let load = std::sync::atomic::Ordering::Relaxed;
            let info = json!({
                "cachedMsgCount": held.count,
                "cachedMsgMaxOffset": held.max,
                "cachedMsgMinOffset": held.min,
                "cachedMsgSizeInMiB": held.bytes / (1024 * 1024),
                "commitOffset": committed.map_or(0, |offset| offset.to_wire()),
                "droped": queue.is_dropped(),
                "lastConsumeTimestamp": queue.last_consume_ms.load(load),
                "lastLockTimestamp": 0,
                "lastPullTimestamp": queue.last_pull_ms.load(load),
                "locked": queue.is_locked(),
                "transactionMsgCount": 0,
                "transactionMsgMaxOffset": 0,
                "transactionMsgMinOffset": 0,
                "tryUnlockTimes": 0,
            });
            queues.insert(wire::write_queue(&queue.queue).into(), info);
        }
        let property = |name: &str, value: String| (name.to_owned(), value);
        let servers = self.client.config.name_servers.join(";");
        ConsumerRunningInfo {
            mq_table: queues,
            properties: BTreeMap::from([
                property("PROP_CLIENT_VERSION", mq_remoting::version::CURRENT_NAME.to_owned()),
                property("PROP_CONSUMEORDERLY", self.is_orderly().to_string()),
                property("PROP_CONSUMER_START_TIMESTAMP", self.started_ms.to_string()),
                property("PROP_CONSUME_TYPE", "CONSUME_PASSIVELY".to_owned()),
                property("PROP_NAMESERVER_ADDR", servers),
                property("PROP_THREADPOOL_CORE_SIZE", self.settings.workers.to_string()),
            ]),
            subscription_set: self.subscriptions.values().map(|s| s.data()).collect(),
            ..ConsumerRunningInfo::default()
        }
    }

    async fn consume_directly(&self, message: MessageExt) -> ConsumeMessageDirectlyResult {
        let started = clock::now();
        let result = match &self.mode {
            Mode::Concurrent { listener, .. } => match listener(vec![message]).await {
                ConsumeStatus::Success => "CR_SUCCESS",
                _ => "CR_LATER",
            },
            Mode::Orderly(listener) => match listener(vec![message]).await {
                OrderlyStatus::Success => "CR_SUCCESS",
                OrderlyStatus::SuspendCurrentQueueAMoment => "CR_LATER",
            },
        };
        let spent = clock::now().saturating_duration_since(started);
        ConsumeMessageDirectlyResult {
            auto_commit: true,
            consume_result: result.to_owned(),
            order: self.is_orderly(),
            remark: None,
            spent_time_mills: spent.as_millis() as i64,
        }
    }
}
