use super::*;
use crate::ask::{Ask, Reply};
use crate::seams::Judged;
use mq_base::env::clock;
use mq_remoting::body::{self, LockBatchBody, LockBatchResponseBody, MessageQueue};
use mq_remoting::header::{
    GetMaxOffset, OffsetResponse, QueryConsumerOffset, ResetOffset, SearchOffset, UpdateConsumerOffset,
};
use std::sync::Arc;
use std::time::Duration;

fn query(group: &str, set_zero: Option<bool>) -> Command {
    let header = QueryConsumerOffset {
        consumer_group: group.into(),
        topic: "T".into(),
        queue_id: 0,
        set_zero_if_not_found: set_zero,
        broker_name: None,
    };
    Command::request(code::QUERY_CONSUMER_OFFSET, &header)
}

fn update(group: &str, offset: i64) -> Command {
    let header = UpdateConsumerOffset {
        consumer_group: group.into(),
        topic: "T".into(),
        queue_id: Some(0),
        commit_offset: Some(offset),
        broker_name: None,
    };
    Command::request(code::UPDATE_CONSUMER_OFFSET, &header)
}

async fn offset(bed: &Testbed, command: Command) -> i64 {
    ok::<OffsetResponse>(&bed.call(command).await).offset
}

#[tokio::test(start_paused = true)]
async fn a_new_group_starts_at_zero_even_on_an_empty_queue() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    group(&bed, "G").await;
    assert_eq!(offset(&bed, query("G", None)).await, 0);
    assert_eq!(bed.call(query("G", Some(false))).await.code, response::QUERY_NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn commits_are_kept_and_late_one_way_ones_do_not_go_back() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    group(&bed, "G").await;
    assert_eq!(
        bed.call(update("none", 1)).await.code,
        response::SUBSCRIPTION_GROUP_NOT_EXIST
    );
    assert_eq!(bed.call(update("G", 7)).await.code, 0);
    assert_eq!(offset(&bed, query("G", None)).await, 7);
    drop(bed.send(update("G", 9).oneway()));
    drop(bed.send(update("G", 8).oneway()));
    assert_eq!(offset(&bed, query("G", None)).await, 9, "what was sent before is seen");
    drop(bed.send(update("G", 5).oneway()));
    clock::sleep(Duration::from_secs(1)).await;
    assert_eq!(offset(&bed, query("G", None)).await, 9);
    assert_eq!(bed.call(update("G", 5)).await.code, 0);
    assert_eq!(offset(&bed, query("G", None)).await, 5, "a tool may set it back");
    let pull = PullMessage {
        sys_flag: 4 + 1,
        commit_offset: 6,
        consumer_group: "G".into(),
        ..pull_header("T", 0, 0)
    };
    bed.call(pull_command(&pull)).await;
    assert_eq!(offset(&bed, query("G", None)).await, 6);
}

