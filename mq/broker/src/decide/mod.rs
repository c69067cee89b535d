//! The leader's judge: it decides before anything is appended, so that apply never has to refuse (ADR 003).
//!
//! It owns a copy of the state that runs ahead of the applied one by what this leadership has in flight. Every ask is
//! checked against that copy first and only then turned into items, so an ask is in the entry whole or not at all. What is
//! asked is in [`crate::ask`]; one file here per kind of question.

mod admin;
mod answer;
mod append;
mod atomic;
mod check;
mod draft;
mod locks;
mod offsets;
mod timers;
mod transaction;

pub use answer::Waiting;

use crate::ask::{Ask, Refusal};
use crate::state::State;
use crate::state::codec::Writer;
use crate::view::View;
use draft::Draft;
use mq_raft::{Batch, Decide, Session};
use std::sync::Arc;

/// The judge. Lives on the proposer task.
pub struct Judge {
    view: Arc<View>,
    /// Applied plus in-flight state; physical offsets in it are not real (they are known only after the append).
    state: State,
    scratch: Writer,
}

impl Judge {
    /// A judge that will read the applied state from `view`.
    pub fn new(view: Arc<View>) -> Self {
        Self {
            view,
            state: State::default(),
            scratch: Writer::new(),
        }
    }
}

#[cfg(test)]
impl Judge {
    /// Applied plus in-flight state.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }
}

impl Decide for Judge {
    type Request = Ask;
    type Answer = Waiting;

    fn begin(&mut self, session: Session) {
        self.state = self.view.snapshot();
        self.state.advance_time(session.now_ms);
    }

    fn decide(&mut self, ask: Ask, batch: &mut Batch<Waiting>) {
        self.state.advance_time(batch.log_time_ms());
        let draft = &mut Draft::new(&mut self.state, batch, &mut self.scratch);
        match ask {
            Ask::Append(append) => append::append(draft, append),
            Ask::CommitOffsets(commits, reply) => offsets::commit(draft, &self.view, &commits, reply),
            Ask::EndTransaction(end) => transaction::end(draft, end),
            Ask::HalfChecked(checked) => transaction::checked(draft, checked),
            Ask::DeliverTimers(due) => timers::deliver(draft, due),
            Ask::Lock(wanted, reply) => locks::lock(draft, wanted, reply),
            Ask::Unlock(held, reply) => locks::unlock(draft, held, reply),
            Ask::UpsertTopic(wanted, reply) => admin::upsert_topic(draft, wanted, reply),
            Ask::DeleteTopic(topic, reply) => admin::delete_topic(draft, topic, reply),
            Ask::UpsertGroup(wanted, reply) => admin::upsert_group(draft, wanted, reply),
            Ask::DeleteGroup {
                group,
                clean_offsets,
                reply,
            } => {
                admin::delete_group(draft, group, clean_offsets, reply);
            }
            Ask::ResetOffsets(resets, reply) => offsets::reset(draft, &resets, reply),
            Ask::ResetTaken(reset) => offsets::reset_taken(draft, &reset),
            Ask::CloneOffsets { from, to, topic, reply } => {
                offsets::clone_group(draft, &from, &to, topic.as_deref(), reply);
            }
            Ask::OpenProducer(producer, reply) => atomic::open(draft, producer, reply),
            Ask::AtomicBatch(wanted) => atomic::append(draft, &self.view, wanted),
            Ask::Retain(retain, reply) => admin::retain(draft, retain, reply),
            Ask::SetDelays(delays, reply) => admin::set_delays(draft, delays, reply),
            Ask::Barrier(reply) => draft.done(reply),
        }
    }

    fn refuse(&mut self, ask: Ask) {
        ask.refuse(Refusal::NotLeader);
    }

    fn end(&mut self) {
        self.state = State::default();
    }
}
