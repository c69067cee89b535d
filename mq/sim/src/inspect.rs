//! What the members hold when a run is over: first as they serve it, then, with everything stopped, as their disks have it,
//! and once more as it comes out when the whole log is applied again to an empty state.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use mq_base::env::disk;
use mq_base::env::sim::{SimDisk, World, enter, within};
use mq_broker::broker::Broker;
use mq_broker::longpoll::LongPolls;
use mq_broker::machine::Machine as StateMachine;
use mq_broker::state::State;
use mq_broker::view::View;
use mq_message::{QueueId, QueueOffset, RecordView, topic as names};
use mq_raft::Application;
use mq_store::{ConsumeQueues, CqEntry, Entry, EntryKind, ItemKind, Log, LogOptions, QueueOptions, RaftIndex};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::facts::{MemberEnd, Purpose, Queue, Read, Send};
use crate::machine::{BROKER, CLUSTER, Machine, STORE};
use crate::workload::{TOPICS, id_in};

/// Queue entries of all queues.
type Slots = BTreeMap<Queue, Vec<(u64, CqEntry)>>;

/// A member as it serves.
pub struct Live {
    applied: u64,
    state: State,
    slots: Slots,
    leaked: Vec<String>,
}

/// Everything read off a member, with the log entries that it is made from.
pub struct Inspected {
    /// For the judges.
    pub end: MemberEnd,
    entries: Vec<Entry>,
}

/// Runs a future in the world of a machine, outside of the network.
fn block_on<T>(world: Arc<World>, future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(world.name().as_bytes()));
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(within(world, future))
}

/// Looks at a broker that runs.
pub fn live(machine: &Machine, broker: &Broker) -> anyhow::Result<Live> {
    let missing = || anyhow::anyhow!("the group has not started");
    let group = broker.group().ok_or_else(missing)?;
    let data = broker.data_path().ok_or_else(missing)?;
    let state = broker.view.snapshot();
    let (slots, mut leaked) = block_on(machine.world(), async {
        let (mut slots, mut problems) = (Slots::new(), Vec::new());
        for (topic, queue, bounds) in queues(&state) {
            let Some(files) = data.reader.queue(&state, &topic, QueueId(queue)) else {
                continue;
            };
            let mut found = Vec::new();
            for at in bounds {
                match data.reader.slot(&files, QueueOffset(at)).await {
                    Ok(Some(slot)) => found.push((at, slot)),
                    Ok(None) => {}
                    Err(error) => {
                        problems.push(format!("{topic}/{queue}/{at} cannot be read: {error}"));
                        break;
                    }
                }
            }
            slots.insert((topic, queue), found);
        }
        (slots, problems)
    });
    if !data.polls.is_empty() {
        leaked.push(format!("{} pulls wait for clients that are gone", data.polls.len()));
    }
    Ok(Live {
        applied: group.status().applied.map_or(0, |id| id.index.0),
        state,
        slots,
        leaked,
    })
}

/// Whether a running member's log can be read from end to end. What cannot is being repaired from then on.
pub fn is_whole(machine: &Machine) -> bool {
    let Some(broker) = machine.broker() else { return false };
    let Some(log) = broker.group().map(|group| group.log()) else {
        return false;
    };
    let _entered = enter(machine.world());
    let mut next = log.first();
    while let Ok(entries) = log.read(next..RaftIndex(u64::MAX), 1 << 20) {
        match entries.last() {
            Some(last) => next = last.index().next(),
            None => return true,
        }
    }
    false
}

/// Queues that ever held something, with the offsets that they should hold.
fn queues(state: &State) -> Vec<(String, u32, std::ops::Range<u64>)> {
    let mut all = Vec::new();
    for topic in state.topics.sorted() {
        for (id, queue) in topic.queues.iter().enumerate() {
            if queue.next > QueueOffset::ZERO {
                all.push((
                    topic.config.name.to_string(),
                    id as u32,
                    queue.min.get()..queue.next.get(),
                ));
            }
        }
    }
    all
}

fn hash(state: &State, slots: &Slots) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&state.encode());
    for ((topic, queue), entries) in slots {
        hash.update(topic.as_bytes());
        hash.update(&queue.to_be_bytes());
        for (at, slot) in entries {
            hash.update(&at.to_be_bytes());
            hash.update(&slot.offset.get().to_be_bytes());
            hash.update(&slot.size.to_be_bytes());
            hash.update(&slot.tags_code.to_be_bytes());
        }
    }
    hash.digest()
}

