//! Random actions against a plain list: what was reported durable survives every crash, what is there is a prefix of
//! what was appended, and nothing else ever appears.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

struct Model {
    rig: Rig,
    sync: bool,
    rng: SmallRng,
    term: u64,
    /// Entries after the base.
    entries: Vec<Entry>,
    base: Tail,
    /// Entries up to this index were reported done.
    done: u64,
    /// Entries up to this index must survive power loss.
    durable: u64,
    /// Entries up to this index may not be truncated.
    committed: u64,
    known: Option<Known>,
    vote: Option<Vec<u8>>,
    pending: Vec<(u64, Promise)>,
}

impl Model {
    fn new(seed: u64, sync: bool) -> Model {
        let disk = SimDisk::new(seed);
        let (rig, _) = open(&disk, options(sync), None);
        Model {
            rig,
            sync,
            rng: SmallRng::seed_from_u64(seed),
            term: 1,
            entries: Vec::new(),
            base: Tail::default(),
            done: 0,
            durable: 0,
            committed: 0,
            known: None,
            vote: None,
            pending: Vec::new(),
        }
    }

    fn last(&self) -> u64 {
        self.rig.log.tail().last.map_or(0, |last| last.index.get())
    }

    fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.index().get() == index)
    }

    fn append(&mut self) {
        for _ in 0..self.rng.random_range(1..4) {
            let len = if self.rng.random_bool(0.1) {
                self.rng.random_range(1000..3800)
            } else {
                self.rng.random_range(0..500)
            };
            let entry = next(&self.rig.log, self.term, len);
            let (done, outcome) = promise();
            self.rig.log.append(vec![entry.clone()], done);
            self.pending.push((entry.index().get(), outcome));
            self.entries.push(entry);
        }
    }

    fn write(&mut self) {
        self.rig.write();
        self.pending.retain(|(index, outcome)| match outcome.try_take() {
            None => true,
            Some(result) => {
                result.expect("append");
                self.done = self.done.max(*index);
                false
            }
        });
        if self.sync {
            self.durable = self.done;
        }
    }

    fn flush(&mut self) {
        self.write();
        self.rig.flush();
        self.durable = self.done;
    }

    fn commit(&mut self) {
        if self.committed < self.done {
            self.committed = self.rng.random_range(self.committed..=self.done);
        }
    }

    fn truncate(&mut self) {
        self.write();
        let first = self.base.last.map_or(0, |last| last.index.get());
        let keep = self.rng.random_range(self.committed.max(first)..=self.last());
        let last = self.entry(keep).map(Entry::id).or(self.base.last);
        self.rig
            .run(|log, done| log.truncate_after(last, done))
            .expect("truncate");
        self.entries.retain(|entry| entry.index().get() <= keep);
        self.done = self.done.min(keep);
        self.durable = self.durable.min(keep);
        self.term += 1;
    }

    fn purge(&mut self) {
        self.flush();
        // A checkpoint covers what is purged.
        let first = self.base.last.map_or(1, |last| last.index.get() + 1);
        if self.committed < first {
            return;
        }
        let upto = self.rng.random_range(first..=self.committed);
        let entry = self.entry(upto).expect("committed entry").clone();
        self.rig.run(|log, done| log.purge(entry.id(), done)).expect("purge");
        self.base = Tail::after(&entry);
        self.entries.retain(|entry| entry.index().get() > upto);
        if self
            .known
            .is_some_and(|known| known.tail.next_offset < self.base.next_offset)
        {
            self.known = None;
        }
    }

    fn checkpoint(&mut self) {
        let upto = self.durable.min(self.committed);
        if let Some(entry) = self.entry(upto) {
            self.known = Some(Known::of(entry));
        }
    }

    fn save_vote(&mut self) {
        let vote: Vec<u8> = (0..self.rng.random_range(0..80)).map(|_| self.rng.random()).collect();
        let saved = vote.clone();
        self.rig
            .run(|log, done| log.save_vote(saved.into(), done))
            .expect("vote");
        self.vote = Some(vote);
        self.durable = self.durable.max(if self.sync { self.done } else { self.durable });
        self.write();
        self.flush();
    }

    fn reset(&mut self) {
        let last = LogId {
            term: Term(self.term),
            node: NodeId(3),
            index: RaftIndex(self.last() + self.rng.random_range(1..50)),
        };
        let place = self.rig.log.tail().next_offset.get() + self.rng.random_range(0..20_000);
        let base = Tail {
            last: Some(last),
            next_offset: CommitLogOffset::from(place),
            previous_hash: self.rng.random(),
        };
        self.rig.run(|log, done| log.reset(base, done)).expect("reset");
        self.write();
        self.base = base;
        self.entries.clear();
        self.known = None;
        let index = last.index.get();
        (self.done, self.durable, self.committed) = (index, index, index);
        self.term += 1;
    }

    /// Ends the process, with power loss or without, and opens again.
    fn restart(&mut self, power_loss: bool) {
        if power_loss {
            self.rig.disk.crash(&mut self.rng);
        }
        self.pending.clear();
        let survive = if power_loss { self.durable } else { self.done };
        let (rig, recovered) = open(&self.rig.disk.clone(), options(self.sync), self.known);
        self.rig = rig;
        assert_eq!(recovered.damage, None);
        assert_eq!(recovered.base, self.base);
        assert_eq!(recovered.unclean_machine, power_loss);
        assert_eq!(self.rig.log.vote().map(|vote| vote.to_vec()), self.vote);
        let last = recovered.tail.last.map_or(0, |last| last.index.get());
        assert!(
            last >= survive,
            "entries up to {survive} were promised, {last} is the last"
        );
        self.entries.retain(|entry| entry.index().get() <= last);
        assert_eq!(all(&self.rig.log), self.entries);
        let tail = self.entries.last().map_or(self.base, Tail::after);
        assert_eq!(recovered.tail, tail);
        (self.done, self.durable) = (last, last);
        self.term += 1;
    }

    fn close(&mut self) {
        self.rig.run(|log, done| log.close(done)).expect("close");
        self.pending.clear();
        self.rig.disk.crash(&mut self.rng);
        let (rig, recovered) = open(&self.rig.disk.clone(), options(self.sync), self.known);
        self.rig = rig;
        assert!(!recovered.unclean_machine);
        assert_eq!(recovered.cut, None);
        assert_eq!(all(&self.rig.log), self.entries);
        let last = self.last();
        (self.done, self.durable) = (last, last);
    }

    fn check_reads(&mut self) {
        self.write();
        let Some(first) = self.entries.first().map(|entry| entry.index().get()) else {
            return;
        };
        let from = self.rng.random_range(first..=self.last());
        let to = self.rng.random_range(from..=self.last() + 2);
        let max = self.rng.random_range(0..8000);
        let got = self.rig.log.read(RaftIndex(from)..RaftIndex(to), max).expect("read");
        let mut want: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        for entry in self.entries.iter().filter(|e| (from..to).contains(&e.index().get())) {
            if !want.is_empty() && bytes + entry.len() as u64 > max {
                break;
            }
            bytes += entry.len() as u64;
            want.push(entry.clone());
        }
        assert_eq!(got, want, "entries {from}..{to}, at most {max} bytes");

        let at = self.rng.random_range(0..self.entries.len());
        let (offset, body) = message(&self.entries[at]);
        match self.rig.log.bytes_at(offset, body.len()) {
            Lookup::Ready(bytes) => assert_eq!(bytes, body),
            Lookup::Cold => assert_eq!(self.rig.log.record_at(offset).expect("read"), Some(body)),
            Lookup::Gone => panic!("entry {at} is retained"),
        }
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..40 => self.append(),
            40..60 => self.write(),
            60..66 => self.flush(),
            66..74 => self.commit(),
            74..78 => self.truncate(),
            78..81 => self.purge(),
            81..84 => self.checkpoint(),
            84..86 => self.save_vote(),
            86..88 => self.restart(false),
            88..91 => self.crash(),
            91..92 => self.reset(),
            92..93 => self.close(),
            _ => self.check_reads(),
        }
    }

    fn crash(&mut self) {
        self.restart(true);
        self.committed = self.committed.min(self.done);
    }
}

fn run(seeds: std::ops::Range<u64>, sync: bool) {
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut model = Model::new(seed, sync);
            for _ in 0..400 {
                model.step();
            }
            model.restart(true);
        });
        if let Err(panic) = outcome {
            eprintln!("seed {seed}, sync {sync}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn synced_log_equals_its_model() {
    run(0..150, true);
}

#[test]
fn unsynced_log_equals_its_model_up_to_what_was_flushed() {
    run(1000..1150, false);
}
