//! A cluster for one test.

use anyhow::{Context, Result, bail};
use mq_cluster::{Cluster, Options};
use std::path::Path;

/// A running cluster in a temporary folder. Dropping it stops the cluster; a failed test leaves its folder behind.
pub struct Stage {
    cluster: Cluster,
    folder: Option<tempfile::TempDir>,
}

impl Stage {
    /// Three members, `SYNC_FLUSH`, and timers short enough for a test.
    pub fn start() -> Result<Stage> {
        Stage::with(&[])
    }

    /// With further settings.
    pub fn with(settings: &[(&str, &str)]) -> Result<Stage> {
        let folder = tempfile::Builder::new().prefix("forebay-interop-").tempdir()?;
        let mut options = Options::new(folder.path().join("cluster"))
            .set("transactionTimeOut", 2000)
            .set("transactionCheckInterval", 1000)
            .set("drainSeconds", 5);
        options.owner = Some(std::process::id());
        for (key, value) in settings {
            options = options.set(key, value);
        }
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

    /// No process may have ended by itself.
    pub fn nobody_crashed(&self) -> Result<()> {
        for member in self.cluster.status()?.members {
            if member.restarts > 0 || member.pid.is_none() {
                bail!("{} ended with {}", member.name, member.last_end.unwrap_or_default());
            }
        }
        Ok(())
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
