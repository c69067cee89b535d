//! Topics, groups, the delay table and retention.

use super::append::create_if_absent;
use super::check;
use super::draft::Draft;
use crate::ask::{Minimum, Refusal, Reply, Retain, UpsertGroup, UpsertTopic};
use crate::state::{Effect, LEVELS_MAX, Name};
use mq_message::{QueueId, topic as names};

/// Topics the broker itself writes to: they cannot be deleted.
const KEPT: [&str; 3] = [names::SCHEDULE, names::TRANS_HALF, names::TRANS_CHECK_MAX_TIME];

/// Creates or changes a topic.
pub(super) fn upsert_topic(draft: &mut Draft<'_>, ask: UpsertTopic, reply: Reply<()>) {
    if let Err(refusal) = check::topic(&ask.config) {
        return reply.send(Err(refusal));
    }
    let found = draft.state.topics.get(&ask.config.name);
    let unchanged = found.is_some_and(|topic| ask.only_if_absent || topic.config == ask.config);
    if !unchanged {
        draft.effect(&Effect::TopicSet(ask.config));
    }
    draft.done(reply);
}

/// Deletes a topic.
pub(super) fn delete_topic(draft: &mut Draft<'_>, topic: Name, reply: Reply<()>) {
    if KEPT.contains(&&*topic) {
        return reply.send(Err(Refusal::Invalid(format!(
            "The topic[{topic}] is conflict with system topic."
        ))));
    }
    if draft.state.topics.get(&topic).is_some() {
        draft.effect(&Effect::TopicGone(topic));
    }
    draft.done(reply);
}

/// Creates or changes a group, and its retry topic where there is none.
pub(super) fn upsert_group(draft: &mut Draft<'_>, ask: UpsertGroup, reply: Reply<()>) {
    let retry_topic = ask.retry_topic.as_deref().map_or(Ok(()), check::topic);
    if let Err(refusal) = check::group(&ask.config).and(retry_topic) {
        return reply.send(Err(refusal));
    }
    let found = draft.state.groups.get(&ask.config.name);
    let unchanged = found.is_some_and(|group| ask.only_if_absent || *group == ask.config);
    if !unchanged {
        draft.effect(&Effect::GroupSet(ask.config));
    }
    if let Some(config) = &ask.retry_topic {
        create_if_absent(draft, config);
    }
    draft.done(reply);
}

/// Deletes a group.
pub(super) fn delete_group(draft: &mut Draft<'_>, group: Name, clean_offsets: bool, reply: Reply<()>) {
    if let Err(refusal) = check::name("group", &group) {
        return reply.send(Err(refusal));
    }
    if clean_offsets || draft.state.groups.get(&group).is_some() {
        draft.effect(&Effect::GroupGone { group, clean_offsets });
    }
    draft.done(reply);
}

/// Changes the delay table.
pub(super) fn set_delays(draft: &mut Draft<'_>, delays_ms: Vec<i64>, reply: Reply<()>) {
    if delays_ms.is_empty() || delays_ms.len() > LEVELS_MAX || delays_ms.iter().any(|delay| *delay < 0) {
        let text = format!("a delay table has 1 to {LEVELS_MAX} levels, none negative");
        return reply.send(Err(Refusal::Invalid(text)));
    }
    if draft.state.schedule.delays_ms() != delays_ms {
        draft.effect(&Effect::DelaysSet(delays_ms));
    }
    draft.done(reply);
}

/// Raises the retention line, after moving what must outlive it above the line.
pub(super) fn retain(draft: &mut Draft<'_>, mut ask: Retain, reply: Reply<()>) {
    for (_, record) in &ask.halves {
        if let Err(error) = check::records(record, names::TRANS_HALF, QueueId(0)) {
            return reply.send(Err(error));
        }
    }
    for (identity, record) in &mut ask.halves {
        if draft.state.halves.get(*identity).is_some() {
            let copy = draft.message(names::TRANS_HALF, QueueId(0), record);
            draft.effect(&Effect::HalfMoved {
                identity: *identity,
                copy,
            });
        }
    }
    if ask.line > draft.state.retained {
        draft.effect(&Effect::Retained(ask.line));
    }
    for Minimum {
        queue: name,
        incarnation,
        min,
    } in ask.minimums
    {
        let topic = draft.state.topics.get(&name.topic);
        let queue = topic
            .filter(|topic| topic.incarnation == incarnation)
            .and_then(|topic| topic.queue(name.queue));
        if queue.is_some_and(|queue| queue.min < min && min <= queue.next) {
            draft.effect(&Effect::QueueMinimum {
                topic: name.topic,
                queue: name.queue,
                min,
            });
        }
    }
    draft.done(reply);
}
