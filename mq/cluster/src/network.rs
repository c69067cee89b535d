//! A host of its own for each member: a network namespace with an address, all joined by a bridge, so that members can be
//! cut off from each other and from everybody else. Clients and name servers stay in the namespace of the supervisor, which
//! has the bridge's own address. Done with `ip` of iproute2; needs root.
//!
//! What is cut is lost in silence, as by a broken switch: the sender's neighbour table gets a hardware address that nobody
//! has. Connections stay open, nothing is refused, and either direction can be cut alone.

use anyhow::{Context, Result, bail, ensure};
use rand::Rng;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

/// A locally administered hardware address that no interface has.
const NOBODY: &str = "02:00:00:00:00:01";
/// The interface inside a namespace.
const INSIDE: &str = "eth0";

/// The network of a cluster whose members have namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Names the bridge `fb<tag>`, and namespaces and interfaces after it.
    tag: String,
    /// First three bytes of all addresses.
    subnet: [u8; 3],
}

/// One end of a connection: a member by its place in the layout, or the outside, where clients and name servers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A member.
    Member(usize),
    /// Everybody else.
    Outside,
}

impl Network {
    /// A network that is not in use on this machine.
    pub fn choose() -> Result<Network> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "network namespaces need root; start without --namespaces"
        );
        let used = run(&["-4", "-o", "addr"])?;
        let mut dice = rand::rng();
        for _ in 0..100 {
            let subnet = [10, dice.random_range(64..=250), dice.random_range(0..=250)];
            if !used.contains(&format!("{}.{}.{}.", subnet[0], subnet[1], subnet[2])) {
                let tag = format!("{:04x}", dice.random::<u16>());
                return Ok(Network { tag, subnet });
            }
        }
        bail!("found no unused network 10.x.y.0/24");
    }

    /// Address of clients and name servers.
    pub fn gateway(&self) -> Ipv4Addr {
        self.address(1)
    }

    /// Address of the n-th member.
    pub fn host(&self, n: usize) -> Ipv4Addr {
        self.address(10 + n as u8)
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, last)
    }

    /// Name of the n-th member's namespace.
    pub fn namespace(&self, n: usize) -> String {
        format!("fb{}-{n}", self.tag)
    }

    fn bridge(&self) -> String {
        format!("fb{}", self.tag)
    }

    /// Makes the namespaces and the bridge, in place of any that an earlier end left behind.
    pub fn up(&self, members: usize) -> Result<()> {
        self.down(members);
        let bridge = self.bridge();
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("addr add {}/24 dev {bridge}", self.gateway()))?;
        ip(&format!("link set {bridge} up"))?;
        for n in 0..members {
            let (namespace, cable) = (self.namespace(n), format!("fb{}v{n}", self.tag));
            ip(&format!("netns add {namespace}"))?;
            ip(&format!(
                "link add {cable} type veth peer name {INSIDE} netns {namespace}"
            ))?;
            ip(&format!("link set {cable} master {bridge} up"))?;
            ip(&format!("-n {namespace} addr add {}/24 dev {INSIDE}", self.host(n)))?;
            ip(&format!("-n {namespace} link set {INSIDE} up"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
        }
        Ok(())
    }

    /// Removes all of it; what is not there is no error.
    pub fn down(&self, members: usize) {
        for n in 0..members {
            let _ = ip(&format!("netns del {}", self.namespace(n)));
        }
        let _ = ip(&format!("link del {}", self.bridge()));
    }

    /// From now on nothing that `from` sends reaches `to`.
    pub fn cut(&self, from: End, to: End) -> Result<()> {
        let (prefix, device) = self.sender(from);
        let to = self.address_of(to);
        ip(&format!(
            "{prefix} neigh replace {to} lladdr {NOBODY} dev {device} nud permanent"
        ))
    }

    /// What `from` sends reaches `to` again.
    pub fn heal(&self, from: End, to: End) {
        let (prefix, device) = self.sender(from);
        // Fails when it was not cut.
        let _ = ip(&format!("{prefix} neigh del {} dev {device}", self.address_of(to)));
    }

    fn sender(&self, end: End) -> (String, String) {
        match end {
            End::Member(n) => (format!("-n {}", self.namespace(n)), INSIDE.to_owned()),
            End::Outside => (String::new(), self.bridge()),
        }
    }

    fn address_of(&self, end: End) -> Ipv4Addr {
        match end {
            End::Member(n) => self.host(n),
            End::Outside => self.gateway(),
        }
    }
}

/// Moves the calling thread into a namespace.
pub fn enter(namespace: &str) -> Result<()> {
    let file = File::open(format!("/run/netns/{namespace}")).with_context(|| format!("open namespace {namespace}"))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("enter namespace {namespace}"))
}

/// Does something inside a namespace, on a thread that ends with it.
pub fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| enter(namespace).map(|()| work()));
        thread
            .join()
            .unwrap_or_else(|_| bail!("a thread inside {namespace} panicked"))
    })
}

fn ip(arguments: &str) -> Result<()> {
    run(&arguments.split_whitespace().collect::<Vec<_>>()).map(drop)
}

fn run(arguments: &[&str]) -> Result<String> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("run ip (Debian package iproute2)")?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
