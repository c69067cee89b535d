//! What a group has from the start: RocketMQ's system topics and consumer groups (facts: 5.9 and F.2 of the protocol notes
//! in `docs/`), made once by its first leader, and looked for by every later one.

use crate::ask::{Ask, Reply, UpsertGroup, UpsertTopic};
use crate::broker::Broker;
use crate::config::Settings;
use crate::state::{GroupConfig, Name, TopicConfig};
use mq_message::topic::{self, perm};
use std::sync::Arc;

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
    /// Creates what is missing. Runs whenever this member becomes leader.
    pub(crate) fn found(&self) {
        let settings = self.settings();
        let (missing_topics, missing_groups) = {
            let state = self.view.state();
            let mut topics = topics(&settings, &self.identity.cluster, &self.identity.broker);
            topics.retain(|config| state.topics.get(&config.name).is_none());
            let groups = topic::SYSTEM_GROUPS
                .iter()
                .copied()
                .filter(|name| state.groups.get(name).is_none());
            (topics, groups.map(Name::from).collect::<Vec<_>>())
        };
        for config in missing_topics {
            let wanted = UpsertTopic {
                config,
                only_if_absent: true,
            };
            self.ask(Ask::UpsertTopic(wanted, Reply::none()));
        }
        for name in missing_groups {
            let wanted = UpsertGroup {
                config: GroupConfig::new(name),
                only_if_absent: true,
                retry_topic: None,
            };
            self.ask(Ask::UpsertGroup(wanted, Reply::none()));
        }
    }

    /// Founds and follows leadership. Runs as long as the broker.
    pub(crate) async fn keep_founded(self: Arc<Self>) {
        let mut watch = self.gate.standing.watch();
        let mut founded = None;
        loop {
            let leadership = watch.borrow_and_update().clone();
            if leadership.ready && founded != Some(leadership.term) {
                founded = Some(leadership.term);
                self.found();
            }
            if watch.changed().await.is_err() {
                return;
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
