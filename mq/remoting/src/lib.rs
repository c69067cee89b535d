//! RocketMQ's remoting protocol as data: frames, commands, typed headers, JSON bodies, request and response codes.
//!
//! Bytes in, values out, and back. No sockets, no runtime, no clock: `mq-net` moves the bytes, broker, name server and
//! client give them meaning. Stored messages inside bodies belong to `mq-message`.
//!
//! Start reading at [`frame`] (what is on the wire), then [`Command`], then one header in [`header`].
//!
//! A received header stays as it came ([`Ext`] is a slice of the frame); a typed header is decoded in one pass over it, its
//! texts being slices too ([`ByteStr`]). A `ByteStr` therefore keeps its whole frame alive: copy (`to_string`) what is
//! kept for longer than the request.

mod binary;
pub mod body;
pub mod code;
mod command;
mod ext;
pub mod frame;
pub mod header;
mod json;
mod language;
pub mod version;

pub use bytestring::ByteString as ByteStr;
pub use command::{Command, FLAG_ONEWAY, FLAG_RESENT, FLAG_RESPONSE, HeaderFormat};
pub use ext::{Ext, ExtWriter, Value};
pub use frame::{Decoder, FrameError};
pub use header::{Header, HeaderError};
pub use language::Language;
