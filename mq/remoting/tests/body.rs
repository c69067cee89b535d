//! Bodies in fastjson's dialect, and registrations in both forms.

use std::collections::BTreeMap;

use mq_remoting::body::lenient::{LenientError, to_strict_json};
use mq_remoting::body::*;
use proptest::prelude::*;

fn strict(text: &str) -> Result<String, LenientError> {
    to_strict_json(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn the_dialect_becomes_strict_json() {
    let cases = [
        (
            r#" {0:"a", -1:'b', name:[1,2,],} "#,
            r#"{"0":"a","-1":"b","name":[1,2]}"#,
        ),
        (
            r#"{{"brokerName":"b",'queueId':0}:{"x":1}}"#,
            r#"{"{\"brokerName\":\"b\",\"queueId\":0}":{"x":1}}"#,
        ),
        (r#"{{0:{1:[]}}:2}"#, r#"{"{\"0\":{\"1\":[]}}":2}"#),
        (
            r#"{"a":null,"b":[null,true,false,-1.5e+3]}"#,
            r#"{"b":[null,true,false,-1.5e+3]}"#,
        ),
        (r#"{'it\'s':"\u4e2d\n"}"#, "{\"it's\":\"中\\n\"}"),
        (r#"{"l":9223372036854775807}"#, r#"{"l":9223372036854775807}"#),
        ("7", "7"),
    ];
    for (text, expected) in cases {
        assert_eq!(strict(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn references_are_resolved() {
    let cases = [
        (
            r#"{"a":{"b":[{"c":1},2]},"d":{"$ref":"$.a.b[0]"}}"#,
            r#"{"a":{"b":[{"c":1},2]},"d":{"c":1}}"#,
        ),
        (
            r#"{"t":{"x-y.z":{"n":1}},"u":{"$ref":"$.t.x\\-y\\.z"}}"#,
            r#"{"t":{"x-y.z":{"n":1}},"u":{"n":1}}"#,
        ),
        (r#"[[1],{"$ref":"$[0]"}]"#, "[[1],[1]]"),
        (r#"{"m":{0:"a"},"n":{"$ref":"$.m[0]"}}"#, r#"{"m":{"0":"a"},"n":"a"}"#),
        (r#"{"$ref":"x","more":1}"#, r#"{"$ref":"x","more":1}"#),
    ];
    for (text, expected) in cases {
        assert_eq!(strict(text).as_deref(), Ok(expected), "{text}");
    }
    for lost in [
        r#"{"a":{"$ref":"$.b"}}"#,
        r#"{"a":{"$ref":"é"}}"#,
        r#"{"a":{"$ref":"$é"}}"#,
        r#"{"$ref":".."}"#,
    ] {
        assert_eq!(strict(lost), Err(LenientError::Reference), "{lost}");
    }
    for endless in [r#"{"a":{"$ref":"$"}}"#, r#"[{"$ref":"@"}]"#, r#"{"$ref":"$"}"#] {
        assert_eq!(strict(endless), Err(LenientError::TooDeep), "{endless}");
    }
    let bomb = r#"{"a":[{"$ref":"$"},{"$ref":"$"},{"$ref":"$"}]}"#;
    assert!(strict(bomb).is_err());
}

#[test]
fn what_is_not_of_the_dialect_is_refused() {
    for wrong in [
        "",
        "{",
        "[",
        "{]",
        "[}",
        "{1}",
        "{:1}",
        "[1 2]",
        "{a:1 b:2}",
        "01",
        "1.",
        "-",
        ".5",
        "1e",
        "nul",
        "\"",
        "'a\"",
        "{}{}",
        "{\"a\"\"b\"}",
        "\"\\u12\"",
        "{{a:1:2}",
        "tru",
    ] {
        assert!(matches!(strict(wrong), Err(LenientError::Syntax(_))), "{wrong}");
    }
    let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
    assert_eq!(strict(&nested(65)), Ok(nested(65)));
    assert_eq!(strict(&nested(66)), Err(LenientError::TooDeep));
    assert_eq!(strict(&"{".repeat(100_000)), Err(LenientError::TooDeep));
}

#[test]
fn maps_by_queue_have_objects_as_keys() {
    let offset = TopicOffset {
        last_update_timestamp: 3,
        max_offset: 2,
        min_offset: 1,
    };
    let queue = MessageQueue::new("T\"\\", "b", 7);
    let table = TopicStatsTable {
        offset_table: [(queue.into(), offset)].into(),
        topic_put_tps: 0.0,
    };
    let text = r#"{"offsetTable":{{"brokerName":"b","queueId":7,"topic":"T\"\\"}:{"lastUpdateTimestamp":3,"maxOffset":2,"minOffset":1}},"topicPutTps":0.0}"#;
    assert_eq!(to_fastjson(&table), text);
    assert_eq!(from_slice::<TopicStatsTable>(text.as_bytes()).unwrap(), table);
    // As a text that holds the object.
    let quoted = to_standard(&table);
    assert_eq!(from_slice::<TopicStatsTable>(&quoted).unwrap(), table);
}

#[test]
fn maps_by_number_are_written_both_ways_and_read_both_ways() {
    let broker = BrokerData {
        broker_addrs: [(0, "10.0.0.1:10911".to_owned()), (1, "10.0.0.2:10911".to_owned())].into(),
        broker_name: "g1".to_owned(),
        cluster: "DefaultCluster".to_owned(),
        ..BrokerData::default()
    };
    let queue = QueueData {
        broker_name: "g1".to_owned(),
        perm: 6,
        read_queue_nums: 4,
        write_queue_nums: 4,
        ..QueueData::default()
    };
    let route = TopicRouteData {
        broker_datas: vec![broker],
        queue_datas: vec![queue],
        ..TopicRouteData::default()
    };
    let quoted = r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},"brokerName":"g1","cluster":"DefaultCluster","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"g1","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#;
    let bare = quoted.replace(r#""0":"#, "0:").replace(r#""1":"#, "1:");
    assert_eq!(to_standard(&route), quoted);
    assert_eq!(to_fastjson(&route), bare);
    for text in [quoted, &bare] {
        assert_eq!(from_slice::<TopicRouteData>(text.as_bytes()).unwrap(), route);
    }
    let offsets = ConsumerOffsetTable {
        data_version: None,
        offset_table: [("T@g".to_owned(), [(0, 123), (1, -1)].into())].into(),
    };
    assert_eq!(to_fastjson(&offsets), r#"{"offsetTable":{"T@g":{0:123,1:-1}}}"#);
}

#[test]
fn keys_and_texts_are_escaped() {
    let table: BTreeMap<String, String> = [("", ""), ("a\"b", "c\\\n"), ("中", "\u{2}")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    let kv = KvTable { table };
    assert_eq!(to_fastjson(&kv), r#"{"table":{"":"","a\"b":"c\\\n","中":"\u0002"}}"#);
    assert_eq!(from_slice::<KvTable>(&to_fastjson(&kv)).unwrap(), kv);
}

#[test]
fn missing_and_null_members_take_their_defaults() {
    let config: SubscriptionGroupConfig = from_slice(br#"{"groupName":"g","attributes":null}"#).unwrap();
    assert_eq!(config, SubscriptionGroupConfig::new("g"));
    assert_eq!(
        (
            config.retry_max_times,
            config.retry_queue_nums,
            config.consume_timeout_minute
        ),
        (16, 1, 15)
    );
    let heartbeat: HeartbeatData = from_slice(br#"{"clientID":"c","producerDataSet":null}"#).unwrap();
    assert_eq!(
        (heartbeat.client_id.as_str(), heartbeat.producer_data_set.len()),
        ("c", 0)
    );
    assert!(matches!(from_slice::<HeartbeatData>(b"[]x"), Err(BodyError::Syntax(_))));
    assert!(matches!(
        from_slice::<HeartbeatData>(br#"{"clientID":[]}"#),
        Err(BodyError::Shape(_))
    ));
}

#[test]
fn heartbeats_with_a_shared_subscription() {
    let text = br#"{"clientID":"c","consumerDataSet":[
        {"consumeType":"CONSUME_ACTIVELY","messageModel":"BROADCASTING","consumeFromWhere":"CONSUME_FROM_MAX_OFFSET",
         "groupName":"a","subscriptionDataSet":[{"topic":"T","subString":"A||B","tagsSet":["A","B"],"codeSet":[65,66]}]},
        {"groupName":"b","subscriptionDataSet":[{"$ref":"$.consumerDataSet[0].subscriptionDataSet[0]"}]}]}"#;
    let heartbeat: HeartbeatData = from_slice(text).unwrap();
    let [a, b] = &heartbeat.consumer_data_set[..] else {
        panic!("two groups")
    };
    assert_eq!(a.consume_type, ConsumeType::Actively);
    assert_eq!(a.message_model, MessageModel::Broadcasting);
    assert_eq!(a.consume_from_where, ConsumeFromWhere::LastOffset);
    assert_eq!(b.subscription_data_set, a.subscription_data_set);
    assert!(b.subscription_data_set[0].is_tag());
}

fn registration() -> RegisterBrokerBody {
    let mut body = RegisterBrokerBody::default();
    let wrapper = &mut body.topic_config_serialize_wrapper;
    wrapper.data_version = DataVersion {
        counter: 12,
        state_version: 3,
        timestamp: 1_700_000_000_000,
    };
    let mut fifo = TopicConfig::new("Fifo", 8, 6);
    fifo.attributes.insert("message.type".to_owned(), "FIFO".to_owned());
    for topic in [TopicConfig::new("T1", 4, 7), fifo] {
        wrapper.topic_config_table.insert(topic.topic_name.clone(), topic);
    }
    body
}

#[test]
fn registrations_come_back_in_either_form() {
    let body = registration();
    assert_eq!(RegisterBrokerBody::decode(&body.encode(), 479).unwrap(), body);
    let compressed = body.encode_compressed();
    assert_eq!(compressed[0], 0x78);
    for version in [479, 393] {
        assert_eq!(
            RegisterBrokerBody::decode(&compressed, version).unwrap(),
            body,
            "{version}"
        );
    }
    for n in 0..compressed.len() {
        assert!(RegisterBrokerBody::decode(&compressed[..n], 479).is_err(), "{n}");
    }
}

#[test]
fn registrations_that_inflate_without_end_are_refused() {
    use std::io::Write;
    let mut bomb = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..65 {
        bomb.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 100_000);
    assert!(matches!(
        RegisterBrokerBody::decode(&bomb, 479),
        Err(BodyError::Registration("too large"))
    ));
}

#[test]
fn property_text() {
    let text = "# comment\n! too\n\n a = b=c \nempty=\nbare\n=x\r\nk=v\r\n";
    let pairs: Vec<_> = properties_text::parse(text).collect();
    assert_eq!(pairs, [("a", "b=c"), ("empty", ""), ("bare", ""), ("k", "v")]);
    assert_eq!(properties_text::write([("a", "1"), ("b", "2\nc=3")]), "a=1\nb=2\n");
}

#[test]
fn queues_sort_as_clients_sort_them() {
    let mut queues = [
        MessageQueue::new("b", "a", 0),
        MessageQueue::new("a", "b", 1),
        MessageQueue::new("a", "b", 0),
        MessageQueue::new("a", "a", 9),
    ];
    queues.sort();
    let order: Vec<_> = queues
        .iter()
        .map(|q| (q.topic.as_str(), q.broker_name.as_str(), q.queue_id))
        .collect();
    assert_eq!(order, [("a", "a", 9), ("a", "b", 0), ("a", "b", 1), ("b", "a", 0)]);
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[^$]{0,6}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn strict_json_keeps_its_meaning(value in json()) {
        let read = to_strict_json(&serde_json::to_vec(&value).unwrap()).unwrap();
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&read).unwrap(), value);
    }

    #[test]
    fn any_text_gives_strict_json_or_an_error(text in "[{}\\[\\]\"':,a0-9.$\\\\erf]{0,80}") {
        if let Ok(read) = to_strict_json(text.as_bytes()) {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&read).is_ok(), "{}", text);
        }
    }

    #[test]
    fn random_registrations_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = RegisterBrokerBody::decode(&bytes, 479);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut zlib, &bytes).unwrap();
        let _ = RegisterBrokerBody::decode(&zlib.finish().unwrap(), 479);
    }
}

/// The Go client (2.1.2) writes the hashes of its tags as texts.
#[test]
fn heartbeat_of_the_go_client() {
    let body = br#"{"clientID":"c","consumerDataSet":[{"groupName":"g","subscriptionDataSet":[{"classFilterMode":false,
        "topic":"T","subString":"A","tagsSet":["A"],"codeSet":["65","-7"],"subVersion":5,"expressionType":"TAG"}]}]}"#;
    let data: HeartbeatData = from_slice(body).unwrap();
    assert_eq!(data.consumer_data_set[0].subscription_data_set[0].code_set, [65, -7]);
    let broken = br#"{"consumerDataSet":[{"subscriptionDataSet":[{"codeSet":["x"]}]}]}"#;
    assert!(from_slice::<HeartbeatData>(broken).is_err());
}
