//! What RocketMQ's tools ask for: rates of the last seconds and minutes, sums of minute, hour and day, per topic and group.
//!
//! Counting is an atomic addition; [`Stats::sample`], called once a second, turns counts into rates. Not the Prometheus
//! metrics (`metrics.rs`), though those read the same totals.

use crate::state::Name;
use mq_base::env::random::HashMap;
use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Most (topic, group) pairs counted; further ones only count in the totals.
const ITEMS_MAX: usize = 100_000;

/// A statistic of RocketMQ, by the name its tools use (VIEW_BROKER_STATS_DATA, 315).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Messages stored, by topic.
    TopicPutNums,
    /// Bytes stored, by topic.
    TopicPutSize,
    /// Messages handed out, by `topic@group`.
    GroupGetNums,
    /// Bytes handed out, by `topic@group`.
    GroupGetSize,
    /// Messages given back, by `topic@group`.
    SendBackPutNums,
    /// Messages stored, by cluster.
    BrokerPutNums,
    /// Messages handed out, by cluster.
    BrokerGetNums,
}

impl Kind {
    /// From the name on the wire.
    pub fn from_name(name: &str) -> Option<Kind> {
        Some(match name {
            "TOPIC_PUT_NUMS" => Kind::TopicPutNums,
            "TOPIC_PUT_SIZE" => Kind::TopicPutSize,
            "GROUP_GET_NUMS" => Kind::GroupGetNums,
            "GROUP_GET_SIZE" => Kind::GroupGetSize,
            "SNDBCK_PUT_NUMS" => Kind::SendBackPutNums,
            "BROKER_PUT_NUMS" => Kind::BrokerPutNums,
            "BROKER_GET_NUMS" => Kind::BrokerGetNums,
            _ => return None,
        })
    }
}

/// One period of a statistic.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Period {
    /// Sum within the period.
    pub sum: u64,
    /// Per second.
    pub tps: f64,
    /// Average per call.
    pub average: f64,
}

/// Minute, hour and day of a statistic.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Periods {
    /// The last minute.
    pub minute: Period,
    /// The last hour.
    pub hour: Period,
    /// The last day.
    pub day: Period,
}

#[derive(Debug, Default)]
struct Item {
    value: AtomicU64,
    calls: AtomicU64,
    history: Mutex<History>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at_ms: i64,
    value: u64,
    calls: u64,
}

/// Samples of the last minute (each 10 s), hour (each 10 min) and day (each hour).
#[derive(Debug, Default)]
struct History {
    minute: VecDeque<Sample>,
    hour: VecDeque<Sample>,
    day: VecDeque<Sample>,
}

impl Item {
    fn add(&self, value: u64) {
        self.value.fetch_add(value, Relaxed);
        self.calls.fetch_add(1, Relaxed);
    }

    fn sample(&self, at_ms: i64) {
        let sample = Sample {
            at_ms,
            value: self.value.load(Relaxed),
            calls: self.calls.load(Relaxed),
        };
        let mut history = self.history.lock();
        let History { minute, hour, day } = &mut *history;
        for (ring, every_ms, most) in [(minute, 10_000, 7), (hour, 600_000, 7), (day, 3_600_000, 25)] {
            if ring.back().is_none_or(|last| at_ms - last.at_ms >= every_ms) {
                ring.push_back(sample);
                if ring.len() > most {
                    ring.pop_front();
                }
            }
        }
    }

    fn periods(&self) -> Periods {
        let history = self.history.lock();
        Periods {
            minute: period(&history.minute),
            hour: period(&history.hour),
            day: period(&history.day),
        }
    }
}

fn period(samples: &VecDeque<Sample>) -> Period {
    let (Some(first), Some(last)) = (samples.front(), samples.back()) else {
        return Period::default();
    };
    let (sum, calls) = (last.value - first.value, last.calls - first.calls);
    let seconds = (last.at_ms - first.at_ms) as f64 / 1_000.0;
    Period {
        sum,
        tps: if seconds > 0.0 { sum as f64 / seconds } else { 0.0 },
        average: if calls > 0 { sum as f64 / calls as f64 } else { 0.0 },
    }
}

