//! The one place that decides which response code and remark a client sees.

use crate::ask::Refusal;
use mq_remoting::Command;
use mq_remoting::code::response;

/// Response code of a refusal.
///
/// What is only for now gets a code that RocketMQ's producers retry (1, 2, 14); 13, 16, 26 and 29 go straight to the user.
pub fn code(refusal: &Refusal) -> i32 {
    match refusal {
        Refusal::NotLeader | Refusal::Unknown | Refusal::Unavailable(_) => response::SERVICE_NOT_AVAILABLE,
        Refusal::Busy => response::SYSTEM_BUSY,
        Refusal::TopicMissing(_) => response::TOPIC_NOT_EXIST,
        Refusal::QueueIllegal { .. } | Refusal::Invalid(_) => response::INVALID_PARAMETER,
        Refusal::MessageIllegal(_) => response::MESSAGE_ILLEGAL,
        Refusal::NoPermission(_) => response::NO_PERMISSION,
        Refusal::GroupMissing(_) => response::SUBSCRIPTION_GROUP_NOT_EXIST,
        Refusal::SubscriptionUnparsable(_) => response::SUBSCRIPTION_PARSE_FAILED,
        Refusal::SubscriptionMissing(_) => response::SUBSCRIPTION_NOT_EXIST,
        Refusal::SubscriptionOld(_) => response::SUBSCRIPTION_NOT_LATEST,
        Refusal::NotFound(_) => response::QUERY_NOT_FOUND,
        Refusal::Fenced { .. } => response::PRODUCER_FENCED,
        Refusal::OutOfSequence { .. } => response::SEQUENCE_OUT_OF_ORDER,
        Refusal::Illegal(_) => response::ILLEGAL_OPERATION,
        Refusal::Failed(_) => response::SYSTEM_ERROR,
    }
}

/// The answer to a refused request.
pub fn refuse(request: &Command, refusal: &Refusal) -> Command {
    Command::response(request, code(refusal)).with_remark(refusal.to_string())
}
