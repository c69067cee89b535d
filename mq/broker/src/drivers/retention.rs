//! Retention: the leader decides up to where the log may be deleted, every member deletes (ADR 004).
//!
//! Deletion is a log entry, so minimum offsets are equal everywhere. Undecided half messages below the line are stored
//! again first; the line never passes a delayed message that is not delivered (the longest delay bounds how long that
//! can hold it back).

use crate::ask::{Ask, Minimum, QueueName, Reply, Retain};
use crate::config::Settings;
use crate::data_path::DataPath;
use crate::records::rebuild;
use bytes::BytesMut;
use mq_base::env::clock;
use mq_message::{CommitLogOffset, QueueId, QueueOffset, RecordView, topic as names};
use mq_raft::Group;
use mq_store::{LogId, SegmentInfo};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How often the leader looks for expired segments.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Most segments one step deletes.
const SEGMENTS_MAX: usize = 10;
/// Most queues whose minimum one entry raises.
const MINIMUMS_MAX: usize = 8_192;
/// Most bytes of half messages one step stores again; the line stays below the next one.
const HALVES_BYTES_MAX: usize = 4 << 20;

/// Runs for ever; does nothing while this member does not lead.
pub(super) async fn run(path: Arc<DataPath>) {
    loop {
        clock::sleep(LOOK_EVERY).await;
        if path.judge.leads()
            && let Err(error) = step(&path).await
        {
            tracing::warn!(%error, "retention");
        }
    }
}

async fn step(path: &Arc<DataPath>) -> io::Result<()> {
    let settings = path.settings();
    let segments = path.reader.segments().await?;
    let used = path.reader.disk_used_percent().await?;
    let Some(mut line) = line(&segments, &settings, used, path.view.log_now_ms()) else {
        return Ok(());
    };
    // What lies below the line was appended, and what follows goes by what is applied.
    let (reply, applied) = Reply::channel();
    path.judge.ask(Ask::Barrier(reply));
    if !matches!(applied.await, Ok(Ok(()))) {
        return Ok(()); // This member leads no longer.
    }
    if let Some(timer) = oldest_timer(path).await? {
        line = line.min(timer);
    }
    let (line, halves) = halves_below(path, line).await?;
    if line <= path.view.state().retained {
        return Ok(());
    }
    let minimums = minimums(path, line).await?;
    // Minimums first: a queue must not seem to hold what is gone already.
    for some in minimums.chunks(MINIMUMS_MAX) {
        retain(
            path,
            Retain {
                line: CommitLogOffset::ZERO,
                minimums: some.to_vec(),
                halves: Vec::new(),
            },
        )
        .await?;
    }
    retain(
        path,
        Retain {
            line,
            minimums: Vec::new(),
            halves,
        },
    )
    .await
}

async fn retain(path: &DataPath, retain: Retain) -> io::Result<()> {
    let (reply, answer) = Reply::channel();
    path.judge.ask(Ask::Retain(retain, reply));
    match answer.await {
        Ok(Err(refusal)) => Err(io::Error::other(refusal)),
        _ => Ok(()),
    }
}

/// The first commit log offset to keep, if anything may go: a boundary of segments. Never the segment being written.
fn line(segments: &[SegmentInfo], settings: &Settings, used_percent: u64, now_ms: i64) -> Option<CommitLogOffset> {
    let kept_ms = settings.file_reserved_hours.saturating_mul(3_600_000) as i64;
    let forced = settings.clean_forcibly_enable && used_percent >= settings.disk_clean_forcibly_percent;
    let timely = used_percent >= settings.disk_max_used_percent || is_hour(&settings.delete_when, now_ms);
    let mut line = None;
    for pair in segments.windows(2).take(SEGMENTS_MAX) {
        // Everything in a segment is older than the first entry of the next one.
        let expired = now_ms - pair[1].log_time_ms > kept_ms;
        if !(expired && timely || forced) {
            break;
        }
        line = Some(pair[1].offset);
    }
    line
}

/// Whether it is one of the hours of `deleteWhen`, such as `04` or `04;16` (UTC).
fn is_hour(delete_when: &str, now_ms: i64) -> bool {
    let hour = now_ms.div_euclid(3_600_000).rem_euclid(24);
    delete_when.split(';').any(|text| text.trim().parse() == Ok(hour))
}

/// Where the oldest undelivered message of any delay level lies.
async fn oldest_timer(path: &DataPath) -> io::Result<Option<CommitLogOffset>> {
    let levels: Vec<_> = {
        let state = path.view.state();
        let Some(topic) = state.topics.get(names::SCHEDULE) else {
            return Ok(None);
        };
        let levels = state.schedule.progress().iter().zip(0u32..);
        levels
            .filter(|(from, id)| topic.queue(QueueId(*id)).is_some_and(|queue| **from < queue.next))
            .filter_map(|(from, id)| Some((path.reader.queue(&state, names::SCHEDULE, QueueId(id))?, *from)))
            .collect()
    };
    let mut oldest = None;
    for (files, from) in levels {
        if let Some(slot) = path.reader.slot(&files, from).await? {
            oldest = Some(oldest.map_or(slot.offset, |known: CommitLogOffset| known.min(slot.offset)));
        }
    }
    Ok(oldest)
}

