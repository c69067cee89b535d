//! A name server on a real socket, spoken to as brokers, clients and tools do.

use std::sync::Arc;
use std::time::Duration;

use mq_base::env::net::TcpListener;
use mq_base::env::task::{self, TaskHandle};
use mq_base::stop::StopSource;
use mq_namesrv::config::{Config, Raw};
use mq_net::{ClientOptions, Remoting};
use mq_remoting::body::{self, ClusterInfo, RegisterBrokerBody, TopicConfig, TopicRouteData};
use mq_remoting::code::{request, response};
use mq_remoting::header::{
    DeleteTopicInNamesrv, GetKvConfigResponse, GetRouteInfo, KvConfigKey, PutKvConfig, RegisterBroker,
    RegisterBrokerResponse, UnregisterBroker,
};
use mq_remoting::{Command, version};

const PATIENCE: Duration = Duration::from_secs(3);

struct Running {
    addr: String,
    stop: StopSource,
    task: TaskHandle<std::io::Result<()>>,
    _dir: tempfile::TempDir,
}

fn config(dir: &std::path::Path) -> Config {
    Raw::read("listenPort=0\nbindAddress=127.0.0.1")
        .unwrap()
        .validate(dir.to_str().unwrap())
        .unwrap()
}

async fn name_server() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = StopSource::new();
    let task = task::spawn("name-server", mq_namesrv::run(config(dir.path()), listener, stopped));
    Running {
        addr,
        stop,
        task,
        _dir: dir,
    }
}

fn remoting() -> Remoting {
    Remoting::new(ClientOptions::default(), Arc::new(())).unwrap()
}

fn registration(broker_addr: &str, id: i64, term: i64) -> Command {
    let mut body = RegisterBrokerBody::default();
    body.topic_config_serialize_wrapper.data_version.state_version = term;
    for topic in ["T", "TBW102"] {
        let config = TopicConfig::new(topic, 4, 6);
        body.topic_config_serialize_wrapper
            .topic_config_table
            .insert(topic.into(), config);
    }
    let body = body.encode();
    let header = RegisterBroker {
        broker_name: "a".into(),
        broker_addr: broker_addr.into(),
        cluster_name: "C".into(),
        ha_server_addr: "127.0.0.1:1".into(),
        broker_id: id,
        heartbeat_timeout_millis: None,
        enable_acting_master: None,
        compressed: false,
        body_crc32: i64::from(crc32fast::hash(&body) & 0x7fff_ffff),
        zone_name: None,
    };
    Command::request(request::REGISTER_BROKER, &header).with_body(body)
}

fn route_of(topic: &str) -> Command {
    Command::request(
        request::GET_ROUTEINFO_BY_TOPIC,
        &GetRouteInfo {
            topic: topic.into(),
            accept_standard_json_only: None,
        },
    )
}

