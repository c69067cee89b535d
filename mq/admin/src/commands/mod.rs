//! The commands, under RocketMQ's names and flags.

mod brokers;
mod groups;
mod messages;
mod raft;
mod topics;

use crate::Admin;
use anyhow::Result;
use clap::Subcommand;

/// What can be asked for.
#[derive(Subcommand)]
#[command(rename_all = "camelCase")]
pub enum Command {
    /// Brokers of all clusters, with rates and load
    ClusterList(brokers::ClusterList),
    /// All topics
    TopicList(topics::TopicList),
    /// Where a topic's queues are
    TopicRoute(topics::TopicRoute),
    /// Bounds of a topic's queues
    TopicStatus(topics::TopicStatus),
    /// Create or change a topic
    UpdateTopic(topics::UpdateTopic),
    /// Delete a topic from a cluster and from the name servers
    DeleteTopic(topics::DeleteTopic),
    /// Create or change a consumer group
    UpdateSubGroup(groups::UpdateSubGroup),
    /// How far consumer groups are
    ConsumerProgress(groups::ConsumerProgress),
    /// Set a group's offsets to those of a time
    ResetOffsetByTime(groups::ResetOffsetByTime),
    /// A message by its id
    QueryMsgById(messages::QueryMsgById),
    /// Messages by key
    QueryMsgByKey(messages::QueryMsgByKey),
    /// Raft groups: roles, terms, positions (Forebay only)
    RaftStatus(raft::RaftStatusOf),
    /// Hand a group's leadership to another member (Forebay only)
    TransferLeader(raft::TransferLeaderOf),
    /// Add a member to a group (Forebay only)
    AddMember(raft::AddMemberTo),
    /// Remove a member from a group (Forebay only)
    RemoveMember(raft::RemoveMemberOf),
}

/// Runs a command and answers what to print.
pub async fn run(admin: &Admin, command: Command) -> Result<String> {
    match command {
        Command::ClusterList(flags) => brokers::cluster_list(admin, &flags).await,
        Command::TopicList(flags) => topics::list(admin, &flags).await,
        Command::TopicRoute(flags) => topics::route(admin, &flags).await,
        Command::TopicStatus(flags) => topics::status(admin, &flags).await,
        Command::UpdateTopic(flags) => topics::update(admin, &flags).await,
        Command::DeleteTopic(flags) => topics::delete(admin, &flags).await,
        Command::UpdateSubGroup(flags) => groups::update(admin, &flags).await,
        Command::ConsumerProgress(flags) => groups::progress(admin, &flags).await,
        Command::ResetOffsetByTime(flags) => groups::reset_offset(admin, &flags).await,
        Command::QueryMsgById(flags) => messages::by_id(admin, &flags).await,
        Command::QueryMsgByKey(flags) => messages::by_key(admin, &flags).await,
        Command::RaftStatus(flags) => raft::status(admin, &flags).await,
        Command::TransferLeader(flags) => raft::transfer_leader(admin, &flags).await,
        Command::AddMember(flags) => raft::add_member(admin, &flags).await,
        Command::RemoveMember(flags) => raft::remove_member(admin, &flags).await,
    }
}
