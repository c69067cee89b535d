//! binlog-relay-stage: real MySQL servers and a broker cluster for tests, demo and drills of the relay.
//!
//! Each server and each cluster has free ports and a folder of its own, is ended when its handle is dropped, and can be killed on the way. It is no
//! deployment tool, and nothing of the product uses it.
//!
//! ```no_run
//! use binlog_relay_stage::Stage;
//! let stage = Stage::start(1)?;
//! let mut source = stage.mysql("source", &[])?;
//! println!("{} {}", stage.cluster().namesrv_addr(), source.url());
//! source.kill()?;
//! source.restart()?;
//! # Ok::<(), anyhow::Error>(())
//! ```

// A tool, never simulated: it uses files and processes directly.
#![allow(clippy::disallowed_methods)]

mod mysql;

pub use mq_cluster::{Cluster, Signal, Target};
pub use mysql::Mysql;

use anyhow::{Context, Result};
use mq_cluster::Options;
use std::path::Path;

/// A broker cluster in a temporary folder, with room for MySQL servers. Dropping it stops the cluster; a failed test leaves its folder behind.
pub struct Stage {
    cluster: Cluster,
    folder: Option<tempfile::TempDir>,
}

impl Stage {
    /// One broker group with so many members, `SYNC_FLUSH`.
    ///
    /// # Errors
    /// The programs are not built, or the cluster is not ready in time.
    pub fn start(members: usize) -> Result<Stage> {
        let folder = tempfile::Builder::new().prefix("forebay-relay-").tempdir()?;
        let mut options = Options::new(folder.path().join("cluster")).set("drainSeconds", 1);
        options.members = members;
        options.owner = Some(std::process::id());
        let cluster = Cluster::start(&options).context("start a cluster")?;
        Ok(Stage {
            cluster,
            folder: Some(folder),
        })
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The temporary folder.
    pub fn folder(&self) -> &Path {
        self.cluster.dir().parent().unwrap_or(self.cluster.dir())
    }

    /// Leaves the folder behind when the stage ends, and says where it is.
    pub fn keep(&mut self) -> std::path::PathBuf {
        let path = self.folder().to_owned();
        if let Some(folder) = self.folder.take() {
            let _ = folder.keep();
        }
        path
    }

    /// Starts a MySQL server in a folder of this name; `options` go to mysqld, `--name=value` each.
    ///
    /// # Errors
    /// As of [`Mysql::start_with`].
    pub fn mysql(&self, name: &str, options: &[&str]) -> Result<Mysql> {
        Mysql::start_with(&self.folder().join(name), options)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = self.cluster.stop() {
            eprintln!("stop the cluster: {error:#}");
        }
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("logs and data are kept in {}", folder.keep().display());
        }
    }
}
