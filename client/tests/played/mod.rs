//! The command `sse` as a process, and `sse replay` as a server that ends with its value.
#![allow(dead_code, clippy::unwrap_used)] // Each test file uses its part.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// No test waits longer than this for anything.
const DEADLINE: Duration = Duration::from_secs(60);

pub fn sse(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Exit code, standard output, and standard error.
pub fn run(arguments: &[&str]) -> (i32, Vec<u8>, String) {
    let output = sse(arguments).output().unwrap();
    (output.status.code().unwrap(), output.stdout, String::from_utf8(output.stderr).unwrap())
}

/// Code 2, nothing on standard output, and one line that says this.
#[track_caller]
pub fn assert_refused(arguments: &[&str], what: &str) {
    let (code, stdout, stderr) = run(arguments);
    assert_eq!((code, stdout.len()), (2, 0), "{arguments:?}: {stderr}");
    assert!(stderr.contains(what), "{arguments:?}: {stderr}");
    // clap's own refusals say how to get help in further lines.
    assert!(stderr.starts_with("error: ") || stderr.lines().count() == 1, "{stderr}");
}

/// A file that goes with its value.
pub struct File(PathBuf);

impl File {
    pub fn new(content: impl AsRef<[u8]>) -> File {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("played-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, content).unwrap();
        File(path)
    }

    /// A recording: these lines behind the first one.
    pub fn recording(lines: &str) -> File {
        File::new(format!("sse-recording 1\n{lines}"))
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A running `sse replay`.
pub struct Replay {
    child: Child,
    log: Receiver<String>,
    pub url: String,
}

impl Replay {
    pub fn start(file: &File, options: &[&str]) -> Replay {
        let mut child = sse(&[&["replay", file.path()], options].concat()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (sender, log) = channel();
        std::thread::spawn(move || {
            // It ends with the process, or with the test.
            let _ = stderr.lines().map_while(Result::ok).try_for_each(|it| sender.send(it));
        });
        let Some(url) = line.strip_prefix("listening on ") else {
            child.wait().unwrap();
            panic!("{options:?}: {:?}", log.iter().collect::<Vec<_>>());
        };
        Replay { child, log, url: url.trim_end().to_owned() }
    }

    /// The next line of the log that has this text.
    pub fn logged(&mut self, text: &str) -> String {
        let end = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("the log has no {text:?}, only {seen:?}"),
            }
        }
    }

    /// Sends a request, and reads nothing.
    pub fn ask(&self, request: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.url.strip_prefix("http://").unwrap()).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        socket
    }

    /// The answer to a GET, byte by byte, up to the end of the connection.
    pub fn answer(&self) -> Answer {
        self.timed_answer().0
    }

    /// The same, and the time from before its request was sent.
    pub fn timed_answer(&self) -> (Answer, Duration) {
        let start = Instant::now();
        let answer = Answer::read(self.ask("GET /x HTTP/1.1\r\nHost: a\r\n\r\n"));
        (answer, start.elapsed())
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer as it stood on the wire.
#[derive(Debug)]
pub struct Answer {
    pub head: String,
    /// As it is framed.
    pub body: Vec<u8>,
    /// The error, if it did not end with a FIN.
    pub error: Option<io::ErrorKind>,
}

/// Reads from a socket until the bytes end like this.
pub fn read_to(socket: &mut TcpStream, end: &str) {
    let mut seen = Vec::new();
    while !seen.ends_with(end.as_bytes()) {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
}

impl Answer {
    pub fn read(mut socket: TcpStream) -> Answer {
        let mut bytes = Vec::new();
        let error = socket.read_to_end(&mut bytes).err().map(|it| it.kind());
        let at = bytes.windows(4).position(|it| it == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
        Answer { head, body: bytes.split_off(at), error }
    }
}
