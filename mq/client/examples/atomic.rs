//! Atomic batches: messages for several queues and a position, applied whole and exactly once. Needs a Forebay broker.
//! `NAMESRV_ADDR=127.0.0.1:9876 cargo run -p mq-client --example atomic -- CLUSTER TOPIC`

use mq_client::{AtomicBatch, AtomicProducer, AtomicSendError, ClientConfig, ClientInstance, Message, TopicSpec};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    mq_base::logging::init("atomic");
    let mut args = std::env::args().skip(1);
    let cluster = args.next().unwrap_or("DefaultCluster".into());
    let topic = args.next().unwrap_or("AtomicExample".into());
    let config = ClientConfig::from_env().ok_or("set NAMESRV_ADDR")?;
    let instance = ClientInstance::start(config)?;
    instance.create_topic(&cluster, &TopicSpec::new(&topic, 4)).await?;
    // A producer id belongs to one broker group.
    let queues = instance.publish_queues(&topic).await?;
    let broker = queues[0].broker_name.clone();
    let queues: Vec<_> = queues.iter().filter(|q| q.broker_name == broker).collect();

    let mut first = AtomicProducer::open(&instance, &broker, "example").await?;
    println!("epoch {}, last {:?}", first.epoch(), first.last());
    for step in 0..3 {
        let body = format!("step {step}");
        let message = |queue: &&mq_client::MessageQueue| (Message::new(topic.as_str(), body.clone()), queue.queue_id);
        let batch = AtomicBatch {
            messages: queues.iter().map(message).collect(),
            offsets: vec![("example_group".into(), queues[0].clone(), step.into())],
            position: Some(format!("position {step}").into()),
        };
        let result = first.send(batch).await?;
        println!("batch {} at queue offsets {:?}", result.sequence, result.queue_offsets);
    }

    // Another owner takes over: it learns where to go on, and the first can do nothing any more.
    let second = AtomicProducer::open(&instance, &broker, "example").await?;
    let last = second.last().ok_or("nothing was applied")?;
    let position = String::from_utf8_lossy(last.position.as_deref().unwrap_or_default());
    println!("epoch {}, last batch {} at {position:?}", second.epoch(), last.sequence);
    match first.send(AtomicBatch::default()).await {
        Err(AtomicSendError::Fenced(why)) => println!("the first owner is refused: {why}"),
        other => return Err(format!("not fenced: {other:?}").into()),
    }
    Ok(())
}
