//! Offsets of a broadcasting consumer: a small JSON file on this machine, replaced whole.
//!
//! `{"offsets":[{"topic":"T","broker":"b","queue":0,"offset":42},…]}`

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mq_base::env::disk::{self, Disk, OpenMode};
use mq_message::QueueOffset;
use serde_json::{Value, json};

use crate::message::MessageQueue;

const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The file of one group.
pub(crate) struct LocalOffsets {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl LocalOffsets {
    /// `dir` is made when it is first written to.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            disk: disk::real(),
            dir: dir.to_owned(),
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.join("offsets.json")
    }

    /// What was saved; nothing if there is no file.
    pub(crate) fn load(&self) -> io::Result<Vec<(MessageQueue, QueueOffset)>> {
        if !self.disk.exists(&self.file()) {
            return Ok(Vec::new());
        }
        let file = self.disk.open(&self.file(), OpenMode::Read)?;
        let len = file.len()?;
        if len > FILE_BYTES_MAX {
            return Err(io::Error::other("offset file is too large"));
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0)?;
        parse(&bytes).ok_or_else(|| io::Error::other("offset file is damaged"))
    }

    /// Replaces the file.
    pub(crate) fn save(&self, offsets: &[(MessageQueue, QueueOffset)]) -> io::Result<()> {
        self.disk.create_dir_all(&self.dir)?;
        let aside = self.dir.join("offsets.json.new");
        let text = encode(offsets);
        let file = self.disk.open(&aside, OpenMode::CreateReadWrite)?;
        file.set_len(0)?;
        file.write_all_vectored_at(&[text.as_bytes()], 0)?;
        file.sync_all()?;
        self.disk.rename(&aside, &self.file())?;
        self.disk.sync_dir(&self.dir)
    }
}

fn encode(offsets: &[(MessageQueue, QueueOffset)]) -> String {
    let row = |(queue, offset): &(MessageQueue, QueueOffset)| {
        json!({
            "topic": &*queue.topic,
            "broker": &*queue.broker_name,
            "queue": queue.queue_id.get(),
            "offset": offset.get(),
        })
    };
    json!({ "offsets": offsets.iter().map(row).collect::<Vec<_>>() }).to_string()
}

fn parse(bytes: &[u8]) -> Option<Vec<(MessageQueue, QueueOffset)>> {
    let file: Value = serde_json::from_slice(bytes).ok()?;
    let row = |row: &Value| {
        let queue = u32::try_from(row.get("queue")?.as_u64()?).ok()?;
        let (topic, broker) = (row.get("topic")?.as_str()?, row.get("broker")?.as_str()?);
        let offset = row.get("offset")?.as_u64()?;
        Some((MessageQueue::new(topic, broker, queue), QueueOffset(offset)))
    };
    file.get("offsets")?.as_array()?.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_offsets_are_loaded_and_damage_is_an_error() {
        let offsets = vec![
            (MessageQueue::new("T", "b", 1), QueueOffset(7)),
            (MessageQueue::new("%RETRY%g", "c", 0), QueueOffset(0)),
        ];
        let text = encode(&offsets);
        assert_eq!(parse(text.as_bytes()).unwrap(), offsets);
        for cut in 0..text.len() {
            assert!(parse(&text.as_bytes()[..cut]).is_none(), "cut at {cut}");
        }
    }
}
