//! The CPU time and memory of a process, read from `/proc`.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};

/// The CPU time and memory of a process, from `/proc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of its live threads, nanoseconds; `/proc/PID/stat` would count 10 ms ticks.
    pub cpu_ns: u64,
    /// Resident memory, bytes; exact, from `smaps_rollup` where that can be read.
    pub rss_bytes: u64,
    /// Its share of resident memory where pages shared with others count in part, bytes.
    pub pss_bytes: Option<u64>,
    /// Resident memory that is in no file, heap and stacks above all, bytes: other processes do not change it.
    pub anonymous_bytes: Option<u64>,
    /// Open file descriptors.
    pub fds: u64,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// Reads the usage of a process.
    ///
    /// # Errors
    /// When `/proc/PID` cannot be read.
    pub fn of(pid: u32) -> Result<Usage> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let (cpu_ns, threads) = cpu_of(pid)?;
        let rollup = std::fs::read_to_string(folder.join("smaps_rollup")).unwrap_or_default();
        let rss_bytes = match kilobytes(&rollup, "Rss:") {
            Some(bytes) => bytes,
            None => kilobytes(&std::fs::read_to_string(folder.join("status"))?, "VmRSS:")
                .ok_or_else(|| anyhow!("process {pid} has ended"))?,
        };
        let fds = std::fs::read_dir(folder.join("fd"))?.count() as u64;
        let pss_bytes = kilobytes(&rollup, "Pss:");
        let anonymous_bytes = kilobytes(&rollup, "Anonymous:");
        Ok(Usage { cpu_ns, rss_bytes, pss_bytes, anonymous_bytes, fds, threads })
    }
}

/// The processes of the group that this one leads, itself first. Those that end meanwhile may be among them.
pub(super) fn group(leader: u32) -> Vec<u32> {
    let mut pids = vec![leader];
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in brackets may hold spaces; the group is the third field after it.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let group = rest.split_ascii_whitespace().nth(2).and_then(|it| it.parse().ok());
        if group == Some(leader) && pid != leader {
            pids.push(pid);
        }
    }
    pids
}

/// Resident memory of these processes together, bytes: of several the pages that they share count once.
///
/// # Errors
/// When the first of them has ended.
pub fn memory_of(pids: &[u32]) -> Result<u64> {
    let [first, others @ ..] = pids else { return Ok(0) };
    let first = Usage::of(*first)?;
    if others.is_empty() {
        return Ok(first.rss_bytes);
    }
    // One may end between the listing and the reading.
    let others = others.iter().filter_map(|pid| Usage::of(*pid).ok());
    let shares = [first].into_iter().chain(others).map(|it| it.pss_bytes.unwrap_or(it.rss_bytes));
    Ok(shares.sum())
}

/// CPU time of the live threads of these processes together, nanoseconds.
///
/// # Errors
/// When the first of them has ended.
pub fn cpu_of_all(pids: &[u32]) -> Result<u64> {
    let [first, others @ ..] = pids else { return Ok(0) };
    let others = others.iter().filter_map(|pid| Some(cpu_of(*pid).ok()?.0));
    Ok(cpu_of(*first)?.0 + others.sum::<u64>())
}

/// How long the calling thread wanted a core and had none since it began, nanoseconds; 0 where the system does not say.
pub fn waited_for_a_core() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_ascii_whitespace().nth(1).and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// CPU time of the process's live threads, nanoseconds, and how many threads there are.
///
/// Cheap enough to be called at the edge of a measured window (about 20 µs a thread).
///
/// # Errors
/// When `/proc/PID` cannot be read.
pub fn cpu_of(pid: u32) -> Result<(u64, u64)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .with_context(|| format!("process {pid} has ended"))?;
    let (mut cpu_ns, mut threads) = (0, 0);
    for task in tasks {
        // A thread may end between the listing and the reading.
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let field = text.split_ascii_whitespace().next().unwrap_or_default();
        cpu_ns += field.parse::<u64>().context("schedstat is not as documented")?;
        threads += 1;
    }
    Ok((cpu_ns, threads))
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
