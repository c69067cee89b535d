//! Inspection of queues and of the Raft group.

use super::{SubscriptionData, body};

body! {
    /// One entry of a consume queue.
    ConsumeQueueData {
        /// Obsolete.
        #[serde(skip_serializing_if = "Option::is_none")]
        bit_map: Option<String>,
        /// Whether the filter matches.
        eval: bool,
        /// Obsolete.
        #[serde(skip_serializing_if = "Option::is_none")]
        extend_data_json: Option<String>,
        /// What is wrong with it.
        #[serde(skip_serializing_if = "Option::is_none")]
        msg: Option<String>,
        /// Commit log offset.
        physic_offset: i64,
        /// Size of the record.
        physic_size: i32,
        /// Hash of the tag.
        tags_code: i64,
    }

    /// Answer to 321.
    QueryConsumeQueueResponseBody {
        /// SQL filter.
        #[serde(skip_serializing_if = "Option::is_none")]
        filter_data: Option<String>,
        /// Largest offset.
        max_queue_index: i64,
        /// Smallest offset.
        min_queue_index: i64,
        /// Entries.
        queue_data: Vec<ConsumeQueueData>,
        /// The group's subscription.
        #[serde(skip_serializing_if = "Option::is_none")]
        subscription_data: Option<SubscriptionData>,
    }

    /// One member of a group, as the answering member sees it.
    MemberStatus {
        /// Node id.
        node_id: u64,
        /// Slot, such as `n0`.
        slot: String,
        /// `ip:port` for the other members.
        peer_addr: String,
        /// `ip:port` for clients.
        client_addr: String,
        /// Whether it votes.
        voter: bool,
        /// Last index it is known to hold; only a leader knows.
        #[serde(skip_serializing_if = "Option::is_none")]
        matched_index: Option<u64>,
    }

    /// Forebay's own: answer to 60010.
    RaftStatus {
        /// Name of the group.
        broker_name: String,
        /// Node id of the answering member.
        node_id: u64,
        /// `leader`, `follower`, `candidate` or `learner`.
        role: String,
        /// Raft term.
        term: u64,
        /// Node id of the leader, if known.
        #[serde(skip_serializing_if = "Option::is_none")]
        leader: Option<u64>,
        /// Whether it leads and its first entry is applied.
        ready: bool,
        /// Last index in the log.
        #[serde(skip_serializing_if = "Option::is_none")]
        last_index: Option<u64>,
        /// Last committed index.
        #[serde(skip_serializing_if = "Option::is_none")]
        committed_index: Option<u64>,
        /// Last applied index.
        #[serde(skip_serializing_if = "Option::is_none")]
        applied_index: Option<u64>,
        /// First commit log offset there is.
        min_offset: u64,
        /// Next commit log offset to be written.
        max_offset: u64,
        /// End of what is known to be on disk.
        flushed_offset: u64,
        /// Members.
        members: Vec<MemberStatus>,
    }
}
