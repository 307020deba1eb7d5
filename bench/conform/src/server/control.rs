//! How the harness gets a process of the server under test.

use std::io;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleet::{Launch, Program, Tail};
use rustix::process::{Pid, test_kill_process};

/// The part of a command's errors that is kept, and the part that is shown.
const ERROR_BYTES: usize = 4096;
const ERROR_LINES: usize = 3;
/// How long its last words may take to arrive; one that has ended closes its output, and is not waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
    /// Its errors, since it was started last.
    errors: Mutex<Option<Tail>>,
}

impl Control {
    /// Starts the server with `sh -c`, and hands out processes of it.
    ///
    /// # Errors
    /// When there is no shell.
    pub fn shell(command: &str) -> io::Result<Control> {
        let (program, errors) = start(command)?;
        Ok(Control::Shell(Arc::new(Shell {
            command: command.to_owned(),
            running: Mutex::new(Some(program)),
            errors: Mutex::new(errors),
        })))
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

    /// How a started command ended, if it did, with its last words: the reason why no server answers.
    pub fn ended(&self) -> Option<String> {
        let Control::Shell(shell) = self else { return None };
        let status = lock(&shell.running).as_mut()?.ended().ok()??;
        Some(match self.errors() {
            Some(errors) => format!("{status}: {errors}"),
            None => format!("{status}, without a word on stderr"),
        })
    }

    /// The last lines that a started command wrote as errors, as one.
    pub fn errors(&self) -> Option<String> {
        let Control::Shell(shell) = self else { return None };
        let text = lock(&shell.errors).as_ref()?.text_at_end(LAST_WORDS);
        let lines: Vec<_> = text.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
        let last = lines.iter().rev().take(ERROR_LINES).rev();
        let words = last.copied().collect::<Vec<_>>().join(" | ");
        (!words.is_empty()).then(|| words.chars().filter(|it| !it.is_control()).collect())
    }
}

impl Shell {
    /// The program that runs, or after a stop the next one.
    pub(super) fn program(&self) -> io::Result<Program> {
        let running = lock(&self.running).take();
        running.map_or_else(
            || {
                let (program, errors) = start(&self.command)?;
                *lock(&self.errors) = errors;
                Ok(program)
            },
            Ok,
        )
    }
}

/// Starts the command of `--start-cmd`.
fn start(command: &str) -> io::Result<(Program, Option<Tail>)> {
    let mut shell = Command::new("sh");
    // As a user would type it, `X=1 cd app && node app.js` too. SIGTERM goes to all of the group: a shell with a
    // trap waits for its command, and ends as that does; its commands do not inherit the trap.
    shell.args(["-c", &format!("trap : TERM INT\n{command}")]);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut program = Program::start(&mut shell)?.kill_on_exit()?;
    let errors = program.stderr(ERROR_BYTES);
    Ok((program, errors))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each critical section is one move; a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
