//! Where a report was made: what must be equal before two reports may be compared.

use std::fs;
use std::process::Command;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The host, the limits and the versions of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// The processor's own name.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Whether the processor is a virtual machine's.
    pub virtual_machine: bool,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The kernel's clock source.
    pub clock_source: String,
    /// The distribution.
    pub system: String,
    /// Open files allowed.
    pub open_files: u64,
    /// `net.core.somaxconn`.
    pub somaxconn: u64,
    /// The load averages of 1, 5 and 15 minutes when the run began.
    pub load_average: String,
    /// Which core the server ran on, if it was pinned.
    pub server_core: Option<usize>,
    /// Which core the generator ran on, if it was pinned.
    pub generator_core: Option<usize>,
    /// The compiler.
    pub rustc: String,
    /// The commit, with `+changes` if files differ from it.
    pub commit: String,
}

/// The model of the processor, as the kernel names it; empty if it does not.
pub fn cpu() -> String {
    cpu_of(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

fn cpu_of(cpuinfo: &str) -> String {
    after(cpuinfo, "model name").trim_start_matches(':').trim().into()
}

impl Environment {
    /// Asks the system; what it does not say stays empty.
    pub fn read(open_files: u64, cores: usize) -> Environment {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let memory_kb = after(&meminfo, "MemTotal:").trim_end_matches("kB").trim();
        let changes = command("git", &["status", "--porcelain", "--untracked-files=no"]);
        let mut commit = command("git", &["rev-parse", "--short=12", "HEAD"]);
        if !changes.is_empty() && !commit.is_empty() {
            commit.push_str("+changes");
        }
        Environment {
            cpu: cpu_of(&cpuinfo),
            cores,
            virtual_machine: after(&cpuinfo, "flags").split(' ').any(|it| it == "hypervisor"),
            memory_bytes: memory_kb.parse().unwrap_or(0) * 1024,
            kernel: line("/proc/sys/kernel/osrelease"),
            clock_source: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            system: after(&os_release, "PRETTY_NAME=").trim_matches('"').into(),
            open_files,
            somaxconn: line("/proc/sys/net/core/somaxconn").parse().unwrap_or(0),
            load_average: averages(&line("/proc/loadavg")),
            server_core: None,
            generator_core: None,
            rustc: command("rustc", &["--version"]),
            commit,
        }
    }

    /// The host in a few words.
    pub(crate) fn host(&self) -> String {
        format!("{}, {} cores", self.cpu, self.cores)
    }

    /// The three load averages; older documents have tasks and a process id behind them.
    pub(crate) fn load(&self) -> String {
        averages(&self.load_average)
    }

    /// The head of a document about a run: its title, the command, when and where; the last sentence is still open.
    pub(crate) fn head(&self, title: &str, command: &str, began: &str) -> String {
        let Environment { cpu, cores, system, kernel, commit, .. } = self;
        format!(
            "# {title}\n\n`{command}`, {began}, commit {commit}; {cpu}, {cores} cores, {system}, Linux {kernel}"
        )
    }
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The first three numbers of `/proc/loadavg`.
fn averages(loadavg: &str) -> String {
    loadavg.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn after<'t>(text: &'t str, key: &str) -> &'t str {
    text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim()
}

fn command(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_three_averages_of_old_documents_too() {
        let old = "17.21 16.62 15.57 1/360 17298";
        let environment = Environment { load_average: old.into(), ..Environment::default() };
        assert_eq!(environment.load(), "17.21 16.62 15.57");
        assert_eq!(Environment::read(0, 1).load_average.split(' ').count(), 3);
    }
}
