//! Write calls for each event, in a separate run: counting calls slows them down.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fleet::{Launch, Server};
use load::Workload;
use load::timer::MILLISECOND_NS;
use rustix::process::{Pid, Signal};

use super::window::Cores;

/// The calls that send bytes on a socket.
const WRITES: &str = "write,writev,sendto,sendmsg,sendmmsg,pwritev2,io_uring_enter";

/// Time of the separate run for each server: two seconds, most of it strace coming and going.
pub(super) const TAKES: Duration = Duration::from_secs(2);

/// strace has to have stopped every thread once by then.
const ATTACH: Duration = Duration::from_secs(2);

/// Whether calls can be counted here.
pub(super) fn can_count() -> bool {
    Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Writes of the server for each delivered event of a broadcast, its answers to POST subtracted.
///
/// # Errors
/// When strace cannot attach or an event is lost.
pub(super) fn per_event(launch: &Launch, cores: &Cores, scratch: &Path) -> Result<f64> {
    let launch = Launch { core: cores.server, ..launch.clone() };
    let workload = Workload::broadcast(100, 50, 10, 1);
    let server = Server::start(&launch)?;
    let (addr, pid) = (server.addr(), server.pid());
    let out = scratch.join(format!("strace-{pid}"));
    let mut strace: Option<Child> = None;
    let mut failure = None;
    let mut plan = workload.shape.plan(addr, load::timer::unix_ns());
    // Attached between two messages, and detached when every message has long been sent.
    let wait_ns = 20 * MILLISECOND_NS;
    plan.marks_ns = vec![plan.window_ns.start - wait_ns, plan.window_ns.end + 10 * wait_ns];
    plan.stop = load::plan::Stop::At(plan.window_ns.end + 11 * wait_ns);
    let outcome = load::generator::run(&plan, load::timer::unix_ns, |mark| {
        let done = match mark.index {
            0 => attach(pid, &out).map(|it| strace = Some(it)),
            _ => strace.take().map_or(Ok(()), detach),
        };
        if let Err(error) = done {
            failure.get_or_insert(error);
        }
    })?;
    server.stop()?;
    if let Some(error) = failure {
        return Err(error);
    }
    let counted = fs::read_to_string(&out).context("strace wrote nothing")?;
    let _ = fs::remove_file(&out);
    if let Some(fault) = outcome.fault() {
        bail!("{fault}");
    }
    let posts = outcome.messages.iter().filter(|it| plan.window_ns.contains(&it.scheduled_ns));
    let calls = calls(&counted) as f64 - posts.count() as f64;
    Ok(calls / outcome.delivered as f64)
}

fn attach(pid: u32, out: &Path) -> Result<Child> {
    let strace = Command::new("strace")
        .args(["-f", "-c", "-e", &format!("trace={WRITES}"), "-o"])
        .arg(out)
        .args(["-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start strace")?;
    let deadline = Instant::now() + ATTACH;
    while !is_traced(pid) {
        if Instant::now() > deadline {
            bail!("strace cannot attach; it may not be allowed here");
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(strace)
}

fn is_traced(pid: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.flatten().all(|it| {
        let status = fs::read_to_string(it.path().join("status")).unwrap_or_default();
        status.lines().any(|it| it.starts_with("TracerPid:") && it.trim_end() != "TracerPid:\t0")
    })
}

fn detach(mut strace: Child) -> Result<()> {
    rustix::process::kill_process(Pid::from_child(&strace), Signal::INT)?;
    strace.wait()?;
    Ok(())
}

/// The calls in strace's table: `% time, seconds, usecs/call, calls, [errors,] syscall`.
fn calls(table: &str) -> u64 {
    table
        .lines()
        .filter(|line| {
            line.split_whitespace().last().is_some_and(|it| WRITES.split(',').any(|w| w == it))
        })
        .filter_map(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_of_strace_is_read() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 90.00    0.012000           6      2000           sendto
 10.00    0.001000           5        25         3 writev
------ ----------- ----------- --------- --------- ----------------
100.00    0.013000           6      2025         3 total
";
        assert_eq!(super::calls(table), 2025);
    }
}
