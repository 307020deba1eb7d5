//! A server as a process: start it, wait until it listens, stop it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::CpuSet;

use super::{Tie, Usage, last_line};

/// Time a server gets to print its ready line. All six need well under a second; a debug build on a
/// busy two-core machine needs a few.
pub const READY_DEADLINE: Duration = Duration::from_secs(20);

/// Time a server gets to exit after SIGTERM before it is killed. The contract says 2 s; the rest is
/// there so that a late exit is measured and reported, not cut off.
pub const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Bytes of a server's stderr that are kept, the newest. Enough for a panic with its backtrace.
pub const STDERR_KEPT_BYTES: usize = 64 * 1024;

/// Stands for the port among a server's arguments, where it is not the value of `--port`.
pub const PORT: &str = "{port}";

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub binary: PathBuf,
    /// Its arguments; [`PORT`] becomes 0, or without one `--port 0` is added.
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

/// A running server. Dropping it kills the process, and so does the end of this one.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Until the child is reaped.
    tie: Option<Tie>,
    addr: SocketAddr,
    stderr: Arc<Mutex<VecDeque<u8>>>,
}

impl Server {
    /// Starts the process and waits until it says `listening on http://…`.
    ///
    /// # Errors
    /// When it cannot be started or pinned, exits early, or stays silent for [`READY_DEADLINE`].
    pub fn start(launch: &Launch) -> Result<Server> {
        Server::start_on(launch, 0)
    }

    /// As [`Server::start`], on this port: a server that comes back where it was.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_on(launch: &Launch, port: u16) -> Result<Server> {
        let shown = launch.binary.display();
        let mut child = spawn(launch, port).with_context(|| format!("cannot start {shown}"))?;
        let tie = Tie::process(Pid::from_child(&child)).inspect_err(|_| {
            let _ = child.kill();
        });
        let tie = Some(tie.context("cannot start /bin/sh")?);
        let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
        let child_stderr = child.stderr.take().expect("stderr was asked to be a pipe");
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&stderr);
        // Nothing is sent: the sender is dropped when stderr is read to its end.
        let (stderr_open, stderr_end) = mpsc::channel::<()>();
        thread::spawn(move || {
            keep_tail(child_stderr, &kept);
            drop(stderr_open);
        });
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

        let addr = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Server { child, tie, addr, stderr };
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
                // A grandchild may hold stderr open for longer.
                let _ = stderr_end.recv_timeout(Duration::from_secs(1));
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

    /// The end of its stderr, at most [`STDERR_KEPT_BYTES`].
    pub fn stderr(&self) -> String {
        let kept = self.stderr.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let bytes: Vec<u8> = kept.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its use of CPU and memory until now.
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
        let ended = self.child.try_wait()?;
        self.tie.take_if(|_| ended.is_some());
        Ok(ended)
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
            match self.ended()? {
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
        self.tie = None;
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

/// The cores that the calling thread may run on.
///
/// # Errors
/// When the system refuses to say.
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
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

fn spawn(launch: &Launch, port: u16) -> Result<Child> {
    let mut command = Command::new(&launch.binary);
    let port = port.to_string();
    command.args(launch.args.iter().map(|arg| if arg == PORT { &port } else { arg }));
    if !launch.args.iter().any(|arg| arg == PORT) {
        command.args(["--port", &port]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Launch {
        Launch { binary: "/bin/sh".into(), args: vec!["-c".into(), script.into()], core: None }
    }

    #[test]
    fn waits_for_the_ready_line_and_stops_with_the_exit_status() {
        let launch =
            shell("trap 'exit 7' TERM; echo listening on http://127.0.0.1:9; while :; do :; done");
        let server = Server::start(&launch).unwrap();
        assert_eq!(server.addr().port(), 9);
        assert!(server.usage().unwrap().rss_bytes > 0);
        assert_eq!(server.stop().unwrap().status.code(), Some(7));
    }

    #[test]
    fn the_port_stands_where_the_launch_says() {
        let launch = shell("echo listening on http://127.0.0.1:$0$1; exec sleep 60");
        let server = |launch: Launch| Server::start_on(&launch, 7).map(|it| it.addr().port());
        assert_eq!(server(launch.clone().with_args([PORT, "9"])).unwrap(), 79);
        let error = server(launch).unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:--port7"), "{error}");
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
