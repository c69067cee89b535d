//! One type per kind of position, so that a queue offset cannot be added to a commit log offset by mistake.

use std::fmt;

macro_rules! position {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $int);

        impl $name {
            /// The smallest position.
            pub const ZERO: Self = Self(0);

            /// The plain number.
            pub const fn get(self) -> $int {
                self.0
            }
        }

        impl From<$int> for $name {
            fn from(value: $int) -> Self {
                Self(value)
            }
        }

        impl From<$name> for $int {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

position! {
    /// A byte position in a group's commit log, equal on every member. Java calls it the physical offset.
    CommitLogOffset(u64)
}
position! {
    /// The number of a message within its message queue: 0 for the first one, without gaps.
    QueueOffset(u64)
}
position! {
    /// The number of a message queue within its topic and broker group.
    QueueId(u32)
}

macro_rules! offset {
    ($name:ident) => {
        impl $name {
            /// The position `n` further on; saturates at the end of the number range.
            #[must_use]
            pub const fn plus(self, n: u64) -> Self {
                Self(self.0.saturating_add(n))
            }

            /// How far `self` is beyond `earlier`; 0 when it is not.
            pub const fn since(self, earlier: Self) -> u64 {
                self.0.saturating_sub(earlier.0)
            }

            /// From the wire, where Java writes a signed number and uses negative ones for "none".
            pub const fn from_wire(value: i64) -> Option<Self> {
                if value < 0 { None } else { Some(Self(value as u64)) }
            }

            /// For the wire. Positions beyond `i64::MAX` cannot occur; they saturate.
            pub const fn to_wire(self) -> i64 {
                if self.0 > i64::MAX as u64 {
                    i64::MAX
                } else {
                    self.0 as i64
                }
            }
        }
    };
}
offset!(CommitLogOffset);
offset!(QueueOffset);

impl QueueId {
    /// From the wire, where Java writes a signed number and uses negative ones for "any".
    pub const fn from_wire(value: i32) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value as u32)) }
    }

    /// For the wire; saturates at `i32::MAX`.
    pub const fn to_wire(self) -> i32 {
        if self.0 > i32::MAX as u32 {
            i32::MAX
        } else {
            self.0 as i32
        }
    }
}
