//! A process of the server under test, for the cases on shutdown.

use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use fleet::{Program, READY_DEADLINE, STOP_DEADLINE, Server, eventually};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::control::lock;
use super::{Control, Fault, Target};

/// How often the state of a process is looked at.
const LOOK: Duration = Duration::from_millis(2);

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

impl OwnProcess {
    /// Gets a process of the server under test that the case may stop.
    ///
    /// # Errors
    /// [`Fault::Skip`] if there is none, [`Fault::Harness`] if it does not start.
    pub fn start(target: &Target) -> Result<OwnProcess, Fault> {
        let control = target.control();
        let control = control.ok_or_else(|| Fault::Skip("no process to stop".to_owned()))?;
        let harness = |error: anyhow::Error| Fault::Harness(format!("{error:#}"));
        let (target, process) = match control {
            Control::Launch(launch) => {
                let server = Server::start(launch).map_err(harness)?;
                (target.at(server.addr()), Process::Launched(server))
            }
            Control::Shell(shell) => {
                let program = shell.program();
                let program = program
                    .map_err(|error| Fault::Harness(format!("sh does not start: {error}")))?;
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
            unanswered: false,
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

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    use super::*;

    fn own(control: Control) -> Result<OwnProcess, Fault> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let is_shell = matches!(control, Control::Shell(_));
        let target = Target::contract(listener.local_addr().unwrap(), None).with_control(control);
        // Answers one probe.
        let answering = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let head = b"HTTP/1.1 204 No Content\r\n\r\n";
            io::Write::write_all(&mut socket, head).unwrap();
        });
        let own = OwnProcess::start(&target);
        if is_shell {
            answering.join().unwrap();
        }
        own
    }

    #[test]
    fn a_command_is_stopped_with_all_that_it_started_and_starts_again() {
        let traps = "sh -c 'trap \"exit 3\" TERM; echo set >&2; while :; do sleep 0.01; done'";
        let control = Control::shell(traps);
        let control = control.unwrap();
        for _ in 0..2 {
            let Ok(own) = own(control.clone()) else { panic!("it starts") };
            // The trap must be set before the signal comes.
            let is_set = || control.errors().filter(|it| it == "set").ok_or("no trap is set");
            fleet::eventually(Duration::from_secs(10), Duration::ZERO, is_set).unwrap();
            let ended = own.stop().unwrap();
            assert_eq!(ended.status.unwrap().code(), Some(3));
            assert!(ended.took < Duration::from_secs(2));
        }
    }

    #[test]
    fn a_foreign_process_is_stopped_once() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let control = Control::pid(i32::try_from(child.id()).unwrap()).unwrap();
        let first = own(control.clone()).unwrap();
        let reaper = thread::spawn(move || child.wait());
        assert!(first.stop().unwrap().status.is_none());
        reaper.join().unwrap().unwrap();
        assert!(matches!(own(control), Err(Fault::Skip(_))));
        assert!(Control::pid(1).is_err() && Control::pid(-5).is_err());
    }
}
