//! What the socket tests share: a client that speaks the protocol, free ports, waiting for a condition.
// Each test uses some of it; sockets and clocks are real here.
#![allow(dead_code, clippy::disallowed_methods)]

use mq_net::{ClientOptions, Inbound, Remoting};
use mq_remoting::body::{self, RaftStatus};
use mq_remoting::code::request as code;
use mq_remoting::header::{ConsumerGroupHeader, PullMessage, SendMessageHeader, SendMessageResponse, SendMessageV2};
use mq_remoting::{ByteStr, Command, Header};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A client with one connection per address.
#[derive(Clone)]
pub struct Client(pub Remoting);

impl Client {
    pub fn new() -> Client {
        Client::with(Arc::new(()))
    }

    pub fn with(inbound: Arc<dyn Inbound>) -> Client {
        Client(Remoting::new(ClientOptions::default(), inbound).unwrap())
    }

    pub async fn ask(&self, addr: &str, request: Command) -> Command {
        self.0.invoke(addr, request, PATIENCE).await.unwrap()
    }

    pub async fn send(&self, addr: &str, topic: &str, key: &str, text: &str) -> Command {
        self.ask(addr, message(topic, key, text)).await
    }

    pub async fn pull(&self, addr: &str, topic: &str, queue_id: i32, offset: i64, hold_ms: i64) -> Command {
        let header = PullMessage {
            consumer_group: "TOOLS_CONSUMER".into(),
            topic: topic.into(),
            queue_id,
            queue_offset: offset,
            max_msg_nums: 32,
            sys_flag: if hold_ms > 0 { 6 } else { 4 },
            commit_offset: 0,
            suspend_timeout_millis: hold_ms,
            subscription: Some("*".into()),
            sub_version: 0,
            expression_type: Some("TAG".into()),
            max_msg_bytes: None,
            request_source: None,
            proxy_forward_client_id: None,
            broker_name: None,
        };
        self.ask(addr, Command::request(code::PULL_MESSAGE, &header)).await
    }

    pub async fn status(&self, addr: &str) -> Option<RaftStatus> {
        let asked = self
            .0
            .invoke(addr, Command::bare_request(code::RAFT_STATUS), Duration::from_secs(2))
            .await;
        body::from_slice(&asked.ok()?.body).ok()
    }

    /// Waits until one of the members leads and takes requests, and all know it; returns its index.
    pub async fn leader(&self, addrs: &[String]) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut all = Vec::new();
            for addr in addrs {
                all.extend(self.status(addr).await);
            }
            if let Some(ready) = all.iter().find(|status| status.ready)
                && all
                    .iter()
                    .all(|status| status.leader == Some(ready.node_id) && status.members.len() >= addrs.len())
                && all.len() == addrs.len()
            {
                return all.iter().position(|status| status.ready).unwrap();
            }
            assert!(Instant::now() < deadline, "no leader: {all:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

pub fn message(topic: &str, key: &str, text: &str) -> Command {
    let header = SendMessageV2(SendMessageHeader {
        producer_group: "P".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 1,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: Some(ByteStr::from(format!("UNIQ_KEY\u{1}{key}\u{2}"))),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        max_reconsume_times: None,
        batch: Some(false),
        broker_name: None,
    });
    Command::request(code::SEND_MESSAGE_V2, &header).with_body(text.as_bytes().to_vec())
}

/// A client with one consumer and one producer group.
pub fn heartbeat(client: &str, group: &str) -> Command {
    let text = format!(
        "{{\"clientID\":\"{client}\",\"consumerDataSet\":[{{\"consumeFromWhere\":\"CONSUME_FROM_LAST_OFFSET\",\
         \"consumeType\":\"CONSUME_PASSIVELY\",\"groupName\":\"{group}\",\"messageModel\":\"CLUSTERING\",\
         \"subscriptionDataSet\":[{{\"expressionType\":\"TAG\",\"subString\":\"*\",\"subVersion\":1,\"topic\":\"T\"}}],\
         \"unitMode\":false}}],\"producerDataSet\":[{{\"groupName\":\"P\"}}]}}"
    );
    Command::bare_request(code::HEART_BEAT).with_body(text.into_bytes())
}

/// The clients of a consumer group, or code and remark.
pub async fn consumer_ids(client: &Client, addr: &str, group: &str) -> Result<Vec<String>, (i32, String)> {
    let header = ConsumerGroupHeader {
        consumer_group: group.into(),
    };
    let answer = client
        .ask(addr, Command::request(code::GET_CONSUMER_LIST_BY_GROUP, &header))
        .await;
    match answer.code {
        0 => Ok(body::from_slice::<body::ConsumerIds>(&answer.body)
            .unwrap()
            .consumer_id_list),
        code => Err((code, answer.remark.unwrap_or_default().to_string())),
    }
}

/// Where a send went.
pub fn offset(answer: &Command) -> i64 {
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    SendMessageResponse::decode(&answer.ext).unwrap().queue_offset
}

/// Bodies of the records in a pull's answer.
pub fn bodies(answer: &Command) -> Vec<String> {
    let mut rest = &answer.body[..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let record = mq_message::RecordView::parse(rest).unwrap();
        found.push(String::from_utf8(record.body().to_vec()).unwrap());
        rest = &rest[record.size()..];
    }
    found
}

/// Ports nobody uses: `count` of them, and each with the two below it free as well.
pub fn free_ports(count: usize) -> Vec<u16> {
    let mut held = Vec::new();
    while held.len() < count {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        if TcpListener::bind(("127.0.0.1", socket.local_addr().unwrap().port() - 2)).is_ok() {
            held.push(socket);
        }
    }
    held.iter().map(|socket| socket.local_addr().unwrap().port()).collect()
}

pub fn connects(addr: &str) -> bool {
    TcpStream::connect(addr).is_ok()
}
