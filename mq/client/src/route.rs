//! Routes: which queues a topic has, and on which broker groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::{HashMap, HashSet};
use mq_base::env::random;
use mq_message::QueueId;
use mq_message::topic::perm;
use parking_lot::RwLock;

use crate::brokers::{BrokerGroup, Brokers, LEADER_ID};
use crate::message::MessageQueue;
use crate::wire::{DEFAULT_TOPIC_QUEUES, RouteData};

/// The route of one topic.
#[derive(Debug)]
pub(crate) struct TopicRoute {
    /// Queues to send to.
    pub(crate) publish: Vec<PublishQueue>,
    /// Queues to consume from, sorted.
    pub(crate) subscribe: Vec<MessageQueue>,
    /// Broker groups that hold the topic.
    pub(crate) groups: Vec<Arc<BrokerGroup>>,
    /// The topic does not exist yet: this is what it will look like once the broker has created it.
    pub(crate) is_template: bool,
    data: RouteData,
    turn: AtomicUsize,
}

/// A queue to send to, with the broker group that holds it.
#[derive(Debug)]
pub(crate) struct PublishQueue {
    pub(crate) queue: MessageQueue,
    pub(crate) group: Arc<BrokerGroup>,
}

impl TopicRoute {
    fn build(topic: &Arc<str>, data: RouteData, template: bool, brokers: &Brokers) -> Self {
        let mut route = Self {
            publish: Vec::new(),
            subscribe: Vec::new(),
            groups: Vec::new(),
            is_template: template,
            turn: AtomicUsize::new(random::below(1 << 16) as usize),
            data,
        };
        // A group without a leader's entry takes no messages in RocketMQ. Its members forward in ours, so it is used when no
        // group of the topic has one: between leaders.
        let leads = |name: &str| {
            let group = brokers.get(name);
            group.is_some_and(|group| group.members().iter().any(|(id, _)| *id == LEADER_ID))
        };
        let any_leads = route.data.queues.iter().any(|queue| leads(&queue.broker_name));
        for queue in &route.data.queues {
            let Some(group) = brokers.get(&queue.broker_name) else {
                continue;
            };
            let at = |id| MessageQueue {
                topic: topic.clone(),
                broker_name: group.name.clone(),
                queue_id: QueueId(id),
            };
            if perm::is_writable(queue.perm) && (leads(&group.name) || !any_leads) {
                let writable = if template {
                    queue.read.min(DEFAULT_TOPIC_QUEUES)
                } else {
                    queue.write
                };
                let publish = |id| PublishQueue {
                    queue: at(id),
                    group: group.clone(),
                };
                route.publish.extend((0..writable).map(publish));
            }
            if perm::is_readable(queue.perm) && !template {
                route.subscribe.extend((0..queue.read).map(at));
            }
            route.groups.push(group);
        }
        route.subscribe.sort();
        route
    }

    /// The next queue in turn that `usable` accepts.
    pub(crate) fn next_queue(&self, usable: impl Fn(&PublishQueue) -> bool) -> Option<&PublishQueue> {
        let n = self.publish.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..n)
            .map(|i| &self.publish[turn.wrapping_add(i) % n])
            .find(|queue| usable(queue))
    }

    /// The queue with this identity, if messages may be sent to it.
    pub(crate) fn find(&self, queue: &MessageQueue) -> Option<&PublishQueue> {
        self.publish.iter().find(|p| p.queue == *queue)
    }
}

/// Routes by topic.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    topics: RwLock<HashMap<Arc<str>, Arc<TopicRoute>>>,
}

impl Routes {
    pub(crate) fn get(&self, topic: &str) -> Option<Arc<TopicRoute>> {
        self.topics.read().get(topic).cloned()
    }

    pub(crate) fn topics(&self) -> Vec<Arc<str>> {
        self.topics.read().keys().cloned().collect()
    }

    /// Takes over what a name server said, and updates the addresses of the brokers in it. A route that says nothing new
    /// leaves the old one in place. Says whether anything changed.
    pub(crate) fn update(&self, topic: &Arc<str>, data: RouteData, template: bool, brokers: &Brokers) -> bool {
        let mut changed = false;
        for (name, members) in &data.brokers {
            if !members.is_empty() {
                changed |= brokers.update(name, members.clone());
            }
        }
        let old = self.get(topic);
        if !changed && old.is_some_and(|old| old.data == data && old.is_template == template) {
            return false;
        }
        let route = TopicRoute::build(topic, data, template, brokers);
        self.topics.write().insert(topic.clone(), Arc::new(route));
        true
    }

    /// Broker groups that some route names.
    pub(crate) fn named_brokers(&self) -> HashSet<Arc<str>> {
        let topics = self.topics.read();
        let groups = topics.values().flat_map(|route| &route.groups);
        groups.map(|group| group.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::read_route;

    fn route(perm: u32, ids: &str) -> RouteData {
        let json = format!(
            r#"{{"brokerDatas":[{{"brokerAddrs":{{{ids}}},"brokerName":"g"}}],"queueDatas":[{{"brokerName":"g","perm":{perm},"readQueueNums":8,"writeQueueNums":6}}]}}"#
        );
        read_route(json.as_bytes()).unwrap()
    }

    #[test]
    fn queues_follow_permissions_and_the_leaders_entry() {
        let cases = [
            (6, r#""0":"a""#, false, 6, 8),
            (2, r#""0":"a""#, false, 6, 0),
            (4, r#""0":"a""#, false, 0, 8),
            (6, r#""1":"a""#, false, 6, 8),
            (7, r#""0":"a""#, true, 4, 0),
        ];
        for (perm, ids, template, publish, subscribe) in cases {
            let (routes, brokers) = (Routes::default(), Brokers::default());
            let topic: Arc<str> = "T".into();
            assert!(routes.update(&topic, route(perm, ids), template, &brokers));
            assert!(!routes.update(&topic, route(perm, ids), template, &brokers));
            let got = routes.get("T").unwrap();
            assert_eq!(
                (got.publish.len(), got.subscribe.len()),
                (publish, subscribe),
                "{perm} {ids} {template}"
            );
        }
    }

    #[test]
    fn queues_are_used_in_turn() {
        let (routes, brokers) = (Routes::default(), Brokers::default());
        routes.update(&"T".into(), route(6, r#""0":"a""#), false, &brokers);
        let got = routes.get("T").unwrap();
        let mut used = vec![0; 6];
        for _ in 0..60 {
            used[got.next_queue(|_| true).unwrap().queue.queue_id.get() as usize] += 1;
        }
        assert_eq!(used, [10; 6]);
        assert!(got.next_queue(|_| false).is_none());
    }
}
