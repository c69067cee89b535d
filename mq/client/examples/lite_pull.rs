//! Pulls a topic by hand. `NAMESRV_ADDR=127.0.0.1:9876 cargo run -p mq-client --example lite_pull -- TOPIC`

use std::time::Duration;

use mq_client::{ClientConfig, ClientInstance, LitePullConsumer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    mq_base::logging::init("lite_pull");
    let topic = std::env::args().nth(1).unwrap_or("Example".into());
    let config = ClientConfig::from_env().ok_or("set NAMESRV_ADDR")?;
    let instance = ClientInstance::start(config)?;
    let builder = LitePullConsumer::builder("example_lite").auto_commit(None);
    let consumer = builder.start_on(&instance).await?;

    // These queues and no others, from their beginning.
    let queues = instance.subscribe_queues(&topic).await?;
    consumer.assign(&queues).await?;
    for queue in &queues {
        println!("{queue} committed {:?}", consumer.committed(queue).await?);
        consumer.seek_to_begin(queue).await?;
    }
    loop {
        let messages = consumer.poll(Duration::from_secs(2)).await;
        if messages.is_empty() {
            break;
        }
        for message in &messages {
            println!("{} {} {}", message.queue(), message.queue_offset(), message.msg_id());
        }
        consumer.commit().await?;
    }
    for queue in &queues {
        println!("{queue} committed {:?}", consumer.committed(queue).await?);
    }
    consumer.shutdown().await;
    Ok(())
}
