//! Fault avoidance: brokers that answered slowly or not at all are left alone for a while.
//!
//! RocketMQ's table: the longest threshold that the latency reaches says how long. It is off by default there and here
//! (`send_latency_fault_enable`); a failed call counts as 10 s.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use mq_base::env::clock::Instant;
use parking_lot::Mutex;

/// (latency reached, time left alone), ms.
const TABLE: [(u64, u64); 7] = [
    (50, 0),
    (100, 0),
    (550, 2_000),
    (1_800, 5_000),
    (3_000, 6_000),
    (5_000, 10_000),
    (15_000, 30_000),
];

/// What a failed call is booked with.
const FAILED_LATENCY: Duration = Duration::from_secs(10);

/// Brokers to avoid, by name.
#[derive(Debug, Default)]
pub(crate) struct FaultTable {
    // A lock and not a task: touched for an instant by every send.
    until: Mutex<HashMap<Arc<str>, Instant>>,
}

impl FaultTable {
    /// Books the time an answer took.
    pub(crate) fn answered(&self, broker_name: &Arc<str>, latency: Duration, now: Instant) {
        let avoid = avoid_for(latency);
        let mut until = self.until.lock();
        if avoid.is_zero() {
            until.remove(broker_name);
        } else {
            until.insert(broker_name.clone(), now + avoid);
        }
    }

    /// Books a failed call.
    pub(crate) fn failed(&self, broker_name: &Arc<str>, now: Instant) {
        self.answered(broker_name, FAILED_LATENCY, now);
    }

    /// Whether the broker may be used.
    pub(crate) fn is_available(&self, broker_name: &str, now: Instant) -> bool {
        self.until.lock().get(broker_name).is_none_or(|until| now >= *until)
    }
}

fn avoid_for(latency: Duration) -> Duration {
    let ms = latency.as_millis() as u64;
    TABLE
        .iter()
        .rev()
        .find(|(threshold, _)| ms >= *threshold)
        .map_or(Duration::ZERO, |(_, avoid)| Duration::from_millis(*avoid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_follow_the_table_of_rocketmq() {
        for (ms, avoided) in [
            (0, 0),
            (49, 0),
            (549, 0),
            (550, 2_000),
            (1_799, 2_000),
            (1_800, 5_000),
            (3_000, 6_000),
            (5_000, 10_000),
            (10_000, 10_000),
            (15_000, 30_000),
            (60_000, 30_000),
        ] {
            assert_eq!(
                avoid_for(Duration::from_millis(ms)),
                Duration::from_millis(avoided),
                "{ms} ms"
            );
        }
    }

    #[tokio::test]
    async fn a_broker_comes_back_after_its_time_or_a_quick_answer() {
        let table = FaultTable::default();
        let now = mq_base::env::clock::now();
        let name: Arc<str> = "broker-a".into();
        table.failed(&name, now);
        assert!(!table.is_available("broker-a", now + Duration::from_millis(9_999)));
        assert!(table.is_available("broker-a", now + Duration::from_secs(10)));
        assert!(table.is_available("broker-b", now));
        table.answered(&name, Duration::from_millis(3), now);
        assert!(table.is_available("broker-a", now));
    }
}
