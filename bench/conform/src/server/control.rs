//! How the harness gets a process of the server under test.

use std::io;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fleet::{Launch, Program};
use rustix::process::{Pid, test_kill_process};

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

impl Shell {
    /// The program that runs, or after a stop the next one.
    pub(super) fn program(&self) -> io::Result<Program> {
        let running = lock(&self.running).take();
        running.map_or_else(|| start(&self.command), Ok)
    }
}

/// Starts the command of `--start-cmd`.
fn start(command: &str) -> io::Result<Program> {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {command}")]);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Program::start(&mut shell)?.kill_on_exit()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each critical section is one move; a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
