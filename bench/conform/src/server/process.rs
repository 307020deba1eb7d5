//! A process of the server under test, for the cases on shutdown.

use std::io;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fleet::{Launch, Program, READY_DEADLINE, STOP_DEADLINE, Server, eventually};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{Fault, Target};

/// How often the state of a process is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// How the harness gets a process that it may stop.
#[derive(Clone, Debug)]
pub enum Control {
    /// Starts one more server on a separate port, as often as cases want one.
    Launch(Launch),
    /// Starts the one server there is with a shell command, and again after each stop.
    Shell(Arc<Shell>),
    /// The server runs already and can be stopped once.
    Pid(Arc<Mutex<Option<Pid>>>),
}

/// The server of `--start-cmd`; its processes end with this value.
#[derive(Debug)]
pub struct Shell {
    command: String,
    running: Mutex<Option<Program>>,
}

/// A process that a case may stop, and the server in it.
#[derive(Debug)]
pub struct OwnProcess {
    target: Target,
    process: Process,
    asked: Option<Instant>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status; `None` for a process that is no child of ours.
    pub status: Option<ExitStatus>,
    /// From the first signal to the end.
    pub took: Duration,
}

#[derive(Debug)]
enum Process {
    Launched(Server),
    Started(Program),
    Foreign(Pid),
}

impl Control {
    /// Starts the server with `sh -c`, and hands out processes of it.
    ///
    /// # Errors
    /// When there is no shell.
    pub fn shell(command: &str) -> io::Result<Control> {
        let running = Mutex::new(Some(start(command)?));
        Ok(Control::Shell(Arc::new(Shell { command: command.to_owned(), running })))
    }

    /// The process with this id, which the harness has not started.
    ///
    /// # Errors
    /// One line, if there is no such process or it may not be signalled.
    pub fn pid(id: i32) -> Result<Control, String> {
        // 0 and below mean groups, 1 is init: neither is a server.
        let pid = (id > 1).then(|| Pid::from_raw(id)).flatten();
        let pid = pid.ok_or("a process id is greater than 1")?;
        test_kill_process(pid).map_err(|error| format!("process {id}: {error}; is it yours?"))?;
        Ok(Control::Pid(Arc::new(Mutex::new(Some(pid)))))
    }

    /// Whether several cases can have their own processes at the same time.
    pub fn is_parallel(&self) -> bool {
        matches!(self, Control::Launch(_))
    }

    /// How a started command ended, if it did: the reason why no server answers.
    pub fn ended(&self) -> Option<ExitStatus> {
        let Control::Shell(shell) = self else { return None };
        lock(&shell.running).as_mut()?.ended().ok()?
    }
}

impl OwnProcess {
    /// Gets a process as `control` says; `target` is the server under test.
    pub(super) fn start(target: &Target, control: &Control) -> Result<OwnProcess, Fault> {
        let harness = |error: anyhow::Error| Fault::Harness(format!("{error:#}"));
        let (target, process) = match control {
            Control::Launch(launch) => {
                let server = Server::start(launch).map_err(harness)?;
                (target.at(server.addr()), Process::Launched(server))
            }
            Control::Shell(shell) => {
                let running = lock(&shell.running).take();
                let program = match running {
                    Some(program) => program,
                    None => start(&shell.command)
                        .map_err(|error| Fault::Harness(format!("sh does not start: {error}")))?,
                };
                // It may have been started just now.
                let answers = target.answers_within(READY_DEADLINE);
                answers.map_err(|words| {
                    Fault::Harness(format!("--start-cmd was started again, but {words}"))
                })?;
                (target.clone(), Process::Started(program))
            }
            Control::Pid(pid) => {
                let pid = lock(pid).take().ok_or_else(|| {
                    let advice = "the process was stopped before; --start-cmd runs all these cases";
                    Fault::Skip(advice.to_owned())
                })?;
                (target.clone(), Process::Foreign(pid))
            }
        };
        Ok(OwnProcess { target, process, asked: None })
    }

