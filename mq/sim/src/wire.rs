//! A client's way to the group: RocketMQ's requests over `mq-net`, to any member, with impatient time-outs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mq_base::env::random;
use mq_net::{ClientOptions, Inbound, InvokeError, Remoting};
use mq_remoting::code::{request as code, response};
use mq_remoting::header::SendMessageHeader;
use mq_remoting::{Command, Header};

/// The members of a group as a client sees them.
#[derive(Clone)]
pub struct Wire {
    remoting: Remoting,
    members: Arc<Vec<String>>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The request certainly was not sent.
    NotSent,
    /// Nobody knows.
    Unknown,
}

/// A client that waits longer than this closes the connection.
const PATIENCE: Duration = Duration::from_secs(3);

impl Wire {
    /// Connects when first needed.
    pub fn new(members: Vec<String>, inbound: Arc<dyn Inbound>) -> anyhow::Result<Wire> {
        let options = ClientOptions {
            connect_timeout: Duration::from_secs(1),
            ..ClientOptions::default()
        };
        Ok(Wire {
            remoting: Remoting::new(options, inbound)?,
            members: Arc::new(members),
        })
    }

    /// Addresses of the members.
    pub fn members(&self) -> &[String] {
        &self.members
    }

    /// Asks any member. Some callers give up early.
    pub async fn ask(&self, command: Command) -> Result<Command, Silence> {
        let patience = match random::below(8) {
            0 => Duration::from_millis(20 + random::below(400)),
            _ => PATIENCE,
        };
        let member = random::below(self.members.len() as u64) as usize;
        self.ask_one(&self.members[member], command, patience).await
    }

    /// Asks one member.
    pub async fn ask_one(&self, addr: &str, command: Command, patience: Duration) -> Result<Command, Silence> {
        let error = match self.remoting.invoke(addr, command, patience).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if matches!(error, InvokeError::TimedOut { .. }) && patience >= PATIENCE {
            self.remoting.close(addr);
        }
        match error.certainly_not_sent() {
            true => Err(Silence::NotSent),
            false => Err(Silence::Unknown),
        }
    }

    /// Asks and takes the header of a successful answer.
    pub async fn ask_for<H: Header>(&self, command: Command) -> Option<H> {
        let answer = self.ask(command).await.ok()?;
        (answer.code == response::SUCCESS)
            .then(|| answer.header().ok())
            .flatten()
    }
}

/// What a send needs to be told.
pub struct Sending<'a> {
    /// Group of the producer.
    pub group: &'a str,
    /// Topic, made by the first send to it.
    pub topic: &'a str,
    /// Queue; -1 lets the broker choose.
    pub queue: i32,
    /// Queues of a topic made now.
    pub queues: i32,
    /// Property text.
    pub properties: &'a str,
    /// Born, unix ms.
    pub born_ms: i64,
    /// Bits of the record's flag.
    pub sys_flag: i32,
}

impl Sending<'_> {
    /// The request; `batch` says that the body holds several messages.
    pub fn request(&self, body: Bytes, batch: bool) -> Command {
        let header = SendMessageHeader {
            producer_group: self.group.into(),
            topic: self.topic.into(),
            default_topic: mq_message::topic::AUTO_CREATE.into(),
            default_topic_queue_nums: self.queues,
            queue_id: self.queue,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_ms,
            flag: 0,
            properties: Some(self.properties.into()),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(batch),
            broker_name: None,
        };
        let code = if batch {
            code::SEND_BATCH_MESSAGE
        } else {
            code::SEND_MESSAGE_V2
        };
        Command::request(code, &mq_remoting::header::SendMessageV2(header)).with_body(body)
    }
}
