//! The files of the repository, as git lists them.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Root folder and every file that is, or could be, committed.
pub struct Tree {
    /// Where `Cargo.toml` of the workspace lies.
    pub root: PathBuf,
    /// Paths relative to the root, sorted.
    pub files: Vec<String>,
}

impl Tree {
    /// Asks git.
    pub fn read() -> Result<Tree> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("find the workspace")?
            .to_owned();
        let listed = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(&root)
            .output()
            .context("run git ls-files")?;
        ensure!(
            listed.status.success(),
            "git ls-files: {}",
            String::from_utf8_lossy(&listed.stderr)
        );
        let mut files: Vec<String> = String::from_utf8(listed.stdout)?.lines().map(str::to_owned).collect();
        files.retain(|file| root.join(file).is_file());
        files.sort();
        files.dedup();
        Ok(Tree { root, files })
    }

    /// Text of a file; `None` when it is not UTF-8.
    pub fn text(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join(file)).ok()
    }

    /// Files with this ending.
    pub fn ending<'a>(&'a self, ending: &'a str) -> impl Iterator<Item = &'a str> {
        self.files
            .iter()
            .map(String::as_str)
            .filter(move |file| file.ends_with(ending))
    }
}
