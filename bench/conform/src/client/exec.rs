//! Clients that are commands: the URL as last argument, what they saw as lines of JSON on stdout.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde::Deserialize;

use super::Fault;
use super::driver::{Capability, Driver, Handle, Options};
use super::seen::{Inbox, Saw};

/// The longest line of a client, bytes: 10 MiB of data as JSON, twice over.
const LINE_BYTES: usize = 24 * 1024 * 1024;
/// The part of a client's stderr that is kept, bytes: the last words.
const STDERR_BYTES: usize = 600;
/// How long `--describe` may take: some interpreters start slowly.
const DESCRIBE_PATIENCE: Duration = Duration::from_secs(20);
/// The most that `--describe` may print, bytes.
const DESCRIBE_BYTES: u64 = 64 * 1024;
/// How long after the end of its output a client may take to end.
const EXIT_PATIENCE: Duration = Duration::from_millis(500);
/// How often the state of a process is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The output of `--describe`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Description {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) capabilities: Vec<Capability>,
}

/// A command that is a client.
pub(super) struct Exec {
    program: OsString,
    arguments: Vec<OsString>,
    folder: Option<PathBuf>,
    /// The command as a person would type it.
    typed: String,
    capabilities: Vec<Capability>,
    parallel: usize,
}

impl Exec {
    /// A simple shell command.
    pub(super) fn shell(command: &str, parallel: usize) -> Exec {
        let script = format!("exec {command} \"$@\"");
        Exec {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into(), "sh".into()],
            folder: None,
            typed: command.to_owned(),
            capabilities: vec![Capability::Op],
            parallel,
        }
    }

    /// A program and its arguments, run in a folder of `bench/clients`.
    pub(super) fn words(words: &[String], folder: PathBuf, parallel: usize) -> Result<Exec> {
        let (program, arguments) = words.split_first().context("its command has no words")?;
        // A path is one from the folder; `Command` would look from where we are.
        let program = match folder.join(program) {
            path if program.contains('/') => path.into_os_string(),
            _ => program.into(),
        };
        // Relative: it stands in reports, which others read elsewhere.
        let name = folder.file_name().unwrap_or_default().display();
        Ok(Exec {
            program,
            arguments: arguments.iter().map(OsString::from).collect(),
            typed: format!("cd bench/clients/{name} && {}", words.join(" ")),
            folder: Some(folder),
            capabilities: vec![Capability::Op],
            parallel,
        })
    }

    pub(super) fn with_capabilities(mut self, capabilities: &[Capability]) -> Exec {
        self.capabilities = capabilities.to_vec();
        self.capabilities.push(Capability::Op);
        self
    }

    /// The command as a person would type it.
    pub(super) fn typed(&self) -> &str {
        &self.typed
    }

    /// Asks it what it is.
    pub(super) fn describe(&self) -> Result<Description> {
        let mut child = self
            .command("--describe")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", self.typed))?;
        let stdout = child.stdout.take().context("it has no stdout")?;
        let reading = thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.take(DESCRIBE_BYTES).read_to_string(&mut text);
            text
        });
        let deadline = Instant::now() + DESCRIBE_PATIENCE;
        while !reading.is_finished() && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
        kill(&mut child);
        let advice = "say what it offers with --caps, for instance --caps R,Cm";
        let command = &self.typed;
        if !reading.is_finished() {
            bail!("{command} --describe does not end; {advice}");
        }
        let text = reading.join().unwrap_or_default();
        serde_json::from_str(text.trim())
            .with_context(|| format!("{command} --describe prints no description; {advice}"))
    }

    fn command(&self, last: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(last).stdout(Stdio::piped()).process_group(0);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }
}

impl Driver for Exec {
    fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    fn parallel(&self) -> usize {
        self.parallel
    }

    fn start(
        &self,
        case: &str,
        url: &str,
        options: &Options,
        inbox: &Arc<Inbox>,
    ) -> Result<Box<dyn Handle>, Fault> {
        let options = serde_json::to_string(options).expect("text and numbers only");
        let mut child = self
            .command(url)
            .env("SSE_CASE", case)
            .env("SSE_CASE_OPTIONS", options)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Fault::Harness(format!("cannot run {}: {error}", self.typed)))?;
        let stdin = child.stdin.take();
        let [stdout, stderr] =
            [child.stdout.take().map(Pipe::Out), child.stderr.take().map(Pipe::Err)]
                .map(|it| it.expect("it was asked for"));
        let pid = pid(&child).ok_or_else(|| Fault::Harness("it has no number".to_owned()))?;
        let words = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&words);
        let listening = thread::spawn(move || keep_last(stderr, &theirs));
        let inbox = Arc::clone(inbox);
        thread::spawn(move || {
            read_lines(BufReader::new(stdout), &inbox);
            let how = ended(pid);
            let deadline = Instant::now() + EXIT_PATIENCE;
            while !listening.is_finished() && Instant::now() < deadline {
                thread::sleep(LOOK);
            }
            let words = String::from_utf8_lossy(&lock(&words)).trim().to_owned();
            let how = if words.is_empty() { how } else { format!("{how}, saying: {words}") };
            inbox.put(Saw::Exit(how));
        });
        Ok(Box::new(Process { child, stdin }))
    }
}

enum Pipe {
    Out(std::process::ChildStdout),
    Err(std::process::ChildStderr),
}

impl Read for Pipe {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Pipe::Out(pipe) => pipe.read(bytes),
            Pipe::Err(pipe) => pipe.read(bytes),
        }
    }
}

struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Handle for Process {
    fn close(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            // A client that has ended needs no telling.
            let _ = stdin.write_all(b"{\"cmd\":\"close\"}\n").and_then(|()| stdin.flush());
        }
    }

    fn peak_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// Ends a process and all that it has started.
fn kill(child: &mut Child) {
    // The pid cannot be reused until we reap the child.
    if let Some(pid) = pid(child) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let _ = child.wait();
}

fn read_lines(mut pipe: impl BufRead, inbox: &Inbox) {
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = LINE_BYTES as u64;
        let count = match pipe.by_ref().take(limit).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        if let Some(shape) = Saw::shape_in(&line) {
            inbox.put(shape);
        }
        let saw = match line.strip_suffix(b"\n") {
            Some(line) => Saw::from_line(line),
            None if count == LINE_BYTES => Saw::Garbage(format!("{LINE_BYTES} bytes of one line")),
            None => Saw::from_line(&line),
        };
        if !inbox.put(saw) {
            return;
        }
    }
}

fn keep_last(mut pipe: impl Read, words: &Mutex<Vec<u8>>) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut bytes) {
        let mut words = lock(words);
        words.extend_from_slice(&bytes[..count]);
        let surplus = words.len().saturating_sub(STDERR_BYTES);
        words.drain(..surplus);
    }
}

/// How it has ended, shortly after the end of its output.
///
/// It is looked at but not waited for: until [`kill`] does that, its pid cannot be reused.
fn ended(pid: Pid) -> String {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let deadline = Instant::now() + EXIT_PATIENCE;
    loop {
        match waitid(WaitId::Pid(pid), options) {
            Ok(Some(status)) => {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => format!("exit code {code}"),
                    (_, Some(signal)) => format!("killed by signal {signal}"),
                    _ => "gone".to_owned(),
                };
            }
            Ok(None) if Instant::now() < deadline => thread::sleep(LOOK),
            Ok(None) => return "it closed its output and goes on".to_owned(),
            Err(_) => return "gone".to_owned(),
        }
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in a critical section panics half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
