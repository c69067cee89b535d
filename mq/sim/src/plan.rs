//! What a seed decides: settings, pace, and the faults with their times.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Members of the group.
pub const MEMBERS: usize = 3;
/// Fewest faults of a run.
pub const FAULTS_MIN: usize = 5;
/// Fewest operations of a run: with fewer it proves little.
pub const OPERATIONS_MIN: u64 = 1_000;
/// Shortest run, simulated ms.
pub const SIMULATED_MS_MIN: u64 = 30_000;

/// Who is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Whoever leads at that moment.
    Leader,
    /// Somebody who does not.
    Follower,
    /// This member.
    Member(usize),
}

/// How far the log of a plan is believed: what a fault may take away without a promise being broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// `SYNC_FLUSH`: everything that was acknowledged survives a power cut of all.
    Sync,
    /// `ASYNC_FLUSH`: survives a crash of all processes and a power cut of one member at a time.
    Async,
}

/// Something that goes wrong. Times are in simulated milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`; started again after a while.
    Crash {
        /// Who.
        who: Who,
        /// How long it is down.
        down_ms: u64,
    },
    /// The machine loses power: unsynced bytes are lost or torn.
    PowerCut {
        /// Who.
        who: Who,
        /// How long it is down.
        down_ms: u64,
    },
    /// All processes crash at once.
    CrashAll {
        /// How long they are down, each a little different.
        down_ms: u64,
    },
    /// All machines lose power at once.
    PowerCutAll {
        /// How long they are down, each a little different.
        down_ms: u64,
    },
    /// One member is cut off from the other members.
    Isolate {
        /// Who.
        who: Who,
        /// How long.
        ms: u64,
        /// From the clients as well.
        clients_too: bool,
    },
    /// Two members do not reach each other; the third sees both.
    CutPair {
        /// The one between keeps both links.
        between: usize,
        /// How long.
        ms: u64,
    },
    /// One member's packets to another are lost, the other direction works.
    OneWay {
        /// Sender.
        from: usize,
        /// Receiver.
        to: usize,
        /// How long.
        ms: u64,
    },
    /// Each of the next syncs takes this long.
    SlowSync {
        /// Who.
        who: Who,
        /// Duration of a sync.
        each_ms: u64,
        /// How many syncs.
        times: u64,
    },
    /// The next sync fails, and some of the data is gone although a repeated one would succeed.
    FailSync {
        /// Who.
        who: Who,
        /// After so many more syncs.
        after: u64,
    },
    /// A write fails half done.
    FailWrite {
        /// Who.
        who: Who,
        /// After so many more writes.
        after: u64,
    },
    /// No space left.
    FullDisk {
        /// Who.
        who: Who,
        /// How long.
        ms: u64,
    },
    /// A bit of a file turns while the member is down.
    BitFlip {
        /// Who.
        who: Who,
        /// How long it is down.
        down_ms: u64,
    },
    /// The wall clock jumps.
    ClockJump {
        /// Who.
        who: Who,
        /// How far.
        by_ms: i64,
    },
    /// The leader is told to hand over.
    Transfer,
    /// A member comes back with an empty disk.
    Wipe {
        /// Who.
        who: Who,
        /// How long it is down.
        down_ms: u64,
    },
    /// A follower is removed from the group, and joins again with an empty disk.
    RemoveAndJoin {
        /// How long it is away.
        away_ms: u64,
    },
    /// A client host dies and comes back.
    ClientCrash {
        /// Which.
        client: usize,
        /// How long it is down.
        down_ms: u64,
    },
    /// Packets take up to this long.
    SlowNetwork {
        /// Longest delay.
        latency_ms: u64,
        /// How long.
        ms: u64,
    },
    /// The name server dies and comes back empty.
    NameServerCrash {
        /// How long it is down.
        down_ms: u64,
    },
}