    /// The server in this process.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Sends SIGTERM and returns at once; the first one starts the clock.
    ///
    /// # Errors
    /// [`Fault::Harness`] if the process cannot be signalled.
    pub fn signal(&mut self) -> Result<(), Fault> {
        self.asked.get_or_insert_with(Instant::now);
        let sent = match &self.process {
            Process::Launched(server) => server.signal(Signal::TERM),
            Process::Started(program) => program.signal(Signal::TERM),
            Process::Foreign(pid) => kill_process(*pid, Signal::TERM).map_err(io::Error::from),
        };
        sent.map_err(|error| Fault::Harness(format!("cannot send SIGTERM: {error}")))
    }

    /// Sends SIGTERM unless that was done, and waits for the end.
    ///
    /// # Errors
    /// A failure if the process is still there after [`STOP_DEADLINE`]. It is killed then, unless
    /// it was started by others.
    pub fn stop(mut self) -> Result<Ended, Fault> {
        if self.asked.is_none() {
            self.signal()?;
        }
        self.wait()
    }

    /// Waits for the end after [`OwnProcess::signal`].
    ///
    /// # Errors
    /// As for [`OwnProcess::stop`].
    pub fn wait(self) -> Result<Ended, Fault> {
        let asked = self.asked.unwrap_or_else(Instant::now);
        let left = STOP_DEADLINE.saturating_sub(asked.elapsed());
        let late = || Fault::Miss {
            expected: "an exit after SIGTERM".to_owned(),
            actual: format!("it still runs {} s after the signal", STOP_DEADLINE.as_secs()),
            lenient: false,
            took: Some(STOP_DEADLINE),
        };
        match self.process {
            Process::Launched(server) => {
                let stopped = server.wait_stopped(asked).map_err(|_| late())?;
                Ok(Ended { status: Some(stopped.status), took: stopped.took })
            }
            Process::Started(mut program) => {
                let status = program.wait(left).map_err(|it| Fault::Harness(it.to_string()))?;
                let status = Some(status.ok_or_else(late)?);
                Ok(Ended { status, took: asked.elapsed() })
            }
            Process::Foreign(pid) => {
                let is_gone = || test_kill_process(pid).is_err().then_some(()).ok_or_else(late);
                eventually(left, LOOK, is_gone)?;
                Ok(Ended { status: None, took: asked.elapsed() })
            }
        }
    }
}

/// Starts the command of `--start-cmd`.
fn start(command: &str) -> io::Result<Program> {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {command}")]);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Program::start(&mut shell)?.tied()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each critical section is one move; a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn own(control: &Control) -> Result<OwnProcess, Fault> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::contract(listener.local_addr().unwrap(), None);
        // Answers one probe.
        let answering = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let head = b"HTTP/1.1 204 No Content\r\n\r\n";
            io::Write::write_all(&mut socket, head).unwrap();
        });
        let own = OwnProcess::start(&target, control);
        if matches!(control, Control::Shell(_)) {
            answering.join().unwrap();
        }
        own
    }

    #[test]
    fn a_command_is_stopped_with_all_that_it_started_and_starts_again() {
        let control = Control::shell("sh -c 'trap \"exit 3\" TERM; while :; do sleep 0.01; done'");
        let control = control.unwrap();
        for _ in 0..2 {
            let Ok(own) = own(&control) else { panic!("it starts") };
            // The trap must be set before the signal comes; a shell says nothing when it is.
            thread::sleep(Duration::from_millis(200));
            let ended = own.stop().unwrap();
            assert_eq!(ended.status.unwrap().code(), Some(3));
            assert!(ended.took < Duration::from_secs(2));
        }
    }

    #[test]
    fn a_foreign_process_is_stopped_once() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let control = Control::pid(i32::try_from(child.id()).unwrap()).unwrap();
        let first = own(&control).unwrap();
        let reaper = thread::spawn(move || child.wait());
        assert!(first.stop().unwrap().status.is_none());
        reaper.join().unwrap().unwrap();
        assert!(matches!(own(&control), Err(Fault::Skip(_))));
        assert!(Control::pid(1).is_err() && Control::pid(-5).is_err());
    }
}
