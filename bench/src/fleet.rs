//! The servers of this workspace as processes: find, build, start, observe, stop.
//!
//! The harness sees a server only through its socket and its process, so a server in any language
//! could stand here. No list of servers is written down: a package with `[package.metadata.server]`
//! in its manifest is one.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::CpuSet;
use serde::Deserialize;

/// Time a server gets to print its ready line. All six need well under a second; a debug build on a
/// busy two-core machine needs a few.
pub const READY_DEADLINE: Duration = Duration::from_secs(20);

/// Time a server gets to exit after SIGTERM before it is killed. The contract says 2 s; the rest is
/// there so that a late exit is measured and reported, not cut off.
pub const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Bytes of a server's stderr that are kept, the newest. Enough for a panic with its backtrace.
pub const STDERR_KEPT_BYTES: usize = 64 * 1024;

/// A server package of this workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Cargo's name, `sse-axum`.
    pub name: String,
    /// Where its manifest lies.
    pub folder: PathBuf,
    /// What it is written with, as its manifest says: `axum`.
    pub framework: String,
    /// The framework's version in `Cargo.lock`, or rustc's for a server without a framework.
    pub framework_version: String,
    /// The values of `--encoding` that it offers.
    pub encodings: Vec<String>,
}

impl Package {
    /// The name without `sse-`: `axum`.
    pub fn short_name(&self) -> &str {
        self.name.strip_prefix("sse-").unwrap_or(&self.name)
    }

    /// The folder's own name: `3_axum`.
    pub fn folder_name(&self) -> &str {
        self.folder.file_name().and_then(|name| name.to_str()).unwrap_or(&self.name)
    }

    /// How a launch of this package's `binary` with `encoding` looks.
    pub fn launch(&self, binary: &Path, encoding: &str) -> Launch {
        Launch {
            binary: binary.to_owned(),
            args: vec!["--encoding".into(), encoding.into()],
            core: None,
        }
    }
}

/// Finds every server of the workspace that the current directory is in, in the order of folders.
///
/// # Errors
/// When `cargo metadata` fails, most likely because the directory is not in the workspace.
pub fn discover() -> Result<Vec<Package>> {
    let output = Command::new(cargo())
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .output()
        .context("cannot run cargo; install Rust from https://rustup.rs")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed ({}); run inside the workspace, whose servers it looks for",
            last_line(&output.stderr)
        );
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cargo metadata answered unexpectedly")?;
    let lock = std::fs::read_to_string(metadata.workspace_root.join("Cargo.lock"))
        .context("cannot read Cargo.lock; run cargo generate-lockfile")?;

    let mut packages = Vec::new();
    for package in metadata.packages {
        let Some(server) = package.metadata.and_then(|metadata| metadata.server) else { continue };
        let framework_version =
            match package.dependencies.iter().find(|it| it.name == server.framework) {
                Some(dependency) => locked_version(&lock, &dependency.name, &dependency.req)
                    .with_context(|| format!("Cargo.lock has no {}", dependency.name))?,
                None => rustc_version()?,
            };
        packages.push(Package {
            name: package.name,
            folder: package.manifest_path.parent().unwrap_or(Path::new(".")).to_owned(),
            framework: server.framework,
            framework_version,
            encodings: server.encodings,
        });
    }
    packages.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(packages)
}

/// The package that `name` means: the full name, the folder, or the name without `sse-`.
///
/// # Errors
/// When there is none; the text names those that exist.
pub fn find<'a>(packages: &'a [Package], name: &str) -> Result<&'a Package> {
    packages
        .iter()
        .find(|it| [it.name.as_str(), it.short_name(), it.folder_name()].contains(&name))
        .ok_or_else(|| {
            let known: Vec<_> = packages.iter().map(Package::short_name).collect();
            anyhow!("there is no server {name:?}; choose one of: {}", known.join(", "))
        })
}

/// Builds one package and returns its binary.
///
/// One at a time on purpose: `cargo build --workspace` unifies features over all members, and a
/// framework would be measured with features that its own manifest did not ask for.
/// Honours `CARGO_TARGET_DIR`; may be called from within `cargo test`.
///
/// # Errors
/// When cargo fails; on a terminal its own words stand above the error.
pub fn build(package: &Package, release: bool) -> Result<PathBuf> {
    let mut command = Command::new(cargo());
    command
        .args(["build", "--message-format", "json-render-diagnostics", "--package", &package.name])
        .arg("--manifest-path")
        .arg(package.folder.join("Cargo.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if release {
        command.arg("--release");
    }
    // People watch cargo's progress; a log or a test wants it only when it fails.
    let watched = io::stderr().is_terminal();
    command.stderr(if watched { Stdio::inherit() } else { Stdio::piped() });
    let output = command.output().context("cannot run cargo")?;
    if !output.status.success() {
        if !watched {
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
        }
        bail!("{} does not build; see cargo's words above", package.name);
    }
    output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Artifact>(line).ok())
        .filter(|artifact| artifact.target.kind.iter().any(|kind| kind == "bin"))
        .find_map(|artifact| artifact.executable)
        .ok_or_else(|| anyhow!("{} has no binary; a server needs src/main.rs", package.name))
}

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub binary: PathBuf,
    /// Its arguments; `--port 0` is added.
    pub args: Vec<String>,
    /// The one core that it may run on; `None` leaves it free.
    pub core: Option<usize>,
}

