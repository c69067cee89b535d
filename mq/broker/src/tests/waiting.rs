//! Messages that wait: delay levels, transactions, retries.

use super::*;
use mq_base::env::clock;
use mq_message::topic as names;
use mq_remoting::header::{CheckTransactionState, ConsumerSendMsgBack, EndTransaction};
use std::time::Duration;

async fn all(bed: &Testbed, topic: &str) -> Vec<Seen> {
    if bed.path.view.state().topics.get(topic).is_none() {
        return Vec::new();
    }
    pull(bed, topic, 0, 0).await.2
}

#[tokio::test(start_paused = true)]
async fn a_delayed_message_comes_after_its_delay_and_once() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    let began = clock::wall_ms();
    let sent = send(&bed, "T", &[("DELAY", "2"), ("TAGS", "a")], b"later").await;
    assert_eq!(sent.queue_id, 0, "the client is told its own queue");
    send(&bed, "T", &[("DELAY", "1")], b"sooner").await;
    assert!(all(&bed, "T").await.is_empty());
    clock::sleep(Duration::from_millis(4_900)).await;
    assert_eq!(
        all(&bed, "T").await.iter().map(|m| &m.body[..]).collect::<Vec<_>>(),
        [b"sooner"]
    );
    clock::sleep(Duration::from_millis(200)).await;
    let found = all(&bed, "T").await;
    assert_eq!(
        found.iter().map(|m| &m.body[..]).collect::<Vec<_>>(),
        [&b"sooner"[..], b"later"]
    );
    assert!(
        (5_000..5_100).contains(&(found[1].stored_ms - began)),
        "{}",
        found[1].stored_ms - began
    );
    clock::sleep(Duration::from_secs(60)).await;
    assert_eq!(all(&bed, "T").await.len(), 2);
    let header = PullMessage {
        subscription: Some("a".into()),
        ..pull_header("T", 0, 0)
    };
    assert_eq!(
        seen(&bed.call(pull_command(&header)).await.body).len(),
        1,
        "its tags code is its tag's again"
    );
}

async fn half(bed: &Testbed, key: &str, more: &[(&str, &str)]) -> SendMessageResponse {
    let pairs = [&[("TRAN_MSG", "true"), ("PGROUP", "P"), ("UNIQ_KEY", key)], more].concat();
    let header = SendMessageHeader {
        sys_flag: 4,
        properties: properties(&pairs),
        ..send_header("T")
    };
    ok(&bed.call(send_command(header, key.as_bytes())).await)
}

fn end(sent: &SendMessageResponse, how: i32) -> Command {
    let (_, physical) = mq_message::msg_id::parse_offset_id(&sent.msg_id).unwrap();
    let header = EndTransaction {
        topic: Some("T".into()),
        producer_group: "P".into(),
        tran_state_table_offset: sent.queue_offset,
        commit_log_offset: physical.to_wire(),
        commit_or_rollback: how,
        from_transaction_check: false,
        msg_id: "".into(),
        transaction_id: None,
        broker_name: None,
    };
    Command::request(code::END_TRANSACTION, &header)
}

#[tokio::test(start_paused = true)]
async fn a_transaction_is_decided_once() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    let (kept, dropped) = (half(&bed, "keep", &[]).await, half(&bed, "drop", &[]).await);
    assert!(all(&bed, "T").await.is_empty());
    for _ in 0..3 {
        assert_eq!(bed.call(end(&kept, 8)).await.code, 0);
        assert_eq!(bed.call(end(&dropped, 12)).await.code, 0);
        assert_eq!(bed.call(end(&dropped, 8)).await.code, 0, "too late");
    }
    let found = all(&bed, "T").await;
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].body[..], found[0].sys_flag & 12), (&b"keep"[..], 8));
    assert!(bed.path.view.state().halves.is_empty());
    clock::sleep(Duration::from_secs(120)).await;
    assert!(
        bed.producers.asked.lock().is_empty(),
        "what is decided is not asked about"
    );
}

