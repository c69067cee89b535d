//! Queue locks of orderly consumers.

use super::answer::Waiting;
use super::check;
use super::draft::Draft;
use crate::ask::{LockQueues, QueueName, Reply};
use crate::state::Effect;

/// Grants every queue that is free, expired or already the owner's; answers those.
pub(super) fn lock(draft: &mut Draft<'_>, ask: LockQueues, reply: Reply<Vec<QueueName>>) {
    if let Err(refusal) = check::name("group", &ask.group).and(check::client_id(&ask.owner)) {
        return reply.send(Err(refusal));
    }
    let now = draft.now_ms();
    let mut granted = Vec::with_capacity(ask.queues.len());
    for name in ask.queues {
        if draft.check_queue(&name.topic, name.queue).is_err() {
            continue;
        }
        let held = draft.state.locks.get(&ask.group, &name.topic, name.queue);
        if held.is_some_and(|lock| lock.owner != ask.owner && lock.stands(now)) {
            continue;
        }
        draft.effect(&Effect::Locked {
            group: ask.group.clone(),
            topic: name.topic.clone(),
            queue: name.queue,
            owner: ask.owner.clone(),
        });
        granted.push(name);
    }
    let at = draft.next_item();
    draft.answer(Waiting::Locked(granted, reply), at..at);
}

/// Gives back what the owner holds.
pub(super) fn unlock(draft: &mut Draft<'_>, ask: LockQueues, reply: Reply<()>) {
    for QueueName { topic, queue } in ask.queues {
        let held = draft.state.locks.get(&ask.group, &topic, queue);
        if held.is_some_and(|lock| lock.owner == ask.owner) {
            draft.effect(&Effect::Unlocked {
                group: ask.group.clone(),
                topic,
                queue,
            });
        }
    }
    draft.done(reply);
}
