//! Settings: a TOML file, then environment variables (`BINLOG_RELAY__SOURCE__URL`), then flags. Read raw, then checked; an unknown key is an error.

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use serde::Deserialize;
use std::path::Path;

/// What the file may hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the relay: of its producer id, and of the topic `<name>-progress`.
    pub name: String,
    /// Where rows come from.
    pub source: Source,
    /// Where they go.
    pub queue: Queue,
    /// Which tables, and how. The first rule that matches a table counts.
    pub tables: Vec<Rule>,
    /// Copying what is in the tables already.
    #[serde(default)]
    pub snapshot: Snapshot,
    /// `host:port` of metrics and status over HTTP; none if empty.
    #[serde(default)]
    pub http: String,
}

/// The MySQL server.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// `mysql://user:password@host:port`
    pub url: String,
    /// Our id among the replicas of the server; by default made of the relay's name. Two relays of one name share it on purpose: the
    /// server then ends the older one's connection.
    #[serde(default)]
    pub server_id: u32,
}

// The URL holds the password.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("server_id", &self.server_id)
            .finish_non_exhaustive()
    }
}

/// The broker group.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Name servers, `host:port;host:port`.
    pub namesrv: String,
    /// Name of the broker group.
    #[serde(default = "broker_a")]
    pub group: String,
    /// Longest message body; longer ones travel in pieces.
    #[serde(default = "message_bytes")]
    pub message_bytes_max: usize,
    /// Bytes of rows after which an atomic batch is sent, at the latest.
    #[serde(default = "batch_bytes")]
    pub batch_bytes_max: usize,
    /// Most rows in one message.
    #[serde(default = "message_rows")]
    pub message_rows_max: usize,
    /// A stand-by takes over when nothing has come from the active relay for so long.
    #[serde(default = "lease_ms")]
    pub lease_ms: u64,
}

/// One rule.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Regular expression over `database.table`, whole name.
    pub tables: String,
    /// Topic; `{database}` and `{table}` are replaced.
    #[serde(default = "topic")]
    pub topic: String,
    /// Queues of the topic, when the relay makes it.
    #[serde(default = "queues")]
    pub queues: u32,
    /// Columns that are left out: a regular expression over the column's name.
    #[serde(default)]
    pub exclude: String,
    /// Columns whose values are replaced before they leave the relay.
    #[serde(default)]
    pub mask: Vec<Mask>,
}

/// How a column is masked.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// Regular expression over the column's name.
    pub columns: String,
    /// `hash` (the same value always gives the same 32 hex digits), `stars`, or `null`.
    pub with: MaskWith,
    /// Secret that goes into the hash, so that guesses cannot be tried.
    #[serde(default)]
    pub salt: String,
}

// The salt is a secret.
impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mask")
            .field("columns", &self.columns)
            .field("with", &self.with)
            .finish_non_exhaustive()
    }
}

/// What stands in a masked column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskWith {
    /// A salted hash.
    Hash,
    /// `****`.
    Stars,
    /// NULL.
    Null,
}

/// The copy of what is there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Snapshot {
    /// Whether tables that the relay meets for the first time are copied.
    pub initial: bool,
    /// Rows of one chunk.
    pub chunk_rows: u32,
}

impl Default for Snapshot {
    fn default() -> Self {
        Snapshot {
            initial: true,
            chunk_rows: 4096,
        }
    }
}

fn broker_a() -> String {
    "broker-a".to_owned()
}
fn message_bytes() -> usize {
    3 << 20
}
fn batch_bytes() -> usize {
    512 << 10
}
fn message_rows() -> usize {
    256
}
fn lease_ms() -> u64 {
    3000
}
fn topic() -> String {
    "{database}_{table}".to_owned()
}
fn queues() -> u32 {
    4
}

impl Settings {
    /// Reads a file, and environment variables over it.
    ///
    /// # Errors
    /// The file is missing or malformed, or a value makes no sense; says which and why.
    pub fn read(file: &Path) -> Result<Settings> {
        let name = file.display().to_string();
        let raw = config::Config::builder()
            .add_source(config::File::from(file).format(config::FileFormat::Toml))
            .add_source(
                config::Environment::with_prefix("BINLOG_RELAY")
                    .prefix_separator("__")
                    .separator("__"),
            )
            .build()
            .with_context(|| format!("read {name}"))?;
        let settings: Settings = raw.try_deserialize().with_context(|| format!("read {name}"))?;
        settings.checked().with_context(|| format!("check {name}"))
    }

