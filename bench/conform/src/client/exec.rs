//! Clients that are commands: the URL as last argument, what they saw as lines of JSON on stdout.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fleet::{Program, Tail, cpu_of, eventually};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use serde::Deserialize;

use super::Fault;
use super::driver::{Capability, Driver, Handle, Options};
use super::reports::{ClientReport, Inbox};

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
/// How long the last words of a client are waited for that has been killed: a process that has left its
/// group may hold its stderr open.
const LAST_WORDS: Duration = Duration::from_secs(5);
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
    elsewhere: bool,
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
            elsewhere: false,
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
            elsewhere: false,
        })
    }

    /// Whether another process than the command is the client.
    pub(super) fn elsewhere(mut self, elsewhere: bool) -> Exec {
        self.elsewhere = elsewhere;
        self
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
        let mut command = self.command("--describe");
        let mut program = Program::start(command.stdin(Stdio::null()).stderr(Stdio::piped()))
            .with_context(|| format!("cannot run {}", self.typed))?;
        let stdout = program.stdout().context("it has no stdout")?;
        let stderr = program.stderr(STDERR_BYTES).context("it has no stderr")?;
        let reading = thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.take(DESCRIBE_BYTES).read_to_string(&mut text);
            text
        });
        let is_read = || reading.is_finished().then_some(()).ok_or(());
        let read = eventually(DESCRIBE_PATIENCE, LOOK, is_read);
        let words = stderr.text_at_end(if read.is_ok() { EXIT_PATIENCE } else { Duration::ZERO });
        let how = if read.is_ok() { ended(program.pid()) } else { String::new() };
        drop(program);
        let advice = match self.folder {
            Some(_) => "say in its client.toml what it offers: capabilities = [\"Cm\"]",
            None => "say what it offers with --caps, for instance --caps R,Cm",
        };
        let command = &self.typed;
        let said = match words.trim() {
            "" => String::new(),
            words => {
                format!("; it says: {}", words.split_whitespace().collect::<Vec<_>>().join(" "))
            }
        };
        // As shells say it (POSIX, 2.8.2).
        match how.as_str() {
            "exit code 127" => {
                bail!(
                    "{command}: command not found{said}; give one that runs here, as in --cmd ./my-client"
                )
            }
            "exit code 126" => bail!("{command} cannot be run{said}; make it executable: chmod +x"),
            _ => {}
        }
        if read.is_err() {
            bail!("{command} --describe does not end within {DESCRIBE_PATIENCE:?}{said}; {advice}");
        }
        let text = reading.join().unwrap_or_default();
        if text.trim().is_empty() {
            bail!("{command} --describe prints nothing{said}; {advice}");
        }
        serde_json::from_str(text.trim())
            .with_context(|| format!("{command} --describe prints no description{said}; {advice}"))
    }

    fn command(&self, last: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(last).stdout(Stdio::piped());
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

    fn is_one_process(&self) -> bool {
        // A browser is driven by a process that holds nothing of what the browser holds.
        !self.elsewhere && !self.capabilities.contains(&Capability::Br)
    }

    fn start(
        &self,
        case: &str,
        url: &str,
        options: &Options,
        inbox: &Arc<Inbox>,
    ) -> Result<Box<dyn Handle>, Fault> {
        let options = serde_json::to_string(options).expect("text and numbers only");
        let mut command = self.command(url);
        command.env("SSE_CASE", case).env("SSE_CASE_OPTIONS", options);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut program = Program::start(&mut command)
            .map_err(|error| Fault::Harness(format!("cannot run {}: {error}", self.typed)))?;
        let stdin = program.stdin();
        let stdout = program.stdout().expect("it was asked for");
        let stderr = Arc::new(program.stderr(STDERR_BYTES).expect("it was asked for"));
        let words = Arc::clone(&stderr);
        let (pid, inbox) = (program.pid(), Arc::clone(inbox));
        thread::spawn(move || {
            read_lines(BufReader::new(stdout), &inbox);
            let how = ended(pid);
            let words = words.text_at_end(EXIT_PATIENCE);
            let words = words.trim();
            let how = if words.is_empty() { how } else { format!("{how}, saying: {words}") };
            inbox.put(ClientReport::Exit(how));
        });
        Ok(Box::new(Process { program, stdin, stderr }))
    }
}

struct Process {
    program: Program,
    stdin: Option<ChildStdin>,
    stderr: Arc<Tail>,
}

impl Handle for Process {
    fn close(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            // A client that has ended needs no telling.
            let _ = stdin.write_all(b"{\"cmd\":\"close\"}\n").and_then(|()| stdin.flush());
        }
    }

    fn peak_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.program.pid()));
        let status = status.ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    fn cpu(&self) -> Option<Duration> {
        let pid = u32::try_from(self.program.pid().as_raw_nonzero().get()).ok()?;
        cpu_of(pid).ok().map(|(cpu_ns, _)| Duration::from_nanos(cpu_ns))
    }

    fn last_words(&mut self) -> Option<String> {
        // Its words may not have been read yet; its end shows that all have been. A program that has gone needs
        // no killing.
        let _ = self.program.signal(Signal::KILL);
        let words = self.stderr.text_at_end(LAST_WORDS);
        let words = words.trim();
        (!words.is_empty()).then(|| words.to_owned())
    }

    fn end(&mut self) {
        self.stdin = None;
    }
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
        if let Some(shape) = ClientReport::shape_in(&line) {
            inbox.put(shape);
        }
        let report = match line.strip_suffix(b"\n") {
            Some(line) => ClientReport::from_line(line),
            None if count == LINE_BYTES => {
                ClientReport::Garbage(format!("{LINE_BYTES} bytes of one line"))
            }
            None => ClientReport::from_line(&line),
        };
        if !inbox.put(report) {
            return;
        }
    }
}

/// How it has ended, shortly after the end of its output.
///
/// It is looked at but not waited for: until its [`Program`] does that, its pid cannot be reused.
fn ended(pid: Pid) -> String {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let look = || waitid(WaitId::Pid(pid), options).transpose().ok_or(());
    match eventually(EXIT_PATIENCE, LOOK, look) {
        Ok(Ok(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (_, Some(signal)) => format!("killed by signal {signal}"),
            _ => "gone".to_owned(),
        },
        Ok(Err(_)) => "gone".to_owned(),
        Err(()) => "it closed its output and goes on".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_of_a_silent_adapter_is_for_the_way_in_which_it_was_given() {
        let of_folder = Exec::words(&["true".to_owned()], PathBuf::from("."), 1).unwrap();
        for (exec, advice) in [(of_folder, "client.toml"), (Exec::shell("true", 1), "--caps")] {
            let said = exec.describe().err().unwrap().to_string();
            assert!(said.contains("prints nothing") && said.contains(advice), "{said}");
        }
    }
}
