//! Consumer offsets: commits, resets, copies.

use super::check;
use super::draft::{ASK_ITEMS_MAX, Draft};
use crate::ask::{OffsetCommit, Refusal, Reply};
use crate::state::{Effect, Name, Within};
use crate::view::View;
use mq_base::env::bug::{self, Bug};

/// Stores offsets. What changes nothing is dropped; a late one-way commit does not move an offset back.
pub(super) fn commit(draft: &mut Draft<'_>, view: &View, commits: &[OffsetCommit], reply: Reply<()>) {
    for commit in commits {
        if bug::is_back(Bug::OffsetsLazy) {
            lazily(view, commit);
        } else if wanted(draft, commit) {
            draft.effect(&set(commit));
        }
    }
    draft.done(reply);
}

/// Only the leader learns of it: see [`Bug::OffsetsLazy`].
fn lazily(view: &View, commit: &OffsetCommit) {
    view.write().apply(&set(commit), Within::default());
}

fn wanted(draft: &Draft<'_>, commit: &OffsetCommit) -> bool {
    let offsets = &draft.state.offsets;
    if offsets
        .pending_reset(&commit.group, &commit.topic, commit.queue)
        .is_some()
    {
        return false; // swallowed until the consumer has been told
    }
    if check::name("group", &commit.group).is_err() {
        return false;
    }
    if draft.state.topics.get(&commit.topic).is_none() {
        return false; // deleted meanwhile: its offsets must not come back
    }
    match offsets.get(&commit.group, &commit.topic, commit.queue) {
        None => true,
        Some(now) if commit.only_advance => commit.offset > now,
        Some(now) => commit.offset != now,
    }
}

/// The effect of a commit.
pub(super) fn set(commit: &OffsetCommit) -> Effect {
    Effect::Offset {
        group: commit.group.clone(),
        topic: commit.topic.clone(),
        queue: commit.queue,
        offset: commit.offset,
    }
}

/// Resets offsets; the consumer is told by its next pull.
pub(super) fn reset(draft: &mut Draft<'_>, resets: &[OffsetCommit], reply: Reply<()>) {
    for reset in resets {
        if let Err(refusal) = check::name("group", &reset.group) {
            return reply.send(Err(refusal));
        }
        if draft.state.topics.get(&reset.topic).is_none() {
            return reply.send(Err(Refusal::TopicMissing(reset.topic.clone())));
        }
    }
    for reset in resets {
        draft.effect(&Effect::OffsetReset {
            group: reset.group.clone(),
            topic: reset.topic.clone(),
            queue: reset.queue,
            offset: reset.offset,
        });
    }
    draft.done(reply);
}

/// The consumer was told of a reset. A newer reset of the same queue stays pending.
pub(super) fn reset_taken(draft: &mut Draft<'_>, reset: &OffsetCommit) {
    let pending = draft
        .state
        .offsets
        .pending_reset(&reset.group, &reset.topic, reset.queue);
    if pending == Some(reset.offset) {
        draft.effect(&Effect::ResetTaken {
            group: reset.group.clone(),
            topic: reset.topic.clone(),
            queue: reset.queue,
        });
    }
}

/// Copies offsets from one group to another.
pub(super) fn clone_group(draft: &mut Draft<'_>, from: &Name, to: &Name, topic: Option<&str>, reply: Reply<()>) {
    if draft.state.groups.get(to).is_none() {
        return reply.send(Err(Refusal::GroupMissing(to.clone())));
    }
    let copies: Vec<Effect> = draft
        .state
        .offsets
        .iter()
        .filter(|(key, _, _)| key.group == *from && topic.is_none_or(|topic| &*key.topic == topic))
        .map(|(key, queue, offset)| Effect::Offset {
            group: to.clone(),
            topic: key.topic,
            queue,
            offset,
        })
        .collect();
    if copies.len() > ASK_ITEMS_MAX {
        let text = format!("group[{from}] has more than {ASK_ITEMS_MAX} offsets: copy them topic by topic");
        return reply.send(Err(Refusal::Invalid(text)));
    }
    for copy in &copies {
        draft.effect(copy);
    }
    draft.done(reply);
}