/// Copies of the half messages below the line, as many as one step may store again, and the line that allows.
async fn halves_below(
    path: &DataPath,
    mut line: CommitLogOffset,
) -> io::Result<(CommitLogOffset, Vec<(QueueOffset, BytesMut)>)> {
    let mut below: Vec<_> = {
        let state = path.view.state();
        state
            .halves
            .iter()
            .filter(|(_, half)| half.physical < line)
            .map(|(at, half)| (at, *half))
            .collect()
    };
    below.sort_by_key(|(_, half)| half.physical);
    let (mut copies, mut bytes) = (Vec::new(), 0usize);
    for (identity, half) in below {
        bytes += half.size as usize;
        if bytes > HALVES_BYTES_MAX && !copies.is_empty() {
            line = line.min(half.physical);
            break;
        }
        let Some(record) = path.reader.record(half.physical, half.size).await? else {
            continue;
        };
        let record = RecordView::parse(&record).map_err(io::Error::other)?;
        copies.push((identity, rebuild::again(&record).map_err(io::Error::other)?));
    }
    Ok((line, copies))
}

/// First queue offset at or above the line, for every queue that reaches below it.
async fn minimums(path: &DataPath, line: CommitLogOffset) -> io::Result<Vec<Minimum>> {
    let queues: Vec<_> = {
        let state = path.view.state();
        let topics = state.topics.sorted();
        let all = topics
            .iter()
            .flat_map(|topic| topic.queues.iter().zip(0u32..).map(move |(q, id)| (topic, *q, id)));
        all.filter(|(_, queue, _)| queue.min < queue.next)
            .filter_map(|(topic, queue, id)| {
                let name = QueueName {
                    topic: topic.config.name.clone(),
                    queue: QueueId(id),
                };
                let files = path.reader.queue(&state, &name.topic, name.queue)?;
                let least = Minimum {
                    queue: name,
                    incarnation: topic.incarnation,
                    min: queue.min,
                };
                Some((files, least, queue.next))
            })
            .collect()
    };
    path.reader.first_at_or_above(queues, line).await
}

/// Refuses messages while the disk is nearly full.
pub(super) async fn watch_disk(path: Arc<DataPath>) {
    loop {
        match path.reader.disk_used_percent().await {
            Ok(used) => path.reader.note_full(used >= path.settings().disk_warning_percent),
            Err(error) => tracing::warn!(%error, "measure the disk of the log"),
        }
        clock::sleep(Duration::from_secs(1)).await;
    }
}

/// Deletes, on every member, what the group has agreed to delete.
pub(super) async fn purge(path: Arc<DataPath>, group: Group<Ask>) {
    let mut done = CommitLogOffset::ZERO;
    loop {
        let line = path.view.state().retained;
        if line > done {
            match purge_below(&path, &group, line).await {
                Ok(()) => done = line,
                Err(error) => tracing::warn!(%error, "delete expired segments"),
            }
        }
        clock::sleep(Duration::from_secs(1)).await;
    }
}

async fn purge_below(path: &DataPath, group: &Group<Ask>, line: CommitLogOffset) -> io::Result<()> {
    let segments = path.reader.segments().await?;
    let kept = first_kept(&segments, line);
    let Some(last) = kept.map(|kept| path.reader.entry_before(kept.first)) else {
        return Ok(());
    };
    let Some(upto): Option<LogId> = last.await? else {
        return Ok(());
    };
    group.purge(upto).await.map_err(io::Error::other)?;
    path.reader.purge_index(line).await
}

/// The first segment that must stay: the line may lie inside of it, before a delayed or half message.
fn first_kept(segments: &[SegmentInfo], line: CommitLogOffset) -> Option<&SegmentInfo> {
    segments.iter().rev().find(|segment| segment.offset <= line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(base: u64, log_time_ms: i64) -> SegmentInfo {
        let base = CommitLogOffset(base);
        SegmentInfo {
            base,
            first: LogId::default(),
            offset: base,
            log_time_ms,
        }
    }

    const HOUR: i64 = 3_600_000;

    #[test]
    fn expired_segments_go_at_the_hour_and_full_disks_at_once() {
        let settings = Settings {
            file_reserved_hours: 2,
            delete_when: "04".into(),
            ..Settings::defaults()
        };
        // Written in hours 0, 1, 2, …; the third begins at hour 2, so the second is over by then.
        let segments: Vec<_> = (0..6).map(|n| segment(n * 100, n as i64 * HOUR)).collect();
        let at = |hour: i64, used| line(&segments, &settings, used, hour * HOUR + 1).map(CommitLogOffset::get);
        assert_eq!(at(4, 10), Some(200), "at four o'clock what ended before two");
        assert_eq!(at(5, 10), None, "not the hour");
        assert_eq!(at(5, 80), Some(300), "but the disk fills up");
        assert_eq!(at(0, 90), Some(500), "nearly full: all but the last, expired or not");
        let gently = Settings {
            clean_forcibly_enable: false,
            ..settings.clone()
        };
        assert_eq!(line(&segments, &gently, 99, 1), None, "what has not expired stays");
        assert_eq!(
            line(&segments[..1], &settings, 99, 100 * HOUR),
            None,
            "never the one being written"
        );
    }

    #[test]
    fn a_segment_that_the_line_lies_in_stays() {
        let segments: Vec<_> = (1..4).map(|n| segment(n * 100, 0)).collect();
        let kept = |line| first_kept(&segments, CommitLogOffset(line)).map(|segment| segment.base.get());
        assert_eq!(kept(99), None, "nothing of this log is below the line");
        assert_eq!(
            (kept(100), kept(199), kept(200), kept(350)),
            (Some(100), Some(100), Some(200), Some(300))
        );
    }
}