/// Rates over the last 10 seconds, minute and 10 minutes of a total.
#[derive(Debug, Default)]
pub struct Rate {
    total: AtomicU64,
    seconds: Mutex<VecDeque<(i64, u64)>>,
}

/// Samples kept: ten minutes of seconds.
const SECONDS_MAX: usize = 601;

impl Rate {
    /// Counts.
    pub fn add(&self, n: u64) {
        self.total.fetch_add(n, Relaxed);
    }

    /// All counted since the start.
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    fn sample(&self, at_ms: i64) {
        let mut seconds = self.seconds.lock();
        seconds.push_back((at_ms, self.total()));
        if seconds.len() > SECONDS_MAX {
            seconds.pop_front();
        }
    }

    /// Per second over the last 10, 60 and 600 samples.
    pub fn per_second(&self) -> [f64; 3] {
        let seconds = self.seconds.lock();
        [10, 60, 600].map(|span| {
            let Some(&(last_ms, last)) = seconds.back() else {
                return 0.0;
            };
            let (first_ms, first) = seconds[seconds.len().saturating_sub(span + 1)];
            if last_ms > first_ms {
                (last - first) as f64 * 1_000.0 / (last_ms - first_ms) as f64
            } else {
                0.0
            }
        })
    }
}

/// The broker's statistics.
#[derive(Debug, Default)]
pub struct Stats {
    /// Messages stored through this member.
    pub put: Rate,
    /// Pulls that found messages.
    pub found: Rate,
    /// Pulls that found none.
    pub missed: Rate,
    /// Messages handed out.
    pub transferred: Rate,
    /// Bytes stored.
    pub put_bytes: AtomicU64,
    /// Sends that failed.
    pub put_failed: AtomicU64,
    items: RwLock<HashMap<(Kind, Name), Arc<Item>>>,
    mornings: Mutex<Mornings>,
}

/// Totals at the last two midnights.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mornings {
    day: i64,
    /// Puts at the beginning of yesterday.
    pub put_yesterday: u64,
    /// Puts at the beginning of today.
    pub put_today: u64,
    /// Gets at the beginning of yesterday.
    pub get_yesterday: u64,
    /// Gets at the beginning of today.
    pub get_today: u64,
}

impl Stats {
    /// Messages of a topic were stored.
    pub fn stored(&self, topic: &Name, messages: u64, bytes: u64) {
        self.put.add(messages);
        self.put_bytes.fetch_add(bytes, Relaxed);
        self.count(Kind::TopicPutNums, topic, messages);
        self.count(Kind::TopicPutSize, topic, bytes);
    }

    /// A pull of a group was answered with messages of a topic (0: it found none).
    pub fn handed_out(&self, topic: &str, group: &str, messages: u64, bytes: u64) {
        if messages == 0 {
            self.missed.add(1);
            return;
        }
        self.found.add(1);
        self.transferred.add(messages);
        let key: Name = format!("{topic}@{group}").into();
        self.count(Kind::GroupGetNums, &key, messages);
        self.count(Kind::GroupGetSize, &key, bytes);
    }

    /// A consumer gave a message of a topic back.
    pub fn sent_back(&self, topic: &str, group: &str) {
        self.count(Kind::SendBackPutNums, &format!("{topic}@{group}").into(), 1);
    }

    fn count(&self, kind: Kind, key: &Name, value: u64) {
        let key = (kind, key.clone());
        if let Some(item) = self.items.read().get(&key) {
            return item.add(value);
        }
        let mut items = self.items.write();
        if items.len() < ITEMS_MAX || items.contains_key(&key) {
            items.entry(key).or_default().add(value);
        }
    }

