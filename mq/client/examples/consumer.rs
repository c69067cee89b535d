//! Consumes a topic. `NAMESRV_ADDR=127.0.0.1:9876 cargo run -p mq-client --example consumer -- TOPIC [TAGS]`
//!
//! Messages whose body says `fail` are given back once, to show a retry. Ends on ctrl-c, or when 5 s pass without a message.

use std::sync::Arc;
use std::time::Duration;

use mq_client::{ClientConfig, ConsumeFrom, ConsumeStatus, PushConsumer};
use tokio::sync::Notify;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    mq_base::logging::init("consumer");
    let mut args = std::env::args().skip(1);
    let topic = args.next().unwrap_or("Example".into());
    let tags = args.next().unwrap_or("*".into());
    let config = ClientConfig::from_env().ok_or("set NAMESRV_ADDR")?;
    let seen = Arc::new(Notify::new());
    let tell = seen.clone();

    let consumer = PushConsumer::builder("example_consumer")
        .subscribe(&topic, tags.as_str())
        .consume_from(ConsumeFrom::First)
        .start_concurrently(config, move |messages| {
            tell.notify_one();
            async move {
                for message in &messages {
                    let body = String::from_utf8_lossy(message.body());
                    let body: String = body.chars().take(40).collect();
                    let (queue, offset) = (message.queue(), message.queue_offset());
                    println!(
                        "{queue} {offset} tag {:?} tries {}: {body}",
                        message.tag(),
                        message.reconsume_times()
                    );
                    if body == "fail" && message.reconsume_times() == 0 {
                        return ConsumeStatus::ReconsumeAfter(1);
                    }
                }
                ConsumeStatus::Success
            }
        })
        .await?;

    loop {
        tokio::select! {
            () = seen.notified() => {}
            () = mq_base::env::clock::sleep(Duration::from_secs(5)) => break,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    consumer.shutdown().await;
    Ok(())
}
