//! A server as a process: start it, wait until it listens, stop it.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::CpuSet;

use super::{Program, Tail, Usage, last_line, usage};

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

/// Ports for servers that cannot choose one: below those that the system hands out by itself, so that no client of
/// another program has one meanwhile.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Free ports are looked for so often; on a usual host the first is free.
const PORT_TRIES: usize = 100;

/// Between two looks whether a server answers.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// How long a connection to a server on this host, and its answer, may take before it is asked again.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// How to start a server.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// The program.
    pub binary: PathBuf,
    /// Its arguments; [`PORT`] becomes the port, or without one `--port` is added.
    pub args: Vec<String>,
    /// Where it runs; `None` is where we are.
    pub folder: Option<PathBuf>,
    /// How it is known that it serves.
    pub ready: Ready,
    /// The one core that it may run on; `None` leaves it free.
    pub core: Option<usize>,
}

/// How it is known that a server serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ready {
    /// It chooses a port and prints a line, `listening on http://ADDRESS:PORT`.
    #[default]
    Line,
    /// It gets a free port, and answers a request there. A connection alone says little: the system takes it for a
    /// program that is still being loaded.
    Answer {
        /// How long that may take.
        within: Duration,
    },
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
    /// Starts the process and waits until it serves, as its [`Ready`] says.
    ///
    /// # Errors
    /// When it cannot be started or pinned, exits early, or does not serve in time.
    pub fn start(launch: &Launch) -> Result<Server> {
        Server::start_on(launch, 0)
    }

    /// As [`Server::start`], on this port: a server that comes back where it was.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_on(launch: &Launch, port: u16) -> Result<Server> {
        let shown = launch.binary.display();
        let port = match launch.ready {
            Ready::Answer { .. } if port == 0 => free_port()?,
            _ => port,
        };
        let program = spawn(launch, port).with_context(|| format!("cannot start {shown}"))?;
        let mut program = program.kill_on_exit().context("cannot start /bin/sh")?;
        let lines = program.lines().expect("stdout was asked to be a pipe");
        let stderr = program.stderr(STDERR_KEPT_BYTES).expect("stderr was asked to be a pipe");
        let last_words = |stderr: String| match last_line(stderr.as_bytes()) {
            line if line.is_empty() => String::new(),
            line => format!(": {line}"),
        };
        if let Ready::Answer { within } = launch.ready {
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            return match answers(&mut program, addr, within)? {
                Answering::Yes => Ok(Server { program, addr, stderr }),
                Answering::Ended(status) => {
                    let words = last_words(stderr.text_at_end(Duration::from_secs(1)));
                    bail!("{shown} ended ({status}) before it answered{words}")
                }
                Answering::Not(why) => {
                    let words = last_words(stderr.text());
                    bail!("{shown} did not answer on {addr} within {within:?} ({why}){words}")
                }
            };
        }
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

    /// Its process, and those that it has started and that are still in its group.
    pub fn pids(&self) -> Vec<u32> {
        usage::group(self.pid())
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

/// Acts in a thread on this core, if one is named. Threads and programs that it starts stay there.
///
/// # Errors
/// As for [`pin_current_thread`], and those of the act.
///
/// # Panics
/// When the act does.
pub fn on_core<T: Send>(core: Option<usize>, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pinned = || {
        if let Some(core) = core {
            pin_current_thread(core)
                .with_context(|| format!("cannot pin a thread to core {core}"))?;
        }
        act()
    };
    let ended = thread::scope(|scope| scope.spawn(pinned).join());
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
    command.args(launch.args.iter().map(|arg| arg.replace(PORT, &port)));
    if !launch.args.iter().any(|arg| arg.contains(PORT)) {
        command.args(["--port", &port]);
    }
    if let Some(folder) = &launch.folder {
        command.current_dir(folder);
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

/// A port of this host on which nothing listens.
///
/// # Errors
/// When none is found.
pub fn free_port() -> Result<u16> {
    let listens = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut tries = std::iter::repeat_with(|| fastrand::u16(PORTS)).take(PORT_TRIES);
    tries.find(listens).with_context(|| format!("no free port found in {PORTS:?}"))
}

/// Whether a program answers.
enum Answering {
    Yes,
    Ended(ExitStatus),
    Not(io::Error),
}

/// Asks until it answers, its end, or the end of this time.
fn answers(program: &mut Program, addr: SocketAddr, within: Duration) -> Result<Answering> {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = ask(addr, left.clamp(ASK_AGAIN, ANSWER_DEADLINE));
        // The answer may be another program's, which has taken the port: then ours has ended.
        if let Some(status) = program.ended()? {
            return Ok(Answering::Ended(status));
        }
        match answer {
            Ok(()) => return Ok(Answering::Yes),
            Err(error) if Instant::now() >= deadline => return Ok(Answering::Not(error)),
            Err(_) => thread::sleep(ASK_AGAIN),
        }
    }
}

/// One request; whatever the answer is, the program serves.
fn ask(addr: SocketAddr, within: Duration) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&addr, within)?;
    stream.set_read_timeout(Some(within))?;
    stream.write_all(
        format!("GET / HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    match stream.read(&mut [0; 64])? {
        0 => Err(io::Error::other("a connection is closed without an answer")),
        _ => Ok(()),
    }
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
        let args = vec!["-c".into(), script.into()];
        Launch { binary: "/bin/sh".into(), args, ..Launch::default() }
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

    /// A server that answers each request with its folder, on the port that it gets or the next one.
    fn python(next: u16, before: &str) -> Launch {
        let script = format!(
            "import os, socket, sys, time\n{before}\n\
             at = socket.create_server(('127.0.0.1', int(sys.argv[1].split('=')[1]) + {next}))\n\
             while True:\n    one = at.accept()[0]; one.recv(4096); one.send(os.getcwd().encode()); one.close()"
        );
        Launch {
            binary: "python3".into(),
            args: vec!["-c".into(), script, format!("--listen={PORT}")],
            folder: Some("/usr".into()),
            ready: Ready::Answer { within: READY_DEADLINE },
            core: None,
        }
    }

    #[test]
    fn a_server_that_prints_nothing_gets_a_free_port_and_is_asked() {
        let before = "import subprocess\nsubprocess.Popen(['sleep', '1000'])\ntime.sleep(0.2)";
        let server = Server::start(&python(0, before)).unwrap();
        assert!(PORTS.contains(&server.addr().port()));
        let mut answer = String::new();
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.write_all(b"?").unwrap();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "/usr");
        // With the process that it has started.
        assert_eq!(server.pids().len(), 2, "{:?}", server.pids());
    }

    #[test]
    fn a_server_on_another_port_or_at_its_end_is_an_error_in_time() {
        let within = Duration::from_millis(300);
        let elsewhere = Launch { ready: Ready::Answer { within }, ..python(1, "") };
        let error = Server::start(&elsewhere).unwrap_err().to_string();
        assert!(error.contains("did not answer on 127.0.0.1:"), "{error}");
        let error = Server::start(&python(0, "sys.exit('no room here')")).unwrap_err().to_string();
        assert!(error.contains("exit status: 1") && error.contains("no room here"), "{error}");
        let silent = Launch { ready: Ready::Answer { within }, ..python(0, "time.sleep(1000)") };
        let error = Server::start(&silent).unwrap_err().to_string();
        assert!(error.contains("within 300ms"), "{error}");
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
