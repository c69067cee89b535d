//! What a producer does when brokers fail, refuse or hang.

mod stage;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mq_base::env::clock;
use mq_client::{AtomicBatch, AtomicProducer, AtomicSendError, CallError, Message, Producer, SendError};
use mq_message::QueueId;
use mq_remoting::code::{request as c, response as r};
use stage::{Act, GROUP, Stage};

fn message() -> Message {
    Message::new("T", "hello")
}

#[tokio::test]
async fn a_killed_leader_costs_milliseconds_and_no_failed_send() {
    let mut stage = Stage::new(3).await;
    let producer = Producer::builder("p").start(stage.config()).await.unwrap();
    producer.send(message()).await.unwrap();
    stage.kill(0);
    let killed = clock::now();
    let sent = producer.send(message()).await.unwrap();
    let gap = clock::now() - killed;
    assert!(gap < Duration::from_millis(200), "{gap:?}");
    assert_eq!(stage.world().sends.iter().map(|s| s.0).collect::<Vec<_>>(), [0, 1]);
    assert!(sent.queue_offset.get() <= 1);
    // The second member dies too, and the name server still shows the first as leader.
    stage.kill(1);
    producer.send(message()).await.unwrap();
    assert_eq!(stage.world().sends.last().unwrap().0, 2);
    // A new leader appears in the route.
    stage.world().leader = 2;
    producer.send(message()).await.unwrap();
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_key_and_queue() {
    let stage = Stage::new(2).await;
    let producer = Producer::builder("p").start(stage.config()).await.unwrap();
    stage.script(0, c::SEND_MESSAGE_V2, &[Act::ServeAndClose]);
    let sent = producer.send(message()).await.unwrap();
    assert_eq!(sent.tries, 2);
    let world = stage.world();
    assert_eq!(world.sends.len(), 2);
    assert_eq!(world.sends[0].1, world.sends[1].1);
    assert_eq!(world.sends[1], (1, sent.msg_id.clone()));
    assert_eq!(world.queues.len(), 1, "both tries went to one queue");
    assert_eq!(world.resent, [false, true], "the second says that there was a first");
}

#[tokio::test]
async fn a_hanging_member_is_left_for_another() {
    let stage = Stage::new(2).await;
    let builder = Producer::builder("p").try_timeout(Duration::from_millis(100));
    let producer = builder.start(stage.config()).await.unwrap();
    stage.script(0, c::SEND_MESSAGE_V2, &[Act::Hang]);
    let started = clock::now();
    let sent = producer.send(message()).await.unwrap();
    assert!(clock::now() - started < Duration::from_secs(1));
    assert_eq!((sent.tries, stage.world().sends[0].0), (2, 1));
}

#[tokio::test]
async fn a_leader_that_hangs_is_left_as_soon_as_another_leads() {
    let stage = Stage::new(2).await;
    let producer = Producer::builder("p").start(stage.config()).await.unwrap();
    producer.send(message()).await.unwrap();
    stage.script(0, c::SEND_MESSAGE_V2, &[Act::Hang; 100]);
    let started = clock::now();
    let (sent, ()) = tokio::join!(producer.send(message()), async {
        clock::sleep(Duration::from_millis(400)).await;
        stage.world().leader = 1;
    });
    let gap = clock::now() - started;
    assert!(gap < Duration::from_millis(1_000), "{gap:?}");
    assert_eq!((sent.unwrap().tries, stage.world().resent.last()), (2, Some(&true)));
}

#[tokio::test]
async fn codes_decide_whether_a_refused_send_is_repeated() {
    let retried = [
        r::SYSTEM_ERROR,
        r::SYSTEM_BUSY,
        r::SERVICE_NOT_AVAILABLE,
        r::NO_PERMISSION,
        r::TOPIC_NOT_EXIST,
    ];
    let last = [
        r::MESSAGE_ILLEGAL,
        r::INVALID_PARAMETER,
        r::NOT_LEADER_FOR_QUEUE,
        r::SUBSCRIPTION_GROUP_NOT_EXIST,
    ];
    for (codes, sends) in [(&retried[..], 3), (&last[..], 1)] {
        for code in codes {
            let stage = Stage::new(1).await;
            let producer = Producer::builder("p").start(stage.config()).await.unwrap();
            stage.script(0, c::SEND_MESSAGE_V2, &[Act::Refuse(*code); 4]);
            let error = producer.send(message()).await.unwrap_err();
            assert_eq!(error.refusal(), Some(*code));
            let seen = stage.world();
            let seen = seen.seen.iter().filter(|s| s.1 == c::SEND_MESSAGE_V2).count();
            assert_eq!(seen, sends, "{code}");
        }
    }
}

#[tokio::test]
async fn a_member_that_stops_costs_no_try() {
    let stage = Stage::new(1).await;
    let producer = Producer::builder("p").start(stage.config()).await.unwrap();
    stage.script(0, c::SEND_MESSAGE_V2, &[Act::Refuse(r::GO_AWAY); 4]);
    assert!(producer.send(message()).await.is_ok());
}

#[tokio::test]
async fn a_send_knows_whether_it_may_be_stored() {
    let mut stage = Stage::new(1).await;
    let timeout = Duration::from_millis(300);
    let builder = Producer::builder("p").send_timeout(timeout);
    let producer = builder.start(stage.config()).await.unwrap();
    stage.script(0, c::SEND_MESSAGE_V2, &[Act::Close; 9]);
    assert!(producer.send(message()).await.unwrap_err().is_unknown());
    stage.kill(0);
    let started = clock::now();
    let error = producer.send(message()).await.unwrap_err();
    assert!(!error.is_unknown(), "{error}");
    assert!(clock::now() - started >= timeout, "tried until the time was up");
    stage.world().no_routes = true;
    let no_route = producer.send(Message::new("NoSuchTopic", "x")).await.unwrap_err();
    assert!(matches!(
        no_route,
        SendError::Call {
            source: CallError::NoRoute(_),
            unsent: true,
            ..
        }
    ));
}

#[tokio::test]
async fn illegal_messages_are_not_sent() {
    let stage = Stage::new(1).await;
    let builder = Producer::builder("p").message_bytes_max(10);
    let producer = builder.start(stage.config()).await.unwrap();
    let illegal = [
        Message::new("T", ""),
        Message::new("bad topic", "x"),
        Message::new("T", "x").tag("a\u{2}b"),
        Message::new("T", vec![0; 11]),
        Message::new("T", "x").property("k", &"v".repeat(40_000)),
        Message::new("SCHEDULE_TOPIC_XXXX", "x"),
    ];
    for message in illegal {
        let error = producer.send(message).await.unwrap_err();
        assert!(matches!(error, SendError::Message(_)), "{error}");
    }
    let mixed = vec![Message::new("T", "x"), Message::new("U", "x")];
    assert!(producer.send_batch(mixed).await.is_err());
    assert!(producer.send_batch(Vec::new()).await.is_err());
    let delayed = vec![Message::new("T", "x").delay_level(3)];
    assert!(producer.send_batch(delayed).await.is_err());
    assert!(stage.world().sends.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_asynchronous_send_is_called_back_once_through_a_kill() {
    const SENDS: usize = 5_000;
    let mut stage = Stage::new(3).await;
    let producer = Producer::builder("p").start(stage.config()).await.unwrap();
    producer.send(message()).await.unwrap();
    let (done, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for i in 0..SENDS {
        let (done, failed) = (done.clone(), failed.clone());
        producer.send_async(message(), move |result| {
            failed.fetch_add(usize::from(result.is_err()), Ordering::SeqCst);
            done.fetch_add(1, Ordering::SeqCst);
        });
        if i == SENDS / 2 {
            stage.kill(0);
        }
    }
    stage
        .until("all are called back", |_| done.load(Ordering::SeqCst) == SENDS)
        .await;
    assert_eq!(failed.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_atomic_batch_keeps_its_number_until_it_is_answered() {
    let stage = Stage::new(2).await;
    let instance = stage.instance();
    let mut owner = AtomicProducer::open(&instance, GROUP, "relay").await.unwrap();
    stage.script(0, c::ATOMIC_BATCH, &[Act::ServeAndClose]);
    stage.script(1, c::ATOMIC_BATCH, &[Act::Refuse(r::SERVICE_NOT_AVAILABLE)]);
    let batch = || AtomicBatch {
        messages: vec![(message(), QueueId(1))],
        ..AtomicBatch::default()
    };
    let result = owner.send(batch()).await.unwrap();
    assert_eq!((result.sequence, result.repeated), (1, true));
    {
        let world = stage.world();
        assert_eq!(world.batches.len(), 2);
        assert_eq!(world.batches[0], world.batches[1], "the very same bytes");
    }
    // Without an answer nothing else is sent.
    owner.set_timeout(Duration::from_millis(50));
    stage.script(0, c::ATOMIC_BATCH, &[Act::Refuse(r::SYSTEM_BUSY); 50]);
    stage.script(1, c::ATOMIC_BATCH, &[Act::Refuse(r::SYSTEM_BUSY); 50]);
    assert!(matches!(owner.send(batch()).await, Err(AtomicSendError::Unknown(_))));
    assert!(matches!(owner.send(batch()).await, Err(AtomicSendError::Unsettled(2))));
    stage.world().script.clear();
    assert_eq!(owner.settle().await.unwrap().unwrap().sequence, 2);
    assert!(owner.settle().await.unwrap().is_none());
    // A second owner fences the first for good.
    let mut second = AtomicProducer::open(&instance, GROUP, "relay").await.unwrap();
    assert!(second.epoch() > owner.epoch());
    for _ in 0..2 {
        owner.set_timeout(Duration::from_secs(5));
        let fenced = owner.send(batch()).await;
        assert!(matches!(fenced, Err(AtomicSendError::Fenced(_))), "{fenced:?}");
    }
    second.send(batch()).await.unwrap();
}
