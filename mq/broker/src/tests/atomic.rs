use super::*;
use bytes::BytesMut;
use mq_message::atomic::{AtomicBatch, BatchApplied, Message, Offset, OpenProducer, ProducerOpened};
use mq_message::{QueueId, QueueOffset};

async fn open(bed: &Testbed, id: &str) -> ProducerOpened {
    let mut body = BytesMut::new();
    OpenProducer { producer_id: id }.encode_into(&mut body).unwrap();
    let answer = bed
        .call(Command::bare_request(code::OPEN_PRODUCER).with_body(body.freeze()))
        .await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    ProducerOpened::decode(&answer.body).unwrap()
}

fn message<'a>(topic: &'a str, queue: u32, body: &'a [u8]) -> Message<'a> {
    Message {
        topic,
        queue_id: QueueId(queue),
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        properties: "",
        body,
    }
}

fn batch(epoch: u64, sequence: u64, messages: Vec<Message<'_>>) -> AtomicBatch<'_> {
    let offsets = vec![Offset {
        group: "G",
        topic: "A",
        queue_id: QueueId(0),
        offset: QueueOffset(sequence),
    }];
    AtomicBatch {
        producer_id: "relay",
        epoch,
        sequence,
        position: Some(b"gtid"),
        messages,
        offsets,
    }
}

async fn append(bed: &Testbed, batch: &AtomicBatch<'_>) -> Result<BatchApplied, i32> {
    let mut body = BytesMut::new();
    batch.encode_into(&mut body).unwrap();
    let answer = bed
        .call(Command::bare_request(code::ATOMIC_BATCH).with_body(body.freeze()))
        .await;
    if answer.code == 0 {
        Ok(BatchApplied::decode(&answer.body).unwrap())
    } else {
        Err(answer.code)
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_applied_whole_once_and_in_order() {
    let bed = Testbed::new();
    topic(&bed, "A", 1).await;
    topic(&bed, "B", 2).await;
    assert_eq!(
        append(&bed, &batch(1, 1, vec![])).await,
        Err(response::ILLEGAL_OPERATION),
        "not opened"
    );
    let opened = open(&bed, "relay").await;
    assert_eq!((opened.epoch, opened.last), (1, None));

    let first = batch(
        1,
        1,
        vec![message("A", 0, b"a"), message("B", 1, b"b"), message("A", 0, b"c")],
    );
    let applied = append(&bed, &first).await.unwrap();
    let offsets: Vec<u64> = applied.queue_offsets.iter().map(|o| o.get()).collect();
    assert_eq!((applied.duplicate, offsets), (false, vec![0, 0, 1]));
    assert_eq!(pull(&bed, "A", 0, 0).await.2.len(), 2);
    assert_eq!(
        bed.path.view.state().offsets.get("G", "A", QueueId(0)),
        Some(QueueOffset(1))
    );

    let again = append(&bed, &first).await.unwrap();
    assert_eq!(
        again,
        BatchApplied {
            duplicate: true,
            ..applied
        }
    );
    assert_eq!(pull(&bed, "A", 0, 0).await.2.len(), 2, "nothing twice");

    assert_eq!(
        append(&bed, &batch(1, 3, vec![message("A", 0, b"x")])).await,
        Err(response::SEQUENCE_OUT_OF_ORDER)
    );
    let broken = batch(1, 2, vec![message("A", 0, b"x"), message("B", 2, b"no such queue")]);
    assert_eq!(append(&bed, &broken).await, Err(response::INVALID_PARAMETER));
    let missing = batch(1, 2, vec![message("A", 0, b"x"), message("Missing", 0, b"x")]);
    assert_eq!(append(&bed, &missing).await, Err(response::TOPIC_NOT_EXIST));
    assert_eq!(pull(&bed, "A", 0, 0).await.2.len(), 2, "all or nothing");
    assert!(append(&bed, &batch(1, 2, vec![message("A", 0, b"x")])).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_new_session_fences_the_old_one_for_good() {
    let bed = Testbed::new();
    topic(&bed, "A", 1).await;
    open(&bed, "relay").await;
    append(&bed, &batch(1, 1, vec![message("A", 0, b"1")])).await.unwrap();
    let opened = open(&bed, "relay").await;
    let last = opened.last.unwrap();
    assert_eq!(
        (opened.epoch, last.sequence, last.position.as_deref()),
        (2, 1, Some(&b"gtid"[..]))
    );
    assert_eq!(
        append(&bed, &batch(1, 2, vec![message("A", 0, b"old")])).await,
        Err(response::PRODUCER_FENCED)
    );
    assert_eq!(
        append(&bed, &batch(1, 1, vec![])).await,
        Err(response::PRODUCER_FENCED),
        "not even a repeat"
    );
    assert_eq!(
        append(&bed, &batch(3, 2, vec![])).await,
        Err(response::ILLEGAL_OPERATION),
        "never opened"
    );
    let silent = AtomicBatch {
        position: None,
        ..batch(2, 2, vec![message("A", 0, b"2")])
    };
    append(&bed, &silent).await.unwrap();
    let last = open(&bed, "relay").await.last.unwrap();
    assert_eq!(
        (last.sequence, last.position.as_deref()),
        (2, Some(&b"gtid"[..])),
        "a batch without one keeps it"
    );
}

#[tokio::test(start_paused = true)]
async fn an_old_repeat_is_known_even_when_its_result_is_forgotten() {
    let bed = Testbed::new();
    topic(&bed, "A", 1).await;
    open(&bed, "relay").await;
    for sequence in 1..=20 {
        append(&bed, &batch(1, sequence, vec![message("A", 0, b"x")]))
            .await
            .unwrap();
    }
    let old = append(&bed, &batch(1, 2, vec![message("A", 0, b"x")])).await.unwrap();
    assert!(old.duplicate && old.queue_offsets.is_empty());
    assert_eq!(
        bed.path.view.state().topics.get("A").unwrap().queues[0].next,
        QueueOffset(20)
    );
}
