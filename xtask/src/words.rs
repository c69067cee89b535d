//! Words that belong to one place: sockets and clocks behind `mq-base::env`, and nothing of one person's machine.
//!
//! Clippy's list of disallowed methods does most of it; this catches types and imports, which clippy's list cannot.

use crate::tree::Tree;
use anyhow::Result;

/// Crates that the simulator runs: there only `mq-base::env` may name the outside world.
const SIMULATED: &[&str] = &[
    "mq/base/",
    "mq/store/",
    "mq/net/",
    "mq/raft/",
    "mq/broker/",
    "mq/namesrv/",
    "mq/client/",
];

/// Where the outside world may be named: the door itself, programs that start things, and tests.
const DOORS: &[&str] = &[
    "mq/base/src/env/",
    "/src/main.rs",
    "/src/bin/",
    "/tests/",
    "/tests.rs",
    "/examples/",
    "/benches/",
];

/// What belongs behind the door, and what to use.
const OUTSIDE: &[(&str, &str)] = &[
    ("std::time::SystemTime", "mq_base::env::clock::wall_ms"),
    ("std::time::Instant", "mq_base::env::clock::Instant"),
    ("tokio::time::Instant", "mq_base::env::clock::Instant"),
    ("tokio::net::", "mq_base::env::net"),
    ("std::net::TcpStream", "mq_base::env::net"),
    ("std::thread::spawn", "mq_base::env::thread::spawn"),
    ("tokio::spawn", "mq_base::env::task::spawn"),
    ("unbounded_channel", "a bounded channel"),
    (
        "std::collections::HashMap",
        "hashbrown::HashMap with mq_base's hasher, or BTreeMap",
    ),
];

/// Beginnings of paths that exist on one machine only; written in pieces so that this file does not find itself.
fn machine_paths() -> [String; 3] {
    [["/", "work/"], ["/", "root/"], ["/", "home/"]].map(|parts| parts.concat())
}

/// Answers breaches and how many files were examined.
pub fn check(tree: &Tree) -> Result<(Vec<String>, usize)> {
    let mut breaches = Vec::new();
    let mut examined = 0;
    for file in &tree.files {
        let Some(text) = tree.text(file) else { continue };
        examined += 1;
        breaches.extend(machine(file, &text));
        if file.ends_with(".rs") {
            breaches.extend(outside(file, &text));
            breaches.extend(raft(file, &text));
        }
    }
    Ok((breaches, examined))
}

fn machine(file: &str, text: &str) -> Vec<String> {
    let paths = machine_paths();
    let at = |line: &str| paths.iter().any(|path| line.contains(path.as_str()));
    numbered(text)
        .filter(|(_, line)| at(line))
        .map(|(n, _)| format!("{file}:{n} names a path of one machine"))
        .collect()
}

fn outside(file: &str, text: &str) -> Vec<String> {
    if !SIMULATED.iter().any(|folder| file.starts_with(folder)) || DOORS.iter().any(|door| file.contains(door)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in code(text) {
        for (word, instead) in OUTSIDE {
            if line.contains(word) {
                found.push(format!("{file}:{number} names {word}; use {instead}"));
            }
        }
    }
    found
}

fn raft(file: &str, text: &str) -> Vec<String> {
    if file.starts_with("mq/raft/") || file.starts_with("xtask/") {
        return Vec::new();
    }
    code(text)
        .filter(|(_, line)| line.contains("openraft::") || line.contains("use openraft"))
        .map(|(number, _)| format!("{file}:{number} names openraft; only mq-raft may"))
        .collect()
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

/// Lines of code: without comments, and without the unit tests at the end of a file.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    numbered(text)
        .take_while(|(_, line)| !line.trim_start().starts_with("#[cfg(test)]"))
        .map(|(number, line)| (number, line.split("//").next().unwrap_or(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outside_world_is_found_in_code_only() {
        let text =
            "// std::time::Instant in a comment\nuse std::time::Instant;\n#[cfg(test)]\nuse tokio::net::TcpStream;";
        assert_eq!(outside("mq/store/src/log.rs", text).len(), 1);
        assert!(outside("mq/base/src/env/clock.rs", text).is_empty());
        assert!(outside("mq/cluster/src/lib.rs", text).is_empty());
    }

    #[test]
    fn machine_paths_and_openraft_are_found() {
        assert_eq!(
            machine("README.md", &format!("see {}x\nfine", machine_paths()[0])).len(),
            1
        );
        assert_eq!(raft("mq/broker/src/lib.rs", "use openraft::Raft;").len(), 1);
        assert!(raft("mq/raft/src/lib.rs", "use openraft::Raft;").is_empty());
    }
}
