//! Voting after loss. Without `sync`, a power failure may have taken entries that this member had acknowledged. Its vote
//! could then make a leader that lacks them. So after an unclean restart of the *machine* it votes and stands only once
//! it knows the ends of all voters' logs (the greatest is the floor), or once it has caught up with a leader. The same
//! when the flush mark is lost: a damaged tail may then have been taken for a torn one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mq_base::env::disk::{Disk, OpenMode};
use mq_store::LogId;
use parking_lot::Mutex;

const MARK: &str = "cautious";

/// How far this member's vote can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nothing was lost.
    Full,
    /// Something may be missing, and it is not known how much.
    None,
    /// No acknowledged entry is beyond this one: candidates need at least this.
    From(Option<LogId>),
}

/// The mark on disk and the state; see the module.
pub struct Caution {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    trust: Mutex<Trust>,
}

impl Caution {
    /// `lost` says that the machine went down under an unsynced log. The mark outlives restarts of the process.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, lost: bool) -> io::Result<Self> {
        let path = dir.join(MARK);
        if lost {
            disk.open(&path, OpenMode::CreateReadWrite)?.sync_all()?;
            disk.sync_dir(dir)?;
        }
        let trust = if disk.exists(&path) { Trust::None } else { Trust::Full };
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            trust: Mutex::new(trust),
        })
    }

    /// See [`Trust`].
    pub fn trust(&self) -> Trust {
        *self.trust.lock()
    }

    /// All voters have said how far their logs go.
    pub fn floor(&self, greatest: Option<LogId>) {
        let mut trust = self.trust.lock();
        if *trust == Trust::None {
            *trust = Trust::From(greatest);
        }
    }

    /// The own log holds everything that may have been acknowledged.
    pub fn caught_up(&self) -> io::Result<()> {
        if self.trust() == Trust::Full {
            return Ok(());
        }
        self.disk.remove(&self.dir.join(MARK))?;
        self.disk.sync_dir(&self.dir)?;
        *self.trust.lock() = Trust::Full;
        Ok(())
    }

    /// Whether a candidate with this log may have our vote (its own included).
    pub fn may_vote_for(&self, candidate: Option<LogId>) -> bool {
        match self.trust() {
            Trust::Full => true,
            Trust::None => false,
            Trust::From(floor) => candidate >= floor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mq_store::{NodeId, RaftIndex, Term};

    fn id(index: u64) -> Option<LogId> {
        Some(LogId {
            term: Term(1),
            node: NodeId(1),
            index: RaftIndex(index),
        })
    }

    #[test]
    fn an_unclean_member_votes_only_for_who_has_everything() {
        let disk = mq_base::env::disk::real();
        let dir = tempfile::tempdir().unwrap();
        let clean = Caution::open(disk.clone(), dir.path(), false).unwrap();
        assert!(clean.may_vote_for(None));

        let unclean = Caution::open(disk.clone(), dir.path(), true).unwrap();
        assert!(!unclean.may_vote_for(id(100)));
        unclean.floor(id(7));
        assert!(unclean.may_vote_for(id(7)) && !unclean.may_vote_for(id(6)));

        // A restart of the process does not make it clean.
        let again = Caution::open(disk.clone(), dir.path(), false).unwrap();
        assert!(!again.may_vote_for(id(100)));
        again.caught_up().unwrap();
        assert!(Caution::open(disk, dir.path(), false).unwrap().may_vote_for(None));
    }
}
