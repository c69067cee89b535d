use super::*;

fn file(text: &str) -> Layer {
    Layer::file("broker.conf", text).unwrap()
}

fn flag(key: &str, value: &str) -> Layer {
    Layer::flags(vec![(format!("--set {key}"), key.to_owned(), value.to_owned())])
}

#[test]
fn every_default_is_read_back_as_it_was_written() {
    let settings = Settings::defaults();
    for row in ROWS {
        assert_eq!(settings.show(row.name).as_deref(), Some(row.default), "{}", row.name);
        assert!(check_range(row, row.default).is_ok(), "{}", row.name);
        assert!(!row.doc.trim().is_empty());
    }
    assert!(settings.contradictions().is_empty());
}

#[test]
fn later_layers_win_and_origins_are_told() {
    let variables = [
        ("NAMESRV_ADDR", "env:1"),
        ("FOREBAY_BROKER_IP1", "10.0.0.9"),
        ("HOME", "/root"),
    ];
    let environment = Layer::environment(variables.map(|(k, v)| (k.to_owned(), v.to_owned())));
    let text = "brokerName=a\nlistenPort=1234\nnamesrvAddr=file:1";
    let loaded = load(vec![file(text), environment, flag("brokerName", "b")]).unwrap();
    let settings = &loaded.settings;
    assert_eq!((settings.broker_name.as_str(), settings.listen_port), ("b", 1234));
    assert_eq!(
        (settings.namesrv_addr.as_str(), settings.broker_ip1.as_str()),
        ("env:1", "10.0.0.9")
    );
    let origins: Vec<_> = loaded
        .origins
        .iter()
        .map(|(name, origin)| (*name, origin.as_str()))
        .collect();
    let expected = [
        ("brokerIP1", "environment FOREBAY_BROKER_IP1"),
        ("brokerName", "--set brokerName"),
        ("listenPort", "broker.conf:2"),
        ("namesrvAddr", "environment NAMESRV_ADDR"),
    ];
    assert_eq!(origins, expected);
    assert!(print(&loaded, Print::Sources).contains("# broker.conf:2"));
}

#[test]
fn every_problem_is_told_with_its_place() {
    let cases = [
        (
            "listenPort=many",
            "broker.conf:1: listenPort: expected a number, found 'many'",
        ),
        (
            "\nlistenPort=70000",
            "broker.conf:2: listenPort: 70000 is outside 0..=65535",
        ),
        (
            "brokerNam=x",
            "broker.conf:1: unknown setting 'brokerNam'; did you mean brokerName?",
        ),
        (
            "entirelyForeignThing=x",
            "broker.conf:1: unknown setting 'entirelyForeignThing'",
        ),
        (
            "brokerRole=BOSS",
            "broker.conf:1: brokerRole: expected one of ASYNC_MASTER SYNC_MASTER SLAVE, found 'BOSS'",
        ),
        (
            "enableDLegerCommitLog=true",
            "enableDLegerCommitLog=true needs dLegerPeers",
        ),
        (
            "dLegerPeers=n0-h:1;n0-h:2",
            "broker.conf:1: dLegerPeers: 'n0-h:2' is there twice",
        ),
        (
            "dLegerPeers=h:1",
            "broker.conf:1: dLegerPeers: expected n0-host:port;n1-host:port;…, found 'h:1'",
        ),
        ("brokerRole=SLAVE", "brokerRole=SLAVE needs a brokerId greater than 0"),
        (
            "messageDelayLevel=1s 5x",
            "messageDelayLevel: expected numbers with a unit of s m h d, found '1s 5x'",
        ),
        (
            "mappedFileSizeCommitLog=65536\nmaxMessageSize=16385",
            "mappedFileSizeCommitLog=65536 is too small: a segment must hold 4 messages of maxMessageSize=16385",
        ),
    ];
    for (text, expected) in cases {
        let problems = load(vec![file(text)]).unwrap_err();
        assert!(
            problems.iter().any(|problem| problem.0 == expected),
            "{text}: {problems:?}"
        );
    }
    assert!(Layer::file("f", "nonsense").unwrap_err().0.contains("line 1"));
}

#[test]
fn keys_of_rocketmq_without_effect_give_one_warning() {
    let loaded = load(vec![file("useEpollNativeSelector=true\ntransferMsgByHeap=false")]).unwrap();
    assert_eq!(loaded.warnings.len(), 2);
    assert!(known::ROCKETMQ_ONLY.is_sorted());
    assert!(
        ROWS.iter()
            .all(|row| known::ROCKETMQ_ONLY.binary_search(&row.name).is_err())
    );
}

#[test]
fn dledger_peers_are_read_as_rocketmq_writes_them() {
    let text =
        "enableDLegerCommitLog=true\ndLegerPeers=n0-127.0.0.1:40911;n1-my-host:40912;n2-[::1]:40913\ndLegerSelfId=n1";
    let settings = load(vec![file(text)]).unwrap().settings;
    let peers: Vec<_> = settings
        .dleger_peers
        .0
        .iter()
        .map(|peer| (peer.slot.as_str(), peer.addr.as_str()))
        .collect();
    assert_eq!(
        peers,
        [
            ("n0", "127.0.0.1:40911"),
            ("n1", "my-host:40912"),
            ("n2", "[::1]:40913")
        ]
    );
}

#[test]
fn only_numbers_and_switches_change_over_the_wire() {
    let live = Live::new(Settings::defaults());
    assert_eq!(
        live.update("autoCreateTopicEnable=false\nlistenPort=10911").unwrap(),
        ["autoCreateTopicEnable=false"]
    );
    assert!(!live.get().auto_create_topic_enable);
    for text in [
        "storePathRootDir=/etc",
        "brokerIP1=1.2.3.4",
        "namesrvAddr=x:1",
        "allowConfigUpdate=true",
    ] {
        assert!(matches!(live.update(text), Err(Refused::Fixed(_))), "{text}");
    }
    for text in ["maxMessageSize=1", "maxMessageSize=big", "drainSeconds=5\ngarbage"] {
        assert!(matches!(live.update(text), Err(Refused::Unreadable(_))), "{text}");
    }
    assert_eq!(live.get().drain_seconds, 35, "all or nothing");
    for row in ROWS.iter().filter(|row| row.change == Change::Live) {
        assert!(
            matches!(row.kind, "number" | "true or false"),
            "{} must not change over the wire",
            row.name
        );
    }
}

#[test]
fn environment_names() {
    for (name, expected) in [
        ("listenPort", "FOREBAY_LISTEN_PORT"),
        ("brokerIP1", "FOREBAY_BROKER_IP1"),
        ("enableDLegerCommitLog", "FOREBAY_ENABLE_DLEGER_COMMIT_LOG"),
    ] {
        assert_eq!(environment_name(name), expected);
    }
}

#[test]
fn the_reference_is_up_to_date() {
    let kept = include_str!("../../SETTINGS.md");
    assert!(
        kept.ends_with(&reference()),
        "write it anew: mqbroker --print-reference"
    );
}
