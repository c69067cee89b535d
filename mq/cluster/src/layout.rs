//! What a cluster consists of: groups, members, ports, settings. Written to `layout.json` once, when it is founded.

use crate::network::Network;
use crate::ports::Ports;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the cluster; made if missing.
    pub dir: PathBuf,
    /// Broker groups, 1 to 26: broker-a, broker-b, ...
    pub groups: usize,
    /// Members of each group, 1 to 7.
    pub members: usize,
    /// Name servers, 1 to 9.
    pub namesrvs: usize,
    /// First port of a block of [`Options::block`] ports; `None` looks for free ones.
    pub port_base: Option<u16>,
    /// Settings of every broker, RocketMQ's names; later ones win.
    pub settings: Vec<(String, String)>,
    /// A network namespace with an address of its own for each member, so that members can be partitioned. Needs root.
    pub namespaces: bool,
    /// Start a process again when it ends.
    pub restart: bool,
    /// Stop everything when this process is gone (for tests: their own process id).
    pub owner: Option<u32>,
    /// How long to wait for a leader in every group.
    pub ready_within: Duration,
}

impl Options {
    /// One group of three, one name server, free ports, restarts on.
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: dir.into(),
            groups: 1,
            members: 3,
            namesrvs: 1,
            port_base: None,
            settings: Vec::new(),
            namespaces: false,
            restart: true,
            owner: None,
            ready_within: Duration::from_secs(30),
        }
    }

    /// Adds a setting of every broker.
    pub fn set(mut self, key: &str, value: impl ToString) -> Options {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// How many ports from `port_base` on are used.
    pub fn block(&self) -> usize {
        10 * (1 + self.groups * self.members)
    }

    fn check(&self) -> Result<()> {
        ensure!(
            (1..=26).contains(&self.groups),
            "--groups must be 1 to 26, not {}",
            self.groups
        );
        ensure!(
            (1..=7).contains(&self.members),
            "--members must be 1 to 7, not {}",
            self.members
        );
        ensure!(
            (1..=9).contains(&self.namesrvs),
            "--namesrvs must be 1 to 9, not {}",
            self.namesrvs
        );
        if let Some(base) = self.port_base {
            ensure!(
                base >= 1024 && usize::from(base) + self.block() <= 65_536,
                "--port-base {base}: {} ports from there on must lie between 1024 and 65535",
                self.block()
            );
        }
        for (key, value) in &self.settings {
            ensure!(
                !DECIDED_HERE.contains(&key.as_str()),
                "--set {key}={value}: mqcluster decides {key} itself"
            );
        }
        Ok(())
    }
}

/// Settings that follow from the layout.
const DECIDED_HERE: &[&str] = &[
    "brokerName",
    "brokerId",
    "listenPort",
    "namesrvAddr",
    "enableDLegerCommitLog",
    "dLegerGroup",
    "dLegerPeers",
    "dLegerSelfId",
    "storePathRootDir",
];

/// A founded cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layout {
    /// All of them, in order.
    pub namesrvs: Vec<NameServer>,
    /// Members of all groups, group by group.
    pub members: Vec<Member>,
    /// Settings of every broker.
    pub settings: BTreeMap<String, String>,
    /// The network of its own, if members have namespaces.
    pub network: Option<Network>,
    /// Start a process again when it ends.
    pub restart: bool,
    /// Stop everything when this process is gone.
    pub owner: Option<u32>,
}

/// One name server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameServer {
    /// `namesrv0`, ...; also the name of its folder.
    pub name: String,
    /// Address.
    pub host: Ipv4Addr,
    /// Client port.
    pub port: u16,
}

/// One member of a broker group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `n0` with one group, `broker-b/n0` with several; also the name of its folder.
    pub name: String,
    /// The group's `brokerName`.
    pub group: String,
    /// `n0`, ...
    pub slot: String,
    /// Address: of its own if members have namespaces.
    pub host: Ipv4Addr,
    /// Port of the clients; the one two below serves the same.
    pub port: u16,
    /// Port between members.
    pub peer_port: u16,
}

