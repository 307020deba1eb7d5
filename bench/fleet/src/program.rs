//! Any program as a process: start it, hear what it says, stop it with all that it has started.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::eventually;
use super::kill_on_exit::KillOnExit;

/// Between two looks whether a process has ended.
const LOOK: Duration = Duration::from_millis(1);

/// A program that runs. Dropping it kills it and all that it has started.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// Its id may be another's from then on.
    is_reaped: bool,
    /// Until it is reaped.
    kill_on_exit: Option<KillOnExit>,
}

impl Program {
    /// Starts it in a separate process group: npm starts node, cargo starts a server, and a signal
    /// reaches each of them once. Ctrl-C in a terminal is for the group that we are in.
    ///
    /// # Errors
    /// When the system refuses, most likely because there is no such program.
    pub fn start(command: &mut Command) -> io::Result<Program> {
        Ok(Program {
            child: command.process_group(0).spawn()?,
            is_reaped: false,
            kill_on_exit: None,
        })
    }

    /// The same program, which is also killed when this process ends, however that ends.
    ///
    /// # Errors
    /// When there is no shell.
    pub fn kill_on_exit(mut self) -> io::Result<Program> {
        self.kill_on_exit = Some(KillOnExit::group(self.pid())?);
        Ok(self)
    }

    /// Its process id. It cannot be another's before [`Program::ended`] has said that it has ended,
    /// or this value goes.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Its standard input, if that was asked to be a pipe; once.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its standard output, if that was asked to be a pipe; once.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Reads its standard output line by line, if that was asked to be a pipe; once.
    pub fn lines(&mut self) -> Option<Lines> {
        self.stdout().map(Lines::of)
    }

    /// Reads its standard error and keeps the newest bytes, if that was asked to be a pipe; once.
    pub fn stderr(&mut self, bytes: usize) -> Option<Tail> {
        self.child.stderr.take().map(|pipe| Tail::of(pipe, bytes))
    }

    /// Sends a signal to the program and all that it has started.
    ///
    /// # Errors
    /// When they are gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process_group(self.pid(), signal)?)
    }

    /// The exit status if it has ended; what it has left behind is killed then.
    ///
    /// # Errors
    /// When the system refuses to say.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if !self.is_reaped && waitid(WaitId::Pid(self.pid()), look)?.is_none() {
            return Ok(None);
        }
        self.end().map(Some)
    }

    /// Kills the group while its id is surely its own, then reaps the program.
    fn end(&mut self) -> io::Result<ExitStatus> {
        if !self.is_reaped {
            let _ = self.signal(Signal::KILL);
            self.kill_on_exit = None;
            self.is_reaped = true;
        }
        self.child.wait()
    }

    /// Waits for its end; `None` if it still runs after this time.
    ///
    /// # Errors
    /// When the system refuses to say.
    pub fn wait(&mut self, within: Duration) -> io::Result<Option<ExitStatus>> {
        eventually(within, LOOK, || self.ended().transpose().ok_or(())).ok().transpose()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// The lines that a program prints.
#[derive(Debug)]
pub struct Lines(Receiver<String>);

impl Lines {
    fn of(pipe: ChildStdout) -> Lines {
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            loop {
                let mut line = String::new();
                let is_over = !pipe.read_line(&mut line).is_ok_and(|count| count > 0);
                if is_over || sender.send(line).is_err() {
                    break;
                }
            }
            drop(sender);
            // A full pipe would block the program.
            let _ = io::copy(&mut pipe, &mut io::sink());
        });
        Lines(lines)
    }

    /// The next line, without its end; `Ok(None)` when the program has closed its output.
    ///
    /// # Errors
    /// When no line comes within this time.
    pub fn next_line(&self, within: Duration) -> Result<Option<String>, String> {
        match self.0.recv_timeout(within) {
            Ok(line) => Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned())),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(format!("no line within {within:?}")),
        }
    }
}

/// The newest bytes that a program wrote.
#[derive(Debug)]
pub struct Tail {
    kept: Arc<Mutex<VecDeque<u8>>>,
    reading: JoinHandle<()>,
}

impl Tail {
    fn of(mut pipe: impl Read + Send + 'static, bytes: usize) -> Tail {
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let theirs = Arc::clone(&kept);
        let reading = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = pipe.read(&mut buffer) {
                let mut kept = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(&buffer[..read]);
                let excess = kept.len().saturating_sub(bytes);
                kept.drain(..excess);
            }
        });
        Tail { kept, reading }
    }

    /// The kept bytes as text.
    pub fn text(&self) -> String {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(kept.make_contiguous()).into_owned()
    }

    /// The same at the end of the output, or after this time: a process that the program has
    /// started may hold it open for longer.
    pub fn text_at_end(&self, within: Duration) -> String {
        let _ = eventually(within, LOOK, || self.reading.is_finished().then_some(()).ok_or(()));
        self.text()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Program {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
        Program::start(&mut command).unwrap()
    }

    #[test]
    fn lines_come_one_by_one_and_of_the_errors_the_last_bytes() {
        let mut program = shell("echo one; echo two; echo 123456789 >&2; exit 3");
        let (lines, stderr) = (program.lines().unwrap(), program.stderr(4).unwrap());
        assert_eq!(lines.next_line(PATIENCE).unwrap().as_deref(), Some("one"));
        assert_eq!(lines.next_line(PATIENCE).unwrap().as_deref(), Some("two"));
        assert_eq!(lines.next_line(PATIENCE).unwrap(), None);
        assert_eq!(program.wait(PATIENCE).unwrap().unwrap().code(), Some(3));
        assert_eq!(stderr.text_at_end(PATIENCE), "789\n");
    }

    #[test]
    fn what_a_program_has_started_ends_with_it() {
        let mut program = shell("sleep 1000 & echo started; wait");
        let lines = program.lines().unwrap();
        assert!(lines.next_line(PATIENCE).unwrap().is_some());
        assert!(lines.next_line(Duration::from_millis(1)).is_err());
        assert!(program.wait(Duration::ZERO).unwrap().is_none());
        drop(program);
        // Its output is closed when the last of them is gone.
        assert_eq!(lines.next_line(PATIENCE).unwrap(), None);
    }
}
