//! Transactional messages. `NAMESRV_ADDR=127.0.0.1:9876 cargo run -p mq-client --example transaction -- TOPIC`
//!
//! Of three messages the first is committed, the second rolled back, and the third left open: the broker asks about it later
//! (after `transactionTimeOut`, 6 s by default) and then it is committed.

use std::time::Duration;

use mq_client::{ClientConfig, Message, MessageExt, Producer, TransactionListener, TransactionState};
use tokio::sync::mpsc;

struct Orders {
    asked: mpsc::Sender<String>,
}

impl TransactionListener for Orders {
    async fn execute(&self, message: &Message, _transaction_id: &str) -> TransactionState {
        match &message.body()[..] {
            b"order 0" => TransactionState::Commit,
            b"order 1" => TransactionState::Rollback,
            _ => TransactionState::Unknown,
        }
    }

    async fn check(&self, message: &MessageExt) -> TransactionState {
        let body = String::from_utf8_lossy(message.body()).into_owned();
        println!("the broker asks about {body}");
        let _ = self.asked.send(body).await;
        TransactionState::Commit
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    mq_base::logging::init("transaction");
    let topic = std::env::args().nth(1).unwrap_or("Example".into());
    let config = ClientConfig::from_env().ok_or("set NAMESRV_ADDR")?;
    let (asked, mut answers) = mpsc::channel(16);
    let producer = Producer::builder("example_transactions")
        .start_transactional(config, Orders { asked })
        .await?;
    for i in 0..3 {
        let message = Message::new(topic.as_str(), format!("order {i}")).tag("order");
        let result = producer.send_in_transaction(message).await?;
        println!("order {i}: {:?}, told the broker: {}", result.state, result.ended);
    }
    mq_base::env::clock::timeout(Duration::from_secs(90), answers.recv()).await?;
    // The answer is on its way.
    mq_base::env::clock::sleep(Duration::from_millis(200)).await;
    producer.shutdown().await;
    Ok(())
}