#[tokio::test(start_paused = true)]
async fn an_end_that_does_not_fit_its_half_message_is_refused() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    let sent = half(&bed, "k", &[]).await;
    let mut other = end(&sent, 8).header::<EndTransaction>().unwrap();
    other.producer_group = "Q".into();
    assert_eq!(
        bed.call(Command::request(code::END_TRANSACTION, &other)).await.code,
        response::SYSTEM_ERROR
    );
    let mut other = end(&sent, 8).header::<EndTransaction>().unwrap();
    other.commit_log_offset += 1;
    assert_eq!(
        bed.call(Command::request(code::END_TRANSACTION, &other)).await.code,
        response::SYSTEM_ERROR
    );
    assert!(all(&bed, "T").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_committed_message_with_a_delay_waits_then() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    let sent = half(&bed, "k", &[("DELAY", "1")]).await;
    bed.call(end(&sent, 8)).await;
    assert!(all(&bed, "T").await.is_empty());
    clock::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(all(&bed, "T").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_undecided_half_message_is_asked_about_and_given_up_in_the_end() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    let sent = half(&bed, "k", &[]).await;
    clock::sleep(Duration::from_millis(5_900)).await;
    assert!(bed.producers.asked.lock().is_empty(), "6 s are its own");
    clock::sleep(Duration::from_secs(1)).await;
    let (group, asked) = bed.producers.asked.lock()[0].clone();
    let header: CheckTransactionState = asked.header().unwrap();
    assert_eq!(
        (&*group, asked.is_oneway(), header.tran_state_table_offset),
        ("P", true, sent.queue_offset)
    );
    let shown = &seen(&asked.body)[0];
    assert_eq!((&*shown.topic, &shown.body[..]), ("T", &b"k"[..]));
    // What the check says is what the producer answers with.
    assert_eq!(
        header.commit_log_offset,
        end(&sent, 8).header::<EndTransaction>().unwrap().commit_log_offset
    );

    clock::sleep(Duration::from_secs(30 * 16)).await;
    assert_eq!(bed.producers.asked.lock().len(), 15);
    assert!(bed.path.view.state().halves.is_empty());
    assert_eq!(all(&bed, names::TRANS_CHECK_MAX_TIME).await.len(), 1);
    assert!(all(&bed, "T").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_half_message_without_a_producer_waits() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    half(&bed, "k", &[]).await;
    bed.producers.away.store(true, std::sync::atomic::Ordering::SeqCst);
    clock::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(
        bed.path
            .view
            .state()
            .halves
            .iter()
            .map(|(_, h)| h.checks)
            .collect::<Vec<_>>(),
        [0]
    );
    bed.producers.away.store(false, std::sync::atomic::Ordering::SeqCst);
    clock::sleep(Duration::from_secs(40)).await;
    assert!(!bed.producers.asked.lock().is_empty());
}

fn back(message: &Seen, level: i32, max: Option<i32>) -> Command {
    let header = ConsumerSendMsgBack {
        offset: message.physical as i64,
        group: "G".into(),
        delay_level: level,
        origin_msg_id: None,
        origin_topic: Some("T".into()),
        unit_mode: None,
        max_reconsume_times: max,
        broker_name: None,
    };
    Command::request(code::CONSUMER_SEND_MSG_BACK, &header)
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_sent_back_comes_again_and_at_last_dies() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    group(&bed, "G").await;
    send(&bed, "T", &[("UNIQ_KEY", "U"), ("TAGS", "a")], b"hard").await;
    let mut message = all(&bed, "T").await.remove(0);
    for tries in 0..2 {
        assert_eq!(bed.call(back(&message, 0, Some(2))).await.code, 0);
        let delay = [10_000, 30_000][tries];
        clock::sleep(Duration::from_millis(delay - 100)).await;
        assert_eq!(all(&bed, "%RETRY%G").await.len(), tries);
        clock::sleep(Duration::from_millis(200)).await;
        message = all(&bed, "%RETRY%G").await.pop().unwrap();
        assert_eq!((message.tries, &message.body[..]), (tries as i32 + 1, &b"hard"[..]));
        assert_eq!(property::get(&message.properties, "RETRY_TOPIC"), Some("T"));
        assert_eq!(property::get(&message.properties, "UNIQ_KEY"), Some("U"));
        assert!(property::get(&message.properties, "ORIGIN_MESSAGE_ID").is_some());
    }
    assert_eq!(bed.call(back(&message, 0, Some(2))).await.code, 0);
    let dead = all(&bed, "%DLQ%G").await;
    assert_eq!((dead.len(), dead[0].tries), (1, 3));
    let nowhere = Seen {
        physical: message.physical + 1,
        ..message
    };
    assert_eq!(bed.call(back(&nowhere, 0, None)).await.code, response::SYSTEM_ERROR);
}

#[tokio::test(start_paused = true)]
async fn a_send_to_a_retry_topic_beyond_its_limit_is_a_dead_letter() {
    let bed = Testbed::new();
    group(&bed, "G").await;
    let header = |tries| SendMessageHeader {
        reconsume_times: Some(tries),
        max_reconsume_times: Some(3),
        properties: properties(&[("DELAY", "3"), ("RETRY_TOPIC", "T")]),
        ..send_header("%RETRY%G")
    };
    let command = |tries| send_command(header(tries), b"x");
    assert_eq!(bed.call(command(3)).await.code, 0);
    assert_eq!(all(&bed, "%DLQ%G").await.len(), 0);
    assert_eq!(bed.call(command(4)).await.code, 0);
    assert_eq!(all(&bed, "%DLQ%G").await.len(), 1);
}
