//! Electing at once when the leader is proven dead: the decisions, without any I/O.
//!
//! Raft's followers refuse votes while the leader's lease lives, so timers alone cost half a second. This machine drops
//! the lease earlier, but only on proof, and only a *majority* of voters with proof elects: one member whose own
//! connections are cut cannot depose a live leader.
//!
//! 1. The leader's append connections are closed, or another process answers in its place.
//! 2. Its address refuses connections, or the process there has another boot id than the one that led: it is dead. (A
//!    time-out proves nothing; the election timer decides.)
//! 3. All its appends have returned; the end of the own log is read behind them.
//! 4. The own lease is dropped, and the others are told [`Lost`]. A member that has lost the same leader agrees.
//! 5. With a majority in agreement the member with the greatest log (ties: lowest id) elects itself. Nobody else does.
//!
//! Once per vote. Whatever goes wrong, the timers take over. `election_driver` does what this decides.

use std::collections::{BTreeMap, BTreeSet};

use mq_store::{LogId, NodeId};

use crate::peer::message::Lost;
use crate::types::Vote;

/// A dying process accepts or resets connections for a few milliseconds: probes in a row before giving up.
const CUT_PROBES_MAX: u32 = 300;
/// A live process that closed its connections may be on its way out: slower probes in a row before giving up.
const ALIVE_PROBES_MAX: u32 = 40;

/// What a probe of the leader's address found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// Nobody listens.
    Refused,
    /// A process with this boot id.
    Boot(u64),
    /// Accepted and cut, or reset.
    Cut,
    /// No answer, or something unexpected.
    Nothing,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The own vote changed; `boot` is the process of the leader that was heard last.
    Vote(Vote, Option<u64>),
    /// Voters of the effective membership: one set, two while it changes.
    Voters(Vec<BTreeSet<u64>>),
    /// The last append connection of that process ended.
    Gone(NodeId, u64),
    /// A process said hello.
    Heard(NodeId, u64),
    /// The answer to [`Command::Probe`].
    Probed(Vote, Probed),
    /// The answer to [`Command::Drain`]: the end of the own log.
    Drained(Vote, Option<LogId>),
    /// Another member has lost a leader.
    Lost(NodeId, Lost),
    /// [`Command::Tell`]'s time is over.
    Deadline(Vote),
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Connect to the leader of this vote after a pause in microseconds.
    Probe(Vote, u64),
    /// Wait until all appends of that process have returned, then read the end of the own log.
    Drain(Vote, u64),
    /// Drop the lease of this vote.
    DropLease(Vote),
    /// Tell these members, feed their agreement back as [`Event::Lost`], and [`Event::Deadline`] after 50 ms.
    Tell(Lost, Vec<NodeId>),
    /// Elect myself in place of this leader.
    Elect(Lost),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The leader lives, as far as is known.
    Watching,
    /// Its connections are closed; is it dead?
    Probing { cuts: u32, alive: u32 },
    /// Dead; its appends are returning.
    Draining,
    /// Members that have lost it, with the ends of their logs.
    Agreeing(BTreeMap<u64, Option<LogId>>),
    /// Decided, or given up: the timers rule until the next vote.
    Over,
}

/// See the module.
#[derive(Debug)]
pub struct Election {
    me: NodeId,
    voters: Vec<BTreeSet<u64>>,
    /// The committed vote of another member, and the process that led under it.
    leader: Option<(Vote, Option<u64>)>,
    stage: Stage,
    /// Agreement that came before the own proof.
    early: BTreeMap<u64, Lost>,
}

impl Election {
    /// Nothing known yet.
    pub fn new(me: NodeId) -> Self {
        Self {
            me,
            voters: Vec::new(),
            leader: None,
            stage: Stage::Watching,
            early: BTreeMap::new(),
        }
    }

    /// Whether this member has proof that the leader of `vote` is dead, and the end of its log then.
    pub fn agrees(&self, vote: Vote) -> Option<Option<LogId>> {
        match &self.stage {
            Stage::Agreeing(lost) if self.is_current(vote) => lost.get(&self.me.0).copied(),
            _ => None,
        }
    }

    /// Takes an event in, gives commands out.
    pub fn on(&mut self, event: Event) -> Vec<Command> {
        match event {
            Event::Vote(vote, boot) => self.vote(vote, boot),
            Event::Voters(voters) => {
                self.voters = voters;
                vec![]
            }
            Event::Gone(node, boot) => match self.leader {
                Some((vote, Some(led))) if vote.leader_id.node_id == node.0 && led == boot => self.suspect(vote),
                _ => vec![],
            },
            Event::Heard(node, boot) => self.heard(node, boot),
            Event::Probed(vote, found) if self.is_current(vote) => self.probed(vote, found),
            Event::Drained(vote, last) if self.is_current(vote) && self.stage == Stage::Draining => {
                self.lost(Lost { vote, last })
            }
            Event::Lost(node, lost) if self.is_current(lost.vote) => self.other_lost(node, lost),
            Event::Deadline(vote) if self.is_current(vote) && matches!(self.stage, Stage::Agreeing(_)) => {
                self.stage = Stage::Over;
                vec![]
            }
            Event::Probed(..) | Event::Drained(..) | Event::Lost(..) | Event::Deadline(..) => vec![],
        }
    }

