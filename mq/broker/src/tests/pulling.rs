use super::*;
use mq_base::env::clock;
use mq_message::java_hash;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn offsets_outside_are_answered_as_rocketmq_does() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    assert_eq!(pull(&bed, "T", 0, 0).await.0, response::PULL_NOT_FOUND);
    let (code, header, _) = pull(&bed, "T", 0, 5).await;
    assert_eq!((code, header.next_begin_offset), (response::PULL_OFFSET_MOVED, 0));
    for _ in 0..3 {
        send(&bed, "T", &[], b"x").await;
    }
    let (code, header, _) = pull(&bed, "T", 0, 3).await;
    assert_eq!(
        (code, header.next_begin_offset, header.max_offset),
        (response::PULL_NOT_FOUND, 3, 3)
    );
    let (code, header, _) = pull(&bed, "T", 0, 9).await;
    assert_eq!((code, header.next_begin_offset), (response::PULL_OFFSET_MOVED, 3));
}

#[tokio::test(start_paused = true)]
async fn a_client_is_never_sent_elsewhere_by_a_member_that_may_be_deposed() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    send(&bed, "T", &[], b"x").await;
    let mut settings = (*bed.path.settings.get()).clone();
    settings.slave_read_enable = true;
    let follower = pull_header("T", 0, 9);
    bed.solo.lead(false);
    let refused = bed.call(pull_command(&follower)).await;
    assert_eq!(
        refused.code,
        response::SERVICE_NOT_AVAILABLE,
        "not a leader, not a reader"
    );
    bed.path.settings.update("slaveReadEnable=true").unwrap();
    let answer = bed.call(pull_command(&follower)).await;
    let header: PullMessageResponse = answer.header().unwrap();
    assert_eq!(
        (answer.code, header.next_begin_offset),
        (response::PULL_RETRY_IMMEDIATELY, 9)
    );
    assert_eq!(
        pull(&bed, "T", 0, 0).await.2.len(),
        1,
        "what it has, a follower may hand out"
    );
}

#[tokio::test(start_paused = true)]
async fn admission_has_its_codes() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    group(&bed, "G").await;
    let base = pull_header("T", 0, 0);
    let push = PullMessage {
        sys_flag: 0,
        consumer_group: "G".into(),
        ..base.clone()
    };
    let cases = [
        (
            PullMessage {
                topic: "Missing".into(),
                ..base.clone()
            },
            response::TOPIC_NOT_EXIST,
        ),
        (
            PullMessage {
                queue_id: 1,
                ..base.clone()
            },
            response::INVALID_PARAMETER,
        ),
        (
            PullMessage {
                queue_id: -1,
                ..base.clone()
            },
            response::INVALID_PARAMETER,
        ),
        (
            PullMessage {
                subscription: Some("||".into()),
                ..base.clone()
            },
            response::SUBSCRIPTION_PARSE_FAILED,
        ),
        (
            PullMessage {
                expression_type: Some("SQL92".into()),
                ..base.clone()
            },
            response::SYSTEM_ERROR,
        ),
        (push.clone(), response::SUBSCRIPTION_NOT_EXIST),
    ];
    for (header, code) in cases {
        assert_eq!(bed.call(pull_command(&header)).await.code, code, "{header:?}");
    }
    bed.subscribers.subscribe("G", "Other", "*");
    assert_eq!(
        bed.call(pull_command(&push)).await.code,
        response::SUBSCRIPTION_NOT_EXIST
    );
    bed.subscribers.subscribe("G", "T", "*");
    let newer = PullMessage {
        sub_version: 2,
        ..push.clone()
    };
    assert_eq!(
        bed.call(pull_command(&newer)).await.code,
        response::SUBSCRIPTION_NOT_LATEST
    );
    assert_eq!(bed.call(pull_command(&push)).await.code, response::PULL_NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn tags_are_filtered_and_the_next_offset_passes_what_does_not_match() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    for tag in ["a", "b", "a", "c"] {
        send(&bed, "T", &[("TAGS", tag)], tag.as_bytes()).await;
    }
    let header = |expression: &str| PullMessage {
        subscription: Some(expression.into()),
        ..pull_header("T", 0, 0)
    };
    let answer = bed.call(pull_command(&header("a || c"))).await;
    assert_eq!(
        seen(&answer.body).iter().map(|m| m.queue_offset).collect::<Vec<_>>(),
        [0, 2, 3]
    );
    let answer = bed.call(pull_command(&header("none"))).await;
    let next: PullMessageResponse = answer.header().unwrap();
    assert_eq!(
        (answer.code, next.next_begin_offset),
        (response::PULL_RETRY_IMMEDIATELY, 4)
    );
    // "Aa" and "BB" have the same hash: the broker hands out both, the client compares the texts.
    assert_eq!(java_hash("Aa"), java_hash("BB"));
}

