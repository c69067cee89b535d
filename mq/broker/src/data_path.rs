//! The data path: what its handlers work with, and the table of its requests.

use crate::ask::{Ask, OffsetCommit, Refusal, Reply};
use crate::config::{Live, Settings};
use crate::drivers::OffsetBuffer;
use crate::longpoll::LongPolls;
use crate::pull::Pull;
use crate::reader::Reader;
use crate::records::Site;
use crate::request::Request;
use crate::seams::{Judged, Subscriptions};
use crate::state::{Name, State};
use crate::stats::Stats;
use crate::view::View;
use mq_base::env::clock;
use mq_base::env::task::Spawner;
use mq_remoting::code::{request as code, response};
use mq_remoting::{Command, Header};
use std::future::Future;
use std::sync::Arc;

/// Everything the data path works with. One per broker; handlers are its methods.
pub struct DataPath {
    /// This broker's identity.
    pub site: Site,
    /// Settings, some of which change while the broker runs.
    pub settings: Live,
    /// Applied state.
    pub view: Arc<View>,
    /// The way to the judge.
    pub judge: Arc<dyn Judged>,
    /// Stored messages.
    pub reader: Reader,
    /// Waiting pulls.
    pub polls: Arc<LongPolls<Pull>>,
    /// Subscriptions by heartbeat.
    pub subscriptions: Arc<dyn Subscriptions>,
    /// Offsets that nobody waits for, on their way to the judge.
    pub offsets: Arc<OffsetBuffer>,
    /// Counts for RocketMQ's tools.
    pub stats: Arc<Stats>,
    /// Runs what has to wait, on the runtime of the client side.
    pub tasks: Spawner,
}

impl DataPath {
    /// Serves a request of the data path; gives back any other.
    pub fn serve(self: &Arc<Self>, request: Request) -> Result<(), Request> {
        match request.command.code {
            code::SEND_MESSAGE | code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE => self.send(request),
            code::PULL_MESSAGE | code::LITE_PULL_MESSAGE => self.pull(request),
            code::QUERY_CONSUMER_OFFSET => self.query_consumer_offset(request),
            code::UPDATE_CONSUMER_OFFSET => self.update_consumer_offset(request),
            code::SEARCH_OFFSET_BY_TIMESTAMP => self.search_offset(request),
            code::GET_MAX_OFFSET => self.max_offset(&request),
            code::GET_MIN_OFFSET => self.min_offset(&request),
            code::GET_EARLIEST_MSG_STORETIME => self.earliest_stored(request),
            code::INVOKE_BROKER_TO_RESET_OFFSET => self.reset_offset(request),
            code::END_TRANSACTION => self.end_transaction(request),
            code::CONSUMER_SEND_MSG_BACK => self.send_back(request),
            code::LOCK_BATCH_MQ => self.lock(request),
            code::UNLOCK_BATCH_MQ => self.unlock(request),
            code::VIEW_MESSAGE_BY_ID => self.view_message(request),
            code::QUERY_MESSAGE => self.query_message(request),
            code::OPEN_PRODUCER => self.open_producer(request),
            code::ATOMIC_BATCH => self.atomic_batch(request),
            _ => return Err(request),
        }
        Ok(())
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.get()
    }

    /// That there is room for messages. Offsets and other state are taken even on a full disk: the log keeps the rest of
    /// its last segment for them.
    pub(crate) fn check_room(&self) -> Result<(), Refusal> {
        if self.reader.has_room() {
            return Ok(());
        }
        Err(Refusal::Unavailable(
            "service not available now, the broker's disk is full, please try to send to another one".into(),
        ))
    }

    /// Longest message body, bytes.
    pub(crate) fn message_bytes_max(&self, settings: &Settings) -> usize {
        settings.max_message_size.min(self.reader.message_bytes_max())
    }

    /// Wall clock, but never behind log time. A wall clock that was set back must not stop what waits for a time; one that
    /// runs ahead is harmless, because the judge goes by log time.
    pub(crate) fn now_ms(&self, state: &State) -> i64 {
        clock::wall_ms().max(state.log_time_ms).max(self.view.log_now_ms())
    }

    /// Runs `work` on the client side's runtime.
    pub(crate) fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.tasks.spawn(name, work));
    }

    /// Runs `then` once everything proposed before now is applied, and this member is known to lead still.
    pub(crate) fn confirmed(
        self: &Arc<Self>,
        request: Request,
        then: impl FnOnce(&Arc<Self>, Request) + Send + 'static,
    ) {
        let path = self.clone();
        self.judge
            .ask(Ask::Barrier(Reply::new(move |confirmed| match confirmed {
                Ok(()) => then(&path, request),
                Err(refusal) => request.refuse(&refusal),
            })));
    }

    /// A reply that answers with success, or the refusal.
    pub(crate) fn plain_reply(request: Request) -> Reply<()> {
        Reply::new(move |done| match done {
            Ok(()) => request.answer(Command::response(&request.command, response::SUCCESS)),
            Err(refusal) => request.refuse(&refusal),
        })
    }

    /// Takes an offset that nobody waits for. It only advances: it may have been overtaken on its way.
    pub(crate) fn commit_later(
        &self,
        group: Name,
        topic: Name,
        queue: mq_message::QueueId,
        offset: mq_message::QueueOffset,
    ) {
        self.offsets.put(OffsetCommit {
            group,
            topic,
            queue,
            offset,
            only_advance: true,
        });
    }
}

/// The typed header of a request, or the refusal for a malformed one.
pub(crate) fn header<H: Header>(command: &Command) -> Result<H, Refusal> {
    command
        .header()
        .map_err(|error| Refusal::Failed(format!("decode command header: {error}")))
}

/// Answers with the refusal, if there is one.
macro_rules! or_refuse {
    ($request:expr, $result:expr) => {
        match $result {
            Ok(value) => value,
            Err(refusal) => return $request.refuse(&refusal),
        }
    };
}
pub(crate) use or_refuse;
