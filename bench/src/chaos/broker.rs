//! nats-servers as processes: killed, started again with their store, and asked what is in the stream.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleet::{Program, Tail, eventually, free_port};
use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{LOOK, PATIENCE, texts};

/// The program, and advice where there is none.
const PROGRAM: &str = "nats-server";
const ADVICE: &str = "apt-get install nats-server, or name one: --nats-server FILE";

/// Bytes of its log that are kept, the newest.
const WORDS_BYTES: usize = 16 * 1024;

/// Questions on their way at once.
const QUESTIONS: usize = 256;

/// A broker, at one port whatever happens to it.
#[derive(Debug)]
pub(super) struct Broker {
    port: u16,
    command: Vec<String>,
    running: Option<(Program, Tail)>,
}

/// The program: this one, one of the `PATH`, or the one that `./test.sh` has unpacked.
pub(super) fn program(named: Option<&Path>, target: &Path) -> Result<PathBuf> {
    if let Some(file) = named {
        return Ok(file.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let unpacked = target.join("tools/usr/sbin");
    let mut folders = std::env::split_paths(&path).chain([unpacked]);
    let found = folders.find_map(|it| Some(it.join(PROGRAM)).filter(|it| it.is_file()));
    found.with_context(|| format!("there is no {PROGRAM}: {ADVICE}"))
}

impl Broker {
    /// One, or several of a cluster, each with an empty store in this folder.
    pub(super) fn start(program: &Path, folder: &Path, count: usize) -> Result<Vec<Broker>> {
        let routes: Result<Vec<u16>> = (0..count).map(|_| free_port()).collect();
        let routes: Vec<String> =
            routes?.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let mut brokers = Vec::new();
        for number in 0..count {
            let store = folder.join(format!("broker-{number}"));
            fs::create_dir_all(&store)
                .with_context(|| format!("cannot make {}", store.display()))?;
            let port = free_port()?;
            let words = [
                program.display().to_string(),
                "-js".into(),
                "-a".into(),
                "127.0.0.1".into(),
                "-p".into(),
                port.to_string(),
                "-n".into(),
                format!("broker-{number}"),
                "-sd".into(),
                store.display().to_string(),
            ];
            let mut command = words.to_vec();
            if count > 1 {
                let all = routes.join(",");
                let cluster =
                    ["--cluster_name", "sse", "--cluster", &routes[number], "--routes", &all];
                command.extend(cluster.map(str::to_owned));
            }
            let mut broker = Broker { port, command, running: None };
            broker.start_again()?;
            brokers.push(broker);
        }
        brokers[0].until_it_answers()?;
        Ok(brokers)
    }

    /// Waits until JetStream answers: brokers of a cluster elect a leader first.
    fn until_it_answers(&self) -> Result<()> {
        let look = || -> Result<()> {
            let info = Questions::open(self.port, PATIENCE / 10)?.ask("INFO", &json!({}))?;
            ensure!(info["error"].is_null(), "JetStream is not ready: {info}");
            Ok(())
        };
        eventually(PATIENCE * 2, LOOK * 10, look)
    }

    pub(super) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts it with the store that it has, and waits until it listens.
    pub(super) fn start_again(&mut self) -> Result<()> {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let program = Program::start(&mut command).and_then(Program::kill_on_exit);
        let mut program =
            program.with_context(|| format!("cannot start {}: {ADVICE}", self.command[0]))?;
        let words = program.stderr(WORDS_BYTES).expect("stderr was asked to be a pipe");
        let listens = || TcpStream::connect(("127.0.0.1", self.port));
        if let Err(error) = eventually(PATIENCE, LOOK, listens) {
            bail!("{PROGRAM} does not listen ({error}): {}", words.text());
        }
        self.running = Some((program, words));
        Ok(())
    }

    /// SIGKILL: as a crash, but the kernel keeps what was written.
    pub(super) fn kill(&mut self) -> Result<()> {
        let Some((mut program, _)) = self.running.take() else { return Ok(()) };
        program.signal(Signal::KILL)?;
        program.wait(PATIENCE)?.with_context(|| format!("{PROGRAM} outlives SIGKILL"))?;
        Ok(())
    }

    /// Waits until all copies of the stream are whole again, as an operator does between two stops.
    pub(super) fn until_whole(&self, copies: usize) -> Result<()> {
        let is_current = |it: &Value| it["current"] == true && it["offline"] != true;
        let is_whole = |info: &Value| {
            let others = info["cluster"]["replicas"].as_array().map_or(&[][..], Vec::as_slice);
            info["error"].is_null() && others.len() + 1 == copies && others.iter().all(is_current)
        };
        let look = || -> Result<()> {
            // A look may fall into an election, which has no answer.
            let info =
                Questions::open(self.port, PATIENCE / 10)?.ask("STREAM.INFO.sse", &json!({}))?;
            if is_whole(&info) { Ok(()) } else { bail!("a copy of the stream lags behind: {info}") }
        };
        eventually(PATIENCE * 2, LOOK * 10, look)
    }

    /// Removes a message from the stream.
    pub(super) fn remove(&self, place: u64) -> Result<()> {
        let request = json!({ "seq": place });
        let answer =
            Questions::open(self.port, PATIENCE)?.ask("STREAM.MSG.DELETE.sse", &request)?;
        ensure!(answer["success"] == true, "the broker removes nothing: {answer}");
        Ok(())
    }

    /// All messages of the stream, in order: the id as the servers write it, and the number of its text, if it is
    /// one of ours.
    pub(super) fn messages(&self) -> Result<Vec<(String, Option<u64>)>> {
        let mut questions = Questions::open(self.port, PATIENCE)?;
        let info = questions.ask("STREAM.INFO.sse", &json!({}))?;
        let state = &info["state"];
        let (first, last) = (state["first_seq"].as_u64(), state["last_seq"].as_u64());
        let created = info["created"].as_str().and_then(|it| it.parse::<Timestamp>().ok());
        let (Some(first), Some(last), Some(created)) = (first, last, created) else {
            bail!("the broker does not describe its stream: {info}");
        };
        let epoch = format!("{:x}", created.as_nanosecond());
        let all: Vec<u64> = (first..=last).collect();
        let mut messages = Vec::new();
        for some in all.chunks(QUESTIONS) {
            let ask: Vec<Value> = some.iter().map(|it| json!({ "seq": it })).collect();
            for (place, answer) in some.iter().zip(questions.ask_all("STREAM.MSG.GET.sse", &ask)?) {
                // A place may be empty, after a removal.
                let Some(data) = answer["message"]["data"].as_str() else { continue };
                let text = STANDARD.decode(data).context("the broker's base64")?;
                let number = texts::number(&String::from_utf8_lossy(&text));
                messages.push((format!("{epoch}-{place}"), number));
            }
        }
        Ok(messages)
    }
}

/// The few words of the protocol that an operator's tool would say: questions to JetStream, and their answers.
struct Questions {
    lines: BufReader<TcpStream>,
    asked: usize,
}

impl Questions {
    fn open(port: u16, within: Duration) -> io::Result<Questions> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(within))?;
        socket.set_write_timeout(Some(within))?;
        let options = json!({ "verbose": false, "pedantic": false });
        write!(socket, "CONNECT {options}\r\nSUB answer.* 1\r\n")?;
        Ok(Questions { lines: BufReader::new(socket), asked: 0 })
    }

    fn ask(&mut self, api: &str, request: &Value) -> Result<Value> {
        let answers = self.ask_all(api, std::slice::from_ref(request))?;
        answers.into_iter().next().context("no answer")
    }

    /// The answers, in the order of the questions.
    fn ask_all(&mut self, api: &str, requests: &[Value]) -> Result<Vec<Value>> {
        let first = self.asked;
        let mut words = String::new();
        for request in requests {
            let (request, number) = (request.to_string(), self.asked);
            let bytes = request.len();
            words += &format!("PUB $JS.API.{api} answer.{number} {bytes}\r\n{request}\r\n");
            self.asked += 1;
        }
        self.lines.get_mut().write_all(words.as_bytes())?;
        let mut answers = vec![Value::Null; requests.len()];
        for _ in requests {
            let (number, answer) = self.answer().context("the broker does not answer")?;
            let place = number.checked_sub(first).and_then(|it| answers.get_mut(it));
            *place.context("an answer to an earlier question")? = answer;
        }
        Ok(answers)
    }

    /// The next answer, with the number of its question.
    fn answer(&mut self) -> Result<(usize, Value)> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                bail!("it has closed the connection");
            }
            if line.starts_with("PING") {
                self.lines.get_mut().write_all(b"PONG\r\n")?;
            }
            let Some(words) = line.strip_prefix("MSG answer.") else { continue };
            let words: Vec<&str> = words.split_ascii_whitespace().collect();
            let [number, _, bytes] = words.as_slice() else { bail!("it says {line:?}") };
            let mut answer = vec![0; bytes.parse()?];
            self.lines.read_exact(&mut answer)?;
            return Ok((number.parse()?, serde_json::from_slice(&answer)?));
        }
    }
}
