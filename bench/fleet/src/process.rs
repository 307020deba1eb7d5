//! A server as a process: start it, wait until it listens, stop it.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::CpuSet;

use super::{Program, Tail, Usage, last_line};

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
    program: Program,
    addr: SocketAddr,
    stderr: Tail,
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
        let program = spawn(launch, port).with_context(|| format!("cannot start {shown}"))?;
        let mut program = program.kill_on_exit().context("cannot start /bin/sh")?;
        let lines = program.lines().expect("stdout was asked to be a pipe");
        let stderr = program.stderr(STDERR_KEPT_BYTES).expect("stderr was asked to be a pipe");
        let last_words = |stderr: String| match last_line(stderr.as_bytes()) {
            line if line.is_empty() => String::new(),
            line => format!(": {line}"),
        };
        match lines.next_line(READY_DEADLINE) {
            Ok(Some(line)) => match ready_addr(&line) {
                Some(addr) => Ok(Server { program, addr, stderr }),
                None => {
                    bail!("{shown} printed {line:?}, not `listening on http://ADDRESS:PORT`")
                }
            },
            Err(_) => {
                let words = last_words(stderr.text());
                bail!("{shown} was not ready after {READY_DEADLINE:?}{words}")
            }
            Ok(None) => {
                let status = program.wait(STOP_DEADLINE)?;
                let status = status.map_or("did not say that it listens".into(), |it| {
                    format!("ended ({it}) before it listened")
                });
                // A grandchild may hold stderr open for longer.
                let words = last_words(stderr.text_at_end(Duration::from_secs(1)));
                bail!("{shown} {status}{words}")
            }
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.program.pid().as_raw_nonzero().get().unsigned_abs()
    }

    /// The end of its stderr, at most [`STDERR_KEPT_BYTES`].
    pub fn stderr(&self) -> String {
        self.stderr.text()
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
        self.program.ended()
    }

    /// Sends a signal, for instance a second SIGTERM.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.program.signal(signal)
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
        match self.program.wait(STOP_DEADLINE.saturating_sub(asked.elapsed()))? {
            Some(status) => Ok(Stopped { status, took: asked.elapsed() }),
            None => bail!("did not exit within {STOP_DEADLINE:?} after SIGTERM and was killed"),
        }
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

fn spawn(launch: &Launch, port: u16) -> Result<Program> {
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
    let Some(core) = launch.core else { return Ok(Program::start(&mut command)?) };
    // A child inherits the affinity of the thread that starts it, and this thread ends here: so the
    // server is pinned before its first instruction, without unsafe code between fork and exec.
    thread::scope(|scope| {
        scope
            .spawn(|| {
                pin_current_thread(core)
                    .with_context(|| format!("cannot pin a process to core {core}"))?;
                Ok(Program::start(&mut command)?)
            })
            .join()
            .expect("the closure has nothing that panics")
    })
}

fn is_setting(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("SSE_"))
}

fn ready_addr(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("listening on http://")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventually;

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
        let (within, pause) = (Duration::from_secs(5), Duration::from_millis(1));
        let line = eventually(within, pause, || {
            Some(server.stderr()).filter(|it| it.ends_with('\n')).ok_or("nothing on stderr")
        });
        assert_eq!(line.unwrap().trim(), "Cpus_allowed_list:\t0");
    }
}
