//! Old segments go; what must outlive them does.

use super::*;
use crate::ask::{Ask, Minimum, QueueName, Reply, Retain};
use crate::config::Settings;
use crate::seams::Judged;
use mq_base::env::clock;
use mq_base::env::sim::World;
use mq_message::{QueueId, QueueOffset};
use mq_remoting::header::EndTransaction;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn expired_messages_go_and_half_messages_stay() {
    let world = World::new("n0", 9);
    let settings = Settings {
        file_reserved_hours: 1,
        delete_when: "0;1;2;3;4;5;6;7;8;9;10;11;12;13;14;15;16;17;18;19;20;21;22;23".into(),
        transaction_time_out_ms: 80_000_000,
        ..Settings::defaults()
    };
    let bed = Testbed::on(&world, settings, 64 * 1024, None);
    topic(&bed, "T", 1).await;
    let header = SendMessageHeader {
        properties: properties(&[("TRAN_MSG", "true"), ("PGROUP", "P")]),
        ..send_header("T")
    };
    clock::sleep(Duration::from_secs(1)).await;
    for _ in 0..100 {
        send(&bed, "T", &[], &[1; 2_000]).await;
    }
    clock::sleep(Duration::from_secs(1_800)).await;
    let half: SendMessageResponse = ok(&bed.call(send_command(header, b"half")).await);
    for _ in 0..100 {
        send(&bed, "T", &[], &[2; 2_000]).await;
    }
    assert_eq!(bed.path.view.state().topics.get("T").unwrap().queues[0].min.get(), 0);
    clock::sleep(Duration::from_secs(1_900)).await;
    send(&bed, "T", &[], &[3; 2_000]).await;
    clock::sleep(Duration::from_secs(20)).await;
    let (line, min) = {
        let state = bed.path.view.state();
        (state.retained, state.topics.get("T").unwrap().queues[0].min.get())
    };
    assert!(
        (50..=100).contains(&min),
        "the first hundred are over an hour old: {min}"
    );
    let (code, header, _) = pull(&bed, "T", 0, 0).await;
    assert_eq!(
        (code, header.next_begin_offset as u64),
        (response::PULL_OFFSET_MOVED, min)
    );
    let (_, _, found) = pull(&bed, "T", 0, min as i64).await;
    assert!(found[0].physical >= line.get());

    // Half an hour later the segment of the half message goes too; it was stored again before.
    clock::sleep(Duration::from_secs(1_750)).await;
    send(&bed, "T", &[], &[4; 70]).await;
    clock::sleep(Duration::from_secs(30)).await;
    let state = bed.path.view.state().clone();
    let (_, kept) = state.halves.iter().next().expect("still undecided");
    assert!(
        kept.first_physical < state.retained && kept.physical >= state.retained,
        "{kept:?} {:?}",
        state.retained
    );
    let (_, physical) = mq_message::msg_id::parse_offset_id(&half.msg_id).unwrap();
    let end = EndTransaction {
        topic: None,
        producer_group: "P".into(),
        tran_state_table_offset: half.queue_offset,
        commit_log_offset: physical.to_wire(),
        commit_or_rollback: 8,
        from_transaction_check: false,
        msg_id: "".into(),
        transaction_id: None,
        broker_name: None,
    };
    let next = state.topics.get("T").unwrap().queues[0].next.to_wire();
    assert_eq!(bed.call(Command::request(code::END_TRANSACTION, &end)).await.code, 0);
    assert_eq!(
        pull(&bed, "T", 0, next).await.2[0].body,
        b"half",
        "its producer still knows it by its first place"
    );
}

#[tokio::test(start_paused = true)]
async fn a_minimum_meant_for_a_deleted_topic_is_not_taken_by_its_successor() {
    let bed = Testbed::new();
    let topic_now = || {
        bed.path
            .view
            .state()
            .topics
            .get("T")
            .map(|topic| (topic.incarnation, topic.queues[0].min))
    };
    topic(&bed, "T", 1).await;
    send(&bed, "T", &[], b"of the first").await;
    let (first, _) = topic_now().unwrap();
    let (reply, deleted) = Reply::channel();
    bed.solo.ask(Ask::DeleteTopic("T".into(), reply));
    deleted.await.unwrap().unwrap();
    topic(&bed, "T", 1).await;
    send(&bed, "T", &[], b"of the second").await;
    let (second, min) = topic_now().unwrap();
    assert_ne!(first, second);
    assert_eq!(min.get(), 0);
    for (incarnation, expected) in [(first, 0), (second, 1)] {
        let minimum = Minimum {
            queue: QueueName {
                topic: "T".into(),
                queue: QueueId(0),
            },
            incarnation,
            min: QueueOffset(1),
        };
        let (reply, retained) = Reply::channel();
        let retain = Retain {
            minimums: vec![minimum],
            ..Retain::default()
        };
        bed.solo.ask(Ask::Retain(retain, reply));
        retained.await.unwrap().unwrap();
        assert_eq!(topic_now().unwrap().1.get(), expected);
    }
}
