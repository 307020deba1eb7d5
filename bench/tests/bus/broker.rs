//! A real nats-server as a process, and the few words of its protocol that an operator's tool would
//! say.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fleet::{Program, Tail, eventually, free_port};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::node::{LOOK, PATIENCE};
use crate::servers::installed;

const ADVICE: &str = "./test.sh takes it from Debian's package; or install nats-server";
const WORDS_BYTES: usize = 16 * 1024;

/// A broker that can be killed, held and started again at the same port.
pub struct Broker {
    pub port: u16,
    store: PathBuf,
    arguments: Vec<String>,
    running: Option<(Program, Tail)>,
}

impl Broker {
    /// One broker with an empty store that has this name.
    pub fn start(name: &str) -> Broker {
        let mut broker = Broker::prepare(name, &[]);
        broker.start_again();
        broker
    }

    /// The same, not yet started.
    pub fn prepare(name: &str, more: &[&str]) -> Broker {
        let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bus").join(name);
        let _ = fs::remove_dir_all(&store);
        let port = free_port().unwrap();
        let mut arguments = vec!["-js".into(), "-a".into(), "127.0.0.1".into()];
        arguments.extend(["-n".into(), name.into(), "-p".into(), port.to_string()]);
        arguments.extend(["-sd".into(), store.to_str().unwrap().into()]);
        arguments.extend(more.iter().map(ToString::to_string));
        Broker { port, store, arguments, running: None }
    }

    /// Three brokers of one cluster, as GUIDE has them.
    pub fn three(name: &str) -> [Broker; 3] {
        let routes = [(); 3].map(|()| free_port().unwrap());
        let all = routes.map(|port| format!("nats://127.0.0.1:{port}")).join(",");
        let mut number = 0;
        routes.map(|route| {
            number += 1;
            let here = format!("nats://127.0.0.1:{route}");
            let cluster = ["--cluster_name", "sse", "--cluster", &here, "--routes", &all];
            let mut broker = Broker::prepare(&format!("{name}-{number}"), &cluster);
            broker.start_again();
            broker
        })
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts it with the store that it has, and waits until it listens.
    pub fn start_again(&mut self) {
        let mut command = Command::new(installed("nats-server", "sbin"));
        command.args(&self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let program = Program::start(&mut command).and_then(Program::kill_on_exit);
        let mut program = program.unwrap_or_else(|error| panic!("{command:?}: {error}; {ADVICE}"));
        let words = program.stderr(WORDS_BYTES).unwrap();
        let listens = || TcpStream::connect(("127.0.0.1", self.port));
        let listening = eventually(PATIENCE, LOOK, listens);
        listening.unwrap_or_else(|error| panic!("{error}\n{}", words.text()));
        self.running = Some((program, words));
    }

    /// SIGKILL: as a crash, what it has not written is lost.
    pub fn kill(&mut self) {
        let (mut program, _) = self.running.take().unwrap();
        program.signal(Signal::KILL).unwrap();
        program.wait(PATIENCE).unwrap().unwrap();
    }

    pub fn lose_store(&self) {
        fs::remove_dir_all(&self.store).unwrap();
    }

    /// It holds all connections open and does nothing.
    pub fn hang(&self) {
        self.running.as_ref().unwrap().0.signal(Signal::STOP).unwrap();
    }

    pub fn go_on(&self) {
        self.running.as_ref().unwrap().0.signal(Signal::CONT).unwrap();
    }

    /// Waits until all copies of the stream are whole again, as an operator does between two stops.
    pub fn until_whole(&self) {
        let is_whole = |info: &Value| {
            let replicas = info["cluster"]["replicas"].as_array()?;
            let is_current = |it: &Value| it["current"] == true && it["offline"] != true;
            (replicas.len() == 2 && replicas.iter().all(is_current)).then_some(())
        };
        let look = || is_whole(&self.try_ask("STREAM.INFO.sse", &json!({}), ELECTION)?);
        eventually(PATIENCE, LOOK, || look().ok_or("a copy of the stream lags behind")).unwrap();
    }

    /// Asks JetStream, as an operator's tool would: `ask("STREAM.PURGE.sse", json!({}))`.
    pub fn ask(&self, api: &str, request: &Value) -> Value {
        self.try_ask(api, request, PATIENCE).unwrap_or_else(|| panic!("no answer to {api}"))
    }

    /// The same; without a leader there is no answer.
    fn try_ask(&self, api: &str, request: &Value, within: Duration) -> Option<Value> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(within)).unwrap();
        let request = request.to_string();
        let options = json!({ "verbose": false, "pedantic": false });
        let bytes = request.len();
        write!(
            socket,
            "CONNECT {options}\r\nSUB answer 1\r\nPUB $JS.API.{api} answer {bytes}\r\n{request}\r\n"
        )
        .unwrap();
        let mut lines = BufReader::new(socket);
        loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).ok()? > 0, "the broker has closed");
            if line.starts_with("MSG ") {
                let bytes: usize = line.trim_end().rsplit(' ').next().unwrap().parse().unwrap();
                let mut answer = vec![0; bytes];
                lines.read_exact(&mut answer).unwrap();
                return Some(serde_json::from_slice(&answer).unwrap());
            }
        }
    }
}

/// Silent waits cannot be told from a broker that has another name for a field.
pub fn succeeded(answer: &Value) -> &Value {
    assert!(answer.get("error").is_none(), "{answer}");
    answer
}

/// In this time there is an answer, or no leader.
const ELECTION: Duration = Duration::from_secs(2);

/// How long a broker that hangs may hold up a publisher, and a bit.
pub const HUNG: Duration = Duration::from_secs(10);