    fn is_current(&self, vote: Vote) -> bool {
        self.leader.is_some_and(|(current, _)| current == vote)
    }

    fn vote(&mut self, vote: Vote, boot: Option<u64>) -> Vec<Command> {
        if self.is_current(vote) {
            return vec![];
        }
        let leads = vote.committed && vote.leader_id.node_id != self.me.0;
        self.leader = leads.then_some((vote, boot));
        self.stage = Stage::Watching;
        self.early.clear();
        vec![]
    }

    fn suspect(&mut self, vote: Vote) -> Vec<Command> {
        if self.stage != Stage::Watching {
            return vec![];
        }
        self.stage = Stage::Probing { cuts: 0, alive: 0 };
        vec![Command::Probe(vote, 0)]
    }

    fn heard(&mut self, node: NodeId, boot: u64) -> Vec<Command> {
        let Some((vote, led)) = &mut self.leader else {
            return vec![];
        };
        if vote.leader_id.node_id != node.0 {
            return vec![];
        }
        let vote = *vote;
        match *led {
            None => {
                *led = Some(boot);
                vec![]
            }
            // The same process is back before anything was decided: it lives.
            Some(led) if led == boot => {
                if !matches!(self.stage, Stage::Over) {
                    self.stage = Stage::Watching;
                }
                vec![]
            }
            // Another process in its place: the one that led is dead.
            Some(_) if matches!(self.stage, Stage::Watching | Stage::Probing { .. }) => self.dead(vote),
            Some(_) => vec![],
        }
    }

    fn probed(&mut self, vote: Vote, found: Probed) -> Vec<Command> {
        let Stage::Probing { cuts, alive } = &mut self.stage else {
            return vec![];
        };
        let led = self.leader.and_then(|(_, boot)| boot);
        match found {
            Probed::Refused => self.dead(vote),
            Probed::Boot(boot) if Some(boot) != led => self.dead(vote),
            Probed::Cut if *cuts < CUT_PROBES_MAX => {
                *cuts += 1;
                vec![Command::Probe(vote, 300)]
            }
            Probed::Boot(_) if *alive < ALIVE_PROBES_MAX => {
                *alive += 1;
                vec![Command::Probe(vote, 5_000)]
            }
            Probed::Cut | Probed::Boot(_) | Probed::Nothing => {
                self.stage = Stage::Watching;
                vec![]
            }
        }
    }

    fn dead(&mut self, vote: Vote) -> Vec<Command> {
        let voter = self.voters.iter().any(|set| set.contains(&self.me.0));
        let Some((_, Some(led))) = self.leader.filter(|_| voter) else {
            self.stage = Stage::Over;
            return vec![];
        };
        self.stage = Stage::Draining;
        vec![Command::Drain(vote, led)]
    }

    fn lost(&mut self, mine: Lost) -> Vec<Command> {
        let mut agreed = BTreeMap::from([(self.me.0, mine.last)]);
        agreed.extend(self.early.iter().map(|(id, lost)| (*id, lost.last)));
        self.stage = Stage::Agreeing(agreed);
        let dead = mine.vote.leader_id.node_id;
        let all: BTreeSet<u64> = self.voters.iter().flatten().copied().collect();
        let others = all
            .into_iter()
            .filter(|id| *id != self.me.0 && *id != dead)
            .map(NodeId)
            .collect();
        let mut commands = vec![Command::DropLease(mine.vote), Command::Tell(mine, others)];
        commands.extend(self.decide());
        commands
    }

    fn other_lost(&mut self, node: NodeId, lost: Lost) -> Vec<Command> {
        match &mut self.stage {
            Stage::Agreeing(agreed) => {
                agreed.insert(node.0, lost.last);
                self.decide()
            }
            Stage::Over => vec![],
            _ => {
                self.early.insert(node.0, lost);
                // A hint to look for myself, never a proof.
                self.suspect(lost.vote)
            }
        }
    }

    fn decide(&mut self) -> Vec<Command> {
        let (Stage::Agreeing(agreed), Some((vote, _))) = (&self.stage, self.leader) else {
            return vec![];
        };
        let majority = |set: &BTreeSet<u64>| set.iter().filter(|id| agreed.contains_key(id)).count() * 2 > set.len();
        if self.voters.is_empty() || !self.voters.iter().all(majority) {
            return vec![];
        }
        let voters = agreed
            .iter()
            .filter(|(id, _)| self.voters.iter().any(|set| set.contains(id)));
        // Greatest log first, then the lowest id.
        let winner = voters.max_by_key(|(id, last)| (**last, std::cmp::Reverse(**id)));
        let win = winner
            .filter(|(id, _)| **id == self.me.0)
            .map(|(_, last)| Lost { vote, last: *last });
        self.stage = if win.is_some() { Stage::Over } else { self.stage.clone() };
        win.into_iter().map(Command::Elect).collect()
    }
}

#[cfg(test)]
mod tests;
