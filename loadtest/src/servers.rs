//! What the servers used: CPU, anonymous memory and bytes written, read from `/proc` before and after.

use std::fs;

use anyhow::{Context, Result};
use serde::Serialize;

/// The counters of a set of processes, added up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time, seconds.
    pub cpu_s: f64,
    /// Anonymous resident memory now, bytes, the greatest of the processes.
    pub anon_bytes: u64,
    /// Bytes that the processes caused to be written to storage.
    pub written_bytes: u64,
}

/// What was used between two readings.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Used {
    /// Seconds of CPU, all servers added.
    pub cpu_s: f64,
    /// Greatest anonymous resident memory of one server at the end, bytes.
    pub anon_bytes: u64,
    /// Bytes written to storage, all servers added.
    pub written_bytes: u64,
}

/// Reads the counters of `pids`.
pub fn usage(pids: &[u32]) -> Result<Usage> {
    let mut sum = Usage::default();
    for pid in pids {
        sum.cpu_s += cpu_seconds(*pid)?;
        sum.anon_bytes = sum.anon_bytes.max(field(*pid, "status", "RssAnon:")? * 1024);
        sum.written_bytes += field(*pid, "io", "write_bytes:")?;
    }
    Ok(sum)
}

/// The difference of two readings of the same processes.
pub fn used(before: Usage, after: Usage) -> Used {
    Used {
        cpu_s: after.cpu_s - before.cpu_s,
        anon_bytes: after.anon_bytes,
        written_bytes: after.written_bytes.saturating_sub(before.written_bytes),
    }
}

fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}: is the server still running?"))?;
    // The second field is the program's name in brackets and may hold anything; count from its end.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|n| n.parse::<u64>().ok())
        .sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn field(pid: u32, file: &str, name: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/{file}");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    Ok(value
        .split_whitespace()
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0))
}

/// The machine, for the head of a report: processors, memory, kernel, load.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")
                .and_then(|l| l.split_once(": "))
                .map(|(_, m)| m.to_owned())
        })
        .unwrap_or_else(|| "unknown processor".into());
    let memory_kb: u64 = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{cpus} x {model}, {} GiB, Linux {}, load {}",
        memory_kb / (1 << 20),
        kernel.trim(),
        load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let me = std::process::id();
        let before = usage(&[me]).unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_millis(120);
        let mut spin = 0_u64;
        while std::time::Instant::now() < until {
            spin = std::hint::black_box(spin.wrapping_add(1));
        }
        let spent = used(before, usage(&[me]).unwrap());
        assert!(spent.cpu_s > 0.05 && spent.cpu_s < 5.0, "{spent:?}");
        assert!(spent.anon_bytes > 100_000, "{spent:?}");
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(
            usage(&[u32::MAX / 2])
                .unwrap_err()
                .to_string()
                .contains("still running")
        );
    }
}