impl Member {
    /// Where clients reach it.
    pub fn addr(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl NameServer {
    /// Where clients reach it.
    pub fn addr(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Layout {
    /// Founds a cluster, or takes up the one that lies in the folder if it fits what is asked for.
    pub fn found(options: &Options) -> Result<Layout> {
        options.check()?;
        let file = options.dir.join("layout.json");
        if file.exists() {
            let mut layout = Layout::read(&options.dir)?;
            layout.must_fit(options)?;
            layout.settings.extend(options.settings.iter().cloned());
            layout.restart = options.restart;
            layout.owner = options.owner;
            layout.write(&options.dir)?;
            return Ok(layout);
        }
        std::fs::create_dir_all(&options.dir).with_context(|| format!("create {}", options.dir.display()))?;
        let strangers = std::fs::read_dir(&options.dir)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .find(|name| name != "lock");
        if let Some(name) = strangers {
            bail!(
                "{} is not empty (it holds {name}) and holds no cluster; name another folder",
                options.dir.display()
            );
        }
        let layout = Layout::place(options)?;
        layout.write(&options.dir)?;
        Ok(layout)
    }

    fn place(options: &Options) -> Result<Layout> {
        let mut ports = Ports::new(options.port_base)?;
        let network = options.namespaces.then(Network::choose).transpose()?;
        let mut namesrvs = Vec::new();
        for n in 0..options.namesrvs {
            namesrvs.push(NameServer {
                name: format!("namesrv{n}"),
                host: network.as_ref().map_or(Ipv4Addr::LOCALHOST, Network::gateway),
                port: ports.name_server(n)?,
            });
        }
        let mut members = Vec::new();
        for g in 0..options.groups {
            let group = format!("broker-{}", char::from(b'a' + g as u8));
            for m in 0..options.members {
                let slot = format!("n{m}");
                let name = if options.groups == 1 {
                    slot.clone()
                } else {
                    format!("{group}/{slot}")
                };
                let number = g * options.members + m;
                let (port, peer_port) = ports.member(number)?;
                members.push(Member {
                    name,
                    group: group.clone(),
                    slot,
                    host: network
                        .as_ref()
                        .map_or(Ipv4Addr::LOCALHOST, |network| network.host(number)),
                    port,
                    peer_port,
                });
            }
        }
        let settings = options.settings.iter().cloned().collect();
        Ok(Layout {
            namesrvs,
            members,
            settings,
            network,
            restart: options.restart,
            owner: options.owner,
        })
    }

    fn must_fit(&self, options: &Options) -> Result<()> {
        let groups = self.groups().len();
        let (members, namesrvs) = (self.members.len() / groups.max(1), self.namesrvs.len());
        ensure!(
            (groups, members, namesrvs) == (options.groups, options.members, options.namesrvs),
            "{} holds a cluster of {groups} groups of {members} members and {namesrvs} name servers; \
             ask for the same, or name another folder",
            options.dir.display()
        );
        ensure!(
            self.network.is_some() == options.namespaces,
            "{} holds a cluster that was founded {} --namespaces; start it so, or name another folder",
            options.dir.display(),
            if self.network.is_some() { "with" } else { "without" }
        );
        Ok(())
    }

    /// Reads the layout of a folder.
    pub fn read(dir: &Path) -> Result<Layout> {
        let file = dir.join("layout.json");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("there is no cluster in {} (read {})", dir.display(), file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))
    }

    fn write(&self, dir: &Path) -> Result<()> {
        crate::state::replace(&dir.join("layout.json"), &serde_json::to_vec_pretty(self)?)
    }

    /// Names of the groups, in order.
    pub fn groups(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.members.iter().map(|member| member.group.as_str()).collect();
        names.dedup();
        names
    }

    /// `host:port;host:port` of all name servers.
    pub fn namesrv_addr(&self) -> String {
        let all: Vec<String> = self.namesrvs.iter().map(NameServer::addr).collect();
        all.join(";")
    }

    /// The text of a member's `broker.conf`.
    pub fn broker_conf(&self, dir: &Path, member: &Member) -> String {
        let peers: Vec<String> = self
            .members
            .iter()
            .filter(|other| other.group == member.group)
            .map(|other| format!("{}-{}:{}", other.slot, other.host, other.peer_port))
            .collect();
        let mut settings: BTreeMap<String, String> = [
            ("brokerClusterName", "DefaultCluster".to_owned()),
            ("brokerIP1", member.host.to_string()),
            ("bindAddress", member.host.to_string()),
            ("flushDiskType", "SYNC_FLUSH".to_owned()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        settings.extend(self.settings.clone());
        let decided = [
            ("brokerName", member.group.clone()),
            ("listenPort", member.port.to_string()),
            ("namesrvAddr", self.namesrv_addr()),
            ("enableDLegerCommitLog", "true".to_owned()),
            ("dLegerGroup", member.group.clone()),
            ("dLegerPeers", peers.join(";")),
            ("dLegerSelfId", member.slot.clone()),
            (
                "storePathRootDir",
                dir.join(&member.name).join("store").display().to_string(),
            ),
        ];
        settings.extend(decided.map(|(key, value)| (key.to_owned(), value)));
        settings.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_named_by_group_when_there_are_several() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        options.port_base = Some(20_000);
        options.groups = 2;
        options.namesrvs = 2;
        let layout = Layout::found(&options.clone().set("drainSeconds", 1)).unwrap();
        let names: Vec<&str> = layout.members.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "broker-a/n0",
                "broker-a/n1",
                "broker-a/n2",
                "broker-b/n0",
                "broker-b/n1",
                "broker-b/n2"
            ]
        );
        assert_eq!(layout.namesrv_addr(), "127.0.0.1:20000;127.0.0.1:20001");
        assert_eq!((layout.members[3].port, layout.members[3].peer_port), (20_042, 20_043));
        let conf = layout.broker_conf(dir.path(), &layout.members[4]);
        assert!(
            conf.contains("dLegerPeers=n0-127.0.0.1:20043;n1-127.0.0.1:20053;n2-127.0.0.1:20063\n"),
            "{conf}"
        );
        assert!(conf.contains("brokerName=broker-b\n") && conf.contains("flushDiskType=SYNC_FLUSH\n"));
        assert!(conf.contains("drainSeconds=1\n"));
    }

    #[test]
    fn a_folder_is_taken_up_again_only_with_the_same_shape() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path());
        let first = Layout::found(&options).unwrap();
        assert_eq!(Layout::found(&options).unwrap().members, first.members);
        let mut other = options.clone();
        other.members = 1;
        let error = Layout::found(&other).unwrap_err().to_string();
        assert!(error.contains("1 groups of 3 members"), "{error}");
    }

    #[test]
    fn foreign_folders_and_bad_numbers_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("precious"), "x").unwrap();
        let options = Options::new(dir.path());
        assert!(Layout::found(&options).unwrap_err().to_string().contains("precious"));
        let empty = tempfile::tempdir().unwrap();
        for broken in [
            Options {
                groups: 0,
                ..Options::new(empty.path())
            },
            Options {
                members: 8,
                ..Options::new(empty.path())
            },
            Options {
                port_base: Some(65_530),
                ..Options::new(empty.path())
            },
            Options::new(empty.path()).set("listenPort", 1),
        ] {
            assert!(Layout::found(&broken).is_err(), "{broken:?}");
        }
    }
}
