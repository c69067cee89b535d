//! Route queries per second over loopback, one name server on one thread.
//!
//! `cargo run --release -p mq-namesrv --example route_bench -- [topics] [in flight] [seconds]`
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mq_base::env::net::TcpListener;
use mq_base::stop::StopSource;
use mq_namesrv::config::Raw;
use mq_net::{ClientOptions, Remoting};
use mq_remoting::Command;
use mq_remoting::body::{RegisterBrokerBody, TopicConfig};
use mq_remoting::code::request;
use mq_remoting::header::{GetRouteInfo, RegisterBroker};

const PATIENCE: Duration = Duration::from_secs(10);

fn on_thread<F: Future<Output = ()>>(name: &str, start: impl FnOnce() -> F + Send + 'static) {
    let run = move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(start())
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).unwrap();
}

fn main() {
    let arguments: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let argument = |n: usize, default| arguments.get(n).copied().unwrap_or(default);
    let (topics, in_flight, seconds) = (argument(0, 1000), argument(1, 512), argument(2, 5));
    let (ready, addr) = std::sync::mpsc::channel();
    on_thread("server", move || async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        ready.send(listener.local_addr().unwrap().to_string()).unwrap();
        let config = Raw::read("").unwrap().validate("/nonexistent").unwrap();
        let (_source, stop) = StopSource::new();
        mq_namesrv::run(config, listener, stop).await.unwrap();
    });
    let addr = addr.recv().unwrap();
    let done = Arc::new(AtomicU64::new(0));
    let counted = done.clone();
    on_thread("client", move || async move {
        let client = Remoting::new(ClientOptions::default(), Arc::new(())).unwrap();
        for (id, broker_addr) in [(0, "127.0.0.1:10911"), (2, "127.0.0.1:10921"), (3, "127.0.0.1:10931")] {
            client
                .invoke(&addr, registration(broker_addr, id, topics), PATIENCE)
                .await
                .unwrap();
        }
        for n in 0..in_flight {
            again(client.clone(), addr.clone(), n, topics, counted.clone());
        }
        std::future::pending::<()>().await;
    });
    std::thread::sleep(Duration::from_secs(1));
    let (from, started) = (done.load(Ordering::Relaxed), Instant::now());
    std::thread::sleep(Duration::from_secs(seconds));
    let queries = done.load(Ordering::Relaxed) - from;
    println!(
        "{:.0} route queries/s over {topics} topics",
        queries as f64 / started.elapsed().as_secs_f64()
    );
}

fn registration(addr: &'static str, id: i64, topics: u64) -> Command {
    let mut body = RegisterBrokerBody::default();
    for n in 0..topics {
        let name = format!("topic-{n}");
        body.topic_config_serialize_wrapper
            .topic_config_table
            .insert(name.clone(), TopicConfig::new(&name, 8, 6));
    }
    let header = RegisterBroker {
        broker_name: "broker-a".into(),
        broker_addr: addr.into(),
        cluster_name: "DefaultCluster".into(),
        ha_server_addr: addr.into(),
        broker_id: id,
        heartbeat_timeout_millis: None,
        enable_acting_master: None,
        compressed: false,
        body_crc32: 0,
        zone_name: None,
    };
    Command::request(request::REGISTER_BROKER, &header).with_body(body.encode())
}

/// Asks for a route, and for the next one when it is answered.
fn again(client: Remoting, addr: String, n: u64, topics: u64, done: Arc<AtomicU64>) {
    let header = GetRouteInfo {
        topic: format!("topic-{}", n % topics).into(),
        accept_standard_json_only: None,
    };
    let command = Command::request(request::GET_ROUTEINFO_BY_TOPIC, &header);
    let (next, to) = (client.clone(), addr.clone());
    client.send_async(&to, command, PATIENCE, move |answer| {
        assert_eq!(answer.expect("an answer").code, 0);
        done.fetch_add(1, Ordering::Relaxed);
        again(next, addr, n + 7, topics, done);
    });
}
