//! Copying what the tables hold already, without locks, while the stream goes on.
//!
//! A table is read in chunks, by its key. For each chunk a window is opened: the translator notes every key that the stream changes from then
//! on. The chunk is selected, then the server is asked what it has executed by now; when the stream has passed that place, the chunk's rows go into the
//! queue, except those whose key was noted: for them the stream has had something at least as new. A DDL statement on the table in between spoils the
//! window, and the chunk is read again.
//!
//! What makes it right: before the select the server is made to show everything that the translator has seen
//! (`WAIT_FOR_EXECUTED_GTID_SET`), because a change reaches the binlog a moment before it can be selected.
//!
//! [`reader`] is the task that reads; [`Window`] is the translator's part; `relay.rs` brings them together.

pub mod columns;
pub mod reader;

use std::collections::HashSet;
use xxhash_rust::xxh3::xxh3_128;

/// The keys that changed while a chunk is being read.
#[derive(Debug)]
pub struct Window {
    table: String,
    // 128 bits of hash: a collision would lose a row, and there will be none.
    keys: HashSet<u128>,
    touched: bool,
    spoiled: bool,
}

impl Window {
    /// A window over `database.table`.
    pub fn new(table: &str) -> Window {
        Window {
            table: table.to_owned(),
            keys: HashSet::new(),
            touched: false,
            spoiled: false,
        }
    }

    /// Notes that a row changed.
    pub fn strike(&mut self, table: &str, key: &[u8]) {
        if table == self.table {
            self.touched = true;
            if !key.is_empty() {
                self.keys.insert(xxh3_128(key));
            }
        }
    }

    /// Notes that a row changed and was not written now. If it had been written before, by an interrupted transaction, nobody knows which keys
    /// those were.
    pub fn pass(&mut self, table: &str, written_before: bool) {
        if table == self.table {
            self.touched = true;
            self.spoiled |= written_before;
        }
    }

    /// Notes that the definition of a table changed.
    pub fn spoil(&mut self, table: &str) {
        self.spoiled |= table == self.table;
    }

    /// Whether a row changed in the window.
    pub fn is_struck(&self, key: &[u8]) -> bool {
        self.keys.contains(&xxh3_128(key))
    }

    /// Whether any row of the table changed.
    pub fn is_touched(&self) -> bool {
        self.touched
    }

    /// Whether what was read in the window is worth nothing.
    pub fn is_spoiled(&self) -> bool {
        self.spoiled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_knows_what_changed_in_its_table() {
        let mut window = Window::new("a.b");
        window.strike("a.c", b"1");
        window.spoil("a.c");
        assert!(!window.is_struck(b"1") && !window.is_touched() && !window.is_spoiled());
        window.strike("a.b", b"1");
        assert!(window.is_struck(b"1") && !window.is_struck(b"2") && window.is_touched());
        window.spoil("a.b");
        assert!(window.is_spoiled());
    }
}
