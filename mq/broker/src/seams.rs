//! What the data path needs of the rest of the broker.

use crate::ask::{Ask, Refusal};
use crate::clients::Subscription;
use mq_raft::Group;
use mq_remoting::Command;
use std::sync::Arc;

/// The way to the leader's judge.
pub trait Judged: Send + Sync + 'static {
    /// Asks; the answer comes through the ask's reply, also when it is refused at once.
    fn ask(&self, ask: Ask);

    /// Whether this member leads and takes asks.
    fn leads(&self) -> bool;
}

impl Judged for Group<Ask> {
    fn ask(&self, ask: Ask) {
        let weight = ask.weight();
        if let Err(full) = self.propose(ask, weight) {
            full.0.refuse(Refusal::Busy);
        }
    }

    fn leads(&self) -> bool {
        self.leadership().borrow().ready
    }
}

/// What consumers have subscribed to, by their heartbeats.
pub trait Subscriptions: Send + Sync + 'static {
    /// A group's subscription to a topic.
    fn find(&self, group: &str, topic: &str) -> Subscribed;
}

/// Answer of [`Subscriptions::find`].
#[derive(Clone, Debug)]
pub enum Subscribed {
    /// No consumer of the group is connected.
    NoConsumer,
    /// The group does not subscribe to the topic.
    NoSubscription,
    /// It does.
    To {
        /// What.
        subscription: Arc<Subscription>,
        /// Each client gets every message.
        broadcast: bool,
    },
}

/// Connections of transaction producers, wherever in the group they are.
pub trait ProducerChannels: Send + Sync + 'static {
    /// Sends a one-way request to one live client of a producer group; false if there is none.
    fn ask_one(&self, group: &str, request: Command) -> bool;
}
