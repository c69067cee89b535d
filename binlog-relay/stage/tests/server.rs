//! A real server is started, killed and started again.
#![allow(clippy::disallowed_methods)]

use binlog_relay_stage::Mysql;

#[test]
fn what_was_committed_outlives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Mysql::start_with(&folder.path().join("db"), &["--max-connections=17"]).unwrap();
    let settings =
        "SELECT @@gtid_executed = '', @@binlog_format, @@binlog_row_metadata, @@sync_binlog, @@max_connections";
    assert_eq!(server.run(settings).unwrap(), "1\tROW\tFULL\t1\t17\n");
    server
        .run(
            "CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY, b TEXT); INSERT INTO d.t VALUES (1, 'ä\u{1F300}')",
        )
        .unwrap();
    let first = server.pid().unwrap();
    server.kill().unwrap();
    assert!(server.pid().is_none() && server.run("SELECT 1").is_err());
    server.restart().unwrap();
    assert_ne!(server.pid(), Some(first));
    assert_eq!(
        server.run("SELECT * FROM d.t; SELECT @@max_connections").unwrap(),
        "1\tä\u{1F300}\n17\n"
    );
    let refused = server.run("SELECT * FROM d.nothing").unwrap_err().to_string();
    assert!(refused.contains("d.nothing"), "{refused}");
    let pid = server.pid().unwrap();
    drop(server);
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert!(command.is_empty(), "a dropped server runs on: {command}");
}