async fn route(client: &Remoting, addr: &str) -> TopicRouteData {
    let answer = client.invoke(addr, route_of("T"), PATIENCE).await.unwrap();
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    body::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn brokers_register_and_clients_find_them() {
    let server = name_server().await;
    let (leader, follower, client) = (remoting(), remoting(), remoting());
    let answer = leader
        .invoke(&server.addr, registration("h:1", 0, 1), PATIENCE)
        .await
        .unwrap();
    assert_eq!(answer.code, response::SUCCESS);
    let answer = follower
        .invoke(&server.addr, registration("h:2", 2, 1), PATIENCE)
        .await
        .unwrap();
    let told: RegisterBrokerResponse = answer.header().unwrap();
    assert_eq!(told.master_addr.as_deref(), Some("h:1"));
    let found = route(&client, &server.addr).await;
    assert_eq!(
        found.broker_datas[0].broker_addrs,
        [(0, "h:1".into()), (2, "h:2".into())].into()
    );
    assert_eq!(
        (found.queue_datas[0].read_queue_nums, found.queue_datas[0].perm),
        (4, 6)
    );
    let answer = client
        .invoke(
            &server.addr,
            Command::bare_request(request::GET_BROKER_CLUSTER_INFO),
            PATIENCE,
        )
        .await
        .unwrap();
    let clusters: ClusterInfo = body::from_slice(&answer.body).unwrap();
    assert_eq!(clusters.cluster_addr_table["C"], ["a"]);
}

#[tokio::test]
async fn old_clients_get_unquoted_keys_and_new_ones_standard_json() {
    let server = name_server().await;
    let broker = remoting();
    broker
        .invoke(&server.addr, registration("h:1", 0, 1), PATIENCE)
        .await
        .unwrap();
    let text = async |asked: Command| {
        let answer = broker.invoke(&server.addr, asked, PATIENCE).await.unwrap();
        String::from_utf8(answer.body.to_vec()).unwrap()
    };
    let mut old = route_of("T");
    old.version = version::V4_9_3;
    assert!(text(old).await.contains(r#""brokerAddrs":{0:"h:1"}"#));
    assert!(text(route_of("T")).await.contains(r#""brokerAddrs":{"0":"h:1"}"#));
}

#[tokio::test]
async fn a_killed_leader_stays_id_0_until_the_next_one_registers() {
    let server = name_server().await;
    let (leader, follower, client) = (remoting(), remoting(), remoting());
    leader
        .invoke(&server.addr, registration("h:1", 0, 1), PATIENCE)
        .await
        .unwrap();
    follower
        .invoke(&server.addr, registration("h:2", 2, 1), PATIENCE)
        .await
        .unwrap();
    leader.close(&server.addr);
    mq_base::env::clock::sleep(Duration::from_millis(50)).await;
    assert_eq!(
        route(&client, &server.addr).await.broker_datas[0].broker_addrs[&0],
        "h:1"
    );
    follower
        .invoke(&server.addr, registration("h:2", 0, 2), PATIENCE)
        .await
        .unwrap();
    assert_eq!(
        route(&client, &server.addr).await.broker_datas[0].broker_addrs,
        [(0, "h:2".into())].into()
    );
    // The last member goes: now there is no route.
    follower.close(&server.addr);
    let mut code = response::SUCCESS;
    for _ in 0..100 {
        code = client.invoke(&server.addr, route_of("T"), PATIENCE).await.unwrap().code;
        if code == response::TOPIC_NOT_EXIST {
            break;
        }
        mq_base::env::clock::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(code, response::TOPIC_NOT_EXIST);
}

#[tokio::test]
async fn name_servers_know_nothing_of_each_other() {
    let (one, two) = (name_server().await, name_server().await);
    let broker = remoting();
    broker
        .invoke(&one.addr, registration("h:1", 0, 1), PATIENCE)
        .await
        .unwrap();
    assert_eq!(
        broker.invoke(&two.addr, route_of("T"), PATIENCE).await.unwrap().code,
        response::TOPIC_NOT_EXIST
    );
    broker
        .invoke(&two.addr, registration("h:1", 0, 1), PATIENCE)
        .await
        .unwrap();
    one.stop.stop();
    one.task.join().await.unwrap().unwrap();
    assert_eq!(route(&broker, &two.addr).await.broker_datas.len(), 1);
}

#[tokio::test]
async fn configuration_values_are_put_read_and_deleted() {
    let server = name_server().await;
    let client = remoting();
    let ask = async |command: Command| client.invoke(&server.addr, command, PATIENCE).await.unwrap();
    let put = PutKvConfig {
        namespace: "ORDER_TOPIC_CONFIG".into(),
        key: "T".into(),
        value: "a:4".into(),
    };
    let key = KvConfigKey {
        namespace: put.namespace.clone(),
        key: put.key.clone(),
    };
    assert_eq!(
        ask(Command::request(request::PUT_KV_CONFIG, &put)).await.code,
        response::SUCCESS
    );
    let got: GetKvConfigResponse = ask(Command::request(request::GET_KV_CONFIG, &key))
        .await
        .header()
        .unwrap();
    assert_eq!(got.value.as_deref(), Some("a:4"));
    let order = ask(registration("h:1", 0, 1)).await;
    assert_eq!(&order.body[..], br#"{"table":{"T":"a:4"}}"#, "brokers are told");
    assert_eq!(
        ask(Command::request(request::DELETE_KV_CONFIG, &key)).await.code,
        response::SUCCESS
    );
    assert_eq!(
        ask(Command::request(request::GET_KV_CONFIG, &key)).await.code,
        response::QUERY_NOT_FOUND
    );
}

#[tokio::test]
async fn bad_input_is_answered_and_changes_nothing() {
    let server = name_server().await;
    let client = remoting();
    let ask = async |command: Command| {
        let answer = client.invoke(&server.addr, command, PATIENCE).await.unwrap();
        (
            answer.code,
            answer.remark.map(|remark| remark.to_string()).unwrap_or_default(),
        )
    };
    let (code, remark) = ask(Command::bare_request(4711)).await;
    assert_eq!(
        (code, remark.as_str()),
        (response::REQUEST_CODE_NOT_SUPPORTED, " request type 4711 not supported")
    );
    let (code, remark) = ask(Command::bare_request(request::REGISTER_BROKER)).await;
    assert_eq!(code, response::SYSTEM_ERROR);
    assert!(remark.contains("brokerName"), "{remark}");
    let mut damaged = registration("h:1", 0, 1);
    damaged.body = damaged.body.slice(1..);
    assert_eq!(ask(damaged).await, (response::SYSTEM_ERROR, "crc32 not match".into()));
    let (code, _) =
        ask(Command::bare_request(request::UPDATE_NAMESRV_CONFIG).with_body(&b"kvConfigPath=/etc/x"[..])).await;
    assert_eq!(code, response::NO_PERMISSION);
    assert_eq!(ask(route_of("T")).await.0, response::TOPIC_NOT_EXIST);
}

#[tokio::test]
async fn topics_and_brokers_can_be_taken_out() {
    let server = name_server().await;
    let client = remoting();
    let ask = async |command: Command| client.invoke(&server.addr, command, PATIENCE).await.unwrap().code;
    ask(registration("h:1", 0, 1)).await;
    let topic = DeleteTopicInNamesrv {
        topic: "T".into(),
        cluster_name: Some("C".into()),
    };
    assert_eq!(
        ask(Command::request(request::DELETE_TOPIC_IN_NAMESRV, &topic)).await,
        response::SUCCESS
    );
    assert_eq!(ask(route_of("T")).await, response::TOPIC_NOT_EXIST);
    assert_eq!(ask(route_of("TBW102")).await, response::SUCCESS);
    let leave = UnregisterBroker {
        broker_name: "a".into(),
        broker_addr: "h:1".into(),
        cluster_name: "C".into(),
        broker_id: 0,
    };
    assert_eq!(
        ask(Command::request(request::UNREGISTER_BROKER, &leave)).await,
        response::SUCCESS
    );
    assert_eq!(ask(route_of("TBW102")).await, response::TOPIC_NOT_EXIST);
}
