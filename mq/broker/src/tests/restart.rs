//! What a broker is after a restart, from the log alone or from a checkpoint.

use super::*;
use crate::ask::{Ask, Reply};
use crate::config::Settings;
use crate::seams::Judged;
use mq_base::env::clock;
use mq_base::env::sim::World;
use std::time::Duration;

async fn busy(bed: &Testbed) {
    topic(bed, "T", 2).await;
    group(bed, "G").await;
    for n in 0..20 {
        send(bed, "T", &[("TAGS", "a"), ("KEYS", "k")], &[n]).await;
        send(bed, "T", &[("DELAY", "5")], &[n]).await;
    }
    let header = SendMessageHeader {
        properties: properties(&[("TRAN_MSG", "true"), ("PGROUP", "P")]),
        ..send_header("T")
    };
    bed.call(send_command(header, b"half")).await;
    let pull = PullMessage {
        sys_flag: 5,
        commit_offset: 11,
        consumer_group: "G".into(),
        ..pull_header("T", 0, 0)
    };
    bed.call(pull_command(&pull)).await;
    clock::sleep(Duration::from_secs(1)).await;
}

async fn settle(bed: Testbed) -> bytes::Bytes {
    bed.stop.stop();
    clock::sleep(Duration::from_secs(1)).await;
    bed.solo.checkpoint()
}

#[tokio::test(start_paused = true)]
async fn the_log_alone_leads_to_the_same_state() {
    let world = World::new("n0", 7);
    let bed = Testbed::on(&world, Settings::defaults(), 1 << 20, None);
    busy(&bed).await;
    let before = settle(bed).await;
    let bed = Testbed::on(&world, Settings::defaults(), 1 << 20, None);
    assert_eq!(bed.solo.checkpoint(), before);
    assert_eq!(pull_all(&bed, "T", 0, 0).await.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_and_the_log_behind_it_lead_to_the_same_state() {
    let world = World::new("n0", 8);
    let bed = Testbed::on(&world, Settings::defaults(), 1 << 20, None);
    busy(&bed).await;
    let checkpoint = bed.solo.durable_checkpoint();
    for n in 0..5 {
        send(&bed, "T", &[("KEYS", "k")], &[100 + n]).await;
    }
    let (reply, answer) = Reply::channel();
    bed.solo.ask(Ask::OpenProducer("relay".into(), reply));
    answer.await.unwrap().unwrap();
    let before = settle(bed).await;

    let bed = Testbed::on(&world, Settings::defaults(), 1 << 20, Some(checkpoint));
    assert_eq!(bed.solo.checkpoint(), before);
    assert_eq!(
        pull_all(&bed, "T", 0, 0).await.len(),
        25,
        "before and after the checkpoint"
    );
    clock::sleep(Duration::from_secs(70)).await;
    assert_eq!(
        pull_all(&bed, "T", 0, 25).await.len(),
        20,
        "delayed messages are delivered by the new process"
    );
    assert!(
        !bed.producers.asked.lock().is_empty(),
        "and the half message is asked about"
    );
    let query = mq_remoting::header::QueryMessage {
        topic: "T".into(),
        key: "k".into(),
        max_num: 64,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        unique_key_query: None,
    };
    let found = bed.call(Command::request(code::QUERY_MESSAGE, &query)).await;
    assert_eq!(seen(&found.body).len(), 25, "each once");
}

/// The leader stored it, took a checkpoint, died before its answer got out, and leads again.
#[tokio::test(start_paused = true)]
async fn a_message_from_before_the_checkpoint_is_not_stored_again_by_a_resend() {
    let world = World::new("n0", 9);
    let bed = Testbed::on(&world, Settings::defaults(), 1 << 20, None);
    topic(&bed, "T", 1).await;
    let header = SendMessageHeader {
        properties: properties(&[("UNIQ_KEY", "once")]),
        ..send_header("T")
    };
    let first: SendMessageResponse = ok(&bed.call(send_command(header.clone(), b"m")).await);
    let checkpoint = bed.solo.durable_checkpoint();
    settle(bed).await;

    let bed = Testbed::on(&world, Settings::defaults(), 1 << 20, Some(checkpoint));
    let again = bed.send_as(send_command(header, b"m"), true).recv().await.unwrap();
    let again: SendMessageResponse = ok(&again);
    assert_eq!((again.msg_id, again.queue_offset), (first.msg_id, first.queue_offset));
    assert_eq!(pull_all(&bed, "T", 0, 0).await.len(), 1);
}
