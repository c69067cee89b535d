//! What consumers do: tags, retries, locks, offsets, resets, fail-over.

mod stage;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mq_base::env::clock;
use mq_client::consumer::PushConsumerBuilder;
use mq_client::{
    ConsumeFrom, ConsumeStatus, LitePullConsumer, MessageExt, MessageModel, MessageQueue, OrderlyStatus, PushConsumer,
};
use mq_message::QueueOffset;
use mq_remoting::code::{request as c, response as r};
use mq_remoting::{Command, body};
use stage::{Act, GROUP, Stage};

const G: &str = "group";

fn builder() -> PushConsumerBuilder {
    PushConsumer::builder(G)
        .subscribe("T", "*")
        .consume_from(ConsumeFrom::First)
}

/// Everything a listener was given: bodies in order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn note(&self, messages: &[MessageExt]) {
        let body = |m: &MessageExt| String::from_utf8_lossy(m.body()).into_owned();
        self.0.lock().unwrap().extend(messages.iter().map(body));
    }

    fn get(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

fn offset(stage: &Stage, queue: u32) -> Option<i64> {
    let key = (G.to_owned(), "T".to_owned(), queue);
    stage.world().offsets.get(&key).copied()
}

#[tokio::test]
async fn a_shutdown_writes_how_far_the_group_has_come() {
    let stage = Stage::new(3).await;
    for i in 0..10 {
        stage.put("T", i % 2, &i.to_string(), &[]);
    }
    let seen = Seen::default();
    let note = seen.clone();
    let consumer = builder().start_concurrently(stage.config(), move |messages| {
        note.note(&messages);
        async { ConsumeStatus::Success }
    });
    let consumer = consumer.await.unwrap();
    stage.until("all are consumed", |_| seen.len() == 10).await;
    consumer.shutdown().await;
    assert_eq!((offset(&stage, 0), offset(&stage, 1)), (Some(5), Some(5)));
    let world = stage.world();
    assert!(world.seen.iter().any(|(_, code)| *code == c::UNREGISTER_CLIENT));
    // Heartbeats reach every member.
    for member in 0..3 {
        assert!(world.seen.contains(&(member, c::HEART_BEAT)), "{member}");
    }
}

#[tokio::test]
async fn colliding_tags_are_told_apart_and_the_offset_passes_them() {
    let stage = Stage::new(1).await;
    // "Aa" and "BB" have the same hash; the broker of this stage filters nothing at all.
    stage.put("T", 0, "mine", &[("TAGS", "Aa")]);
    stage.put("T", 0, "not mine", &[("TAGS", "BB")]);
    stage.put("T", 1, "not mine", &[("TAGS", "BB")]);
    let seen = Seen::default();
    let note = seen.clone();
    let consumer = PushConsumer::builder(G)
        .subscribe("T", "Aa || C")
        .consume_from(ConsumeFrom::First)
        .start_concurrently(stage.config(), move |messages| {
            note.note(&messages);
            async { ConsumeStatus::Success }
        })
        .await
        .unwrap();
    stage.until("mine came", |_| seen.len() == 1).await;
    clock::sleep(Duration::from_millis(100)).await;
    consumer.shutdown().await;
    assert_eq!(seen.get(), ["mine"]);
    assert_eq!((offset(&stage, 0), offset(&stage, 1)), (Some(2), Some(1)));
}

#[tokio::test]
async fn what_fails_is_given_back_and_sent_if_the_broker_does_not_take_it() {
    let stage = Stage::new(1).await;
    for (i, body) in ["later", "after", "dead", "refused"].iter().enumerate() {
        stage.put("T", i as u32, body, &[("UNIQ_KEY", "K"), ("colour", "blue")]);
    }
    let consumer = builder()
        .workers(1)
        .start_concurrently(stage.config(), move |messages| async move {
            match &messages[0].body()[..] {
                _ if messages[0].queue().topic.starts_with("%RETRY%") => ConsumeStatus::Success,
                b"later" => ConsumeStatus::ReconsumeLater,
                b"after" => ConsumeStatus::ReconsumeAfter(5),
                b"dead" => ConsumeStatus::DeadLetter,
                _ => {
                    // By now the others may have been given back or not; only this one is refused.
                    clock::sleep(Duration::from_millis(200)).await;
                    ConsumeStatus::ReconsumeLater
                }
            }
        });
    let consumer = consumer.await.unwrap();
    stage.until("three are given back", |w| w.given_back.len() >= 3).await;
    stage.script(0, c::CONSUMER_SEND_MSG_BACK, &[Act::Refuse(r::SYSTEM_ERROR)]);
    stage
        .until("all are dealt with", |w| w.given_back.len() + w.sends.len() == 4)
        .await;
    consumer.shutdown().await;
    let world = stage.world();
    let mut levels: Vec<i64> = world.given_back.iter().map(|b| b.1).collect();
    levels.sort_unstable();
    // The order of queues is open, so any one of them may have met the refusal.
    assert!(levels.len() == 3 || levels == [-1, 0, 0, 5], "{levels:?}");
    for ((topic, _), records) in world.queues.iter().filter(|((t, _), _)| t.starts_with("%RETRY%")) {
        let record = mq_message::RecordView::parse(&records[0]).unwrap();
        assert_eq!(topic, "%RETRY%group");
        assert_eq!(record.property("RETRY_TOPIC"), Some("T"));
        assert_eq!(record.property("RECONSUME_TIME"), Some("1"));
        assert_eq!(record.property("colour"), Some("blue"));
    }
    drop(world);
    for queue in 0..4 {
        assert_eq!(offset(&stage, queue), Some(1), "{queue}");
    }
}

#[tokio::test]
async fn an_orderly_consumer_keeps_order_through_failures_and_needs_the_lock() {
    let stage = Stage::new(1).await;
    stage.world().grant = false;
    for i in 0..20 {
        stage.put("T", 0, &i.to_string(), &[]);
    }
    let seen = Seen::default();
    let (note, tries) = (seen.clone(), Arc::new(Mutex::new(0)));
    let consumer = builder()
        .suspend_queue(Duration::from_millis(5))
        .start_orderly(stage.config(), move |messages| {
            let mut tries = tries.lock().unwrap();
            *tries += 1;
            let fails = *tries % 3 == 0;
            if !fails {
                note.note(&messages);
            }
            async move {
                if fails {
                    OrderlyStatus::SuspendCurrentQueueAMoment
                } else {
                    OrderlyStatus::Success
                }
            }
        })
        .await
        .unwrap();
    stage
        .until("a lock is asked for", |w| w.seen.contains(&(0, c::LOCK_BATCH_MQ)))
        .await;
    clock::sleep(Duration::from_millis(100)).await;
    assert_eq!(seen.len(), 0, "consumed without a lock");
    stage.world().grant = true;
    stage.until("all are consumed", |_| seen.len() == 20).await;
    consumer.shutdown().await;
    assert_eq!(seen.get(), (0..20).map(|i| i.to_string()).collect::<Vec<_>>());
    assert_eq!(offset(&stage, 0), Some(20));
    assert!(stage.world().seen.contains(&(0, c::UNLOCK_BATCH_MQ)));
}

#[tokio::test]
async fn queues_are_shared_with_others_of_the_group() {
    let stage = Stage::new(1).await;
    let consumer = builder().start_concurrently(stage.config(), |_| async { ConsumeStatus::Success });
    let consumer = consumer.await.unwrap();
    let mine = |c: &PushConsumer| c.assigned().iter().filter(|q| &*q.topic == "T").count();
    stage.until("all queues are ours", |_| mine(&consumer) == 4).await;
    stage.world().others.push("~last in the order".to_owned());
    let mut notice = Command::bare_request(c::NOTIFY_CONSUMER_IDS_CHANGED);
    notice = notice.with_field("consumerGroup", G);
    stage.push(&notice);
    stage.until("half of them are left", |_| mine(&consumer) == 2).await;
    consumer.shutdown().await;
}

#[tokio::test]
async fn consumption_goes_on_when_the_leader_is_killed() {
    let mut stage = Stage::new(2).await;
    stage.put("T", 0, "before", &[]);
    let seen = Seen::default();
    let note = seen.clone();
    let consumer = builder().start_concurrently(stage.config(), move |messages| {
        note.note(&messages);
        async { ConsumeStatus::Success }
    });
    let consumer = consumer.await.unwrap();
    stage.until("the first came", |_| seen.len() == 1).await;
    stage.kill(0);
    let killed = clock::now();
    stage.put("T", 0, "after", &[]);
    stage.until("the second came", |_| seen.len() == 2).await;
    let gap = clock::now() - killed;
    assert!(gap < Duration::from_millis(500), "{gap:?}");
    consumer.shutdown().await;
    assert_eq!(offset(&stage, 0), Some(2));
}

#[tokio::test]
async fn an_administrator_moves_a_group() {
    let stage = Stage::new(1).await;
    for i in 0..5 {
        stage.put("T", 0, &i.to_string(), &[]);
    }
    let seen = Seen::default();
    let note = seen.clone();
    let consumer = builder().start_concurrently(stage.config(), move |messages| {
        note.note(&messages);
        async { ConsumeStatus::Success }
    });
    let consumer = consumer.await.unwrap();
    stage.until("all came", |_| seen.len() == 5).await;
    let mut reset = body::ResetOffsetBody::default();
    reset
        .offset_table
        .insert(body::MessageQueue::new("T", GROUP, 0).into(), 3);
    let command = Command::bare_request(c::RESET_CONSUMER_CLIENT_OFFSET)
        .with_field("topic", "T")
        .with_field("group", G)
        .with_body(body::to_fastjson(&reset));
    stage.push(&command);
    stage.until("two come again", |_| seen.len() == 7).await;
    consumer.shutdown().await;
    let mut again = seen.get().split_off(5);
    again.sort();
    assert_eq!(again, ["3", "4"]);
}

#[tokio::test]
async fn an_offset_the_broker_does_not_have_is_corrected() {
    let stage = Stage::new(1).await;
    stage.put("T", 0, "old", &[]);
    stage.world().offsets.insert((G.into(), "T".into(), 0), 100);
    let seen = Seen::default();
    let note = seen.clone();
    let consumer = builder().start_concurrently(stage.config(), move |messages| {
        note.note(&messages);
        async { ConsumeStatus::Success }
    });
    let consumer = consumer.await.unwrap();
    // The stage answers like a broker: go on at 1.
    stage
        .until("the offset is corrected", |w| {
            w.offsets[&(G.into(), "T".into(), 0)] == 1
        })
        .await;
    stage.put("T", 0, "new", &[]);
    stage.until("the new one came", |_| seen.len() == 1).await;
    consumer.shutdown().await;
    assert_eq!(seen.get(), ["new"]);
}

#[tokio::test]
async fn broadcasting_offsets_live_in_a_file() {
    let stage = Stage::new(1).await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = stage.config();
    config.offset_dir = dir.path().to_owned();
    let seen = Seen::default();
    for round in 0..3 {
        stage.put("T", 0, &round.to_string(), &[]);
        let note = seen.clone();
        let consumer = builder().model(MessageModel::Broadcasting);
        let consumer = consumer.start_concurrently(config.clone(), move |messages| {
            note.note(&messages);
            // What fails is not tried again.
            async { ConsumeStatus::ReconsumeLater }
        });
        let consumer = consumer.await.unwrap();
        stage.until("one more came", |_| seen.len() > round).await;
        consumer.shutdown().await;
    }
    assert_eq!(seen.get(), ["0", "1", "2"]);
    assert!(stage.world().offsets.is_empty() && stage.world().given_back.is_empty());
}

#[tokio::test]
async fn a_lite_pull_consumer_polls_seeks_and_commits() {
    let stage = Stage::new(2).await;
    for i in 0..100 {
        stage.put("T", 0, &i.to_string(), &[]);
    }
    let consumer = LitePullConsumer::builder(G).auto_commit(None);
    let consumer = consumer.start(stage.config()).await.unwrap();
    let queue = MessageQueue::new("T", GROUP, 0);
    consumer.seek(&queue, QueueOffset(0)).unwrap_err();
    consumer.assign(std::slice::from_ref(&queue)).await.unwrap();
    consumer.seek(&queue, QueueOffset(0)).unwrap();
    let poll = || consumer.poll(Duration::from_secs(5));
    let mut got = Vec::new();
    while got.len() < 100 {
        got.extend(poll().await);
    }
    let offsets: Vec<u64> = got.iter().map(|m| m.queue_offset().get()).collect();
    assert_eq!(offsets, (0..100).collect::<Vec<_>>());
    assert_eq!(consumer.committed(&queue).await.unwrap(), None);
    consumer.commit().await.unwrap();
    assert_eq!(consumer.committed(&queue).await.unwrap(), Some(QueueOffset(100)));
    consumer.seek(&queue, QueueOffset(95)).unwrap();
    assert_eq!(poll().await[0].queue_offset(), QueueOffset(95));
    // An offset from the future: the broker offers another.
    consumer.seek(&queue, QueueOffset(1_000)).unwrap();
    let pulls = |w: &stage::World| w.seen.iter().filter(|s| s.1 == c::LITE_PULL_MESSAGE).count();
    let before = pulls(&stage.world());
    stage
        .until("the future was asked for", |w| pulls(w) >= before + 2)
        .await;
    stage.put("T", 0, "next", &[]);
    assert_eq!(poll().await[0].body(), "next");
    consumer.shutdown().await;
}

#[tokio::test]
async fn tools_can_ask_a_consumer_about_itself() {
    let stage = Stage::new(1).await;
    let consumer = builder().start_concurrently(stage.config(), |_| async { ConsumeStatus::Success });
    let consumer = consumer.await.unwrap();
    stage
        .until("queues are assigned", |_| consumer.assigned().len() >= 4)
        .await;
    let ask = |code| {
        Command::bare_request(code)
            .with_field("consumerGroup", G)
            .with_field("group", G)
            .with_field("topic", "T")
    };
    let info = stage.ask_client(ask(c::GET_CONSUMER_RUNNING_INFO)).await;
    let info: body::ConsumerRunningInfo = body::from_slice(&info.body).unwrap();
    assert!(info.mq_table.len() >= 4);
    let status = stage.ask_client(ask(c::GET_CONSUMER_STATUS_FROM_CLIENT)).await;
    let status: body::GetConsumerStatusBody = body::from_slice(&status.body).unwrap();
    assert_eq!(status.message_queue_table.len(), 4);
    let unknown = stage.ask_client(Command::bare_request(4711)).await;
    assert_ne!(unknown.code, r::SUCCESS);
    consumer.shutdown().await;
}
