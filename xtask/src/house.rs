//! The house: which crate may use which. This is the one list; `cargo metadata` is compared with it.

use crate::tree::Tree;
use anyhow::{Context, Result};
use serde_json::Value;
use std::process::Command;

/// A crate and what it may use.
struct Room {
    name: &'static str,
    /// Crates of the workspace; `None` is a tool at the top, which may use anything and which nothing uses.
    uses: Option<&'static [&'static str]>,
    /// Pure crates may not depend on an async runtime.
    pure: bool,
}

const fn room(name: &'static str, uses: &'static [&'static str]) -> Room {
    Room {
        name,
        uses: Some(uses),
        pure: false,
    }
}

const fn pure(name: &'static str, uses: &'static [&'static str]) -> Room {
    Room {
        name,
        uses: Some(uses),
        pure: true,
    }
}

const fn tool(name: &'static str) -> Room {
    Room {
        name,
        uses: None,
        pure: false,
    }
}

/// Layer by layer; each line may use what stands above it, and only what it names.
const HOUSE: &[Room] = &[
    room("mq-base", &[]),
    pure("mq-message", &[]),
    pure("binlog-relay-event", &[]),
    pure("mq-remoting", &["mq-message"]),
    pure("mq-store", &["mq-message", "mq-base"]),
    room("mq-net", &["mq-remoting", "mq-base"]),
    room("mq-raft", &["mq-store", "mq-message", "mq-base"]),
    room("mq-client", &["mq-net", "mq-remoting", "mq-message", "mq-base"]),
    room("mq-namesrv", &["mq-net", "mq-remoting", "mq-message", "mq-base"]),
    room(
        "mq-broker",
        &["mq-net", "mq-remoting", "mq-raft", "mq-store", "mq-message", "mq-base"],
    ),
    room(
        "mq-admin",
        &["mq-client", "mq-net", "mq-remoting", "mq-message", "mq-base"],
    ),
    room(
        "binlog-relay",
        &["binlog-relay-event", "mq-client", "mq-message", "mq-base"],
    ),
    tool("mq-cluster"),
    tool("binlog-relay-stage"),
    tool("mq-sim"),
    tool("mq-interop"),
    tool("loadtest"),
    tool("xtask"),
];

/// Tools that other tools and tests may use: they start clusters and servers.
const SHARED_TOOLS: &[&str] = &["mq-cluster", "binlog-relay-stage"];

/// Compares the list with the manifests. Answers breaches and how many crates were examined.
pub fn check(tree: &Tree) -> Result<(Vec<String>, usize)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(&tree.root)
        .output()
        .context("run cargo metadata")?;
    anyhow::ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("read the packages")?;
    let mut breaches = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        match HOUSE.iter().find(|room| room.name == name) {
            Some(room) => examine(tree, room, package, &mut breaches),
            None => breaches.push(format!("{name} is not in the list of xtask/src/house.rs")),
        }
    }
    Ok((breaches, packages.len()))
}

fn examine(tree: &Tree, room: &Room, package: &Value, breaches: &mut Vec<String>) {
    let name = room.name;
    let manifest = package["manifest_path"].as_str().unwrap_or_default();
    let folder = manifest.trim_end_matches("/Cargo.toml");
    let folder = folder
        .strip_prefix(&format!("{}/", tree.root.display()))
        .unwrap_or(folder);
    if folder.replace('/', "-") != name {
        breaches.push(format!("{name} lies in {folder}: a crate's name is its path"));
    }
    let text = std::fs::read_to_string(manifest).unwrap_or_default();
    if !text.contains("[lints]\nworkspace = true") {
        breaches.push(format!("{name} does not take the lints of the workspace"));
    }
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let used = dependency["name"].as_str().unwrap_or_default();
        let in_tests = dependency["kind"].as_str() == Some("dev");
        if let Some(why) = forbidden(room, used, in_tests) {
            breaches.push(format!("{name} uses {used}: {why}"));
        }
    }
}

fn forbidden(room: &Room, used: &str, in_tests: bool) -> Option<&'static str> {
    if used.starts_with("openraft") && room.name != "mq-raft" {
        return Some("only mq-raft may know openraft");
    }
    if room.pure && !in_tests && matches!(used, "tokio" | "mio" | "async-std" | "smol") {
        return Some("this crate is free of any runtime");
    }
    let position = |name: &str| HOUSE.iter().position(|room| room.name == name);
    let (own, other) = (position(room.name)?, position(used)?);
    match room.uses {
        // A crate's tests may turn on features of the crate itself.
        _ if own == other => None,
        Some(uses) if uses.contains(&used) => None,
        Some(_) if in_tests && SHARED_TOOLS.contains(&used) => None,
        Some(_) => Some("the layers do not allow it (xtask/src/house.rs)"),
        None if HOUSE[other].uses.is_some() || SHARED_TOOLS.contains(&used) => None,
        None => Some("nothing uses a tool"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> &'static Room {
        HOUSE.iter().find(|room| room.name == name).unwrap()
    }

    #[test]
    fn the_list_only_points_upwards() {
        for (at, room) in HOUSE.iter().enumerate() {
            for used in room.uses.unwrap_or(&[]) {
                let above = HOUSE.iter().position(|other| other.name == *used).unwrap();
                assert!(above < at, "{} uses {used}, which is not above it", room.name);
            }
        }
    }

    #[test]
    fn arrows_the_wrong_way_are_found() {
        assert!(forbidden(of("mq-broker"), "mq-client", false).is_some());
        assert!(forbidden(of("mq-broker"), "mq-client", true).is_some());
        assert!(forbidden(of("mq-store"), "mq-remoting", false).is_some());
        assert!(forbidden(of("mq-store"), "tokio", false).is_some());
        assert!(forbidden(of("mq-broker"), "openraft", false).is_some());
        assert!(forbidden(of("loadtest"), "xtask", false).is_some());
        assert!(forbidden(of("mq-store"), "mq-base", false).is_none());
        assert!(forbidden(of("loadtest"), "mq-cluster", false).is_none());
        assert!(forbidden(of("binlog-relay"), "binlog-relay-stage", true).is_none());
        assert!(forbidden(of("binlog-relay"), "binlog-relay-stage", false).is_some());
        assert!(forbidden(of("mq-raft"), "openraft", false).is_none());
    }
}
