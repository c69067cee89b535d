//! The comparison of tables, by real servers: every difference must be seen.
#![allow(clippy::disallowed_methods)]

use binlog_relay::verify::{self, Difference, MirrorPosition, Report, Verdict, VerifyOptions};
use binlog_relay_stage::Mysql;
use std::collections::BTreeMap;
use std::time::Duration;

fn server() -> (tempfile::TempDir, Mysql) {
    let folder = tempfile::tempdir().unwrap();
    let server = Mysql::start(&folder.path().join("db")).unwrap();
    server.run("CREATE DATABASE a; CREATE DATABASE b").unwrap();
    (folder, server)
}

fn options(server: &Mysql) -> VerifyOptions {
    let databases = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    VerifyOptions {
        chunk_rows: 1_000,
        ..VerifyOptions::new(&server.url(), &server.url(), databases)
    }
}

async fn compare(server: &Mysql) -> Report {
    verify::run(&options(server)).await.unwrap()
}

/// The same statements in both databases.
fn both(server: &Mysql, sql: &str) {
    let mode = "SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00', cte_max_recursion_depth = 100000;";
    server.run(&format!("{mode} USE a; {sql}; USE b; {sql}")).unwrap();
}

#[tokio::test]
async fn every_kind_of_value_counts() {
    let (_folder, server) = server();
    assert_eq!(compare(&server).await.verdict, Verdict::NothingExamined);
    both(
        &server,
        "CREATE TABLE t (id INT PRIMARY KEY, i BIGINT UNSIGNED, d DECIMAL(20,4), f FLOAT, g DOUBLE, bits BIT(64), y YEAR, e ENUM('', 'a', 'A '), s SET('x','y'), \
         day DATE, dt DATETIME(6), ts TIMESTAMP NULL, tm TIME(3), v VARCHAR(20), l VARCHAR(9) CHARACTER SET latin1, b BINARY(3), bl LONGBLOB, j JSON, p POINT, x INT, z INT);
         INSERT INTO t VALUES (1, 18446744073709551615, 1.5, 0.1, 0.1, 1, 2000, 0, 1, '0000-00-00', '2023-02-30 00:00:00.000001', '2000-01-01', '-00:00:01', 'a', 'é', 'x', \
           REPEAT('z', 100000), '{\"a\": 1}', POINT(1, 2), NULL, 7), \
          (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    );
    let report = compare(&server).await;
    assert!(report.is_equal() && report.rows() == 2, "{report}");
    for (column, value) in [
        ("i", "18446744073709551614"),
        ("d", "1.5001"),
        ("f", "0.10000001"),
        ("g", "0.10000000000000002"),
        ("bits", "18446744073709551615"),
        ("y", "0"),
        ("e", "1"),
        ("e", "3"),
        ("s", "3"),
        ("day", "'2023-00-00'"),
        ("dt", "'2023-02-30 00:00:00.000002'"),
        ("ts", "'2000-01-01 00:00:01'"),
        ("tm", "'00:00:01'"),
        ("v", "'A'"),
        ("v", "'a '"),
        ("v", "'á'"),
        ("v", "NULL"),
        ("v", "''"),
        ("l", "'e'"),
        ("b", "X'787800'"),
        ("bl", "CONCAT(REPEAT('z', 99999), 'y')"),
        ("j", "'{\"a\": \"1\"}'"),
        ("j", "NULL"),
        ("p", "POINT(2, 1)"),
        ("x = 7, z", "NULL"),
    ] {
        server
            .run(&format!(
                "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'; UPDATE b.t SET {column} = {value} WHERE id = 1"
            ))
            .unwrap();
        let report = compare(&server).await;
        assert_eq!(
            report.tables[0].differences,
            [Difference::Changed("1".to_owned())],
            "{column} = {value}: {report}"
        );
        assert_eq!(report.verdict, Verdict::Different);
        server
            .run("SET SESSION sql_mode = 'ALLOW_INVALID_DATES'; REPLACE INTO b.t SELECT * FROM a.t")
            .unwrap();
    }
    server.run("UPDATE b.t SET j = 'null' WHERE id = 2").unwrap();
    assert_eq!(
        compare(&server).await.tables[0].differences,
        [Difference::Changed("2".to_owned())]
    );
}

#[tokio::test]
async fn rows_and_tables_that_differ_are_named() {
    let (_folder, server) = server();
    both(
        &server,
        "CREATE TABLE t (a VARCHAR(20) COLLATE utf8mb4_0900_ai_ci, b DATETIME, c VARBINARY(4), v INT, PRIMARY KEY (a, b, c));
         INSERT INTO t WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5000) \
           SELECT CONCAT('k', i DIV 7), '2020-01-01' + INTERVAL i % 7 SECOND, CHAR(i % 256), i FROM n;
         CREATE TABLE u (v INT); INSERT INTO u VALUES (1), (1), (2), (NULL)",
    );
    let report = compare(&server).await;
    assert!(report.is_equal() && report.rows() == 5004, "{report}");
    assert_eq!(report.verdict, Verdict::Equal(String::new()));

    server
        .run("UPDATE b.t SET v = -1 WHERE v = 700; DELETE FROM b.t WHERE v = 701; INSERT INTO b.t VALUES ('zz', '2021-01-01', X'00', 1), ('', '1000-01-01', '', 1)")
        .unwrap();
    // An equal sum of values, an equal number of rows, and pairs that would cancel out: still other rows.
    server.run("UPDATE b.u SET v = 3 WHERE v = 1").unwrap();
    let report = compare(&server).await;
    let mut differences = report.tables[0].differences.clone();
    differences.sort_by_key(ToString::to_string);
    let expected = [
        "different values: k100, 2020-01-01 00:00:00, 0xBC",
        "missing in the copy: k100, 2020-01-01 00:00:01, 0xBD",
        "only in the copy: , 1000-01-01 00:00:00, 0x",
        "only in the copy: zz, 2021-01-01 00:00:00, 0x00",
    ];
    assert_eq!(
        differences.iter().map(ToString::to_string).collect::<Vec<_>>(),
        expected,
        "{report}"
    );
    assert_eq!(report.tables[1].differences, [Difference::Rows { source: 4, copy: 4 }]);
    assert!(
        report.to_string().contains("DIFFERENT (2 tables, 5004 rows)"),
        "{report}"
    );

    // Keys that a collation takes for equal are not the same key.
    server.run("DELETE FROM b.t; INSERT INTO b.t SELECT * FROM a.t; UPDATE b.t SET a = 'K5' WHERE a = 'k5' AND v % 7 = 0; DROP TABLE b.u").unwrap();
    let report = compare(&server).await;
    assert_eq!(report.tables[0].differences.len(), 2, "{report}");
    assert_eq!(report.tables[1].differences, [Difference::NoTable]);

    // As many as were asked for.
    server.run("UPDATE b.t SET v = 0").unwrap();
    let few = VerifyOptions {
        keys_max: 3,
        ..options(&server)
    };
    let report = verify::run(&few).await.unwrap();
    assert_eq!(report.tables[0].differences.len(), 4, "{report}");
    assert_eq!(report.tables[0].differences[3], Difference::More);

    server.run("DROP TABLE a.t; CREATE TABLE b.u (v BIGINT)").unwrap();
    let report = compare(&server).await;
    assert_eq!(report.tables[0].differences, [Difference::ExtraTable]);
    assert_eq!(
        report.tables[1].differences,
        [Difference::Definition(
            "column v: int NULL at the source, bigint NULL in the copy".to_owned()
        )]
    );
    server
        .run("ALTER TABLE b.u MODIFY v INT NOT NULL, ADD PRIMARY KEY (v)")
        .unwrap();
    assert!(!compare(&server).await.is_equal());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_lags_is_waited_for_and_one_that_differs_is_not_excused() {
    // A copy on a server of its own, made by MySQL's own statements: what the mirror would write stands in its position.
    let (_folder, source) = server();
    let (_other, copy) = server();
    source
        .run("CREATE TABLE a.t (id INT PRIMARY KEY, v INT); INSERT INTO a.t VALUES (1, 1), (2, 2)")
        .unwrap();
    copy.run(
        "CREATE TABLE b.t (id INT PRIMARY KEY, v INT); INSERT INTO b.t VALUES (1, 1);
         CREATE TABLE b._forebay_mirror (name VARCHAR(9) PRIMARY KEY, gtid LONGTEXT, partial BOOL); INSERT INTO b._forebay_mirror VALUES ('m', '', FALSE)",
    )
    .unwrap();
    let executed = || source.run("SELECT @@GLOBAL.gtid_executed").unwrap().trim().to_owned();
    let with = |seconds: u64| VerifyOptions {
        mirror: Some(MirrorPosition {
            schema: "b".to_owned(),
            name: "m".to_owned(),
        }),
        time_limit: Duration::from_secs(seconds),
        ..VerifyOptions::new(
            &source.url(),
            &copy.url(),
            BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        )
    };
    // Behind, and it never comes: that is no difference, and no proof either.
    let report = verify::run(&with(1)).await.unwrap();
    assert!(matches!(report.verdict, Verdict::Undecided(_)), "{report}");
    // It comes while somebody waits for it.
    let late = {
        let (url, gtid) = (copy.url(), executed());
        tokio::spawn(async move {
            use mysql_async::prelude::Queryable;
            tokio::time::sleep(Duration::from_millis(700)).await;
            let mut conn = binlog_relay::mysql::connect(&url).await.unwrap();
            conn.query_drop("START TRANSACTION").await.unwrap();
            conn.query_drop("INSERT INTO b.t VALUES (2, 2)").await.unwrap();
            conn.query_drop(format!("UPDATE b._forebay_mirror SET gtid = '{gtid}'"))
                .await
                .unwrap();
            conn.query_drop("COMMIT").await.unwrap();
        })
    };
    let report = verify::run(&with(20)).await.unwrap();
    late.await.unwrap();
    assert_eq!(report.verdict, Verdict::EqualAt(executed()), "{report}");
    // It says it has everything, and has not.
    copy.run("UPDATE b.t SET v = 3 WHERE id = 2").unwrap();
    let report = verify::run(&with(20)).await.unwrap();
    assert_eq!(report.tables[0].differences, [Difference::Changed("2".to_owned())]);
    // A position that is not there is an error, not a proof.
    let nobody = VerifyOptions {
        mirror: Some(MirrorPosition {
            schema: "b".to_owned(),
            name: "nobody".to_owned(),
        }),
        ..with(1)
    };
    let said = format!("{:#}", verify::run(&nobody).await.unwrap_err());
    assert!(said.contains("has it ever run"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_writes_go_on_only_true_differences_are_told() {
    use mysql_async::prelude::Queryable;
    use std::sync::atomic::{AtomicBool, Ordering};
    let (_folder, source) = server();
    let (_other, copy) = server();
    let rows = "INSERT INTO t WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i, 0 FROM n";
    let table = "SET SESSION cte_max_recursion_depth = 9999; CREATE TABLE t (id INT PRIMARY KEY, v INT)";
    source.run(&format!("USE a; {table}; {rows}")).unwrap();
    copy.run(&format!("USE b; {table}; {rows}")).unwrap();
    copy.run("CREATE TABLE b._forebay_mirror (name VARCHAR(9) PRIMARY KEY, gtid LONGTEXT, partial BOOL); INSERT INTO b._forebay_mirror VALUES ('m', '', FALSE)")
        .unwrap();
    // Writes to the source, and some 20 ms later to the copy, as a mirror would.
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let writer = {
        let (stop, source, copy) = (stop.clone(), source.url(), copy.url());
        tokio::spawn(async move {
            let mut source = binlog_relay::mysql::connect(&source).await.unwrap();
            let mut copy = binlog_relay::mysql::connect(&copy).await.unwrap();
            let mut n = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                let change = |table: &str| format!("UPDATE {table} SET v = {n} WHERE id % 500 = {}", n % 97);
                source.query_drop(change("a.t")).await.unwrap();
                let gtid: Option<String> = source.query_first("SELECT @@GLOBAL.gtid_executed").await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                copy.query_drop("START TRANSACTION").await.unwrap();
                copy.query_drop(change("b.t")).await.unwrap();
                copy.query_drop(format!("UPDATE b._forebay_mirror SET gtid = '{}'", gtid.unwrap()))
                    .await
                    .unwrap();
                copy.query_drop("COMMIT").await.unwrap();
            }
        })
    };
    let options = |seconds: u64| VerifyOptions {
        mirror: Some(MirrorPosition {
            schema: "b".to_owned(),
            name: "m".to_owned(),
        }),
        chunk_rows: 500,
        time_limit: Duration::from_secs(seconds),
        ..VerifyOptions::new(
            &source.url(),
            &copy.url(),
            BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        )
    };
    let report = verify::run(&options(30)).await.unwrap();
    assert!(
        matches!(&report.verdict, Verdict::Equal(gtid) if !gtid.is_empty()),
        "{report}"
    );
    assert!(
        report.tables[0].settled > 0,
        "nothing was behind, so nothing was tried: {report}"
    );
    // One row that the writer leaves alone, and one that it changes now and then.
    copy.run("UPDATE b.t SET v = -1 WHERE id = 734; DELETE FROM b.t WHERE id = 1900")
        .unwrap();
    let report = verify::run(&options(30)).await.unwrap();
    let expected = [
        Difference::Missing("1900".to_owned()),
        Difference::Changed("734".to_owned()),
    ];
    assert!(
        report.tables[0].differences.len() == 2 && expected.iter().all(|d| report.tables[0].differences.contains(d)),
        "{report}"
    );
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
}
