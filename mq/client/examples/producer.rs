//! Sends messages in every mode. `NAMESRV_ADDR=127.0.0.1:9876 cargo run -p mq-client --example producer -- TOPIC`

use mq_client::{ClientConfig, Message, Producer};
use tokio::sync::oneshot;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    mq_base::logging::init("producer");
    let topic = std::env::args().nth(1).unwrap_or("Example".into());
    let config = ClientConfig::from_env().ok_or("set NAMESRV_ADDR")?;
    let producer = Producer::builder("example_producer").start(config).await?;

    // Synchronous: the answer says where the message is.
    for i in 0..8 {
        let message = Message::new(topic.as_str(), format!("sync {i}"))
            .tag("sync")
            .keys(&[&format!("key-{i}")])
            .property("colour", "blue");
        let sent = producer.send(message).await?;
        println!("sync {} -> {} offset {}", sent.msg_id, sent.queue, sent.queue_offset);
    }

    // Asynchronous: the outcome comes to a callback.
    let (done, outcome) = oneshot::channel();
    let message = Message::new(topic.as_str(), "async").tag("async");
    producer.send_async(message, |result| drop(done.send(result)));
    println!("async -> {}", outcome.await??.queue);

    // A batch: one request, one after the other in one queue.
    let batch = (0..10).map(|i| Message::new(topic.as_str(), format!("batch {i}")).tag("batch"));
    let sent = producer.send_batch(batch.collect()).await?;
    println!("batch -> {} from offset {}", sent.queue, sent.queue_offset);

    // Delayed by level 1, a second in the default table.
    let message = Message::new(topic.as_str(), "delayed").tag("delayed").delay_level(1);
    producer.send(message).await?;

    // A large body is compressed on the way.
    let message = Message::new(topic.as_str(), vec![b'x'; 10_000]).tag("large");
    producer.send(message).await?;

    // One-way: nobody knows.
    producer
        .send_oneway(Message::new(topic.as_str(), "oneway").tag("oneway"))
        .await?;

    producer.shutdown().await;
    Ok(())
}
