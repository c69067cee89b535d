//! One pull: request, answer, and what to do next.

use std::sync::Arc;
use std::time::Duration;

use mq_message::QueueOffset;
use mq_remoting::code::response;

use super::subscription::Subscription;
use crate::error::CallError;
use crate::instance::{Shared, refused};
use crate::message::{MessageExt, MessageQueue};
use crate::wire::{self, PullAnswer, PullHeader, pull_flag};

/// A broker holds a pull for as long as it was told, plus up to 5 s.
const ANSWER_SLACK: Duration = Duration::from_secs(15);

/// How a consumer pulls.
#[derive(Debug, Clone)]
pub(crate) struct PullStyle {
    pub(crate) group: Arc<str>,
    /// Messages a pull may bring.
    pub(crate) batch: u32,
    /// Bytes a pull may bring.
    pub(crate) batch_bytes: u32,
    /// How long the broker may hold a pull that finds nothing.
    pub(crate) suspend: Duration,
    pub(crate) lite: bool,
}

/// What a pull brought.
#[derive(Debug)]
pub(crate) enum Pulled {
    /// Messages, perhaps none that pass the filter; go on at `next`.
    Messages(Vec<MessageExt>, PullAnswer),
    /// The queue does not have this offset; it offers `next`.
    Illegal(PullAnswer),
    /// The group has another leader now: ask again at once.
    Moved,
}

impl PullStyle {
    /// Pulls from `from` on. `suggested` is the member that the last answer pointed to. The subscription travels with the
    /// pull: a member that does not know us yet can serve it.
    pub(crate) async fn pull(
        &self,
        shared: &Shared,
        queue: &MessageQueue,
        subscription: &Subscription,
        from: QueueOffset,
        suggested: u64,
    ) -> Result<Pulled, CallError> {
        let no_broker = || CallError::NoBroker(queue.broker_name.clone());
        let group = shared.brokers.get(&queue.broker_name);
        let group = group.ok_or_else(no_broker)?;
        let addr = group.member_or_target(suggested).ok_or_else(no_broker)?;
        let at_target = group.target().as_ref() == Some(&addr);
        let lite = if self.lite { pull_flag::LITE } else { 0 };
        let header = PullHeader {
            group: &self.group,
            queue,
            from,
            max: self.batch,
            max_bytes: self.batch_bytes,
            sys_flag: pull_flag::SUSPEND | pull_flag::SUBSCRIPTION | lite,
            suspend_ms: self.suspend.as_millis() as u64,
            expression: Some((subscription.kind, &subscription.expression)),
            sub_version: subscription.version,
        };
        let call = shared.call(&addr, wire::pull(&header), self.suspend + ANSWER_SLACK);
        let answer = tokio::select! {
            biased;
            answer = call => answer?,
            () = group.moved_from(&addr), if at_target => return Ok(Pulled::Moved),
        };
        let malformed = |what: String| CallError::Malformed {
            addr: addr.clone(),
            what,
        };
        match answer.code {
            response::SUCCESS => {
                let read = wire::read_pull(&answer.ext).map_err(malformed)?;
                let messages = MessageExt::decode_all(&answer.body, queue);
                let mut messages = messages.map_err(|e| malformed(e.to_string()))?;
                subscription.retain(&mut messages);
                Ok(Pulled::Messages(messages, read))
            }
            response::PULL_NOT_FOUND | response::PULL_RETRY_IMMEDIATELY => {
                let read = wire::read_pull(&answer.ext).map_err(malformed)?;
                Ok(Pulled::Messages(Vec::new(), read))
            }
            response::PULL_OFFSET_MOVED => {
                let read = wire::read_pull(&answer.ext).map_err(malformed)?;
                Ok(Pulled::Illegal(read))
            }
            _ => Err(refused(&answer, &addr)),
        }
    }
}

/// How long to wait after a failed pull: connections are tried elsewhere at once, refusals given time.
pub(crate) fn pause_after(error: &CallError, failures: u32) -> Duration {
    let longest = match error {
        // Nobody knows us here yet: the heartbeat is on its way.
        CallError::Refused { code, .. }
            if matches!(
                *code,
                response::SUBSCRIPTION_NOT_EXIST
                    | response::SUBSCRIPTION_NOT_LATEST
                    | response::SUBSCRIPTION_GROUP_NOT_EXIST
                    | response::FLOW_CONTROL
            ) =>
        {
            200
        }
        _ if error.is_transport() => 500,
        _ => 1_000,
    };
    let growing = 5u64 << failures.min(8);
    Duration::from_millis(growing.min(longest))
}
