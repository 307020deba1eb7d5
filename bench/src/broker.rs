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

/// No start and no end of a broker takes so long; a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(45);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// In this time there is an answer, or the brokers elect a leader.
const ELECTION: Duration = Duration::from_secs(5);

/// The program, and advice where there is none.
const PROGRAM: &str = "nats-server";
const ADVICE: &str = "apt-get install nats-server, or name one: --nats-server FILE";

/// Bytes of its log that are kept, the newest.
const WORDS_BYTES: usize = 16 * 1024;

/// Questions on their way at once.
const QUESTIONS: usize = 256;

/// A broker, at one port whatever happens to it. Dropping it kills the process.
#[derive(Debug)]
pub struct Broker {
    port: u16,
    store: PathBuf,
    command: Vec<String>,
    running: Option<(Program, Tail)>,
}

/// A message of the stream.
#[derive(Debug)]
pub struct Kept {
    /// The id as the servers write it.
    pub id: String,
    /// Its text.
    pub text: String,
}

/// The program: this one, one of the `PATH`, or the one that `./test.sh` has unpacked.
///
/// # Errors
/// If there is none.
pub fn program(named: Option<&Path>) -> Result<PathBuf> {
    if let Some(file) = named {
        return Ok(file.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let unpacked = fleet::target_directory()?.join("tools/usr/sbin");
    let mut folders = std::env::split_paths(&path).chain([unpacked]);
    let found = folders.find_map(|it| Some(it.join(PROGRAM)).filter(|it| it.is_file()));
    found.with_context(|| format!("there is no {PROGRAM}: {ADVICE}"))
}

/// The program's name and version, as it says them itself.
///
/// # Errors
/// If it does not run.
pub fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().replace(": v", " ");
    ensure!(!text.is_empty(), "{} --version says nothing", program.display());
    Ok(text)
}

impl Broker {
    /// A broker of this name with further options, not yet started, and its empty store.
    ///
    /// # Errors
    /// If the store cannot be made.
    pub fn prepare(program: &Path, store: &Path, name: &str, more: &[&str]) -> Result<Broker> {
        let _ = fs::remove_dir_all(store);
        fs::create_dir_all(store).with_context(|| format!("cannot make {}", store.display()))?;
        let port = free_port()?;
        let (program, port_word) = (program.display().to_string(), port.to_string());
        let store_word = store.display().to_string();
        let words = [&program, "-js", "-a", "127.0.0.1", "-p", &port_word, "-n", name, "-sd"];
        let words = words.into_iter().chain([&*store_word]).chain(more.iter().copied());
        let command = words.map(str::to_owned).collect();
        Ok(Broker { port, store: store.to_owned(), command, running: None })
    }

    /// One, or several of a cluster as GUIDE has them, each with an empty store in this folder.
    ///
    /// # Errors
    /// If one does not start, or JetStream does not answer.
    pub fn start(program: &Path, folder: &Path, count: usize) -> Result<Vec<Broker>> {
        let routes: Result<Vec<u16>> = (0..count).map(|_| free_port()).collect();
        let routes: Vec<String> =
            routes?.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let all = routes.join(",");
        let mut brokers = Vec::new();
        for (number, route) in routes.iter().enumerate() {
            let name = format!("broker-{number}");
            let cluster = ["--cluster_name", "sse", "--cluster", route, "--routes", &all];
            let more = if count > 1 { &cluster[..] } else { &[] };
            let mut broker = Broker::prepare(program, &folder.join(&name), &name, more)?;
            broker.start_again()?;
            brokers.push(broker);
        }
        brokers[0].until_it_answers()?;
        Ok(brokers)
    }

    /// Waits until JetStream answers: brokers of a cluster elect a leader first.
    fn until_it_answers(&self) -> Result<()> {
        let look = || -> Result<()> {
            let info = self.ask_within("INFO", &json!({}), ELECTION)?;
            ensure!(info["error"].is_null(), "JetStream is not ready: {info}");
            Ok(())
        };
        eventually(PATIENCE * 2, LOOK * 10, look)
    }

    /// The URL of its only listener, as `--bus` has it.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port of that.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    ///
    /// # Errors
    /// If it was killed.
    pub fn pid(&self) -> Result<u32> {
        let (program, _) = self.running.as_ref().context("the broker does not run")?;
        Ok(program.pid().as_raw_nonzero().get().unsigned_abs())
    }

    /// Starts it with the store that it has, and waits until it listens.
    ///
    /// # Errors
    /// If it ends, or does not listen.
    pub fn start_again(&mut self) -> Result<()> {
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
    ///
    /// # Errors
    /// If it lives on.
    pub fn kill(&mut self) -> Result<()> {
        let Some((mut program, _)) = self.running.take() else { return Ok(()) };
        program.signal(Signal::KILL)?;
        program.wait(PATIENCE)?.with_context(|| format!("{PROGRAM} outlives SIGKILL"))?;
        Ok(())
    }

    /// Removes the store of a broker that was killed.
    ///
    /// # Errors
    /// If that fails.
    pub fn lose_store(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.store)
    }

    /// SIGSTOP: it holds all connections open and does nothing.
    ///
    /// # Errors
    /// If it does not run.
    pub fn hang(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT, after [`Broker::hang`].
    ///
    /// # Errors
    /// If it does not run.
    pub fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let (program, _) = self.running.as_ref().context("the broker does not run")?;
        Ok(program.signal(signal)?)
    }

    /// Waits until all copies of the stream are whole again, as an operator does between two stops.
    ///
    /// # Errors
    /// If they are not after a while.
    pub fn until_whole(&self, copies: usize) -> Result<()> {
        let is_current = |it: &Value| it["current"] == true && it["offline"] != true;
        let is_whole = |info: &Value| {
            let others = info["cluster"]["replicas"].as_array().map_or(&[][..], Vec::as_slice);
            info["error"].is_null() && others.len() + 1 == copies && others.iter().all(is_current)
        };
        let look = || -> Result<()> {
            // A look may fall into an election, which has no answer.
            let info = self.ask_within("STREAM.INFO.sse", &json!({}), ELECTION)?;
            if is_whole(&info) { Ok(()) } else { bail!("a copy of the stream lags behind: {info}") }
        };
        eventually(PATIENCE * 2, LOOK * 10, look)
    }

    /// Asks JetStream, as an operator's tool would: `ask("STREAM.PURGE.sse", &json!({}))`.
    ///
    /// # Errors
    /// If there is no answer. One that reports an error is an answer.
    pub fn ask(&self, api: &str, request: &Value) -> Result<Value> {
        self.ask_within(api, request, PATIENCE)
    }

    fn ask_within(&self, api: &str, request: &Value, within: Duration) -> Result<Value> {
        Questions::open(self.port, within)?.ask(api, request)
    }

    /// All messages of the stream, in order.
    ///
    /// # Errors
    /// If the broker does not answer as documented.
    pub fn messages(&self) -> Result<Vec<Kept>> {
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
                let text = String::from_utf8_lossy(&text).into_owned();
                messages.push(Kept { id: format!("{epoch}-{place}"), text });
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
