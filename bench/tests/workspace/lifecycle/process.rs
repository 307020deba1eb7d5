//! A program whose standard output a test reads line by line.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use fleet::{Lines, Program, STDERR_KEPT_BYTES, Tail};
use rustix::process::Signal;

/// Ends with the value that holds it.
pub struct Process {
    program: Program,
    lines: Lines,
    stderr: Tail,
}

impl Process {
    pub fn start(binary: &Path, args: &[&str]) -> Result<Process, String> {
        let mut command = Command::new(binary);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = Program::start(&mut command)
            .map_err(|error| format!("cannot start {}: {error}", binary.display()))?;
        let lines = program.lines().expect("stdout was asked to be a pipe");
        let stderr = program.stderr(STDERR_KEPT_BYTES).expect("stderr was asked to be a pipe");
        Ok(Process { program, lines, stderr })
    }

    /// The next line of standard output; `None` when it has been closed.
    pub fn line(&self, patience: Duration) -> Result<Option<String>, String> {
        self.lines.next_line(patience)
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(&mut self, patience: Duration) -> Result<ExitStatus, String> {
        let words = |error: std::io::Error| error.to_string();
        self.program.signal(Signal::TERM).map_err(words)?;
        let ended = self.program.wait(patience).map_err(words)?;
        ended.ok_or_else(|| format!("still running {patience:?} after SIGTERM"))
    }

    /// The end of what it wrote on standard error; call it after its end.
    pub fn stderr(&self, patience: Duration) -> String {
        self.stderr.text_at_end(patience)
    }
}
