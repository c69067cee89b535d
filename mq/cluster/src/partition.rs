//! Cutting a member off from others, and healing: for clusters whose members have network namespaces.

use crate::cluster::{Cluster, Target};
use crate::network::{End, Network};
use crate::roles;
use anyhow::{Context, Result, bail};
use std::str::FromStr;

/// Whom a member is cut off from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// The other members of its group; clients and name servers still reach it.
    Peers,
    /// Clients and name servers; the other members still reach it.
    Outside,
    /// Everybody.
    All,
    /// One other member, by name.
    Member(String),
}

impl FromStr for From {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<From, Self::Err> {
        Ok(match text {
            "peers" => From::Peers,
            "outside" => From::Outside,
            "all" => From::All,
            name => From::Member(name.to_owned()),
        })
    }
}

impl std::fmt::Display for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            From::Peers => f.write_str("its peers"),
            From::Outside => f.write_str("clients and name servers"),
            From::All => f.write_str("everybody"),
            From::Member(name) => f.write_str(name),
        }
    }
}

impl Cluster {
    /// Cuts members off until [`Cluster::heal`]; with `one_way` only what they send is lost. Says what was done, a line each.
    pub fn partition(&self, target: &Target, from: &From, one_way: bool) -> Result<Vec<String>> {
        let network = self.network()?;
        let said = roles::ask_all(self.layout());
        let mut done = Vec::new();
        for name in self.resolve(target, &said)? {
            let member = self.number(&name)?;
            for other in self.others(member, from)? {
                network.cut(End::Member(member), other)?;
                if !one_way {
                    network.cut(other, End::Member(member))?;
                }
            }
            let group = &self.layout().members[member].group;
            let led = roles::leader(self.layout(), &said, group).filter(|(leader, _)| leader.name == name);
            let led = led.map_or(String::new(), |(_, term)| {
                format!(", the leader of {group} in term {term}")
            });
            let what = if one_way { "what it sends" } else { "all packets" };
            done.push(format!("cut {name} off from {from} ({what}){led}"));
        }
        Ok(done)
    }

    /// Ends all partitions.
    pub fn heal(&self) -> Result<()> {
        let network = self.network()?;
        let members = 0..self.layout().members.len();
        for from in members.clone().map(End::Member) {
            network.heal(from, End::Outside);
            network.heal(End::Outside, from);
            for to in members.clone().map(End::Member).filter(|to| *to != from) {
                network.heal(from, to);
            }
        }
        Ok(())
    }

    fn network(&self) -> Result<&Network> {
        let network = self.layout().network.as_ref();
        network.context("the members share one address; start a cluster with --namespaces to partition it")
    }

    fn number(&self, name: &str) -> Result<usize> {
        let members = &self.layout().members;
        let number = members.iter().position(|member| member.name == name);
        number.with_context(|| format!("{name} is no member of a broker group; only those can be cut off"))
    }

    fn others(&self, member: usize, from: &From) -> Result<Vec<End>> {
        let members = &self.layout().members;
        let peers = || (0..members.len()).filter(|n| *n != member && members[*n].group == members[member].group);
        Ok(match from {
            From::Peers => peers().map(End::Member).collect(),
            From::Outside => vec![End::Outside],
            From::All => peers().map(End::Member).chain([End::Outside]).collect(),
            From::Member(name) => match self.number(name)? {
                other if other == member => bail!("{name} cannot be cut off from itself"),
                other => vec![End::Member(other)],
            },
        })
    }
}
