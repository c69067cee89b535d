//! What happened, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts since the start; shared by all connections of a server or client.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub(crate) $name: AtomicU64,)* }

        /// A reading of [`Counters`].
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counts { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            /// Reads all counters.
            pub fn read(&self) -> Counts {
                Counts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Connections opened.
    opened,
    /// Connections closed, for whatever reason.
    closed,
    /// Connections refused because there are too many.
    refused,
    /// Connections closed because their reader was too slow.
    slow_readers,
    /// Connections closed because nothing happened on them.
    idle,
    /// Connections closed because of an oversized or undecodable frame.
    bad_frames,
    /// TLS handshakes that failed, and first bytes that the TLS mode forbids.
    handshake_failures,
    /// Times a connection stopped reading to push back.
    pauses,
    /// Requests received.
    requests,
    /// Bytes received.
    bytes_in,
    /// Bytes sent.
    bytes_out,
    /// Wake-ups of connection tasks by answers and requests from elsewhere.
    wakes,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}
