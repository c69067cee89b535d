//! Faults of disks, for members whose stores lie on file systems of their own (scripts/drill makes them): power cuts, and no space.
//!
//! A power cut: `FS_IOC_SHUTDOWN` without a log flush makes ext4 and xfs forget what was not synced and answer everything with an
//! I/O error from then on, while the member still runs: a member that acknowledged anything after the cut would be found out.
//! Then it is killed, and the file system is mounted again, which replays its journal as after a real cut.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mq_cluster::{Cluster, Target};

/// The ioctl, and the flag that keeps the journal from being flushed first. Perl is part of every Debian system, and an ioctl
/// from here would be unsafe code.
const CUT: &str =
    "open(my $f, '<', $ARGV[0]) or die $!; my $flag = pack('I', 2); ioctl($f, 0x8004587d, $flag) or die $!";
const GONE_WITHIN: Duration = Duration::from_secs(10);
const FILLER: &str = "filler";

/// Cuts the power of the victims, all of them before any is killed, and brings them back after `down`.
pub fn cut(cluster: &Cluster, target: &Target, down: Duration) -> Result<(Instant, String)> {
    let names = cluster.names_of(target)?;
    let stores: Vec<(PathBuf, String)> = names
        .iter()
        .map(|name| {
            let store = cluster.dir().join(name).join("store");
            let device = device_of(&store)?;
            Ok((store, device))
        })
        .collect::<Result<_>>()?;
    let at = Instant::now();
    for (store, _) in &stores {
        run(Command::new("perl").args(["-e", CUT]).arg(store))?;
    }
    for name in &names {
        // A member that met the error may have ended by itself, and its supervisor tries in vain to start it.
        cluster.end_and_keep_down(name, Duration::from_secs(3600))?;
    }
    for (store, device) in &stores {
        unmount(store)?;
        run(Command::new("mount").arg(device).arg(store))?;
    }
    std::thread::sleep(down);
    cluster.revive()?;
    Ok((at, format!("cut the power of {}", names.join(", "))))
}

/// Fills the disks of the victims to the last block, and makes room again after `full`.
pub fn fill(cluster: &Cluster, target: &Target, full: Duration) -> Result<(Instant, String)> {
    let names = cluster.names_of(target)?;
    let mut fillers = Vec::new();
    for name in &names {
        let store = cluster.dir().join(name).join("store");
        device_of(&store)?;
        let free = rustix::fs::statvfs(&store)?;
        let file = File::create(store.join(FILLER))?;
        // The last blocks go to metadata of the file itself; what is left is less than any write needs.
        for bytes in [free.f_bavail * free.f_frsize, 1 << 20, 64 << 10, 4 << 10] {
            fill_by(&file, bytes)?;
        }
        fillers.push(store.join(FILLER));
    }
    let at = Instant::now();
    std::thread::sleep(full);
    for filler in &fillers {
        std::fs::remove_file(filler).with_context(|| format!("remove {}", filler.display()))?;
    }
    Ok((at, format!("filled the disk of {}", names.join(", "))))
}

/// Lengthens a file by so many bytes until there is no room for that.
fn fill_by(file: &File, bytes: u64) -> Result<()> {
    loop {
        let length = file.metadata()?.len();
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), length, bytes) {
            Ok(()) => {}
            Err(rustix::io::Errno::NOSPC) => return Ok(()),
            Err(error) => return Err(error).context("fill the disk"),
        }
    }
}

/// The device that is mounted at a folder.
fn device_of(folder: &Path) -> Result<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    let device = mounts.lines().find_map(|line| {
        let (device, rest) = line.split_once(' ')?;
        (Path::new(rest.split(' ').next()?) == folder).then(|| device.to_owned())
    });
    device.with_context(|| {
        format!(
            "{} is no file system of its own, so it can be neither cut off nor filled; scripts/drill shows how to make one",
            folder.display()
        )
    })
}

/// The process is gone, but its last files may be closed a moment later.
fn unmount(folder: &Path) -> Result<()> {
    let end = Instant::now() + GONE_WITHIN;
    loop {
        let Err(error) = run(Command::new("umount").arg(folder)) else {
            return Ok(());
        };
        if Instant::now() > end {
            bail!(error);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
