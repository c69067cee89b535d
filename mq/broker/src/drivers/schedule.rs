//! Delayed messages: delivers what is due, level by level, in order.
//!
//! A queue entry of the schedule topic carries the delivery time in place of a tags code. Messages and progress go into
//! one entry of the log, and only from where the applied progress stands, so each is delivered exactly once.

use super::IDLE;
use crate::ask::{Ask, DeliverTimers, Outgoing, Refusal, Reply};
use crate::data_path::DataPath;
use crate::records::rebuild;
use mq_base::env::clock;
use mq_message::{QueueId, QueueOffset, RecordView, topic as names};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Most messages of one step of a level.
const STEP_MESSAGES: usize = 512;
/// Most bytes of one step of a level; the first message is taken whatever its size.
const STEP_BYTES: usize = 1 << 20;
/// How often the levels are looked at for new messages: well below any delay worth having.
const LOOK_EVERY_MS: u64 = 50;
/// Pause after an error.
const BACK_OFF: Duration = Duration::from_secs(1);

/// A level with undelivered messages.
#[derive(Clone, Copy)]
struct Pending {
    level: u32,
    from: QueueOffset,
    end: QueueOffset,
}

/// What a look at a level came to.
enum Step {
    /// These are due.
    Due(DeliverTimers),
    /// Nothing before this time, Unix milliseconds.
    NotBefore(i64),
}

/// Runs for ever; does nothing while this member does not lead.
pub(super) async fn run(path: Arc<DataPath>) {
    loop {
        if !path.judge.leads() {
            clock::sleep(IDLE).await;
            continue;
        }
        match deliver_due(&path).await {
            Ok(None) => {
                // Something was delivered: look again at once.
            }
            Ok(Some(next_ms)) => {
                let now_ms = path.now_ms(&path.view.state());
                let pause = u64::try_from(next_ms - now_ms).unwrap_or(0).clamp(1, LOOK_EVERY_MS);
                clock::sleep(Duration::from_millis(pause)).await;
            }
            Err(error) => {
                tracing::warn!(%error, "deliver delayed messages");
                clock::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Delivers what is due in all levels; otherwise says when the next message is.
async fn deliver_due(path: &DataPath) -> io::Result<Option<i64>> {
    let mut answers = Vec::new();
    let mut next_ms = i64::MAX;
    for pending in pending(path) {
        match step(path, pending).await? {
            Step::NotBefore(ms) => next_ms = next_ms.min(ms),
            Step::Due(mut due) => {
                let (reply, answer) = Reply::channel();
                due.reply = reply;
                path.judge.ask(Ask::DeliverTimers(due));
                answers.push(answer);
            }
        }
    }
    let delivered = !answers.is_empty();
    for answer in answers {
        match answer.await {
            Ok(Ok(())) => {}
            // Progress has moved, or another member leads: the applied state says where to go on.
            Ok(Err(Refusal::Illegal(_) | Refusal::NotLeader | Refusal::Unknown)) => clock::sleep(IDLE).await,
            Ok(Err(refusal)) => return Err(io::Error::other(refusal)),
            Err(_) => clock::sleep(IDLE).await,
        }
    }
    Ok((!delivered).then_some(next_ms))
}

fn pending(path: &DataPath) -> Vec<Pending> {
    let state = path.view.state();
    let Some(topic) = state.topics.get(names::SCHEDULE) else {
        return Vec::new();
    };
    let levels = state.schedule.progress().iter().zip(1u32..);
    levels
        .filter_map(|(from, level)| {
            let end = topic.queue(QueueId(level - 1))?.next;
            (*from < end).then_some(Pending {
                level,
                from: *from,
                end,
            })
        })
        .collect()
}

async fn step(path: &DataPath, pending: Pending) -> io::Result<Step> {
    let files = path
        .reader
        .queue(&path.view.state(), names::SCHEDULE, QueueId(pending.level - 1));
    let Some(files) = files else {
        return Ok(Step::NotBefore(i64::MAX));
    };
    let Some(first) = path.reader.slot(&files, pending.from).await? else {
        return Ok(Step::NotBefore(i64::MAX));
    };
    let now = path.now_ms(&path.view.state());
    if first.tags_code > now {
        return Ok(Step::NotBefore(first.tags_code));
    }
    let count = pending.end.since(pending.from).min(STEP_MESSAGES as u64) as usize;
    let slots = path.reader.slots(&files, pending.from, count).await?;
    let mut bytes = 0usize;
    let mut messages = Vec::new();
    let mut to = pending.from;
    let mut due_ms = i64::MIN;
    for slot in slots.iter().take_while(|slot| slot.tags_code <= now) {
        bytes += slot.size as usize;
        if bytes > STEP_BYTES && to > pending.from {
            break;
        }
        messages.extend(rebuilt(path, pending.level, to, slot).await?);
        to = to.plus(1);
        due_ms = due_ms.max(slot.tags_code);
    }
    Ok(Step::Due(DeliverTimers {
        level: pending.level,
        from: pending.from,
        to,
        due_ms,
        messages,
        reply: Reply::none(),
    }))
}

/// A due message under its real topic. One that cannot be read for good is passed over, loudly: the others must not wait
/// for it for ever.
async fn rebuilt(
    path: &DataPath,
    level: u32,
    at: QueueOffset,
    slot: &crate::reader::Slot,
) -> io::Result<Option<Outgoing>> {
    let Some(bytes) = path.reader.record(slot.offset, slot.size).await? else {
        tracing::error!(
            level,
            queue_offset = at.get(),
            "a delayed message is not in the log any more"
        );
        return Ok(None);
    };
    let record = RecordView::parse(&bytes).map_err(io::Error::other)?;
    match rebuild::delivered(&record) {
        Ok(out) => Ok(Some(out)),
        Err(refusal) => {
            tracing::error!(level, queue_offset = at.get(), %refusal, "a delayed message cannot be delivered");
            Ok(None)
        }
    }
}
