//! Forebay's own: what members say about their Raft group, leadership, membership.

use crate::Admin;
use crate::cluster::leader_addr;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use mq_remoting::body::{BrokerData, RaftStatus};
use mq_remoting::code::request;
use mq_remoting::header::{AddMember, RemoveMember, TransferLeader};
use mq_remoting::{ByteStr, Command};
use std::fmt::Write;

/// Flags.
#[derive(Args)]
pub struct RaftStatusOf {
    /// Only this broker group
    #[arg(short = 'b', long = "brokerName")]
    broker: Option<String>,
}

pub async fn status(admin: &Admin, flags: &RaftStatusOf) -> Result<String> {
    let info = admin.clusters().await?;
    let groups = info
        .broker_addr_table
        .values()
        .filter(|group| flags.broker.as_ref().is_none_or(|b| *b == group.broker_name));
    let mut text = header();
    for group in groups {
        row_of_group(admin, &mut text, group).await;
    }
    ensure!(text != header(), "there is no such broker group");
    Ok(text)
}

fn header() -> String {
    format!(
        "{:<16}  {:<5}  {:<22}  {:<9}  {:>6}  {:>12}  {:>12}  {:>12}  {:>16}  {:>16}  {}\n",
        "#Broker Name",
        "#Slot",
        "#Addr",
        "#Role",
        "#Term",
        "#Last",
        "#Committed",
        "#Applied",
        "#Max Offset",
        "#Flushed",
        "#Members (lag)"
    )
}

async fn row_of_group(admin: &Admin, text: &mut String, group: &BrokerData) {
    for addr in group.broker_addrs.values() {
        match admin.raft_status(addr).await {
            Ok(said) => row(text, addr, &said),
            Err(error) => {
                let _ = writeln!(text, "{:<16}  {:<5}  {addr:<22}  {error:#}", group.broker_name, "?");
            }
        }
    }
}

fn row(text: &mut String, addr: &str, said: &RaftStatus) {
    let index = |index: Option<u64>| index.map_or("-".to_owned(), |index| index.to_string());
    let slot = said
        .members
        .iter()
        .find(|member| member.node_id == said.node_id)
        .map_or("?", |member| &member.slot);
    let members: Vec<String> = said
        .members
        .iter()
        .map(|member| {
            let kind = if member.voter { "" } else { " learner" };
            let lag = match (said.last_index, member.matched_index) {
                (Some(last), Some(matched)) => format!(" ({})", last.saturating_sub(matched)),
                _ => String::new(),
            };
            format!("{}{kind}{lag}", member.slot)
        })
        .collect();
    let role = if said.role == "leader" && !said.ready {
        "electing"
    } else {
        &said.role
    };
    let _ = writeln!(
        text,
        "{:<16}  {slot:<5}  {addr:<22}  {role:<9}  {:>6}  {:>12}  {:>12}  {:>12}  {:>16}  {:>16}  {}",
        said.broker_name,
        said.term,
        index(said.last_index),
        index(said.committed_index),
        index(said.applied_index),
        said.max_offset,
        said.flushed_offset,
        members.join(", ")
    );
}

/// Flags.
#[derive(Args)]
pub struct TransferLeaderOf {
    /// Broker group
    #[arg(short = 'b', long = "brokerName")]
    broker: String,
    /// Slot of the new leader, such as n1; without it the member with the longest log
    #[arg(short = 't', long = "to")]
    to: Option<String>,
}

pub async fn transfer_leader(admin: &Admin, flags: &TransferLeaderOf) -> Result<String> {
    let (addr, said) = leader(admin, &flags.broker).await?;
    let to = match &flags.to {
        None => None,
        Some(slot) => {
            let member = said.members.iter().find(|member| member.slot == *slot);
            let slots: Vec<&str> = said.members.iter().map(|member| member.slot.as_str()).collect();
            let member = member
                .with_context(|| format!("{} has no member {slot}; it has {}", flags.broker, slots.join(", ")))?;
            ensure!(member.voter, "{slot} is a learner and cannot lead");
            // The wire has signed numbers; the bits are what counts.
            Some(member.node_id as i64)
        }
    };
    admin
        .call(
            &addr,
            Command::request(request::TRANSFER_LEADER, &TransferLeader { to }),
        )
        .await?;
    Ok(format!("leadership of {} handed over by {addr}\n", flags.broker))
}

/// The leader's address and what it says, found by asking the members the name server lists.
async fn leader(admin: &Admin, broker: &str) -> Result<(String, RaftStatus)> {
    let group = admin.group(broker).await?;
    // Id 0 first: it nearly always is the leader.
    for addr in leader_addr(&group)
        .into_iter()
        .chain(group.broker_addrs.values().cloned())
    {
        if let Ok(said) = admin.raft_status(&addr).await
            && said.role == "leader"
        {
            return Ok((addr, said));
        }
    }
    bail!("{broker} has no leader at the moment")
}

/// Flags.
#[derive(Args)]
pub struct AddMemberTo {
    /// Broker group
    #[arg(short = 'b', long = "brokerName")]
    broker: String,
    /// Slot of the new member, such as n3
    #[arg(short = 's', long = "slot")]
    slot: String,
    /// Its address for the other members, host:port
    #[arg(short = 'p', long = "peerAddr")]
    peer_addr: String,
    /// Its address for clients, host:port
    #[arg(short = 'a', long = "clientAddr")]
    client_addr: String,
    /// It never votes
    #[arg(short = 'l', long = "learner")]
    learner: bool,
}

pub async fn add_member(admin: &Admin, flags: &AddMemberTo) -> Result<String> {
    let (addr, _) = leader(admin, &flags.broker).await?;
    let header = AddMember {
        slot: ByteStr::from(flags.slot.as_str()),
        peer_addr: ByteStr::from(flags.peer_addr.as_str()),
        client_addr: ByteStr::from(flags.client_addr.as_str()),
        learner: flags.learner,
    };
    admin
        .call(&addr, Command::request(request::ADD_MEMBER, &header))
        .await?;
    Ok(format!("{} is a member of {}\n", flags.slot, flags.broker))
}

/// Flags.
#[derive(Args)]
pub struct RemoveMemberOf {
    /// Broker group
    #[arg(short = 'b', long = "brokerName")]
    broker: String,
    /// Slot of the member, such as n2
    #[arg(short = 's', long = "slot")]
    slot: String,
}

pub async fn remove_member(admin: &Admin, flags: &RemoveMemberOf) -> Result<String> {
    let (addr, _) = leader(admin, &flags.broker).await?;
    let header = RemoveMember {
        slot: ByteStr::from(flags.slot.as_str()),
    };
    admin
        .call(&addr, Command::request(request::REMOVE_MEMBER, &header))
        .await?;
    Ok(format!("{} is no member of {} any more\n", flags.slot, flags.broker))
}
