//! A process whose standard output a test reads line by line.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Ends with the value that holds it.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

impl Process {
    pub fn start(binary: &Path, args: &[&str]) -> Result<Process, String> {
        let mut child = Command::new(binary)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", binary.display()))?;
        let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
        let mut stderr = child.stderr.take().expect("stderr was asked to be a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stderr = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Ok(Process { child, lines, stderr: Some(stderr) })
    }

    /// The next line of standard output; `None` when it has been closed.
    pub fn line(&self, patience: Duration) -> Result<Option<String>, String> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(format!("no line within {patience:?}")),
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(&mut self, patience: Duration) -> Result<ExitStatus, String> {
        let words = |error: std::io::Error| error.to_string();
        kill_process(Pid::from_child(&self.child), Signal::TERM).map_err(|it| words(it.into()))?;
        let deadline = Instant::now() + patience;
        loop {
            match self.child.try_wait().map_err(words)? {
                Some(status) => return Ok(status),
                None if Instant::now() > deadline => {
                    return Err(format!("still running {patience:?} after SIGTERM"));
                }
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Everything it wrote on standard error; call it after the end.
    pub fn stderr(&mut self) -> String {
        let reader = self.stderr.take();
        reader.map(|it| it.join().expect("the reader has nothing that panics")).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