    /// Minute, hour and day of a statistic; `None` if nothing was ever counted.
    pub fn periods(&self, kind: Kind, key: &str) -> Option<Periods> {
        let item = self.items.read().get(&(kind, Name::from(key))).cloned()?;
        Some(item.periods())
    }

    /// Messages per second of one item within the last minute.
    pub fn tps(&self, kind: Kind, key: &str) -> f64 {
        self.periods(kind, key).map_or(0.0, |periods| periods.minute.tps)
    }

    /// Takes a sample of everything; to be called once a second.
    pub fn sample(&self, wall_ms: i64) {
        for rate in [&self.put, &self.found, &self.missed, &self.transferred] {
            rate.sample(wall_ms);
        }
        let day = wall_ms.div_euclid(86_400_000);
        let mut mornings = self.mornings.lock();
        if mornings.day != day {
            let next_day = mornings.day + 1 == day;
            mornings.put_yesterday = if next_day { mornings.put_today } else { 0 };
            mornings.get_yesterday = if next_day { mornings.get_today } else { 0 };
            let started_today = mornings.day == 0;
            mornings.put_today = if started_today { 0 } else { self.put.total() };
            mornings.get_today = if started_today { 0 } else { self.transferred.total() };
            mornings.day = day;
        }
        drop(mornings);
        let items: Vec<Arc<Item>> = self.items.read().values().cloned().collect();
        for item in items {
            item.sample(wall_ms);
        }
    }

    /// Totals at the last two midnights (UTC).
    pub fn mornings(&self) -> Mornings {
        *self.mornings.lock()
    }

    /// Forgets what belongs to a topic or group that was deleted.
    pub fn forget(&self, name: &str) {
        self.items.write().retain(|(_, key), _| {
            &**key != name
                && key
                    .split_once('@')
                    .is_none_or(|(topic, group)| topic != name && group != name)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_the_spans() {
        let stats = Stats::default();
        assert_eq!(stats.put.per_second(), [0.0; 3]);
        for second in 0..=100 {
            stats.sample(second * 1_000);
            stats.stored(&"T".into(), if second < 50 { 10 } else { 20 }, 100);
        }
        let [ten, minute, ten_minutes] = stats.put.per_second();
        assert_eq!(ten, 20.0);
        assert!((minute - (10.0 * 10.0 + 50.0 * 20.0) / 60.0).abs() < 1e-9);
        assert_eq!(ten_minutes, 15.0);
    }

    #[test]
    fn periods_by_topic_and_group() {
        let stats = Stats::default();
        stats.stored(&"T".into(), 1, 1);
        stats.handed_out("T", "G", 0, 0);
        assert_eq!(stats.periods(Kind::GroupGetNums, "T@G"), None);
        for tick in 0..=6 {
            stats.sample(1_000_000 + tick * 10_000);
            stats.stored(&"T".into(), 5, 50);
            stats.handed_out("T", "G", 3, 30);
        }
        let minute = stats.periods(Kind::TopicPutNums, "T").unwrap().minute;
        assert_eq!((minute.sum, minute.tps, minute.average), (30, 0.5, 5.0));
        assert!(stats.periods(Kind::GroupGetNums, "T@G").unwrap().minute.sum > 0);
        stats.forget("T");
        assert_eq!(stats.periods(Kind::TopicPutNums, "T"), None);
        assert_eq!(stats.periods(Kind::GroupGetNums, "T@G"), None);
    }

    #[test]
    fn mornings_move_at_midnight() {
        const DAY: i64 = 86_400_000;
        let stats = Stats::default();
        stats.sample(10 * DAY + 5);
        stats.put.add(7);
        stats.sample(11 * DAY);
        stats.put.add(5);
        stats.sample(12 * DAY);
        let mornings = stats.mornings();
        assert_eq!((mornings.put_yesterday, mornings.put_today), (7, 12));
    }
}
