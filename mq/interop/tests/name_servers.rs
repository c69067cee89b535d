//! What still works when every name server is gone? `docs/name-servers.md` has the answer; this repeats the experiment.

#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use mq_client::consumer::LitePullConsumer;
use mq_client::{ClientConfig, Message, Producer};
use mq_cluster::{Cluster, Options, Signal, Target};

const TOPIC: &str = "WithoutNameServers";

async fn send(producer: &Producer, text: &str) -> Result<(), String> {
    let sent = producer.send(Message::new(TOPIC, text.to_owned())).await;
    sent.map(|_| ()).map_err(|error| error.to_string())
}

/// The topic was created by the first message; its route follows a moment later.
async fn queues(producer: &Producer) -> Vec<mq_client::MessageQueue> {
    for _ in 0..100 {
        if let Ok(queues) = producer.queues(TOPIC).await {
            return queues;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no route to {TOPIC}");
}

/// Polls until a message with this text came.
async fn receive(consumer: &LitePullConsumer, text: &str) {
    for _ in 0..100 {
        let messages = consumer.poll(Duration::from_millis(100)).await;
        if messages.iter().any(|message| &message.body()[..] == text.as_bytes()) {
            return;
        }
    }
    panic!("{text:?} never came");
}

#[test]
fn clients_go_on_without_any_name_server_and_newcomers_cannot_begin() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::new(folder.path().join("cluster"));
    options.namesrvs = 2;
    options.restart = false;
    options.owner = Some(std::process::id());
    let cluster = Cluster::start(&options).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(experiment(&cluster));
    cluster.stop().unwrap();
}

async fn experiment(cluster: &Cluster) {
    let config = || ClientConfig::new(&cluster.namesrv_addr());
    let producer = Producer::builder("ns").start(config()).await.unwrap();
    send(&producer, "before").await.unwrap();
    let consumer = LitePullConsumer::builder("ns")
        .auto_commit(None)
        .start(config())
        .await
        .unwrap();
    let queues = queues(&producer).await;
    // The consumer may ask the other name server, which hears of the topic at its own time.
    while let Err(error) = consumer.assign(&queues).await {
        assert!(error.to_string().contains(TOPIC), "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for queue in &queues {
        consumer.seek_to_begin(queue).await.unwrap();
    }
    receive(&consumer, "before").await;

    for name in ["namesrv0", "namesrv1"] {
        cluster.kill(&Target::Named(name.into()), Signal::Kill, None).unwrap();
    }
    // Cached routes carry sends and pulls, also across the death of the leader: the other members are in them.
    send(&producer, "without name servers").await.unwrap();
    receive(&consumer, "without name servers").await;
    cluster.kill(&Target::Leader, Signal::Kill, None).unwrap();
    send(&producer, "and without the leader").await.unwrap();
    receive(&consumer, "and without the leader").await;

    // What needs a name server: a topic whose route is not known yet, and a client that knows nothing.
    let unknown = producer.send(Message::new("NeverSeen", "x")).await;
    assert!(unknown.is_err(), "a new topic needs a route");
    let newcomer = Producer::builder("ns_new").start(config()).await.unwrap();
    assert!(send(&newcomer, "x").await.is_err(), "a newcomer needs a route");
    consumer.shutdown().await;
    producer.shutdown().await;
}
