//! How a node dies, and lives again.

use std::fmt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use fleet::Program;
use rustix::process::Signal;
use wire::publish::Call;

use crate::server::Control;
use crate::server::control::lock;

/// How long `--kill-cmd` may take.
const KILLING: Duration = Duration::from_secs(30);

/// Kills or starts a node.
pub type Switch = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The ways to kill a node and to start it again, as far as there are any.
#[derive(Default)]
pub struct Power {
    /// Ends it without a farewell, as SIGKILL does.
    pub kill: Option<Switch>,
    /// Starts it again, at the same URL.
    pub start: Option<Switch>,
}

impl fmt::Debug for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kills, starts) = (self.kill.is_some(), self.start.is_some());
        f.debug_struct("Power").field("kills", &kills).field("starts", &starts).finish()
    }
}

impl Power {
    /// A node that runs already, with the user's commands for it.
    pub(super) fn of_running(kill: Option<String>, start: Option<String>) -> Power {
        let kill = kill.map(|command| -> Switch { Box::new(move || run(&command)) });
        let start = start.map(|command| -> Switch { Box::new(move || leave(&command)) });
        Power { kill, start }
    }

    /// A node that the suite starts now, kills by SIGKILL with all that it has started, and ends at the end.
    pub(super) fn of_started(command: &str) -> Result<Power, String> {
        let no_shell = |error: std::io::Error| format!("cannot run sh: {error}");
        let Control::Shell(shell) = Control::shell(command).map_err(no_shell)? else {
            return Err("no command".to_owned());
        };
        let running: Arc<Mutex<Option<Program>>> =
            Arc::new(Mutex::new(Some(shell.program().map_err(no_shell)?)));
        let killed = Arc::clone(&running);
        let kill = move || {
            let Some(program) = lock(&killed).take() else { return Ok(()) };
            program.signal(Signal::KILL).map_err(|error| error.to_string())
        };
        let start = move || {
            *lock(&running) = Some(shell.program().map_err(no_shell)?);
            Ok(())
        };
        Ok(Power { kill: Some(Box::new(kill)), start: Some(Box::new(start)) })
    }
}

/// Runs a command to its end.
fn run(command: &str) -> Result<(), String> {
    let words = ["sh", "-c", command].map(str::to_owned).to_vec();
    Call { words, stdin: None }.run(KILLING).map_err(|error| format!("{command}: {error}"))
}

/// Starts a command that may stay: the node is the user's, and was there before the suite.
fn leave(command: &str) -> Result<(), String> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = shell.spawn().map_err(|error| format!("{command}: {error}"))?;
    // So that no dead process is left where it ends soon.
    thread::spawn(move || child.wait());
    Ok(())
}
