//! Configuration values by namespace: the only thing a name server keeps on disk (`kvConfig.json`, in RocketMQ's form).
//!
//! The file is replaced whole: written aside, synced, renamed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mq_base::env::disk::{Disk, OpenMode};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

/// Namespace of `topic → "brokerA:4;brokerB:4"`, handed to brokers when they register.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";
/// Values kept at most, over all namespaces.
const VALUES_MAX: usize = 10_000;
/// Longest namespace, key or value, bytes.
const TEXT_MAX: usize = 64 * 1024;

/// Keys and values of one namespace.
pub type Table = BTreeMap<String, String>;

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Stored {
    #[serde(rename = "configTable", default)]
    tables: BTreeMap<String, Table>,
}

/// The values and where they are kept. Readers never wait for the disk.
#[derive(Debug)]
pub struct Kv {
    stored: RwLock<Stored>,
    /// One writer at a time; held while the file is replaced.
    file: Mutex<ConfigFile>,
}

#[derive(Debug)]
struct ConfigFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Kv {
    /// Reads the file; a missing one is an empty table.
    ///
    /// # Errors
    /// The file cannot be read or is not what [`Kv::put`] wrote.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> io::Result<Self> {
        let stored = if disk.exists(path) {
            let file = disk.open(path, OpenMode::Read)?;
            let mut text = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
            file.read_exact_at(&mut text, 0)?;
            serde_json::from_slice(&text)
                .map_err(|e| io::Error::other(format!("{} is damaged: {e}", path.display())))?
        } else {
            Stored::default()
        };
        let file = ConfigFile {
            disk,
            path: path.to_owned(),
        };
        Ok(Self {
            stored: RwLock::new(stored),
            file: Mutex::new(file),
        })
    }

    /// A value.
    pub fn get(&self, namespace: &str, key: &str) -> Option<String> {
        self.stored.read().tables.get(namespace)?.get(key).cloned()
    }

    /// All values of a namespace.
    pub fn table(&self, namespace: &str) -> Option<Table> {
        self.stored.read().tables.get(namespace).cloned()
    }

    /// Sets a value and keeps it. Blocks on the disk. On an error before the rename neither memory nor file has changed.
    pub fn put(&self, namespace: &str, key: &str, value: &str) -> io::Result<()> {
        if [namespace, key, value].iter().any(|text| text.len() > TEXT_MAX) {
            return Err(io::Error::other(format!(
                "namespace, key and value may have {TEXT_MAX} bytes each"
            )));
        }
        let file = self.file.lock();
        let mut next = self.stored.read().clone();
        next.tables
            .entry(namespace.to_owned())
            .or_default()
            .insert(key.to_owned(), value.to_owned());
        if next.tables.values().map(Table::len).sum::<usize>() > VALUES_MAX {
            return Err(io::Error::other(format!("no more than {VALUES_MAX} values are kept")));
        }
        self.replace(&file, next)
    }

    /// Removes a value; a missing one is fine. Blocks on the disk.
    pub fn delete(&self, namespace: &str, key: &str) -> io::Result<()> {
        let file = self.file.lock();
        let mut next = self.stored.read().clone();
        let removed = next.tables.get_mut(namespace).and_then(|table| table.remove(key));
        if removed.is_none() {
            Ok(())
        } else {
            self.replace(&file, next)
        }
    }

    fn replace(&self, file: &ConfigFile, next: Stored) -> io::Result<()> {
        file.replace(&serde_json::to_vec_pretty(&next).map_err(io::Error::other)?)?;
        *self.stored.write() = next;
        Ok(())
    }
}

impl ConfigFile {
    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let aside = self.path.with_extension("json.tmp");
        self.disk.create_dir_all(folder)?;
        let file = self.disk.open(&aside, OpenMode::CreateReadWrite)?;
        file.set_len(0)?;
        file.write_all_vectored_at(&[text], 0)?;
        file.sync_all()?;
        self.disk.rename(&aside, &self.path)?;
        self.disk.sync_dir(folder)
    }
}

#[cfg(test)]
mod tests {
    use mq_base::env::disk;

    use super::*;

    #[test]
    fn values_outlive_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/kvConfig.json");
        let kv = Kv::open(disk::real(), &path).unwrap();
        kv.put("N", "k", "v").unwrap();
        kv.put("N", "gone", "v").unwrap();
        kv.delete("N", "gone").unwrap();
        kv.delete("N", "never there").unwrap();
        let again = Kv::open(disk::real(), &path).unwrap();
        assert_eq!(again.get("N", "k").as_deref(), Some("v"));
        assert_eq!(again.table("N").unwrap().len(), 1);
        assert_eq!(again.get("M", "k"), None);
    }

    #[test]
    fn a_damaged_file_stops_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kvConfig.json");
        let file = disk::real().open(&path, OpenMode::CreateReadWrite).unwrap();
        file.write_all_vectored_at(&[b"{"], 0).unwrap();
        assert!(
            Kv::open(disk::real(), &path)
                .unwrap_err()
                .to_string()
                .contains("damaged")
        );
    }

    #[test]
    fn a_crash_leaves_the_old_file_or_the_new_one() {
        use mq_base::env::sim::SimDisk;
        use rand::SeedableRng;
        let path = Path::new("/namesrv/kvConfig.json");
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let mut rng = rand::rngs::SmallRng::seed_from_u64(seed);
            let disk = SimDisk::new(seed);
            let all: Arc<dyn Disk> = Arc::new(disk.clone());
            let kv = Kv::open(all.clone(), path).unwrap();
            kv.put("N", "k", "old").unwrap();
            all.sync_dir(Path::new("/")).unwrap();
            // The second change dies at its last step, after the rename and before the folder is synced.
            disk.inject(mq_base::env::sim::Fault::SyncError, "/namesrv", 1, 1);
            assert!(kv.put("N", "k", "new").is_err());
            disk.crash(&mut rng);
            seen.insert(Kv::open(all, path).unwrap().get("N", "k").unwrap());
        }
        assert_eq!(Vec::from_iter(seen), ["new", "old"]);
    }

    #[test]
    fn a_value_may_be_replaced_when_the_table_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let kv = Kv::open(disk::real(), &dir.path().join("kv.json")).unwrap();
        let full = (0..VALUES_MAX).map(|n| (n.to_string(), String::new()));
        kv.stored.write().tables.insert("N".to_owned(), full.collect());
        kv.put("N", "7", "seven").unwrap();
        assert!(kv.put("N", "one more", "").is_err());
        assert_eq!(
            (kv.get("N", "7").as_deref(), kv.get("N", "one more")),
            (Some("seven"), None)
        );
    }

    #[test]
    fn a_value_that_is_too_long_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let kv = Kv::open(disk::real(), &dir.path().join("kv.json")).unwrap();
        assert!(kv.put("N", "k", &"x".repeat(TEXT_MAX + 1)).is_err());
        assert_eq!(kv.get("N", "k"), None);
    }
}
