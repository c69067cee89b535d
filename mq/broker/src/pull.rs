//! A pull: what is wanted, what a look into the queue says, and the answer's code. No I/O here.

use crate::request::Request;
use crate::state::{Name, Queue};
use mq_base::env::clock::Instant;
use mq_message::{QueueId, QueueOffset, TagFilter};
use mq_remoting::code::response;

/// An admitted pull.
pub struct Pull {
    /// The request to answer.
    pub request: Request,
    /// Consumer group.
    pub group: Name,
    /// Topic.
    pub topic: Name,
    /// Queue.
    pub queue: QueueId,
    /// Offset the client asked for.
    pub offset: QueueOffset,
    /// How far a waiting pull has looked already: everything before it does not match.
    pub scanned: QueueOffset,
    /// Most messages wanted.
    pub count: u32,
    /// Which messages.
    pub filter: TagFilter,
    /// Until when it may wait for a message; `None` if it may not.
    pub deadline: Option<Instant>,
}

/// Status of a pull; its name is the remark that RocketMQ's tools show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Messages.
    Found,
    /// Looked at some, none matches.
    NoMatchedMessage,
    /// They were deleted while they were being read.
    MessageWasRemoving,
    /// The queue has never had a message.
    NoMessageInQueue,
    /// At its end.
    OffsetOverflowOne,
    /// Beyond its end.
    OffsetOverflowBadly,
    /// Before its beginning.
    OffsetTooSmall,
    /// A reset from the server side has yet to reach the client.
    OffsetReset,
}

impl Status {
    /// RocketMQ's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "FOUND",
            Self::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            Self::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            Self::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
            Self::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            Self::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            Self::OffsetTooSmall => "OFFSET_TOO_SMALL",
            Self::OffsetReset => "OFFSET_RESET",
        }
    }

    /// Response code. `asked` is the offset the client asked for.
    pub fn code(self, asked: QueueOffset) -> i32 {
        match self {
            Self::Found => response::SUCCESS,
            Self::NoMatchedMessage | Self::MessageWasRemoving => response::PULL_RETRY_IMMEDIATELY,
            Self::OffsetOverflowOne => response::PULL_NOT_FOUND,
            Self::NoMessageInQueue if asked == QueueOffset::ZERO => response::PULL_NOT_FOUND,
            Self::NoMessageInQueue | Self::OffsetOverflowBadly | Self::OffsetTooSmall | Self::OffsetReset => {
                response::PULL_OFFSET_MOVED
            }
        }
    }
}

/// Where an offset lies in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Messages from here to the end may match.
    Inside,
    /// Nothing to read: the status, and where the client should go on.
    Outside(Status, QueueOffset),
}

/// Compares an offset with the bounds of its queue.
pub fn place(asked: QueueOffset, queue: Queue) -> Place {
    let Queue { min, next } = queue;
    if next == QueueOffset::ZERO {
        Place::Outside(Status::NoMessageInQueue, QueueOffset::ZERO)
    } else if asked < min {
        Place::Outside(Status::OffsetTooSmall, min)
    } else if asked == next {
        Place::Outside(Status::OffsetOverflowOne, asked)
    } else if asked > next {
        Place::Outside(Status::OffsetOverflowBadly, next)
    } else {
        Place::Inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_follow_the_place_of_the_offset() {
        let queue = |min: u64, next: u64| Queue {
            min: min.into(),
            next: next.into(),
        };
        let cases = [
            (queue(0, 0), 0, Some((Status::NoMessageInQueue, 0, 19))),
            (queue(0, 0), 7, Some((Status::NoMessageInQueue, 0, 21))),
            (queue(0, 5), 0, None),
            (queue(0, 5), 4, None),
            (queue(0, 5), 5, Some((Status::OffsetOverflowOne, 5, 19))),
            (queue(0, 5), 6, Some((Status::OffsetOverflowBadly, 5, 21))),
            (queue(3, 5), 2, Some((Status::OffsetTooSmall, 3, 21))),
            (queue(5, 5), 5, Some((Status::OffsetOverflowOne, 5, 19))),
            (queue(5, 5), 0, Some((Status::OffsetTooSmall, 5, 21))),
        ];
        for (queue, asked, expected) in cases {
            let asked = QueueOffset(asked);
            let found = match place(asked, queue) {
                Place::Inside => None,
                Place::Outside(status, next) => Some((status, next.get(), status.code(asked))),
            };
            assert_eq!(found, expected, "{queue:?} asked {asked}");
        }
    }
}
