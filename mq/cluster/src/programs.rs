//! Where the programs lie: beside this one.

use anyhow::{Context, Result, ensure};
use std::path::PathBuf;

/// The programs that a cluster runs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// This tool, which also is the supervisor.
    pub mqcluster: PathBuf,
    /// The name server.
    pub mqnamesrv: PathBuf,
    /// The broker.
    pub mqbroker: PathBuf,
}

impl Programs {
    /// Looks in the folder named by `FOREBAY_PROGRAMS`, else beside the running program; a test lies one folder deeper.
    pub fn find() -> Result<Programs> {
        let own = std::env::current_exe().context("find this program")?;
        let beside = own.parent().context("find this program's folder")?;
        let folder = match std::env::var_os("FOREBAY_PROGRAMS") {
            Some(folder) => PathBuf::from(folder),
            None if beside.ends_with("deps") || beside.ends_with("examples") => {
                beside.parent().unwrap_or(beside).to_owned()
            }
            None => beside.to_owned(),
        };
        let folder = std::path::absolute(&folder)?;
        let program = |name: &str| {
            let file = folder.join(name);
            ensure!(
                file.is_file(),
                "{name} is not in {}: build the programs first (cargo build --release --workspace --bins)",
                folder.display()
            );
            Ok(file)
        };
        Ok(Programs {
            mqcluster: program("mqcluster")?,
            mqnamesrv: program("mqnamesrv")?,
            mqbroker: program("mqbroker")?,
        })
    }
}
