//! Transactions: half message, then commit or rollback, repeated until it is acknowledged; some producers say nothing and
//! wait to be asked.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mq_base::env::{clock, random, task};
use mq_message::{RecordView, msg_id, property, sys_flag};
use mq_net::{Connection, Inbound};
use mq_remoting::Command;
use mq_remoting::code::{request as code, response};
use mq_remoting::header::{CheckTransactionState, EndTransaction};
use parking_lot::Mutex;

use super::producers::Sent;
use super::{Client, TRANSACTION_GROUP, id_in};
use crate::facts::Purpose;
use crate::history::{History, Phase};
use crate::wire::Wire;

impl Client {
    pub(super) async fn transactions(self) {
        let producer = self.history.producer();
        while self.running() {
            self.transaction(producer).await;
            self.pause().await;
        }
    }

    async fn transaction(&self, producer: u32) {
        let id = self
            .history
            .begin(producer, "transactions", Purpose::Transaction { commit: None });
        let marks = [(property::TRAN_MSG, "true"), (property::PGROUP, TRANSACTION_GROUP)];
        let sent = self
            .send(id, "transactions", 2, -1, &marks, sys_flag::TRANSACTION_PREPARED)
            .await;
        let half = match &sent {
            Sent::Stored(answer) => msg_id::parse_offset_id(&answer.msg_id)
                .ok()
                .map(|(_, offset)| (answer.queue_offset, offset.to_wire())),
            _ => None,
        };
        self.history.end(id, sent.into());
        let Some((queue_offset, physical)) = half else { return };
        if random::below(4) == 0 {
            return; // says nothing: the broker asks
        }
        self.pause().await;
        let end = End {
            id,
            queue_offset,
            physical,
            checked: false,
        };
        let (wire, history) = (self.wire.clone(), self.history.clone());
        task::spawn("decision", async move { end.until_acknowledged(&wire, &history).await });
    }
}

/// What a producer always decides of a message.
fn commits(id: u64) -> bool {
    !id.is_multiple_of(3)
}

struct End {
    id: u64,
    queue_offset: i64,
    physical: i64,
    checked: bool,
}

impl End {
    async fn until_acknowledged(self, wire: &Wire, history: &History) {
        history.decided(self.id, commits(self.id));
        let pending = Pending::new(history);
        while history.phase() != Phase::Over {
            let answer = wire.ask(self.request()).await;
            let done = answer.is_ok_and(|answer| answer.code == response::SUCCESS);
            pending.0.operation(done);
            if done {
                return;
            }
            clock::sleep(Duration::from_millis(50 + random::below(200))).await;
        }
    }

    fn request(&self) -> Command {
        let bits = if commits(self.id) {
            sys_flag::TRANSACTION_COMMIT
        } else {
            sys_flag::TRANSACTION_ROLLBACK
        };
        let header = EndTransaction {
            topic: Some("transactions".into()),
            producer_group: TRANSACTION_GROUP.into(),
            tran_state_table_offset: self.queue_offset,
            commit_log_offset: self.physical,
            commit_or_rollback: bits,
            from_transaction_check: self.checked,
            msg_id: format!("{:032X}", self.id).into(),
            transaction_id: None,
            broker_name: None,
        };
        Command::request(code::END_TRANSACTION, &header)
    }
}

/// Counts a decision that is on its way, also when its host crashes meanwhile.
struct Pending<'a>(&'a History);

impl<'a> Pending<'a> {
    fn new(history: &'a History) -> Self {
        history.undecided(1);
        Pending(history)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.undecided(-1);
    }
}

/// Answers the broker's questions about half messages.
pub(super) struct Checks {
    history: Arc<History>,
    wire: OnceLock<Wire>,
    answering: Mutex<BTreeSet<u64>>,
}

impl Checks {
    pub(super) fn new(history: Arc<History>) -> Arc<Checks> {
        Arc::new(Checks {
            history,
            wire: OnceLock::new(),
            answering: Mutex::default(),
        })
    }

    pub(super) fn answer_through(&self, wire: &Wire) {
        let _ = self.wire.set(wire.clone());
    }
}

impl Inbound for Checks {
    fn call(&self, _addr: &str, connection: &Arc<Connection>, command: Command) {
        if command.code != code::CHECK_TRANSACTION_STATE {
            if !command.is_oneway() {
                connection.respond(Command::response(&command, response::SUCCESS));
            }
            return;
        }
        let (Ok(asked), Ok(half)) = (
            command.header::<CheckTransactionState>(),
            RecordView::parse(&command.body),
        ) else {
            return;
        };
        let (Some(id), Some(wire)) = (id_in(half.body()), self.wire.get().cloned()) else {
            return;
        };
        if !self.answering.lock().insert(id) {
            return;
        }
        let end = End {
            id,
            queue_offset: asked.tran_state_table_offset,
            physical: asked.commit_log_offset,
            checked: true,
        };
        let history = self.history.clone();
        task::spawn("decision", async move { end.until_acknowledged(&wire, &history).await });
    }
}
