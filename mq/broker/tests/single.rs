//! One broker on a real socket: what a client sees, and what it gets for what it must not send.
#![allow(clippy::disallowed_methods)]

mod rig;

use bytes::{BufMut, BytesMut};
use mq_broker::config::{Settings, TlsMode};
use mq_broker::forward::{PeerMessage, Peers, Serve, Served};
use mq_broker::run::{Running, Sockets, start};
use mq_net::{Connection, Inbound};
use mq_raft::PeerService;
use mq_remoting::body::{self, RaftStatus, TopicStatsTable};
use mq_remoting::code::{request as code, response};
use mq_remoting::header::{
    ConsumerGroupHeader, CreateTopic, HeartbeatResponse, OffsetResponse, QueryConsumerOffset, TopicHeader,
    UpdateConsumerOffset,
};
use mq_remoting::{Command, Header};
use mq_store::{NodeId, Term};
use rig::{Client, bodies, consumer_ids, free_ports, heartbeat, message, offset};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Broker {
    running: Running,
    addr: String,
    _dir: TempDir,
}

async fn broker(change: impl FnOnce(&mut Settings)) -> Broker {
    let dir = tempfile::tempdir().unwrap();
    let ports = free_ports(2);
    let mut settings = Settings {
        broker_name: "b".to_owned(),
        broker_ip1: "127.0.0.1".to_owned(),
        bind_address: "127.0.0.1".to_owned(),
        listen_port: ports[0],
        ha_listen_port: ports[1],
        store_path_root_dir: dir.path().join("store").display().to_string(),
        store_path_commit_log: dir.path().join("store/commitlog").display().to_string(),
        segment_bytes: 1 << 20,
        tls_mode: TlsMode::Disabled,
        ..Settings::defaults()
    };
    change(&mut settings);
    let running = start(settings, Sockets::default()).await.unwrap();
    let addr = format!("127.0.0.1:{}", running.address().port());
    Client::new().leader(std::slice::from_ref(&addr)).await;
    Broker {
        running,
        addr,
        _dir: dir,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_comes_back_as_it_was_sent() {
    let broker = broker(|_| {}).await;
    let client = Client::new();
    for n in 0..3 {
        let answer = client
            .send(&broker.addr, "T", &format!("K{n}"), &format!("text {n}"))
            .await;
        assert_eq!(offset(&answer), n);
        assert_eq!(answer.ext.get("MSG_REGION").as_deref(), Some("DefaultRegion"));
    }
    let found = client.pull(&broker.addr, "T", 0, 1, 0).await;
    assert_eq!(
        (found.code, bodies(&found)),
        (0, vec!["text 1".to_owned(), "text 2".to_owned()])
    );
    // The port two below serves the same.
    let fast = format!("127.0.0.1:{}", broker.running.address().port() - 2);
    assert_eq!(offset(&client.send(&fast, "T", "K3", "text 3").await), 3);
    broker.running.stop(Duration::ZERO).await;
}

/// A first copy that was given up may arrive when its request has long been repeated, answered, and overtaken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarded_request_is_served_under_the_leadership_it_was_meant_for_only() {
    let broker = broker(|_| {}).await;
    let client = Client::new();
    offset(&client.send(&broker.addr, "T", "K", "text").await);
    client.pull(&broker.addr, "T", 0, 0, 0).await; // Founds the group.
    let peers = Peers::new(&broker.running.broker);
    let term = broker.running.broker.gate.standing.leadership().term;
    let commit = |offset| {
        let header = UpdateConsumerOffset {
            consumer_group: "TOOLS_CONSUMER".into(),
            topic: "T".into(),
            queue_id: Some(0),
            commit_offset: Some(offset),
            broker_name: None,
        };
        Command::request(code::UPDATE_CONSUMER_OFFSET, &header)
    };
    let forwarded = async |term: Term, offset| {
        let message = PeerMessage::Serve(Serve {
            term,
            connection: 1,
            address: "127.0.0.1:9".parse().unwrap(),
            retried: false,
            frame: commit(offset).encode(),
        });
        Served::decode(&peers.handle(NodeId(2), message.encode()).await.unwrap()).unwrap()
    };
    assert!(matches!(forwarded(term, 5).await, Served::Answer(_)));
    for other in [Term(term.0 - 1), Term(term.0 + 1)] {
        assert_eq!(forwarded(other, 3).await, Served::NotLeader);
    }
    let query = QueryConsumerOffset {
        consumer_group: "TOOLS_CONSUMER".into(),
        topic: "T".into(),
        queue_id: 0,
        set_zero_if_not_found: None,
        broker_name: None,
    };
    let query = Command::request(code::QUERY_CONSUMER_OFFSET, &query);
    let stored: OffsetResponse = client.ask(&broker.addr, query).await.header().unwrap();
    assert_eq!(stored.offset, 5);
    broker.running.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_pull_is_answered_by_the_next_message() {
    let broker = broker(|_| {}).await;
    let client = Client::new();
    offset(&client.send(&broker.addr, "T", "K0", "first").await);
    let held = async {
        loop {
            // A change of the broker's role ends all holds; a client then pulls again at once.
            let found = client.pull(&broker.addr, "T", 0, 1, 15_000).await;
            if found.code != response::PULL_NOT_FOUND {
                break found;
            }
        }
    };
    let sent = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.send(&broker.addr, "T", "K1", "second").await
    };
    let (found, _) = tokio::join!(held, sent);
    assert_eq!((found.code, found.remark.as_deref()), (0, Some("FOUND")));
    assert_eq!(bodies(&found), ["second"]);
    // A pull that is held does not hold up the stop either.
    let addr = broker.addr.clone();
    let held = tokio::spawn(async move { client.pull(&addr, "T", 0, 2, 15_000).await.code });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = std::time::Instant::now();
    broker.running.stop(Duration::ZERO).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(held.await.unwrap(), response::PULL_NOT_FOUND);
}

#[derive(Default)]
struct Notices(Mutex<Vec<String>>);

impl Inbound for Notices {
    fn call(&self, _addr: &str, _connection: &Arc<Connection>, command: Command) {
        assert_eq!(command.code, code::NOTIFY_CONSUMER_IDS_CHANGED);
        let header = ConsumerGroupHeader::decode(&command.ext).unwrap();
        self.0.lock().unwrap().push(header.consumer_group.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_are_known_by_heartbeat_and_told_of_each_other() {
    let broker = broker(|_| {}).await;
    let notices = Arc::new(Notices::default());
    let (first, second) = (Client::with(notices.clone()), Client::new());
    let nobody = consumer_ids(&first, &broker.addr, "G").await;
    assert_eq!(nobody, Err((1, "no consumer for this group, G".to_owned())));

    let answer = first.ask(&broker.addr, heartbeat("c1", "G")).await;
    assert!(answer.version >= 479);
    let constants = HeartbeatResponse::decode(&answer.ext).unwrap();
    assert!(constants.is_support_heart_beat_v2 && constants.is_sub_change);
    assert_eq!(consumer_ids(&first, &broker.addr, "G").await, Ok(vec!["c1".to_owned()]));
    second.ask(&broker.addr, heartbeat("c2", "G")).await;
    assert_eq!(
        consumer_ids(&first, &broker.addr, "G").await,
        Ok(vec!["c1".to_owned(), "c2".to_owned()])
    );
    until(|| notices.0.lock().unwrap().len() >= 2).await;

    // The group and its retry topic are made in the background.
    let retry = TopicHeader {
        topic: "%RETRY%G".into(),
    };
    loop {
        let answer = first
            .ask(&broker.addr, Command::request(code::GET_TOPIC_STATS_INFO, &retry))
            .await;
        if answer.code == 0 {
            let stats: TopicStatsTable = body::from_slice(&answer.body).unwrap();
            assert_eq!(stats.offset_table.len(), 1);
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A closed connection is a client that left.
    let told = notices.0.lock().unwrap().len();
    second.0.shutdown();
    until(|| notices.0.lock().unwrap().len() > told).await;
    assert_eq!(consumer_ids(&first, &broker.addr, "G").await, Ok(vec!["c1".to_owned()]));
    broker.running.stop(Duration::ZERO).await;
}

async fn until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + rig::PATIENCE;
    while !condition() {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends raw bytes; true if the broker closes the connection without an answer.
async fn closes(addr: &str, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(rig::PATIENCE, stream.read_to_end(&mut rest)).await;
    matches!(read, Ok(Ok(0)) | Ok(Err(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_and_costs_nobody_else_anything() {
    let broker = broker(|settings| settings.frame_bytes_max = 1 << 20).await;
    let (addr, client) = (&broker.addr, Client::new());
    offset(&client.send(addr, "T", "K", "before").await);

    let mut oversized = BytesMut::new();
    oversized.put_u32(u32::MAX);
    oversized.put_u32(0);
    assert!(closes(addr, &oversized).await, "oversized frame");
    assert!(closes(addr, b"GET / HTTP/1.1\r\n\r\n").await, "garbage");
    let mut broken = BytesMut::new();
    broken.put_u32(4 + 5);
    broken.put_u32(5);
    broken.put_slice(b"{\"co{");
    assert!(closes(addr, &broken).await, "undecodable header");

    let answer = client.ask(addr, Command::bare_request(12_345)).await;
    assert_eq!(
        (answer.code, answer.remark.as_deref()),
        (3, Some(" request type 12345 not supported"))
    );
    let answer = client
        .ask(
            addr,
            Command::bare_request(code::HEART_BEAT).with_body(&b"{\"clientID\":"[..]),
        )
        .await;
    assert_eq!(answer.code, response::SYSTEM_ERROR);
    let answer = client.ask(addr, heartbeat("c", "no such name!")).await;
    assert_eq!(answer.code, response::SYSTEM_ERROR);
    let answer = client
        .ask(addr, Command::bare_request(code::GET_TOPIC_STATS_INFO))
        .await;
    assert_eq!(answer.code, response::SYSTEM_ERROR, "a mandatory field is missing");
    for (topic, read, write, perm) in [
        ("a b", 1, 1, 6),
        ("TBW102", 1, 1, 6),
        ("T2", -1, 1, 6),
        ("T2", 1, 1, 99),
    ] {
        let header = CreateTopic {
            topic: topic.into(),
            default_topic: "TBW102".into(),
            read_queue_nums: read,
            write_queue_nums: write,
            perm,
            topic_filter_type: "SINGLE_TAG".into(),
            topic_sys_flag: None,
            order: false,
            attributes: None,
            force: None,
        };
        let answer = client
            .ask(addr, Command::request(code::UPDATE_AND_CREATE_TOPIC, &header))
            .await;
        assert_eq!(answer.code, response::INVALID_PARAMETER, "{topic}: {:?}", answer.remark);
    }
    let answer = client
        .ask(
            addr,
            Command::bare_request(code::UPDATE_BROKER_CONFIG).with_body(&b"traceOn=false"[..]),
        )
        .await;
    assert_eq!(answer.code, response::NO_PERMISSION);

    // A one-way request is never answered, not even with an error; the next one is served.
    let mut unanswered = BytesMut::new();
    Command::bare_request(12_345).oneway().encode_into(&mut unanswered);
    message("T", "K2", "after").encode_into(&mut unanswered);
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(&unanswered).await.unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).await.unwrap();
    let whole = [&length[..], &frame].concat();
    assert_eq!(offset(&mq_remoting::frame::decode_frame(whole.into()).unwrap()), 1);
    assert_eq!(broker.running.server().counts().bad_frames, 3);
    broker.running.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_find_every_figure_they_read() {
    let broker = broker(|settings| settings.allow_config_update = true).await;
    let (addr, client) = (&broker.addr, Client::new());
    offset(&client.send(addr, "T", "K", "x").await);
    let answer = client
        .ask(addr, Command::bare_request(code::GET_BROKER_RUNTIME_INFO))
        .await;
    let table: BTreeMap<String, BTreeMap<String, String>> = body::from_slice(&answer.body).unwrap();
    let table = &table["table"];
    for key in [
        "bootTimestamp",
        "runtime",
        "putTps",
        "getFoundTps",
        "getMissTps",
        "getTotalTps",
        "getTransferredTps",
        "putLatency99",
        "putLatency999",
        "commitLogDiskRatio",
        "commitLogMinOffset",
        "commitLogMaxOffset",
        "scheduleMessageOffset_1",
        "brokerActive",
        "brokerVersionDesc",
        "msgPutTotalTodayNow",
        "msgGetTotalTodayNow",
        "msgPutTotalYesterdayMorning",
        "msgPutTotalTodayMorning",
        "dispatchBehindBytes",
        "pageCacheLockTimeMills",
        "earliestMessageTimeStamp",
        "startAcceptSendRequestTimeStamp",
        "timerReadBehind",
        "timerOffsetBehind",
        "timerCongestNum",
        "timerEnqueueTps",
        "timerDequeueTps",
        "remainTransientStoreBufferNumbs",
        "remainHowManyDataToFlush",
        "commitLogDirCapacity",
        "sendThreadPoolQueueSize",
        "pullThreadPoolQueueSize",
        "litePullThreadPoolQueueHeadWaitTimeMills",
        "queryThreadPoolQueueCapacity",
        "ackThreadPoolQueueSize",
        "EndTransactionQueueSize",
        "EndTransactionThreadPoolQueueCapacity",
        "putMessageTimesTotal",
    ] {
        assert!(table.contains_key(key), "{key}");
    }
    assert_eq!(
        (&*table["brokerVersionDesc"], &*table["brokerActive"]),
        ("V5_3_3", "true")
    );
    assert_eq!(table["putTps"].split(' ').count(), 3);

    let config = client.ask(addr, Command::bare_request(code::GET_BROKER_CONFIG)).await;
    let text = String::from_utf8(config.body.to_vec()).unwrap();
    assert!(text.contains("brokerName=b\n") && config.ext.get("version").is_some());
    let update = |text: &str| Command::bare_request(code::UPDATE_BROKER_CONFIG).with_body(text.as_bytes().to_vec());
    assert_eq!(client.ask(addr, update("traceOn=false")).await.code, 0);
    assert!(!broker.running.broker.settings().trace_on);
    assert_eq!(
        client.ask(addr, update("storePathRootDir=/tmp/x")).await.code,
        response::NO_PERMISSION
    );

    let answer = client.ask(addr, Command::bare_request(code::RAFT_STATUS)).await;
    let status: RaftStatus = body::from_slice(&answer.body).unwrap();
    assert!(status.ready && status.role == "leader" && status.members.len() == 1);
    let page = mq_broker::metrics::text(&broker.running.broker, broker.running.server());
    assert!(
        page.contains("mq_leader 1") && page.contains("mq_requests_total{code=\"310\",name=\"SEND_MESSAGE_V2\"} 1"),
        "{page}"
    );
    broker.running.stop(Duration::ZERO).await;
}