/// Reads the disk of a stopped member, and applies its log again.
pub fn stopped(machine: &Machine, live: Live) -> anyhow::Result<Inspected> {
    let (first, entries) = block_on(machine.world(), read_log(live.applied))?;
    let mut end = MemberEnd {
        name: machine.world().name().to_owned(),
        applied: live.applied,
        minimums: queues(&live.state)
            .into_iter()
            .map(|(topic, queue, bounds)| ((topic, queue), bounds.start))
            .collect(),
        derived: hash(&live.state, &live.slots),
        leaked: live.leaked,
        ..MemberEnd::default()
    };
    end.entries = entries
        .iter()
        .map(|entry| (entry.index().0, xxh3_64(entry.bytes())))
        .collect();
    // A log whose beginning is gone cannot be applied from scratch, nor one whose slow disk has not taken its end yet.
    let complete = entries.last().is_some_and(|last| last.index().0 >= live.applied);
    if first <= 1 && complete {
        end.rebuilt = Some(rebuild(&entries)?);
    }
    end.queues = readable(&entries, &live.slots);
    Ok(Inspected { end, entries })
}

async fn read_log(applied: u64) -> anyhow::Result<(u64, Vec<Entry>)> {
    let options = LogOptions {
        cluster: CLUSTER.to_owned(),
        group: BROKER.to_owned(),
        ..LogOptions::default()
    };
    let dir = PathBuf::from(format!("{STORE}/commitlog"));
    let (log, recovered) = Log::open(disk::real(), &dir, options, None)?;
    anyhow::ensure!(
        recovered.damage.is_none(),
        "the log of a stopped member is damaged: {:?}",
        recovered.damage
    );
    let mut next = log.first();
    let first = next.0;
    let mut entries = Vec::new();
    while next.0 <= applied {
        let read = log.read(next..RaftIndex(applied + 1), 1 << 20)?;
        let Some(last) = read.last() else { break };
        next = last.index().next();
        entries.extend(read);
    }
    Ok((first, entries))
}

fn rebuild(entries: &[Entry]) -> anyhow::Result<u64> {
    let world = World::with_disk("rebuilt", 0, SimDisk::new(0));
    block_on(world, async {
        let view = Arc::new(View::new());
        let files = ConsumeQueues::open(disk::real(), Path::new(STORE), QueueOptions::default())?;
        let mut machine = StateMachine::new(view.clone(), files.clone(), None, Arc::new(LongPolls::new(1)));
        machine.restore(None, Default::default(), false)?;
        for entry in entries.iter().filter(|entry| entry.kind() == EntryKind::Batch) {
            machine.apply(entry);
            machine.applied(entry.id());
        }
        let state = view.snapshot();
        let mut slots = Slots::new();
        for (topic, queue, bounds) in queues(&state) {
            let incarnation = state.topics.get(&topic).map_or(0, |topic| topic.incarnation);
            let Some(file) = files.find(&topic, incarnation, QueueId(queue)) else {
                continue;
            };
            let mut found = Vec::new();
            for at in bounds {
                if let Some(slot) = files.entry_at(&file, QueueOffset(at))? {
                    found.push((at, slot));
                }
            }
            slots.insert((topic, queue), found);
        }
        Ok(hash(&state, &slots))
    })
}

/// All stored records by commit log offset.
fn records(entries: &[Entry]) -> BTreeMap<u64, Bytes> {
    let mut records = BTreeMap::new();
    for entry in entries {
        for item in entry.items().filter(|item| item.kind == ItemKind::Message) {
            records.insert(item.offset.get(), entry.body(&item));
        }
    }
    records
}

/// The business queues as a client could read them from this member.
fn readable(entries: &[Entry], slots: &Slots) -> BTreeMap<Queue, BTreeMap<u64, Read>> {
    let records = records(entries);
    let business = |topic: &str| TOPICS.iter().any(|(name, _)| *name == topic);
    let mut queues = BTreeMap::new();
    for (queue, slots) in slots.iter().filter(|((topic, _), _)| business(topic)) {
        let read = |at: u64, slot: &CqEntry| {
            let record = RecordView::parse(records.get(&slot.offset.get())?).ok()?;
            let read = Read {
                queue: queue.clone(),
                offset: record.queue_offset().get(),
                id: id_in(record.body())?,
                stored_ms: record.store_timestamp(),
            };
            (read.offset == at && record.topic() == queue.0).then_some((at, read))
        };
        let found = slots.iter().filter_map(|(at, slot)| read(*at, slot)).collect();
        queues.insert(queue.clone(), found);
    }
    queues
}

/// When delayed messages may appear: what their parked records say. Log time counts, not the producers' clocks.
pub fn set_due_times(sends: &mut [Send], inspected: &[Inspected]) {
    let Some(member) = inspected.first() else { return };
    for record in records(&member.entries).values() {
        let Ok(record) = RecordView::parse(record) else {
            continue;
        };
        if record.topic() != names::SCHEDULE {
            continue;
        }
        let delay_ms = [1_000, 5_000].get(record.queue_id().get() as usize).copied();
        let (Some(id), Some(delay_ms)) = (id_in(record.body()), delay_ms) else {
            continue;
        };
        if let Some(Send {
            purpose: Purpose::Delayed { due_ms },
            ..
        }) = sends.get_mut(id as usize)
        {
            // A message whose answer was lost may be parked twice.
            let due = record.store_timestamp() + delay_ms;
            *due_ms = if *due_ms == 0 { due } else { due.min(*due_ms) };
        }
    }
}
