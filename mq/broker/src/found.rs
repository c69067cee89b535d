//! What a group has from the start: RocketMQ's system topics and consumer groups, made once by its first leader, and looked
//! for by every later one. Tools and clients take some of them for granted: new topics are made through the route of TBW102
//! or of a topic named like the cluster or the broker, request-reply needs the reply topic.

use crate::ask::{Ask, Refusal, Reply, UpsertGroup, UpsertTopic};
use crate::broker::Broker;
use crate::config::Settings;
use crate::state::{GroupConfig, TopicConfig};
use mq_base::env::clock;
use mq_message::topic::{self, perm};
use mq_raft::Leadership;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot::Receiver;
use tokio::sync::watch;

/// How long clients of a new leader may have to wait for it.
const FOUND_TIMEOUT: Duration = Duration::from_secs(2);

/// Topics of a new group. The schedule, half and check-limit topics are part of the state itself.
fn topics(settings: &Settings, cluster: &str, broker: &str) -> Vec<TopicConfig> {
    let inherit = |mut config: TopicConfig, inherited: bool| {
        if inherited {
            config.perm |= perm::INHERIT;
        }
        config
    };
    let mut all = vec![
        TopicConfig::new(topic::SELF_TEST, 1),
        TopicConfig::new(topic::BENCHMARK, 1_024),
        inherit(TopicConfig::new(cluster, 16), settings.cluster_topic_enable),
        inherit(TopicConfig::new(broker, 1), settings.broker_topic_enable),
        TopicConfig::new(topic::TRANS_OP_HALF, 1),
        TopicConfig::new(topic::OFFSET_MOVED_EVENT, 1),
        TopicConfig::new(topic::TIMER, 1),
        TopicConfig::new(topic::reply(cluster), 1),
        TopicConfig::new(topic::revive_log(cluster), 8),
    ];
    if settings.auto_create_topic_enable {
        all.push(inherit(
            TopicConfig::new(topic::AUTO_CREATE, settings.default_topic_queue_nums),
            true,
        ));
    }
    if settings.trace_topic_enable {
        all.push(TopicConfig::new(settings.msg_trace_topic_name.as_str(), 1));
    }
    all
}

impl Broker {
    /// Creates what is missing; `None` if nothing is. The answer comes when all of it is there.
    fn found(&self) -> Option<Receiver<Result<(), Refusal>>> {
        let settings = self.settings();
        let (topics, groups) = {
            let state = self.view.state();
            let mut topics = topics(&settings, &self.identity.cluster, &self.identity.broker);
            topics.retain(|config| state.topics.get(&config.name).is_none());
            let groups = topic::SYSTEM_GROUPS
                .iter()
                .filter(|name| state.groups.get(name).is_none());
            (topics, groups.map(|name| GroupConfig::new(*name)).collect::<Vec<_>>())
        };
        if topics.is_empty() && groups.is_empty() {
            return None;
        }
        let only_if_absent = true;
        for config in topics {
            self.ask(Ask::UpsertTopic(UpsertTopic { config, only_if_absent }, Reply::none()));
        }
        for config in groups {
            let wanted = UpsertGroup {
                config,
                only_if_absent,
                retry_topic: None,
            };
            self.ask(Ask::UpsertGroup(wanted, Reply::none()));
        }
        let (reply, done) = Reply::channel();
        self.ask(Ask::Barrier(reply));
        Some(done)
    }

    /// Follows the group's leadership for as long as it runs. Clients see a new leader once it has what they take for
    /// granted: before that, the first send of all would be told that there is no TBW102 to make its topic from.
    pub(crate) async fn follow(self: Arc<Self>, mut leadership: watch::Receiver<Leadership>) {
        let standing = &self.gate.standing;
        loop {
            let now = leadership.borrow_and_update().clone();
            if let Some(done) = now.ready.then(|| self.found()).flatten() {
                standing.set(Leadership {
                    ready: false,
                    ..now.clone()
                });
                tokio::select! { biased;
                    _ = clock::timeout(FOUND_TIMEOUT, done) => {}
                    _ = leadership.changed() => continue,
                }
            }
            standing.set(now);
            if leadership.changed().await.is_err() {
                return standing.set(Leadership::default());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_born_with_what_clients_expect() {
        let settings = Settings::defaults();
        let all = topics(&settings, "C", "b");
        let of = |name: &str| all.iter().find(|config| &*config.name == name);
        assert_eq!(of("TBW102").map(|c| (c.perm, c.write_queues)), Some((7, 8)));
        assert_eq!(of("C").map(|c| (c.perm, c.read_queues)), Some((7, 16)));
        assert_eq!(of("b").map(|c| (c.perm, c.read_queues)), Some((7, 1)));
        assert_eq!(of("BenchmarkTest").map(|c| c.write_queues), Some(1_024));
        assert!(of("C_REPLY_TOPIC").is_some() && of("rmq_sys_REVIVE_LOG_C").is_some());
        let closed = Settings {
            auto_create_topic_enable: false,
            ..settings
        };
        assert!(topics(&closed, "C", "b").iter().all(|config| &*config.name != "TBW102"));
    }
}