/// A run, decided.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it comes from.
    pub seed: u64,
    /// Flush mode of the group.
    pub flush: Flush,
    /// Size of a log segment; small, so that runs cross many.
    pub segment_bytes: u64,
    /// The disks say that they are nearly full: the oldest segments are deleted, and recycled.
    pub purges: bool,
    /// Step of the simulation.
    pub tick: Duration,
    /// Longest packet delay when nothing is wrong.
    pub latency: Duration,
    /// Longest pause of a client's task.
    pub pause_ms: u64,
    /// Faults by time since the workload began.
    pub faults: Vec<(u64, Fault)>,
    /// When everything is healed, since the workload began.
    pub heal_ms: u64,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Plan {
        let rng = &mut SmallRng::seed_from_u64(seed ^ 0x706c_616e);
        let flush = if rng.random_bool(0.75) {
            Flush::Sync
        } else {
            Flush::Async
        };
        let mut faults = Vec::new();
        let mut at = rng.random_range(500..3_000);
        let heal_ms = 31_000;
        while at < heal_ms - 1_000 || faults.len() < FAULTS_MIN {
            for (later, fault) in scene(rng, flush) {
                faults.push(((at + later).min(heal_ms - 1_000), fault));
            }
            // Sometimes faults overlap, sometimes there is room to recover.
            at += if rng.random_bool(0.25) {
                rng.random_range(50..800)
            } else {
                rng.random_range(1_000..5_000)
            };
        }
        faults.sort_by_key(|(at, _)| *at);
        let segment_bytes = [64 << 10, 128 << 10, 1 << 20][rng.random_range(0..3)];
        Plan {
            seed,
            flush,
            segment_bytes,
            purges: segment_bytes < 1 << 20 && rng.random_bool(0.5),
            tick: Duration::from_millis(2),
            latency: Duration::from_millis(rng.random_range(1..4)),
            pause_ms: rng.random_range(250..500),
            faults,
            heal_ms,
        }
    }

    /// The same workload without faults.
    pub fn calm(seed: u64) -> Plan {
        Plan {
            faults: Vec::new(),
            ..Plan::new(seed)
        }
    }
}

/// One fault, or several that only together do harm; with their times since the first.
fn scene(rng: &mut SmallRng, flush: Flush) -> Vec<(u64, Fault)> {
    let n = rng.random_range(0..MEMBERS);
    let down_ms = rng.random_range(20..1_500);
    match rng.random_range(0..20) {
        // What a failed sync has thrown away is missed only when the page cache is gone too.
        0 => {
            let (who, after) = (Who::Member(n), rng.random_range(0..20));
            let cut = (rng.random_range(500..2_500), Fault::PowerCut { who, down_ms });
            vec![(0, Fault::FailSync { who, after }), cut]
        }
        // What a member forwards to the leader is under way while leadership goes away and comes back.
        1 => {
            let back = rng.random_range(800..1_500);
            let ms = back + rng.random_range(300..1_500);
            let cut = (0, Fault::CutPair { between: n, ms });
            vec![
                cut,
                (rng.random_range(50..400), Fault::Transfer),
                (back, Fault::Transfer),
            ]
        }
        _ => vec![(0, fault(rng, flush))],
    }
}

fn fault(rng: &mut SmallRng, flush: Flush) -> Fault {
    let who = match rng.random_range(0..5) {
        0 | 1 => Who::Leader,
        2 => Who::Follower,
        _ => Who::Member(rng.random_range(0..MEMBERS)),
    };
    let down_ms = match rng.random_range(0..3) {
        0 => rng.random_range(20..400),
        1 => rng.random_range(400..1_500),
        _ => rng.random_range(1_500..5_000),
    };
    let ms = rng.random_range(200..5_000);
    match rng.random_range(0..34) {
        0..=3 => Fault::Crash { who, down_ms },
        4..=7 => Fault::PowerCut { who, down_ms },
        8 => Fault::CrashAll { down_ms },
        9 | 10 if flush == Flush::Sync => Fault::PowerCutAll { down_ms },
        9 | 10 => Fault::CrashAll { down_ms },
        11..=13 => Fault::Isolate {
            who,
            ms,
            clients_too: rng.random_bool(0.3),
        },
        14 | 15 => Fault::CutPair {
            between: rng.random_range(0..MEMBERS),
            ms,
        },
        16 | 17 => {
            let from = rng.random_range(0..MEMBERS);
            let to = (from + rng.random_range(1..MEMBERS)) % MEMBERS;
            Fault::OneWay { from, to, ms }
        }
        18 | 19 => Fault::SlowSync {
            who,
            each_ms: [20, 100, 500, 2_000][rng.random_range(0..4)],
            times: rng.random_range(1..20),
        },
        20 | 21 => Fault::FailSync {
            who,
            after: rng.random_range(0..20),
        },
        22 => Fault::FailWrite {
            who,
            after: rng.random_range(0..20),
        },
        23 | 24 => Fault::FullDisk { who, ms },
        25 => Fault::BitFlip { who, down_ms },
        26 | 27 => Fault::ClockJump {
            who,
            by_ms: rng.random_range(-3_600_000..3_600_000),
        },
        28 | 29 => Fault::Transfer,
        30 => Fault::Wipe { who, down_ms },
        31 => Fault::RemoveAndJoin { away_ms: down_ms },
        32 => Fault::ClientCrash {
            client: rng.random_range(0..crate::workload::HOSTS),
            down_ms,
        },
        _ => match rng.random_range(0..2) {
            0 => Fault::SlowNetwork {
                latency_ms: rng.random_range(5..60),
                ms,
            },
            _ => Fault::NameServerCrash { down_ms },
        },
    }
}
