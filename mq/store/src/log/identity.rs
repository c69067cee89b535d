//! The file `identity`: whose data this folder holds, and how its last use ended. A container with one JSON object.

use std::io;
use std::path::Path;

use mq_base::env::disk::Disk;
use serde::{Deserialize, Serialize};

use super::OpenError;
use crate::container::{self, Stamp};
use crate::position::NodeId;

/// Format of the whole folder. Raise it when an older program could no longer read what this one writes.
const STAMP: Stamp = Stamp {
    magic: 0x4642_4944,
    version: 1,
};
const NAME: &str = "identity";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub cluster: String,
    pub group: String,
    /// Random; a wiped folder comes back under another one, so it cannot vote from amnesia.
    pub node: u64,
    pub segment_bytes: u64,
    /// Start of the machine under which the folder was last opened.
    pub boot_id: String,
    /// Whether the last use ended with everything synced.
    pub clean: bool,
}

impl Identity {
    /// Reads the identity, or `None` in a new folder. Another group's folder is refused.
    pub fn load(disk: &dyn Disk, dir: &Path, cluster: &str, group: &str) -> Result<Option<Identity>, OpenError> {
        let Some(identity) = Identity::peek(disk, dir)? else {
            return Ok(None);
        };
        if identity.cluster != cluster || identity.group != group {
            return Err(OpenError::OtherGroup {
                dir: dir.to_owned(),
                found: format!("{}/{}", identity.cluster, identity.group),
                expected: format!("{cluster}/{group}"),
            });
        }
        Ok(Some(identity))
    }

    /// Reads it whatever group it belongs to: for the inspector.
    pub fn peek(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Identity>> {
        let Some(bytes) = container::load(disk, &dir.join(NAME), STAMP)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    pub fn save(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec(self)?;
        container::replace(disk, &dir.join(NAME), STAMP, &bytes)
    }

    pub fn node(&self) -> NodeId {
        NodeId(self.node)
    }
}