#[tokio::test(start_paused = true)]
async fn counts_and_bytes_are_bounded() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    for _ in 0..40 {
        send(&bed, "T", &[], &[7; 1000]).await;
    }
    let (_, header, found) = pull(&bed, "T", 0, 0).await;
    assert_eq!((found.len(), header.next_begin_offset), (32, 32));
    let few = PullMessage {
        max_msg_nums: 5,
        ..pull_header("T", 0, 0)
    };
    assert_eq!(seen(&bed.call(pull_command(&few)).await.body).len(), 5);
    topic(&bed, "Big", 1).await;
    for _ in 0..3 {
        send(&bed, "Big", &[], &vec![1; 200_000]).await;
    }
    let (_, header, found) = pull(&bed, "Big", 0, 0).await;
    assert_eq!((found.len(), header.next_begin_offset), (1, 1), "256 KiB a pull");
}

fn waiting(topic: &str, expression: &str, offset: i64) -> Command {
    let header = PullMessage {
        sys_flag: 4 + 2,
        suspend_timeout_millis: 15_000,
        subscription: Some(expression.into()),
        ..pull_header(topic, 0, offset)
    };
    pull_command(&header)
}

#[tokio::test(start_paused = true)]
async fn a_waiting_pull_is_answered_by_what_arrives() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    let mut answer = bed.send(waiting("T", "*", 0));
    clock::sleep(Duration::from_secs(3)).await;
    assert!(answer.try_recv().is_err(), "it waits");
    assert_eq!(bed.path.polls.len(), 1);
    send(&bed, "T", &[], b"now").await;
    let answer = answer.recv().await.unwrap();
    assert_eq!((answer.code, &seen(&answer.body)[0].body[..]), (0, &b"now"[..]));
    assert_eq!(bed.path.polls.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_pull_ignores_what_does_not_match_and_ends_in_time() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    let began = clock::now();
    let mut answer = bed.send(waiting("T", "a", 0));
    clock::sleep(Duration::from_secs(1)).await;
    send(&bed, "T", &[("TAGS", "b")], b"no").await;
    clock::sleep(Duration::from_secs(1)).await;
    assert!(answer.try_recv().is_err(), "it goes on waiting");
    let answer = answer.recv().await.unwrap();
    let header: PullMessageResponse = answer.header().unwrap();
    assert_eq!(
        (answer.code, header.next_begin_offset),
        (response::PULL_RETRY_IMMEDIATELY, 1)
    );
    let held = clock::now() - began;
    assert!((15_000..16_000).contains(&held.as_millis()), "{held:?}");

    let nothing = bed.send(waiting("T", "*", 1)).recv().await.unwrap();
    assert_eq!(nothing.code, response::PULL_NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_pull_is_let_go_when_the_role_changes() {
    let bed = Testbed::new();
    topic(&bed, "T", 1).await;
    let mut answer = bed.send(waiting("T", "*", 0));
    clock::sleep(Duration::from_secs(1)).await;
    bed.solo.lead(false);
    clock::sleep(Duration::from_secs(1)).await;
    assert_eq!(answer.try_recv().unwrap().code, response::SERVICE_NOT_AVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn old_messages_come_from_disk() {
    let bed = Testbed::new();
    bed.path.settings.update("maxTransferCountOnMessageInDisk=8").unwrap();
    topic(&bed, "T", 1).await;
    for n in 0..600u32 {
        send(&bed, "T", &[], &[n.to_be_bytes().as_slice(), &[9; 2_000]].concat()).await;
    }
    clock::sleep(Duration::from_secs(5)).await; // the window holds 256 KiB; queues are written behind
    let mut next = 0;
    let mut bodies = Vec::new();
    while next < 600 {
        let (code, header, found) = pull(&bed, "T", 0, next).await;
        assert_eq!(code, 0, "at {next}");
        assert!(
            next > 300 || found.len() <= 8,
            "8 messages of a pull from disk, not {}",
            found.len()
        );
        bodies.extend(
            found
                .iter()
                .map(|m| u32::from_be_bytes(m.body[..4].try_into().unwrap())),
        );
        next = header.next_begin_offset;
    }
    assert_eq!(bodies, (0..600).collect::<Vec<_>>());
}
