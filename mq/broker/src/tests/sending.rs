use super::*;
use crate::ask::{Ask, Reply, UpsertTopic};
use crate::seams::Judged;
use crate::state::TopicConfig;
use bytes::BytesMut;
use mq_message::{batch, msg_id, topic as names};

async fn template(bed: &Testbed) {
    let (reply, answer) = Reply::channel();
    let mut config = TopicConfig::new(names::AUTO_CREATE, 8);
    config.perm = 7;
    bed.solo.ask(Ask::UpsertTopic(
        UpsertTopic {
            config,
            only_if_absent: true,
        },
        reply,
    ));
    answer.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_is_stored_and_pulled_as_it_was_sent() {
    let bed = Testbed::new();
    topic(&bed, "T", 2).await;
    let sent = send(&bed, "T", &[("UNIQ_KEY", "AB01"), ("TAGS", "a")], b"hello").await;
    assert_eq!((sent.queue_id, sent.queue_offset), (0, 0));
    assert_eq!(sent.transaction_id.as_deref(), Some("AB01"));
    assert_eq!(sent.msg_region.as_deref(), Some("DefaultRegion"));
    assert_eq!(sent.trace_on.as_deref(), Some("true"));
    let second = send(&bed, "T", &[], b"again").await;
    assert_eq!(second.queue_offset, 1);
    assert!(
        second.transaction_id.is_some_and(|key| key.len() == 32),
        "a unique key is made where there is none"
    );

    let (code, header, seen) = pull(&bed, "T", 0, 0).await;
    assert_eq!(
        (code, header.next_begin_offset, header.min_offset, header.max_offset),
        (0, 2, 0, 2)
    );
    assert_eq!(seen.len(), 2);
    let (host, physical) = msg_id::parse_offset_id(&sent.msg_id).unwrap();
    assert_eq!(
        (host, physical.get()),
        (([127, 0, 0, 1], 10911).into(), seen[0].physical)
    );
    assert_eq!((seen[0].queue_offset, &seen[0].body[..]), (0, &b"hello"[..]));
    for pair in [
        "UNIQ_KEY\u{1}AB01\u{2}",
        "TAGS\u{1}a\u{2}",
        "CLUSTER\u{1}DefaultCluster\u{2}",
        "TRACE_ON\u{1}true\u{2}",
    ] {
        assert!(
            seen[0].properties.contains(pair),
            "{pair:?} in {:?}",
            seen[0].properties
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_created_after_its_template() {
    let bed = Testbed::new();
    let refused = bed.call(send_command(send_header("New"), b"x")).await;
    assert_eq!(refused.code, response::TOPIC_NOT_EXIST, "no template");
    template(&bed).await;
    let header = SendMessageHeader {
        queue_id: 3,
        ..send_header("New")
    };
    let sent: SendMessageResponse = ok(&bed.call(send_command(header, b"x")).await);
    assert_eq!((sent.queue_id, sent.queue_offset), (3, 0));
    let state = bed.path.view.state();
    let config = &state.topics.get("New").unwrap().config;
    assert_eq!((config.read_queues, config.write_queues, config.perm), (4, 4, 6));
}

#[tokio::test(start_paused = true)]
async fn refusals_have_their_codes() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    let big = vec![0u8; 4 * 1024 * 1024 + 1];
    let long = "k".repeat(40_000);
    let cases: Vec<(SendMessageHeader, &[u8], i32)> = vec![
        (send_header("a b"), b"x", response::INVALID_PARAMETER),
        (send_header("SCHEDULE_TOPIC_XXXX"), b"x", response::NO_PERMISSION),
        (send_header("Missing"), b"x", response::TOPIC_NOT_EXIST),
        (
            SendMessageHeader {
                queue_id: 1,
                ..send_header("T")
            },
            b"x",
            response::INVALID_PARAMETER,
        ),
        (send_header("%RETRY%none"), b"x", response::SUBSCRIPTION_GROUP_NOT_EXIST),
        (send_header("T"), &big, response::MESSAGE_ILLEGAL),
        (
            SendMessageHeader {
                properties: properties(&[("K", &long)]),
                ..send_header("T")
            },
            b"x",
            response::MESSAGE_ILLEGAL,
        ),
        (
            SendMessageHeader {
                batch: Some(true),
                ..send_header("T")
            },
            b"x",
            response::MESSAGE_ILLEGAL,
        ),
    ];
    for (header, body, code) in cases {
        let topic = header.topic.clone();
        let answer = bed.call(send_command(header, body)).await;
        assert_eq!(answer.code, code, "{topic}: {:?}", answer.remark);
        assert!(answer.remark.is_some_and(|remark| !remark.is_empty()));
    }
    assert_eq!(
        pull(&bed, "T", 0, 0).await.0,
        response::PULL_NOT_FOUND,
        "nothing was stored"
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_becomes_messages_side_by_side() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    let mut body = BytesMut::new();
    for n in 0..3 {
        let text = properties(&[("UNIQ_KEY", &format!("K{n}")), ("TAGS", "t")]).unwrap();
        batch::Item {
            flag: n,
            body: &[n as u8],
            properties: &text,
        }
        .encode_into(&mut body)
        .unwrap();
    }
    let mut command = send_command(send_header("T"), &body);
    command.code = code::SEND_BATCH_MESSAGE;
    let sent: SendMessageResponse = ok(&bed.call(command.clone()).await);
    assert_eq!(sent.queue_offset, 0);
    assert_eq!(sent.msg_id.split(',').count(), 3);
    let (_, _, seen) = pull(&bed, "T", 0, 0).await;
    let ids: Vec<u64> = sent
        .msg_id
        .split(',')
        .map(|id| msg_id::parse_offset_id(id).unwrap().1.get())
        .collect();
    assert_eq!(seen.iter().map(|m| m.physical).collect::<Vec<_>>(), ids);
    assert_eq!(seen.iter().map(|m| m.body[0]).collect::<Vec<_>>(), [0, 1, 2]);

    let again: SendMessageResponse = ok(&bed.send_as(command, true).recv().await.unwrap());
    assert_eq!(
        (again.msg_id, again.queue_offset),
        (sent.msg_id, 0),
        "a resend is answered with the first result"
    );
    assert_eq!(pull(&bed, "T", 0, 0).await.2.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_resend_is_stored_once() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    let command = |key: &str| {
        send_command(
            SendMessageHeader {
                properties: properties(&[("UNIQ_KEY", key)]),
                ..send_header("T")
            },
            b"x",
        )
    };
    let first: SendMessageResponse = ok(&bed.send_as(command("A"), true).recv().await.unwrap());
    let again: SendMessageResponse = ok(&bed.send_as(command("A"), true).recv().await.unwrap());
    assert_eq!(
        (first.queue_offset, again.queue_offset, &first.msg_id),
        (0, 0, &again.msg_id)
    );
    let other: SendMessageResponse = ok(&bed.send_as(command("B"), true).recv().await.unwrap());
    assert_eq!(other.queue_offset, 1);
    let plain: SendMessageResponse = ok(&bed.call(command("A")).await);
    assert_eq!(plain.queue_offset, 2, "only what says that it is a resend is looked up");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_lead_stores_nothing() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    bed.solo.lead(false);
    let answer = bed.call(send_command(send_header("T"), b"x")).await;
    assert_eq!(answer.code, response::SERVICE_NOT_AVAILABLE);
    bed.solo.lead(true);
    assert_eq!(pull(&bed, "T", 0, 0).await.0, response::PULL_NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn messages_are_found_by_key_and_by_place() {
    use mq_remoting::header::{QueryMessage, ViewMessage};
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    topic(&bed, "U", 1).await;
    let sent = send(&bed, "T", &[("UNIQ_KEY", "U1"), ("KEYS", "k1 k2")], b"1").await;
    send(&bed, "T", &[("UNIQ_KEY", "U2"), ("KEYS", "k2")], b"2").await;
    send(&bed, "U", &[("UNIQ_KEY", "U3"), ("KEYS", "k2")], b"3").await;
    let query = |key: &str, unique: bool, max_num: i32| {
        let header = QueryMessage {
            topic: "T".into(),
            key: key.to_owned().into(),
            max_num,
            begin_timestamp: 0,
            end_timestamp: i64::MAX,
            unique_key_query: Some(unique),
        };
        Command::request(code::QUERY_MESSAGE, &header)
    };
    let bodies = |answer: &Command| seen(&answer.body).iter().map(|m| m.body.clone()).collect::<Vec<_>>();
    assert_eq!(bodies(&bed.call(query("k2", false, 32)).await), [b"1", b"2"]);
    assert_eq!(bodies(&bed.call(query("k2", false, 1)).await), [b"2"], "the newest");
    assert_eq!(bodies(&bed.call(query("U1", true, 32)).await), [b"1"]);
    assert_eq!(bed.call(query("k1", true, 32)).await.code, response::QUERY_NOT_FOUND);
    let (_, physical) = msg_id::parse_offset_id(&sent.msg_id).unwrap();
    let view = |offset: i64| {
        let header = ViewMessage {
            offset,
            topic: None,
            broker_name: None,
        };
        Command::request(code::VIEW_MESSAGE_BY_ID, &header)
    };
    assert_eq!(bodies(&bed.call(view(physical.to_wire())).await), [b"1"]);
    for wrong in [physical.to_wire() + 1, physical.to_wire() - 12, 1 << 40, -1] {
        assert_eq!(bed.call(view(wrong)).await.code, response::SYSTEM_ERROR, "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_takes_offsets_but_no_messages() {
    let world = mq_base::env::sim::World::new("n0", 4);
    let bed = Testbed::on(&world, crate::config::Settings::defaults(), 1 << 20, None);
    topic(&bed, "T", 1).await;
    group(&bed, "G").await;
    send(&bed, "T", &[], b"x").await;
    bed.path.reader.note_full(true);
    let refused = bed.call(send_command(send_header("T"), b"x")).await;
    assert_eq!(refused.code, response::SERVICE_NOT_AVAILABLE);
    let header = mq_remoting::header::UpdateConsumerOffset {
        consumer_group: "G".into(),
        topic: "T".into(),
        queue_id: Some(0),
        commit_offset: Some(1),
        broker_name: None,
    };
    assert_eq!(
        bed.call(Command::request(code::UPDATE_CONSUMER_OFFSET, &header))
            .await
            .code,
        0
    );
    bed.path.reader.note_full(false);
    send(&bed, "T", &[], b"x").await;
}

/// Names and texts that cannot be stored must be refused by the judge: an entry that cannot be applied would stop every
/// member of the group.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_applied_is_refused() {
    use crate::ask::{LockQueues, OffsetCommit, QueueName};
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    let long = "x".repeat(70_000);
    let config = |name: &str| TopicConfig::new(name, 1);
    for name in ["", "a/b", "a b", &long] {
        let (reply, answer) = Reply::channel();
        bed.solo.ask(Ask::UpsertTopic(
            UpsertTopic {
                config: config(name),
                only_if_absent: false,
            },
            reply,
        ));
        assert!(answer.await.unwrap().is_err(), "{}", name.len());
    }
    topic(&bed, "named.like-a.broker", 1).await;
    let sent = bed.call(send_command(send_header("named.like-a.broker"), b"x")).await;
    assert_eq!(sent.code, response::INVALID_PARAMETER);
    for (group, owner) in [(long.as_str(), "c"), ("G", long.as_str()), ("", "c")] {
        let (reply, answer) = Reply::channel();
        let queues = vec![QueueName {
            topic: "T".into(),
            queue: 0.into(),
        }];
        bed.solo.ask(Ask::Lock(
            LockQueues {
                group: group.into(),
                owner: owner.into(),
                queues,
            },
            reply,
        ));
        assert!(answer.await.unwrap().is_err());
    }
    let commit = OffsetCommit {
        group: long.as_str().into(),
        topic: "T".into(),
        queue: 0.into(),
        offset: 1.into(),
        only_advance: false,
    };
    let (reply, answer) = Reply::channel();
    bed.solo.ask(Ask::CommitOffsets(vec![commit.clone()], reply));
    answer.await.unwrap().unwrap();
    assert!(bed.path.view.state().offsets.iter().next().is_none(), "dropped");
    let (reply, answer) = Reply::channel();
    bed.solo.ask(Ask::ResetOffsets(vec![commit], reply));
    assert!(answer.await.unwrap().is_err());
    let (reply, answer) = Reply::channel();
    bed.solo.ask(Ask::OpenProducer(long.as_str().into(), reply));
    assert!(answer.await.unwrap().is_err());
    let (reply, answer) = Reply::channel();
    bed.solo.ask(Ask::Append(crate::ask::Append {
        topic: "T".into(),
        queue: 0.into(),
        records: BytesMut::from(&[0u8; 100][..]),
        create: None,
        reply,
    }));
    assert!(answer.await.unwrap().is_err(), "no record");
    send(&bed, "T", &[], b"still alive").await;
}
