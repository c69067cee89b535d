//! What users of a cluster administer from their programs. Tools of administrators are `mqadmin`'s business.

use std::sync::Arc;
use std::time::Duration;

use mq_message::QueueOffset;
use mq_message::topic::perm;
use mq_remoting::body::{self, RaftStatus};
use mq_remoting::code::{request, response};

use crate::consumer::{offset_at, queue_bound};
use crate::error::CallError;
use crate::instance::{ClientInstance, succeed};
use crate::message::{MessageExt, MessageQueue};
use crate::wire;

/// As RocketMQ's admin calls wait.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A topic to be.
#[derive(Debug, Clone)]
pub struct TopicSpec {
    /// Name.
    pub name: String,
    /// Queues on each broker group.
    pub queues: u32,
    /// Permission bits ([`mq_message::topic::perm`]).
    pub perm: u32,
}

impl TopicSpec {
    /// A topic to read from and write to.
    pub fn new(name: &str, queues: u32) -> Self {
        Self {
            name: name.to_owned(),
            queues,
            perm: perm::READ_WRITE,
        }
    }
}

impl ClientInstance {
    /// Creates a topic, or changes it, on all broker groups of a cluster (or on one, by its broker name), and waits until its route is
    /// known.
    ///
    /// # Errors
    /// Nothing of that name; a group does not answer or refuses; no route within 10 s.
    pub async fn create_topic(&self, cluster_or_broker: &str, topic: &TopicSpec) -> Result<(), CallError> {
        let shared = &self.shared;
        // Clusters and brokers have topics of their own names: their routes say where they are.
        let route = shared.fetch_route(cluster_or_broker, false).await?;
        for group in &route.groups {
            let make = || wire::create_topic(&topic.name, topic.queues, topic.perm);
            let answer = shared.call_members(group, ADMIN_TIMEOUT, make).await?;
            succeed(answer, &group.name)?;
        }
        let name: Arc<str> = topic.name.as_str().into();
        let deadline = mq_base::env::clock::now() + Duration::from_secs(10);
        let mut pause = crate::instance::Pause::default();
        loop {
            match shared.refresh_route(&name, false).await {
                Ok(_) => {
                    let queues = self.publish_queues(&name).await?.len() as u32;
                    if queues >= topic.queues * route.groups.len() as u32 {
                        return Ok(());
                    }
                }
                Err(CallError::NoRoute(_)) => {}
                Err(error) => return Err(error),
            }
            if mq_base::env::clock::now() >= deadline {
                return Err(CallError::NoRoute(name));
            }
            pause.wait().await;
        }
    }

    /// The first offset of a queue.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<QueueOffset, CallError> {
        self.shared.know_owner(queue).await?;
        queue_bound(&self.shared, queue, request::GET_MIN_OFFSET).await
    }

    /// The offset after the last one of a queue.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<QueueOffset, CallError> {
        self.shared.know_owner(queue).await?;
        queue_bound(&self.shared, queue, request::GET_MAX_OFFSET).await
    }

    /// The first offset stored at or after a time, unix ms.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn search_offset(&self, queue: &MessageQueue, timestamp_ms: i64) -> Result<QueueOffset, CallError> {
        self.shared.know_owner(queue).await?;
        offset_at(&self.shared, queue, timestamp_ms).await
    }

    /// How far a group has come in a queue; `None` if the broker knows nothing.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn consumer_offset(&self, group: &str, queue: &MessageQueue) -> Result<Option<QueueOffset>, CallError> {
        self.shared.know_owner(queue).await?;
        let make = || wire::query_consumer_offset(group, queue);
        let broker = &queue.broker_name;
        let answer = self.shared.call_group(broker, ADMIN_TIMEOUT, make).await?;
        if answer.code == response::QUERY_NOT_FOUND {
            return Ok(None);
        }
        let answer = succeed(answer, broker)?;
        let offset = wire::integer(&answer.ext, "offset");
        let offset = offset.map_err(|what| malformed(broker, what))?;
        Ok(QueueOffset::from_wire(offset))
    }

    /// Says how far a group has come in a queue, and waits for the answer.
    ///
    /// # Errors
    /// The broker does not answer or refuses. Without an answer the offset may have been taken.
    pub async fn commit_consumer_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: QueueOffset,
    ) -> Result<(), CallError> {
        self.shared.know_owner(queue).await?;
        let make = || wire::update_consumer_offset(group, queue, offset);
        let broker = &queue.broker_name;
        self.shared.ask_group(broker, ADMIN_TIMEOUT, make).await?;
        Ok(())
    }

    /// One message by its broker's id ([`MessageExt::offset_msg_id`]).
    ///
    /// # Errors
    /// The broker does not answer, or has no such message.
    pub async fn view_message(
        &self,
        broker_name: &str,
        offset: mq_message::CommitLogOffset,
    ) -> Result<MessageExt, CallError> {
        let make = || wire::view_message(offset);
        let answer = self.shared.ask_group(broker_name, ADMIN_TIMEOUT, make).await?;
        MessageExt::decode_one(&answer.body, &broker_name.into()).map_err(|e| malformed(broker_name, e.to_string()))
    }

    /// How a member of a Forebay group stands.
    ///
    /// # Errors
    /// The member does not answer.
    pub async fn raft_status(&self, addr: &str) -> Result<RaftStatus, CallError> {
        let command = wire::request(request::RAFT_STATUS, |_| ());
        let answer = self.shared.call(&addr.into(), command, ADMIN_TIMEOUT).await?;
        let answer = succeed(answer, addr)?;
        body::from_slice(&answer.body).map_err(|e| malformed(addr, e.to_string()))
    }

    /// The addresses of a broker group's members by id, the leader's first, as the last route had them.
    pub fn members(&self, broker_name: &str) -> Vec<(u64, Arc<str>)> {
        let group = self.shared.brokers.get(broker_name);
        group.map(|group| group.members()).unwrap_or_default()
    }
}

fn malformed(addr: &str, what: String) -> CallError {
    CallError::Malformed {
        addr: addr.into(),
        what,
    }
}
