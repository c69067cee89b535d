//! Ordered messages: those of one key go to one queue and are consumed one after the other.
//! `NAMESRV_ADDR=127.0.0.1:9876 cargo run -p mq-client --example ordered -- TOPIC`

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mq_client::{ClientConfig, ClientInstance, ConsumeFrom, Message, OrderlyStatus, Producer, PushConsumer};
use tokio::sync::mpsc;

const KEYS: usize = 3;
const STEPS: usize = 5;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    mq_base::logging::init("ordered");
    let topic = std::env::args().nth(1).unwrap_or("Example".into());
    let config = ClientConfig::from_env().ok_or("set NAMESRV_ADDR")?;
    let instance = ClientInstance::start(config)?;
    let run = std::process::id();
    let producer = Producer::builder("example_ordered").start_on(&instance).await?;
    for step in 0..STEPS {
        for key in 0..KEYS {
            let body = format!("{run} {key} {step}");
            let message = Message::new(topic.as_str(), body).tag("ordered");
            producer.send_by_key(message, &format!("order-{key}")).await?;
        }
    }

    let (done, mut finished) = mpsc::channel(KEYS * STEPS);
    let last: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let tried: Arc<Mutex<bool>> = Arc::default();
    let consumer = PushConsumer::builder("example_ordered")
        .subscribe(&topic, "ordered")
        .consume_from(ConsumeFrom::First)
        .suspend_queue(Duration::from_millis(100))
        .start_orderly_on(&instance, move |messages| {
            let (done, last, tried) = (done.clone(), last.clone(), tried.clone());
            async move {
                for message in &messages {
                    let body = String::from_utf8_lossy(message.body()).into_owned();
                    let mut parts = body.split(' ');
                    if parts.next() != Some(run.to_string().as_str()) {
                        continue;
                    }
                    let key = parts.next().unwrap_or_default().to_owned();
                    let step: usize = parts.next().unwrap_or_default().parse().unwrap_or(usize::MAX);
                    // The first message fails once: its queue waits, and the order stays.
                    if !std::mem::replace(&mut *tried.lock().unwrap(), true) {
                        println!("{body}: once more");
                        return OrderlyStatus::SuspendCurrentQueueAMoment;
                    }
                    let mut last = last.lock().unwrap();
                    let expected = last.insert(key, step).map_or(0, |before| before + 1);
                    println!("{} {body}", message.queue());
                    assert_eq!(step, expected, "out of order");
                    let _ = done.try_send(());
                }
                OrderlyStatus::Success
            }
        })
        .await?;
    for _ in 0..KEYS * STEPS {
        mq_base::env::clock::timeout(Duration::from_secs(30), finished.recv()).await?;
    }
    println!("{} messages in order", KEYS * STEPS);
    consumer.shutdown().await;
    producer.shutdown().await;
    Ok(())
}
