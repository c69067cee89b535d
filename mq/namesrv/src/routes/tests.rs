use super::*;

const READ_WRITE: Queues = Queues {
    read: 8,
    write: 8,
    perm: 6,
    sys_flag: 0,
};

fn member(addr: &str, id: u64, term: i64, connection: u64) -> Registration {
    Registration {
        cluster: "C".into(),
        broker: "a".into(),
        addr: addr.into(),
        id,
        ha_addr: "h:1".into(),
        expiry_ms: None,
        acting_master: None,
        version: Version {
            state_version: term,
            timestamp: 1,
            counter: 1,
        },
        topics: vec![("T".into(), READ_WRITE), ("U".into(), READ_WRITE)],
        connection,
    }
}

/// Leader x (term 1) and followers y and z, each on its own connection 1, 2, 3.
fn group_of_three() -> Routes {
    let mut routes = Routes::default();
    for (addr, id, connection) in [("x", 0, 1), ("y", 2, 2), ("z", 3, 3)] {
        assert!(matches!(
            routes.register(member(addr, id, 1, connection), 0),
            Registered::Taken(_)
        ));
    }
    routes
}

fn addrs(routes: &Routes) -> Vec<(u64, &str)> {
    routes.groups()["a"]
        .addrs
        .iter()
        .map(|(id, addr)| (*id, addr.as_str()))
        .collect()
}

#[test]
fn a_follower_is_told_where_the_master_is() {
    let mut routes = group_of_three();
    assert_eq!(
        routes.register(member("y", 2, 1, 2), 1),
        Registered::Taken(Some(("x".into(), "h:1".into())))
    );
    assert_eq!(routes.register(member("x", 0, 1, 1), 1), Registered::Taken(None));
}

#[test]
fn a_dead_leader_keeps_id_0_until_another_member_takes_it() {
    let mut routes = group_of_three();
    assert_eq!(routes.disconnected(1), ["x"]);
    assert_eq!(addrs(&routes), [(0, "x"), (2, "y"), (3, "z")], "producers need an id 0");
    routes.register(member("y", 0, 2, 2), 5);
    assert_eq!(addrs(&routes), [(0, "y"), (3, "z")]);
}

#[test]
fn a_dead_leader_that_comes_back_as_follower_keeps_id_0_until_it_is_taken() {
    let mut routes = group_of_three();
    routes.disconnected(1);
    routes.register(member("x", 1, 1, 9), 3);
    assert_eq!(addrs(&routes), [(0, "x"), (1, "x"), (2, "y"), (3, "z")]);
    routes.register(member("z", 0, 2, 3), 5);
    assert_eq!(addrs(&routes), [(0, "z"), (1, "x"), (2, "y")]);
}

#[test]
fn a_vacant_id_0_goes_with_the_last_member() {
    let mut routes = group_of_three();
    for connection in [1, 2, 3] {
        routes.disconnected(connection);
    }
    assert!(routes.groups().is_empty());
    assert!(routes.topic("T").is_empty());
}

#[test]
fn the_greater_term_holds_id_0() {
    let mut routes = group_of_three();
    routes.register(member("y", 0, 5, 2), 1);
    assert_eq!(routes.register(member("x", 0, 4, 1), 2), Registered::Outranked);
    assert_eq!(addrs(&routes)[0], (0, "y"));
}

#[test]
fn a_dead_leader_of_a_greater_term_outranks_an_old_one() {
    let mut routes = group_of_three();
    routes.register(member("y", 0, 5, 2), 1);
    routes.disconnected(2);
    assert_eq!(routes.register(member("x", 0, 4, 1), 2), Registered::Outranked);
}

#[test]
fn a_leader_that_leaves_politely_keeps_id_0_until_its_successor_takes_it() {
    let mut routes = group_of_three();
    routes.unregister("a", "x");
    assert_eq!(addrs(&routes), [(0, "x"), (2, "y"), (3, "z")]);
    routes.register(member("y", 0, 9, 2), 1);
    assert_eq!(addrs(&routes), [(0, "y"), (3, "z")]);
    routes.unregister("a", "z");
    routes.unregister("a", "y");
    assert!(routes.groups().is_empty(), "the last one leaves nothing");
}

#[test]
fn a_master_without_elections_that_leaves_politely_frees_id_0_at_once() {
    let mut routes = Routes::default();
    routes.register(member("x", 0, 0, 1), 0);
    routes.register(member("y", 1, 0, 2), 0);
    routes.unregister("a", "x");
    assert_eq!(addrs(&routes), [(1, "y")]);
}

#[test]
fn silence_expires_after_120_s_and_not_before() {
    let mut routes = group_of_three();
    routes.heartbeat("y", 60_000);
    assert_eq!(routes.expire(EXPIRY_MS), Vec::<String>::new());
    let mut gone = routes.expire(EXPIRY_MS + 1);
    gone.sort();
    assert_eq!(gone, ["x", "z"]);
    assert_eq!(
        addrs(&routes),
        [(0, "x"), (2, "y")],
        "the expired leader's id 0 waits for a successor"
    );
}

