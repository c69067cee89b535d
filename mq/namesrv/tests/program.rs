//! The program `mqnamesrv`: its flags, its exit codes, and that it leaves when told to.
#![allow(clippy::disallowed_methods)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

fn mqnamesrv() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mqnamesrv"))
}

fn run(arguments: &[&str]) -> (bool, String) {
    let Output { status, stdout, stderr } = mqnamesrv().args(arguments).output().unwrap();
    (
        status.success(),
        String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr),
    )
}

#[test]
fn it_prints_its_settings_and_help() {
    let (ok, said) = run(&["-p"]);
    assert!(ok && said.contains("listenPort=9876\n"), "{said}");
    let (ok, said) = run(&["--help"]);
    assert!(ok && said.contains("mqnamesrv -c namesrv.conf"), "{said}");
    let (ok, said) = run(&["-p", "--set", "listenPort=9886"]);
    assert!(ok && said.contains("listenPort=9886\n"), "{said}");
}

#[test]
fn wrong_settings_are_an_error_and_useless_ones_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("namesrv.conf");
    std::fs::write(&file, "listenPort=9886\nserverWorkerThreads=8\nclusterTest=false\n").unwrap();
    let (ok, said) = run(&["-p", "-c", file.to_str().unwrap()]);
    assert!(ok && said.contains("listenPort=9886\n"), "{said}");
    assert!(
        said.contains("serverWorkerThreads") && said.contains("clusterTest"),
        "{said}"
    );
    std::fs::write(&file, "listenPort=9886\nlisten=9886\n").unwrap();
    let (ok, said) = run(&["-p", "-c", file.to_str().unwrap()]);
    assert!(!ok && said.contains("line 2") && said.contains("`listen`"), "{said}");
    let (ok, said) = run(&["-p", "-c", "/nowhere.conf"]);
    assert!(!ok && said.contains("/nowhere.conf"), "{said}");
}

#[test]
fn a_terminated_name_server_exits_with_success() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = mqnamesrv()
        .args(["--set", "listenPort=0", "--set", "bindAddress=127.0.0.1"])
        .env("HOME", dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("The Name Server boot success"), "{line}");
    let addr = line.trim().rsplit(' ').next().unwrap();
    let _client = std::net::TcpStream::connect(addr).unwrap();
    let kill = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    assert!(child.wait().unwrap().success());
}
