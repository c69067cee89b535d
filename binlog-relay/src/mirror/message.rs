//! Messages of rows and of progress, read (`docs/binlog-topics.md`).

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Most bytes of a message that came in pieces: a row of MySQL has at most 1 GiB on the wire.
const PIECES_BYTES_MAX: usize = 1 << 30;

/// A text that is a slice of the body where it can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Reads)
    }
}

/// A row: name and value of each column, in the order of the message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row<'a>(pub(super) Vec<(Text<'a>, Option<Text<'a>>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Row<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Row<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row<'de>, A::Error> {
                let mut fields = Vec::with_capacity(map.size_hint().unwrap_or(16).min(4_096));
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Row(fields))
            }
        }
        deserializer.deserialize_map(Reads)
    }
}

impl Row<'_> {
    /// The value of a column; `None` if the row does not have it.
    pub(super) fn get(&self, name: &str) -> Option<Option<&str>> {
        let field = self.0.iter().find(|(column, _)| column.0 == name)?;
        Some(field.1.as_ref().map(|value| &*value.0))
    }
}

/// A message of rows, or of DDL.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Flat<'a> {
    pub(super) database: String,
    pub(super) table: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) is_ddl: bool,
    #[serde(default)]
    pub(super) sql: String,
    #[serde(default)]
    pub(super) pk_names: Option<Vec<String>>,
    #[serde(borrow, default)]
    pub(super) data: Option<Vec<Row<'a>>>,
    #[serde(borrow, default)]
    pub(super) old: Option<Vec<Row<'a>>>,
    #[serde(default)]
    pub(super) hex: Vec<String>,
    /// Number among all messages.
    pub(super) id: u64,
}

impl<'a> Flat<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// It is no such message.
    pub(super) fn read(body: &'a [u8]) -> Result<Flat<'a>> {
        serde_json::from_slice(body).context("read the message's JSON")
    }
}

/// What an atomic batch added, and how far the source's transactions are complete with it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Progress {
    /// Number of the batch.
    pub(super) batch: u64,
    /// Set of transactions that are complete in the queues.
    pub(super) gtid: String,
    /// A transaction of which only a part is there.
    #[serde(default)]
    pub(super) partial: Option<serde_json::Value>,
    /// Topic, queue, number of messages.
    pub(super) messages: Vec<(String, u32, u64)>,
    /// The `id` of the next message after this batch.
    pub(super) next: u64,
    /// Commit time of the newest transaction, unix ms.
    #[serde(default)]
    pub(super) es: i64,
}

impl Progress {
    pub(super) fn read(body: &[u8]) -> Result<Progress> {
        serde_json::from_slice(body).context("read the progress message's JSON")
    }

    /// How many messages the batch has.
    pub(super) fn count(&self) -> u64 {
        self.messages
            .iter()
            .fold(0, |sum, (_, _, count)| sum.saturating_add(*count))
    }
}

/// Puts the pieces of a large message together.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    body: Vec<u8>,
    /// Pieces had, and pieces in all.
    had: u64,
    of: u64,
}

impl Pieces {
    /// Whether some have come and some not.
    pub(super) fn is_open(&self) -> bool {
        self.had < self.of
    }

    /// Takes the next piece; `label` is its property `piece`. Answers the whole with the last.
    ///
    /// # Errors
    /// It is not the next, or the whole would be too large.
    pub(super) fn add(&mut self, label: &str, body: &[u8]) -> Result<Option<Vec<u8>>> {
        let numbers = label
            .split_once('/')
            .and_then(|(k, n)| Some((k.parse::<u64>().ok()?, n.parse::<u64>().ok()?)));
        let (k, n) = numbers.with_context(|| format!("read the property piece, {label:?}"))?;
        let follows = if self.is_open() {
            k == self.had + 1 && n == self.of
        } else {
            k == 1 && n >= 1
        };
        ensure!(follows, "piece {label} follows piece {}/{}", self.had, self.of);
        ensure!(
            self.body.len() + body.len() <= PIECES_BYTES_MAX,
            "the pieces of a message exceed {PIECES_BYTES_MAX} bytes"
        );
        (self.had, self.of) = (k, n);
        self.body.extend_from_slice(body);
        Ok((!self.is_open()).then(|| std::mem::take(&mut self.body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_in_order_with_nulls_and_escapes() {
        let body = br#"{"data":[{"b":"x\u00ff","a":null}],"database":"d","es":1,"gtid":"","hex":["b"],"id":7,"isDdl":false,"mysqlType":{"a":"int"},
            "old":[{"a":"1"}],"pkNames":["b"],"sql":"","sqlType":{},"table":"t","ts":1,"type":"UPDATE"}"#;
        let flat = Flat::read(body).unwrap();
        let data = flat.data.unwrap();
        assert_eq!(data[0].get("b"), Some(Some("x\u{ff}")));
        assert_eq!(data[0].get("a"), Some(None));
        assert_eq!(data[0].get("c"), None);
        assert_eq!(data[0].0[0].0.0, "b");
        assert_eq!(
            (flat.id, flat.hex, flat.pk_names),
            (7, vec!["b".to_owned()], Some(vec!["b".to_owned()]))
        );
    }

    #[test]
    fn a_ddl_message_has_nulls() {
        let body = br#"{"data":null,"database":"d","id":1,"isDdl":true,"old":null,"pkNames":null,"sql":"DROP TABLE t","table":"t","type":"ERASE"}"#;
        let flat = Flat::read(body).unwrap();
        assert!(flat.is_ddl && flat.data.is_none() && flat.sql == "DROP TABLE t");
    }

    #[test]
    fn progress_is_read() {
        let body = br#"{"batch":3,"epoch":1,"es":5,"gtid":"u:1-9","messages":[["d_t",0,2],["d_t",1,1]],"next":10,"partial":{"gtid":"u:10","rows":2}}"#;
        let progress = Progress::read(body).unwrap();
        assert_eq!((progress.batch, progress.next, progress.count()), (3, 10, 3));
        assert!(progress.partial.is_some());
        assert!(Progress::read(b"{}").is_err());
    }

    #[test]
    fn pieces_make_a_whole_in_order_only() {
        let mut pieces = Pieces::default();
        assert_eq!(pieces.add("1/3", b"a").unwrap(), None);
        assert!(pieces.is_open());
        assert!(pieces.add("3/3", b"c").is_err());
        assert!(pieces.add("1/3", b"a").is_err());
        assert_eq!(pieces.add("2/3", b"b").unwrap(), None);
        assert_eq!(pieces.add("3/3", b"c").unwrap().unwrap(), b"abc");
        assert!(!pieces.is_open());
        assert_eq!(pieces.add("1/1", b"d").unwrap().unwrap(), b"d");
        for label in ["", "0/1", "1/0", "2/2", "a/b", "1"] {
            assert!(pieces.add(label, b"").is_err(), "{label}");
        }
    }
}
