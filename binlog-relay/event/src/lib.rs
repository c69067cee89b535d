//! Reads the events of a MySQL binlog: headers, table maps, row images, and the one canonical text of every value.
//!
//! What it is: pure decoding of bytes that somebody else has fetched. No I/O, no clock, no runtime; nothing panics on
//! input, every length is checked before it is used, and what is not understood is refused by name, never guessed.
//!
//! What it is not: a client (the relay connects and asks for the stream), a schema history (a table map with full
//! metadata describes itself), a message format (the relay writes the envelope, this crate the values in it).
//!
//! Who may call it: the relay, its snapshot reader (for the same texts), and tools that look into binlogs.
//!
//! Start reading at [`table`]: a [`TableMap`](table::TableMap) becomes a [`Plan`](rows::Plan), the plan cuts a
//! [`RowsEvent`](rows::RowsEvent) into cells ([`rows`]), and [`text`] turns a cell into its text.

mod charset;
mod collation;
pub mod control;
mod decimal;
mod error;
pub mod format;
pub mod gtid;
pub mod header;
pub mod json;
pub mod payload;
pub mod query;
mod reader;
pub mod rows;
pub mod table;
mod temporal;
pub mod text;

pub use charset::Charset;
pub use error::Error;
