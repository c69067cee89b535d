//! Forebay's own requests (codes from 60001 on). The bodies of 60001 and 60002 are in [`mq_message::atomic`].

use super::header;
use crate::ByteStr;

header! {
    /// 60011: hand leadership over.
    TransferLeader {
        /// Node to hand it to; absent: the member with the longest log.
        to: Option<i64> = "to",
    }

    /// 60012: add a member to the group.
    AddMember {
        /// Slot, such as `n2`.
        slot: ByteStr = "slot",
        /// `ip:port` for the other members.
        peer_addr: ByteStr = "peerAddr",
        /// `ip:port` for clients.
        client_addr: ByteStr = "clientAddr",
        /// Never votes.
        learner: bool = "learner" | false,
    }

    /// 60013: remove a member from the group.
    RemoveMember {
        /// Slot, such as `n2`.
        slot: ByteStr = "slot",
    }
}
