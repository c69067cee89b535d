//! What the leader does on its own: delayed messages, check-backs, retention; and the flush of consumer offsets.

mod offsets;

pub use offsets::OffsetBuffer;
