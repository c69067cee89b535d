//! Check-backs: asks producers what became of half messages they have not decided, and gives up after too many checks.

use super::IDLE;
use crate::ask::{Ask, HalfChecked, Outgoing, Reply};
use crate::config::Settings;
use crate::data_path::DataPath;
use crate::records::rebuild;
use crate::seams::ProducerChannels;
use crate::state::Half;
use mq_base::env::clock;
use mq_base::env::random::HashMap;
use mq_message::{QueueOffset, RecordView, msg_id, property};
use mq_remoting::Command;
use mq_remoting::code::request as code;
use mq_remoting::header::CheckTransactionState;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How often half messages are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Most half messages of one round.
const ROUND_MAX: usize = 512;

/// Runs for ever; does nothing while this member does not lead.
pub(super) async fn run(path: Arc<DataPath>, producers: Arc<dyn ProducerChannels>) {
    let mut driver = Driver {
        path,
        producers,
        not_before: HashMap::default(),
    };
    loop {
        clock::sleep(LOOK_EVERY.max(IDLE)).await;
        if !driver.path.judge.leads() {
            driver.not_before.clear();
            continue;
        }
        if let Err(error) = driver.round().await {
            tracing::warn!(%error, "check half messages");
        }
    }
}

struct Driver {
    path: Arc<DataPath>,
    producers: Arc<dyn ProducerChannels>,
    /// Half messages that were looked at and have to wait, with the time until which; only those that are undecided.
    not_before: HashMap<QueueOffset, i64>,
}

/// What is to be done with a half message.
enum Verdict {
    Asked,
    GivenUp(Outgoing),
    Later(i64),
}

impl Driver {
    async fn round(&mut self) -> io::Result<()> {
        // Log time: a wall clock that runs ahead must not give messages up early.
        let now = self.path.view.log_now_ms();
        let settings = self.path.settings();
        let due = self.due(&settings, now);
        let (mut checked, mut given_up) = (Vec::new(), Vec::new());
        for (offset, half) in due {
            match self.look(&settings, offset, &half, now).await? {
                Verdict::Asked => checked.push(offset),
                Verdict::GivenUp(copy) => given_up.push((offset, copy)),
                Verdict::Later(ms) => {
                    self.not_before.insert(offset, ms);
                }
            }
        }
        if checked.is_empty() && given_up.is_empty() {
            return Ok(());
        }
        let (reply, answer) = Reply::channel();
        self.path.judge.ask(Ask::HalfChecked(HalfChecked {
            checked,
            given_up,
            reply,
        }));
        match answer.await {
            Ok(Err(refusal)) => Err(io::Error::other(refusal)),
            _ => Ok(()),
        }
    }

    fn due(&mut self, settings: &Settings, now: i64) -> Vec<(QueueOffset, Half)> {
        let state = self.path.view.state();
        self.not_before
            .retain(|offset, ms| *ms > now && state.halves.get(*offset).is_some());
        let interval = settings.transaction_check_interval_ms as i64;
        let timeout = settings.transaction_time_out_ms as i64;
        state
            .halves
            .iter()
            .filter(|(offset, half)| {
                let due = if half.checks == 0 {
                    half.stored_ms + timeout
                } else {
                    half.checked_ms + interval
                };
                due < now && !self.not_before.contains_key(offset)
            })
            .take(ROUND_MAX)
            .map(|(offset, half)| (offset, *half))
            .collect()
    }

    async fn look(&self, settings: &Settings, offset: QueueOffset, half: &Half, now: i64) -> io::Result<Verdict> {
        let interval = settings.transaction_check_interval_ms as i64;
        let Some(bytes) = self.path.reader.record(half.physical, half.size).await? else {
            tracing::error!(half = offset.get(), "a half message is not in the log any more");
            return Ok(Verdict::Later(now + interval));
        };
        let record = RecordView::parse(&bytes).map_err(io::Error::other)?;
        let kept_ms = settings.file_reserved_hours.saturating_mul(3_600_000) as i64;
        if half.checks >= settings.transaction_check_max || now - half.stored_ms > kept_ms {
            let copy = rebuild::given_up(&record).map_err(io::Error::other)?;
            return Ok(Verdict::GivenUp(copy));
        }
        let immune_until = half.stored_ms.saturating_add(immunity_ms(&record));
        if half.checks == 0 && now < immune_until {
            return Ok(Verdict::Later(immune_until));
        }
        let group = record.property(property::PGROUP).unwrap_or_default();
        let check = self.check(offset, half, &record).map_err(io::Error::other)?;
        if self.producers.ask_one(group, check) {
            Ok(Verdict::Asked)
        } else {
            // Nobody of the group is connected: no check was made, so none is counted.
            tracing::debug!(group, half = offset.get(), "no producer to check a half message with");
            Ok(Verdict::Later(now + interval))
        }
    }

    /// CHECK_TRANSACTION_STATE (39): the half message under its real topic, and where it first was.
    fn check(&self, offset: QueueOffset, half: &Half, record: &RecordView<'_>) -> Result<Command, crate::ask::Refusal> {
        let body = rebuild::shown_to_producer(record, half.checks + 1)?;
        let (topic, _) = rebuild::destination(record)?;
        let key = record.property(property::UNIQ_KEY);
        let header = CheckTransactionState {
            topic: Some(topic.into()),
            tran_state_table_offset: offset.to_wire(),
            commit_log_offset: half.first_physical.to_wire(),
            msg_id: key.map(Into::into),
            transaction_id: key.map(Into::into),
            offset_msg_id: Some(msg_id::offset_id(record.store_host(), half.first_physical).into()),
            broker_name: Some(self.path.site.broker_name.as_str().into()),
        };
        Ok(Command::request(code::CHECK_TRANSACTION_STATE, &header)
            .with_body(body.freeze())
            .oneway())
    }
}

/// How long the producer asked not to be checked.
fn immunity_ms(record: &RecordView<'_>) -> i64 {
    let seconds = record
        .property(property::CHECK_IMMUNITY_TIME_IN_SECONDS)
        .and_then(|text| text.trim().parse().ok());
    seconds
        .filter(|seconds: &i64| *seconds > 0)
        .map_or(0, |seconds| seconds.saturating_mul(1_000))
}