    /// Checks what types cannot say, and fills in what is derived.
    ///
    /// # Errors
    /// A value makes no sense.
    pub fn checked(mut self) -> Result<Settings> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        ensure!(
            (1..=100).contains(&self.name.len()) && self.name.chars().all(legal),
            "name = {:?}: 1 to 100 letters, digits, - and _ are wanted",
            self.name
        );
        ensure!(
            !self.tables.is_empty(),
            "no [[tables]]: say which tables are wanted, such as tables = 'shop\\..*'"
        );
        for rule in &self.tables {
            whole(&rule.tables).with_context(|| format!("tables = {:?}", rule.tables))?;
            ensure!(
                (1..=1024).contains(&rule.queues),
                "queues = {}: 1 to 1024 are possible",
                rule.queues
            );
            if !rule.exclude.is_empty() {
                whole(&rule.exclude).with_context(|| format!("exclude = {:?}", rule.exclude))?;
            }
            for mask in &rule.mask {
                whole(&mask.columns).with_context(|| format!("columns = {:?}", mask.columns))?;
                if mask.with == MaskWith::Hash && mask.salt.len() < 8 {
                    bail!(
                        "the hash of {:?} needs a salt of at least 8 characters: without one its values can be guessed",
                        mask.columns
                    );
                }
            }
        }
        let queue = &self.queue;
        ensure!(
            (64 << 10..=4 << 20).contains(&queue.message_bytes_max),
            "message_bytes_max = {}: 64 KiB to 4 MiB are possible",
            queue.message_bytes_max
        );
        ensure!(
            (16 << 10..=4 << 20).contains(&queue.batch_bytes_max),
            "batch_bytes_max = {}: 16 KiB to 4 MiB are possible",
            queue.batch_bytes_max
        );
        ensure!(
            (1..=4096).contains(&queue.message_rows_max),
            "message_rows_max: 1 to 4096 are possible"
        );
        ensure!(
            (500..=60_000).contains(&queue.lease_ms),
            "lease_ms: 500 to 60000 are possible"
        );
        ensure!(
            (1..=100_000).contains(&self.snapshot.chunk_rows),
            "chunk_rows: 1 to 100000 are possible"
        );
        if self.source.server_id == 0 {
            // Out of the way of servers, whose ids are small or made of an address.
            let hash = xxhash_rust::xxh64::xxh64(self.name.as_bytes(), 0) as u32;
            self.source.server_id = 0x4000_0000 | (hash >> 4);
        }
        Ok(self)
    }

    /// The topic of progress messages.
    pub fn progress_topic(&self) -> String {
        format!("{}-progress", self.name)
    }
}

/// A regular expression that must match a whole name.
///
/// # Errors
/// The expression is malformed.
pub fn whole(expression: &str) -> Result<Regex> {
    Regex::new(&format!("^(?:{expression})$")).context("read the regular expression")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "
        name = 'shop'
        source.url = 'mysql://repl:secret@127.0.0.1:3306'
        queue.namesrv = '127.0.0.1:9876'
        [[tables]]
        tables = 'shop\\..*'
    ";

    fn read(text: &str) -> Result<Settings> {
        let raw = config::Config::builder()
            .add_source(config::File::from_str(text, config::FileFormat::Toml))
            .build()?;
        raw.try_deserialize::<Settings>()?.checked()
    }

    #[test]
    fn a_minimal_file_is_enough_and_keeps_its_secret() {
        let settings = read(MINIMAL).unwrap();
        assert_eq!(settings.queue.group, "broker-a");
        assert!(settings.source.server_id > 0x4000_0000);
        assert!(settings.snapshot.initial);
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn mistakes_are_named() {
        for (more, wanted) in [
            ("queues = 0", "queues"),
            ("colour = 1", "colour"),
            ("exclude = '('", "exclude"),
            ("mask = [{ columns = 'a', with = 'hash' }]", "salt"),
            ("mask = [{ columns = 'a', with = 'rot13' }]", "rot13"),
        ] {
            let error = format!("{:#}", read(&format!("{MINIMAL}\n{more}")).unwrap_err());
            assert!(error.contains(wanted), "{more}: {error}");
        }
        assert!(read("name = 'a b'").is_err());
    }
}
