//! Strategies that divide queues among the consumers of a group. All members compute the same division from the same
//! sorted lists, so nobody has to be asked.

use mq_message::QueueId;

use crate::message::MessageQueue;

/// How queues are divided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AllocateStrategy {
    /// Neighbouring queues to the same consumer (RocketMQ's `AVG`).
    #[default]
    Averagely,
    /// Queues dealt out one by one (`AVG_BY_CIRCLE`).
    ByCircle,
    /// Consistent hashing: few queues move when a consumer comes or goes. Its ring is our own, so a group that uses it
    /// must not hold Java consumers.
    ConsistentHash,
    /// Just these queues (`CONFIG`).
    Fixed(Vec<QueueId>),
}

impl AllocateStrategy {
    /// RocketMQ's name of the strategy.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Averagely => "AVG",
            Self::ByCircle => "AVG_BY_CIRCLE",
            Self::ConsistentHash => "CONSISTENT_HASH",
            Self::Fixed(_) => "CONFIG",
        }
    }

    /// The queues of `client_id`. Both lists must be sorted. Nothing if the client is not in the list.
    pub fn allocate(&self, client_id: &str, queues: &[MessageQueue], client_ids: &[String]) -> Vec<MessageQueue> {
        if let Self::Fixed(ids) = self {
            let mine = queues.iter().filter(|q| ids.contains(&q.queue_id));
            return mine.cloned().collect();
        }
        let Some(index) = client_ids.iter().position(|id| id == client_id) else {
            return Vec::new();
        };
        match self {
            Self::Averagely => averagely(index, queues, client_ids.len()),
            Self::ByCircle => {
                let mine = queues.iter().skip(index).step_by(client_ids.len());
                mine.cloned().collect()
            }
            Self::ConsistentHash => consistent_hash(client_id, queues, client_ids),
            Self::Fixed(_) => Vec::new(),
        }
    }
}

fn averagely(index: usize, queues: &[MessageQueue], clients: usize) -> Vec<MessageQueue> {
    let (n, rest) = (queues.len(), queues.len() % clients);
    let size = if n <= clients {
        1
    } else {
        n / clients + usize::from(index < rest)
    };
    let start = if rest > 0 && index < rest {
        index * size
    } else {
        index * size + rest
    };
    queues.iter().skip(start).take(size).cloned().collect()
}

const VIRTUAL_NODES: usize = 10;

fn consistent_hash(client_id: &str, queues: &[MessageQueue], client_ids: &[String]) -> Vec<MessageQueue> {
    let mut ring: Vec<(u64, &str)> = client_ids
        .iter()
        .flat_map(|id| (0..VIRTUAL_NODES).map(move |i| (hash(&format!("{id}-{i}")), id.as_str())))
        .collect();
    ring.sort_unstable();
    let owner = |queue: &MessageQueue| {
        let at = hash(&format!("{queue}"));
        let next = ring.partition_point(|(point, _)| *point < at) % ring.len();
        ring[next].1
    };
    let mine = queues.iter().filter(|queue| owner(queue) == client_id);
    mine.cloned().collect()
}

/// 64-bit FNV-1a with a final mix; must be equal on all our clients, nothing more.
fn hash(text: &str) -> u64 {
    let fnv = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    (fnv ^ (fnv >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(n: u32) -> Vec<MessageQueue> {
        (0..n).map(|i| MessageQueue::new("T", "b", i)).collect()
    }

    fn clients(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("c{i}")).collect()
    }

    fn shares(strategy: &AllocateStrategy, n: u32, c: usize) -> Vec<Vec<u32>> {
        let (queues, clients) = (queues(n), clients(c));
        let share = |id: &String| strategy.allocate(id, &queues, &clients);
        let ids = |share: Vec<MessageQueue>| share.iter().map(|q| q.queue_id.get()).collect();
        clients.iter().map(share).map(ids).collect()
    }

    #[test]
    fn averagely_divides_as_java_does() {
        let avg = AllocateStrategy::Averagely;
        assert_eq!(shares(&avg, 8, 3), [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
        assert_eq!(shares(&avg, 4, 4), [[0], [1], [2], [3]]);
        assert_eq!(shares(&avg, 2, 4), [vec![0], vec![1], vec![], vec![]]);
        assert_eq!(shares(&avg, 5, 1), [[0, 1, 2, 3, 4]]);
    }

    #[test]
    fn by_circle_deals_out() {
        let circle = AllocateStrategy::ByCircle;
        assert_eq!(shares(&circle, 5, 2), [vec![0, 2, 4], vec![1, 3]]);
    }

    #[test]
    fn every_queue_has_exactly_one_owner() {
        for strategy in [
            AllocateStrategy::Averagely,
            AllocateStrategy::ByCircle,
            AllocateStrategy::ConsistentHash,
        ] {
            for n in 0..20 {
                for c in 1..8 {
                    let mut all = shares(&strategy, n, c).concat();
                    all.sort_unstable();
                    assert_eq!(all, (0..n).collect::<Vec<_>>(), "{strategy:?} {n} {c}");
                }
            }
        }
    }

    #[test]
    fn a_stranger_gets_nothing_and_a_fixed_list_its_queues() {
        let (queues, clients) = (queues(4), clients(2));
        let avg = AllocateStrategy::Averagely;
        assert!(avg.allocate("other", &queues, &clients).is_empty());
        let fixed = AllocateStrategy::Fixed(vec![QueueId(2), QueueId(9)]);
        assert_eq!(fixed.allocate("other", &queues, &clients), [queues[2].clone()]);
    }
}