#[test]
fn topics_come_from_id_0_and_stay_when_a_later_registration_lacks_them() {
    let mut routes = group_of_three();
    let mut follower = member("y", 2, 1, 2);
    follower.topics.push(("V".into(), READ_WRITE));
    routes.register(follower, 1);
    assert!(routes.topic("V").is_empty());
    let mut leader = member("x", 0, 1, 1);
    leader.version.counter += 1;
    leader.topics = vec![("T".into(), Queues { read: 4, ..READ_WRITE }), ("W".into(), READ_WRITE)];
    routes.register(leader, 1);
    assert_eq!(routes.topic("T")[0].2.read, 4);
    assert_eq!(routes.topic("U").len(), 1);
    assert_eq!(routes.topic("W").len(), 1);
}

#[test]
fn an_unchanged_version_changes_no_topic_it_already_has() {
    let mut routes = group_of_three();
    let mut leader = member("x", 0, 1, 1);
    leader.topics = vec![("T".into(), Queues { read: 4, ..READ_WRITE }), ("W".into(), READ_WRITE)];
    routes.register(leader, 1);
    assert_eq!(routes.topic("T")[0].2.read, 8);
    assert_eq!(routes.topic("W").len(), 1, "an unknown topic is always taken");
}

#[test]
fn the_smallest_id_stands_in_without_write_permission() {
    let mut routes = Routes::default();
    let mut slave = member("y", 2, 1, 2);
    slave.acting_master = Some(true);
    routes.register(slave, 0);
    assert_eq!(routes.topic("T")[0].2.perm, 4);
    assert!(routes.groups()["a"].acting_master);
}

#[test]
fn a_single_topic_may_not_come_before_the_full_table() {
    let mut routes = Routes::default();
    let mut early = member("x", 0, 1, 1);
    early.topics.truncate(1);
    assert_eq!(
        routes.register(early.clone(), 0),
        Registered::Refused("register broker failed")
    );
    routes.register(member("x", 0, 1, 1), 0);
    assert!(matches!(routes.register(early, 0), Registered::Taken(_)));
}

#[test]
fn a_broker_name_belongs_to_one_cluster() {
    let mut routes = group_of_three();
    let mut stranger = member("q", 0, 9, 4);
    stranger.cluster = "D".into();
    assert!(matches!(routes.register(stranger, 0), Registered::Refused(_)));
}

#[test]
fn a_deleted_topic_is_gone_for_its_cluster_only() {
    let mut routes = group_of_three();
    routes.delete_topic("T", Some("other"));
    assert_eq!(routes.topic("T").len(), 1);
    routes.delete_topic("T", Some("C"));
    assert!(routes.topic("T").is_empty());
}

#[test]
fn write_permission_is_wiped_and_given_back() {
    let mut routes = group_of_three();
    assert_eq!(routes.change_perm("a", |perm| perm & !2), 2);
    assert_eq!(routes.topic("T")[0].2.perm, 4);
    assert_eq!(routes.change_perm("a", |_| 6), 2);
    assert_eq!(routes.topic("T")[0].2.perm, 6);
}

#[test]
fn no_order_of_events_panics_or_leaves_a_topic_without_its_group() {
    let mut seed = 7_u64;
    let mut next = |n: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let mut routes = Routes::default();
    for now in 0..20_000 {
        let addr = ["x", "y", "z"][next(3) as usize];
        match next(5) {
            0 | 1 => drop(routes.register(member(addr, next(4), next(4) as i64, next(5)), now)),
            2 => routes.unregister("a", addr),
            3 => drop(routes.disconnected(next(5))),
            _ => drop(routes.expire(now + (next(2) as i64) * EXPIRY_MS)),
        }
        assert_eq!(
            routes.topic_names().next().is_some(),
            !routes.groups().is_empty() && !routes.topic("T").is_empty()
        );
        assert!(routes.groups().values().all(|group| !group.addrs.is_empty()));
    }
}

#[test]
fn names_and_tables_have_bounds() {
    let refused = |change: &dyn Fn(&mut Registration)| {
        let mut new = member("x", 0, 1, 1);
        change(&mut new);
        matches!(Routes::default().register(new, 0), Registered::Refused(_))
    };
    let name = |bytes: usize| "n".repeat(bytes);
    assert!(!refused(&|new| new.topics[0].0 = name(NAME_BYTES_MAX)));
    assert!(refused(&|new| new.topics[0].0 = name(NAME_BYTES_MAX + 1)));
    assert!(refused(&|new| new.broker = name(NAME_BYTES_MAX + 1)));
    assert!(refused(&|new| new.cluster = name(NAME_BYTES_MAX + 1)));
    assert!(refused(&|new| new.addr = String::new()));
    assert!(refused(
        &|new| new.topics = (0..=TOPICS_MAX).map(|n| (n.to_string(), READ_WRITE)).collect()
    ));

    let mut routes = Routes::default();
    let full = |group: usize| {
        let mut new = member(&format!("addr-{group}"), 0, 1, 1);
        new.broker = format!("group-{group}");
        new.topics = (0..TOPICS_MAX).map(|n| (n.to_string(), READ_WRITE)).collect();
        new
    };
    let taken = (0..=ENTRIES_MAX / TOPICS_MAX).filter(|n| matches!(routes.register(full(*n), 0), Registered::Taken(_)));
    assert_eq!(taken.count(), ENTRIES_MAX / TOPICS_MAX);
}
