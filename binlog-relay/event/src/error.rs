//! How reading an event can fail.

/// Why an event or a value cannot be read. The event is lost to its reader: nothing after the place of the error may be
/// used. Reading it again gives the same error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end before the thing is complete.
    #[error("{0} ends too early: the event is cut or damaged; read it again from the server")]
    Short(&'static str),
    /// The bytes are there and cannot be true.
    #[error("{0}: the event is damaged or of a newer format; read it again from the server, then check its version")]
    Damaged(&'static str),
    /// CRC32 of the event and CRC32 at its end differ.
    #[error("the event's checksum is {computed:08x} and it says {stored:08x}: read it again from the server")]
    Checksum {
        /// Over the bytes that arrived.
        computed: u32,
        /// What the server wrote behind them.
        stored: u32,
    },
    /// Above a bound that the caller or this crate sets.
    #[error("{what} is {bytes} bytes and at most {bytes_max} are accepted")]
    TooLarge {
        /// The thing.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// Understood, and not supported.
    #[error("{0}")]
    Refused(&'static str),
}
