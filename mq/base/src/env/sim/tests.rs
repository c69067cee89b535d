use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;
use crate::env::disk::{Disk, File, OpenMode};
use crate::env::{clock, disk, random};

fn open(disk: &Arc<SimDisk>, path: &str) -> Arc<dyn File> {
    disk.open(Path::new(path), OpenMode::CreateReadWrite).unwrap()
}

fn read(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn what_is_synced_survives_every_crash_and_what_is_not_may_be_torn() {
    let mut torn = 0;
    for seed in 0..200 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let file = open(&disk, "/a");
        file.write_all_vectored_at(&[&[1; 700], &[2; 324]], 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        file.write_all_vectored_at(&[&[3; 2048]], 1024).unwrap();
        disk.crash(&mut rng);
        assert!(file.read_at(&mut [0; 1], 0).is_err(), "an old handle is dead");
        let bytes = read(&*open(&disk, "/a"));
        assert_eq!((&bytes[..700], &bytes[700..1024]), (&[1; 700][..], &[2; 324][..]));
        let (old, new) = (bytes.iter().filter(|b| **b == 3).count(), bytes.len());
        assert!(new == 1024 || new == 3072, "{new}");
        assert_eq!(old % 512, 0);
        torn += usize::from(old > 0 && old < 2048);
    }
    assert!(torn > 10, "some crashes tear a write: {torn}");
}

#[test]
fn a_rename_without_sync_dir_may_be_lost_but_never_half_done() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..100 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        for (path, byte) in [("/state", 1), ("/state.tmp", 2)] {
            let file = open(&disk, path);
            file.write_all_vectored_at(&[&[byte; 10]], 0).unwrap();
            file.sync_data().unwrap();
        }
        disk.sync_dir(Path::new("/")).unwrap();
        disk.rename(Path::new("/state.tmp"), Path::new("/state")).unwrap();
        disk.crash(&mut rng);
        match read(&*open(&disk, "/state"))[..] {
            [1, ..] => old += 1,
            [2, ..] => new += 1,
            _ => panic!("neither"),
        }
    }
    assert!(old > 10 && new > 10, "{old} {new}");
}

#[test]
fn a_folder_that_was_never_synced_takes_its_files_along() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("/store/log")).unwrap();
    open(&disk, "/store/log/0").sync_data().unwrap();
    disk.sync_dir(Path::new("/store/log")).unwrap();
    let mut lost = false;
    for seed in 0..20 {
        disk.crash(&mut SmallRng::seed_from_u64(seed));
        lost |= !disk.exists(Path::new("/store/log/0"));
    }
    assert!(lost);
}

#[test]
fn faults_hit_the_planned_call() {
    let disk = SimDisk::new(7);
    let file = open(&disk, "/log");
    disk.inject(Fault::WriteError, "log", 1, 1);
    file.write_all_vectored_at(&[b"ok"], 0).unwrap();
    assert!(file.write_all_vectored_at(&[b"no"], 2).is_err());
    file.write_all_vectored_at(&[b"ok"], 2).unwrap();

    let waited = || std::iter::from_fn(|| Some(disk.take_delay()).filter(|step| !step.is_zero())).sum::<Duration>();
    disk.inject(Fault::SlowSync(Duration::from_secs(2)), "log", 0, 2);
    file.sync_data().unwrap();
    assert_eq!(waited(), Duration::from_secs(2));
    file.sync_data().unwrap();
    assert!(!disk.take_delay().is_zero());
    disk.heal();
    assert_eq!(waited(), Duration::ZERO, "a healed disk is slow no longer");

    disk.set_capacity(Some(8192));
    assert_eq!(
        file.allocate(1 << 20).unwrap_err().kind(),
        std::io::ErrorKind::StorageFull
    );
    file.write_all_vectored_at(&[&[0; 4096]], 0).unwrap();
    assert_eq!(
        file.write_all_vectored_at(&[&[0; 8192]], 4096).unwrap_err().kind(),
        std::io::ErrorKind::StorageFull
    );
}

#[test]
fn a_failed_sync_loses_data_although_the_next_one_succeeds() {
    let disk = SimDisk::new(3);
    let file = open(&disk, "/log");
    disk.sync_dir(Path::new("/")).unwrap();
    file.allocate(64 * 512).unwrap();
    file.sync_all().unwrap();
    disk.inject(Fault::SyncError, "", 0, 1);
    file.write_all_vectored_at(&[&[9; 64 * 512]], 0).unwrap();
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert!(read(&*file).iter().all(|b| *b == 9), "still readable from the cache");
    disk.crash(&mut SmallRng::seed_from_u64(0));
    let left = read(&*open(&disk, "/log")).iter().filter(|b| **b == 9).count();
    assert!(left > 0 && left < 64 * 512, "{left}");
}

#[test]
fn cutting_and_growing_again_reads_zeros() {
    let disk = SimDisk::new(3);
    let file = open(&disk, "/f");
    file.write_all_vectored_at(&[&[5; 3000]], 0).unwrap();
    file.sync_data().unwrap();
    file.set_len(700).unwrap();
    file.set_len(3000).unwrap();
    let bytes = read(&*file);
    assert!(bytes[..700].iter().all(|b| *b == 5) && bytes[700..].iter().all(|b| *b == 0));
    assert!(disk.flip_bit(Path::new("/f"), 3, 0));
    assert_eq!(read(&*file)[3], 4);
}

#[test]
fn a_world_decides_clock_randomness_and_disk_of_its_thread() {
    assert!(!crate::env::is_simulated());
    let numbers: Vec<u64> = (0..2)
        .map(|_| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let _runtime = runtime.enter();
            let _world = enter(World::new("n0", 42));
            random::u64()
        })
        .collect();
    assert_eq!(numbers[0], numbers[1]);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (default, host) = (World::new("default", 1), World::new("n1", 2));
        let _entered = enter(default.clone());
        let inside = within(host.clone(), async {
            crate::env::task::spawn("child", async { current().map(|w| w.name().to_owned()) })
                .join()
                .await
        });
        assert_eq!(
            inside.await,
            Ok(Some("n1".to_owned())),
            "a task inherits the world of its parent"
        );
        let before = clock::wall_ms();
        assert_eq!(before, EPOCH_MS);
        default.jump_clock(-5_000);
        clock::sleep(Duration::from_secs(1)).await;
        assert_eq!(clock::wall_ms(), before - 4_000);
        disk::real().open(Path::new("/x"), OpenMode::CreateReadWrite).unwrap();
        assert_eq!(default.sim_disk().files().len(), 1);
        assert!(
            crate::env::task::spawn("doomed", async { panic!("on purpose") })
                .join()
                .await
                .is_err()
        );
        assert_eq!(default.panics(), ["doomed"]);
    });
}