#[tokio::test(start_paused = true)]
async fn a_commit_right_behind_the_pull_that_founds_the_group_is_taken() {
    let bed = Arc::new(Testbed::new());
    topic(&bed, "T", 1).await;
    let (inner, (told, answer)) = (bed.clone(), tokio::sync::oneshot::channel());
    // Within this reply nothing that is asked is applied yet.
    bed.solo.ask(Ask::Barrier(Reply::new(move |_| {
        let pull = PullMessage {
            consumer_group: "new".into(),
            ..pull_header("T", 0, 0)
        };
        drop(inner.send(pull_command(&pull)));
        let _ = told.send(inner.send(update("new", 3)));
    })));
    assert_eq!(answer.await.unwrap().recv().await.unwrap().code, 0);
    assert_eq!(offset(&bed, query("new", None)).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_reset_reaches_the_consumer_by_its_next_pull() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    group(&bed, "G").await;
    for _ in 0..5 {
        send(&bed, "T", &[], b"x").await;
    }
    bed.call(update("G", 5)).await;
    let header = ResetOffset {
        topic: "T".into(),
        group: "G".into(),
        queue_id: 0,
        offset: Some(2),
        timestamp: -1,
        is_force: true,
    };
    let reset = |header: &ResetOffset| Command::request(code::INVOKE_BROKER_TO_RESET_OFFSET, header);
    assert_eq!(
        bed.call(reset(&ResetOffset {
            offset: Some(9),
            ..header.clone()
        }))
        .await
        .code,
        response::SYSTEM_ERROR
    );
    let answer = bed.call(reset(&header)).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    assert!(
        String::from_utf8_lossy(&answer.body).contains(":2"),
        "{:?}",
        answer.body
    );
    assert_eq!(bed.call(update("G", 5)).await.code, 0, "swallowed");
    drop(bed.send(update("G", 5).oneway()));
    assert_eq!(offset(&bed, query("G", None)).await, 2);
    let pull = PullMessage {
        consumer_group: "G".into(),
        ..pull_header("T", 0, 5)
    };
    let answer = bed.call(pull_command(&pull)).await;
    let next: PullMessageResponse = answer.header().unwrap();
    assert_eq!((answer.code, next.next_begin_offset), (response::PULL_OFFSET_MOVED, 2));
    let pull = PullMessage {
        consumer_group: "G".into(),
        ..pull_header("T", 0, 2)
    };
    assert_eq!(seen(&bed.call(pull_command(&pull)).await.body).len(), 3, "once only");
    bed.call(update("G", 4)).await;
    assert_eq!(offset(&bed, query("G", None)).await, 4);
}

#[tokio::test(start_paused = true)]
async fn offsets_are_found_by_time() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    let begin = clock::wall_ms();
    for _ in 0..5 {
        send(&bed, "T", &[], b"x").await;
        clock::sleep(Duration::from_secs(10)).await;
    }
    let search = |after_ms: i64, kind: &str| {
        let header = SearchOffset {
            topic: "T".into(),
            queue_id: 0,
            timestamp: begin + after_ms,
            boundary_type: Some(kind.to_owned().into()),
            broker_name: None,
        };
        Command::request(code::SEARCH_OFFSET_BY_TIMESTAMP, &header)
    };
    for (after_ms, lower, upper) in [
        (-1_000, 0, 0),
        (0, 0, 0),
        (1, 1, 0),
        (20_000, 2, 2),
        (25_000, 3, 2),
        (99_000, 5, 4),
    ] {
        assert_eq!(offset(&bed, search(after_ms, "LOWER")).await, lower, "lower {after_ms}");
        assert_eq!(offset(&bed, search(after_ms, "upper")).await, upper, "upper {after_ms}");
    }
    let max = GetMaxOffset {
        topic: "T".into(),
        queue_id: 0,
        committed: None,
        broker_name: None,
    };
    assert_eq!(offset(&bed, Command::request(code::GET_MAX_OFFSET, &max)).await, 5);
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_locked_by_one_client_until_it_gives_up_or_goes_silent() {
    let bed = Testbed::new();
    topic(&bed, "T", 2).await;
    let body = |client: &str| {
        let queues = (0..2).map(|queue| MessageQueue::new("T", "b", queue)).collect();
        let body = LockBatchBody {
            client_id: client.into(),
            consumer_group: "G".into(),
            mq_set: queues,
            only_this_broker: false,
        };
        body::to_fastjson(&body)
    };
    let lock = |client: &str| Command::bare_request(code::LOCK_BATCH_MQ).with_body(body(client));
    let unlock = |client: &str| Command::bare_request(code::UNLOCK_BATCH_MQ).with_body(body(client));
    let held = |answer: Command| {
        let body: LockBatchResponseBody = body::from_slice(&answer.body).unwrap();
        body.lock_ok_mq_set.len()
    };
    assert_eq!(held(bed.call(lock("a")).await), 2);
    assert_eq!(held(bed.call(lock("a")).await), 2, "renewed");
    assert_eq!(held(bed.call(lock("b")).await), 0);
    bed.call(unlock("b")).await;
    assert_eq!(held(bed.call(lock("b")).await), 0, "only the owner gives back");
    bed.call(unlock("a")).await;
    assert_eq!(held(bed.call(lock("b")).await), 2);
    clock::sleep(Duration::from_secs(59)).await;
    assert_eq!(held(bed.call(lock("a")).await), 0);
    clock::sleep(Duration::from_secs(2)).await;
    assert_eq!(held(bed.call(lock("a")).await), 2, "silent for a minute");
}