impl Launch {
    /// The same launch with more arguments.
    pub fn with_args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Launch {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }
}

/// A running server. Dropping it kills the process.
#[derive(Debug)]
pub struct Server {
    child: Child,
    addr: SocketAddr,
    stderr: Arc<Mutex<VecDeque<u8>>>,
}

impl Server {
    /// Starts the process and waits until it says `listening on http://…`.
    ///
    /// # Errors
    /// When it cannot be started or pinned, exits early, or stays silent for [`READY_DEADLINE`].
    pub fn start(launch: &Launch) -> Result<Server> {
        let shown = launch.binary.display();
        let mut child = spawn(launch).with_context(|| format!("cannot start {shown}"))?;
        let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
        let child_stderr = child.stderr.take().expect("stderr was asked to be a pipe");
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&stderr);
        thread::spawn(move || keep_tail(child_stderr, &kept));
        let (sender, ready) = mpsc::channel();
        thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            if stdout.read_line(&mut line).is_ok() && !line.is_empty() {
                let _ = sender.send(line);
            }
            drop(sender);
            // A full pipe would block the server.
            let _ = io::copy(&mut stdout, &mut io::sink());
        });

        let mut server = Server { child, addr: SocketAddr::from(([0, 0, 0, 0], 0)), stderr };
        match ready.recv_timeout(READY_DEADLINE) {
            Ok(line) => {
                server.addr = ready_addr(&line).ok_or_else(|| {
                    anyhow!("{shown} printed {line:?}, not `listening on http://ADDRESS:PORT`")
                })?;
                Ok(server)
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("{shown} was not ready after {READY_DEADLINE:?}{}", server.last_words())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = server.wait(Instant::now() + STOP_DEADLINE)?;
                let status = status.map_or("did not say that it listens".into(), |it| {
                    format!("ended ({it}) before it listened")
                });
                bail!("{shown} {status}{}", server.last_words())
            }
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote on stderr, the newest [`STDERR_KEPT_BYTES`].
    pub fn stderr(&self) -> String {
        let kept = self.stderr.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let bytes: Vec<u8> = kept.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What it has used until now.
    ///
    /// # Errors
    /// When `/proc` cannot be read, most likely because the process is gone.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid())
    }

    /// The exit status if it has ended by itself.
    ///
    /// # Errors
    /// When the system refuses to say.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Sends a signal, for instance a second SIGTERM.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(rustix::process::kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// When it has not ended after [`STOP_DEADLINE`]; it is killed then.
    pub fn stop(self) -> Result<Stopped> {
        let asked = Instant::now();
        // A server that has ended by itself is not yet reaped, so its pid cannot be another's.
        let _ = self.signal(Signal::TERM);
        self.wait_stopped(asked)
    }

    /// Waits for the end after a [`Server::signal`] sent at `asked`.
    ///
    /// # Errors
    /// When it has not ended [`STOP_DEADLINE`] after `asked`; it is killed then.
    pub fn wait_stopped(mut self, asked: Instant) -> Result<Stopped> {
        match self.wait(asked + STOP_DEADLINE)? {
            Some(status) => Ok(Stopped { status, took: asked.elapsed() }),
            None => bail!("did not exit within {STOP_DEADLINE:?} after SIGTERM and was killed"),
        }
    }

    fn wait(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        loop {
            match self.child.try_wait()? {
                Some(status) => return Ok(Some(status)),
                None if Instant::now() >= deadline => return Ok(None),
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn last_words(&self) -> String {
        match last_line(self.stderr().as_bytes()) {
            line if line.is_empty() => String::new(),
            line => format!(": {line}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has been reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a server ended.
#[derive(Debug)]
pub struct Stopped {
    /// Its exit status.
    pub status: ExitStatus,
    /// From the signal to the end.
    pub took: Duration,
}

/// What a process has used, from `/proc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of its live threads, nanoseconds. Not from `/proc/PID/stat`, which counts 10 ms ticks.
    pub cpu_ns: u64,
    /// Resident memory, bytes; exact, from `smaps_rollup` where that can be read.
    pub rss_bytes: u64,
    /// Its share of resident memory where pages shared with others count in part, bytes.
    pub pss_bytes: Option<u64>,
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
        Ok(Usage { cpu_ns, rss_bytes, pss_bytes: kilobytes(&rollup, "Pss:"), fds, threads })
    }
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

/// Lets the calling thread, and the processes and threads that it starts, run on one core only.
///
/// # Errors
/// When there is no such core or the system forbids it.
pub fn pin_current_thread(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::other("no such core"));
    }
    set.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Raises the soft limit of open files to the hard one and returns it.
///
/// Servers started afterwards inherit it.
///
/// # Errors
/// When the system refuses.
pub fn raise_fd_limit() -> io::Result<u64> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised)?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

fn spawn(launch: &Launch) -> Result<Child> {
    let mut command = Command::new(&launch.binary);
    command
        .args(&launch.args)
        .args(["--port", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // The user's own settings for a server must not change what is measured.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(name)) {
        command.env_remove(name);
    }
    let Some(core) = launch.core else { return Ok(command.spawn()?) };
    // A child inherits the affinity of the thread that starts it, and this thread ends here: so the
    // server is pinned before its first instruction, without unsafe code between fork and exec.
    thread::scope(|scope| {
        scope
            .spawn(|| {
                pin_current_thread(core)
                    .with_context(|| format!("cannot pin a process to core {core}"))?;
                Ok(command.spawn()?)
            })
            .join()
            .expect("the closure has nothing that panics")
    })
}

fn is_setting(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("SSE_"))
}

fn keep_tail(mut from: impl Read, kept: &Mutex<VecDeque<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let mut kept = kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        kept.extend(&buffer[..read]);
        let excess = kept.len().saturating_sub(STDERR_KEPT_BYTES);
        kept.drain(..excess);
    }
}

fn ready_addr(line: &str) -> Option<SocketAddr> {
    line.trim_end().strip_prefix("listening on http://")?.parse().ok()
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn rustc_version() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_ascii_whitespace().nth(1).map(str::to_owned).context("rustc has no version")
}

/// The version of `name` in a `Cargo.lock`; where there are several, the one that `req` pins.
fn locked_version(lock: &str, name: &str, req: &str) -> Option<String> {
    let key = format!("name = \"{name}\"\nversion = \"");
    let versions: Vec<&str> =
        lock.split(&key).skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let pinned = req.trim_start_matches('=');
    versions.iter().find(|version| **version == pinned).or(versions.first()).map(|it| (*it).into())
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct MetadataPackage {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    metadata: Option<Tables>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    req: String,
}

#[derive(Deserialize)]
struct Tables {
    server: Option<ServerTable>,
}

#[derive(Deserialize)]
struct ServerTable {
    framework: String,
    encodings: Vec<String>,
}

#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Launch {
        Launch { binary: "/bin/sh".into(), args: vec!["-c".into(), script.into()], core: None }
    }

    #[test]
    fn finds_servers_with_their_versions_and_names_those_that_exist() {
        let packages = discover().unwrap();
        let axum = find(&packages, "axum").unwrap();
        assert_eq!(find(&packages, "sse-axum").unwrap(), axum);
        assert_eq!(find(&packages, axum.folder_name()).unwrap(), axum);
        assert!(axum.framework_version.starts_with("0."), "{}", axum.framework_version);
        assert!(packages.is_sorted_by_key(|it| &it.folder));
        let error = find(&packages, "nope").unwrap_err().to_string();
        assert!(error.contains("\"nope\"") && error.contains("axum"), "{error}");
    }

    #[test]
    fn takes_the_pinned_one_of_several_locked_versions() {
        let lock = "name = \"h2\"\nversion = \"0.3.1\"\n\nname = \"h2\"\nversion = \"0.4.2\"\n";
        assert_eq!(locked_version(lock, "h2", "=0.4.2").as_deref(), Some("0.4.2"));
        assert_eq!(locked_version(lock, "h2", "^0").as_deref(), Some("0.3.1"));
        assert_eq!(locked_version(lock, "h3", "^0"), None);
    }

    #[test]
    fn waits_for_the_ready_line_and_stops_with_the_exit_status() {
        let launch = shell("trap 'exit 7' TERM; echo listening on http://127.0.0.1:9; while :; do :; done");
        let server = Server::start(&launch).unwrap();
        assert_eq!(server.addr().port(), 9);
        assert!(server.usage().unwrap().rss_bytes > 0);
        assert_eq!(server.stop().unwrap().status.code(), Some(7));
    }

    #[test]
    fn an_early_end_is_an_error_with_the_last_words() {
        let error = Server::start(&shell("echo the port is taken >&2; exit 3")).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("exit status: 3") && error.contains("the port is taken"), "{error}");
    }

    #[test]
    fn pins_the_process_before_it_runs() {
        let mut launch = shell(
            "grep Cpus_allowed_list /proc/self/status >&2; echo listening on http://127.0.0.1:9;\
             trap 'exit 0' TERM; while :; do :; done",
        );
        launch.core = Some(0);
        let server = Server::start(&launch).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while server.stderr().is_empty() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(server.stderr().trim(), "Cpus_allowed_list:\t0");
    }
}
