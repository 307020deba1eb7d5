//! A server under attack.

use std::time::{Duration, Instant};

use fleet::{Launch, Server, Usage, eventually};
use wire::{Connection, Dial, EventStream, Log, Request};

use super::{Failure, Size};

/// No step takes so long, on a busy machine either: only a server that is broken reaches it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Files that a server opens for itself once it is busy, at most; a leak grows with the attack.
const OWN_FILES: u64 = 8;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A server to be attacked, and how.
#[derive(Debug)]
pub struct Target {
    /// How it is started.
    pub launch: Launch,
    /// How large the attack is.
    pub size: Size,
    /// Of all that is random.
    pub seed: u64,
    /// How long each step may take.
    pub patience: Duration,
}

impl Target {
    /// Starts it with further arguments. It has answered a request when this returns.
    pub(super) fn start(&self, args: &[&str]) -> Result<Running, Failure> {
        let launch = self.launch.clone().with_args(args.iter().copied());
        let server =
            Server::start(&launch).map_err(|error| Failure::NotJudged(format!("{error:#}")))?;
        let host = server.addr().to_string();
        let running = Running { server, host, log: Log::new(), patience: self.patience };
        running.is_healthy()?;
        Ok(running)
    }
}

/// A process of it.
pub(super) struct Running {
    pub server: Server,
    pub host: String,
    /// One for all connections, since it is bounded.
    log: Log,
    pub patience: Duration,
}

impl Running {
    pub fn connect(&self) -> wire::Result<Connection> {
        Connection::open(&self.host, self.patience, &self.log)
    }

    /// As a client whose system holds little.
    pub fn connect_narrow(&self, receive_buffer: usize) -> wire::Result<Connection> {
        let dial = Dial { address: &self.host, tls: None, receive_buffer: Some(receive_buffer) };
        Connection::dial(dial, self.patience, &self.log)
    }

    pub fn request(&self, method: &str, target: &str) -> Request {
        Request::new(method, target).header("Host", &self.host)
    }

    pub fn open(&self, target: &str) -> wire::Result<EventStream> {
        EventStream::open(self.connect()?, &self.request("GET", target))
    }

    /// It answers a new client.
    pub fn is_healthy(&self) -> Result<(), Failure> {
        let mut connection = self.connect()?;
        let (head, mut body) = connection.ask(&self.request("GET", "/healthz"))?;
        connection.read_body_to_end(&mut body)?;
        match head.status {
            200 => Ok(()),
            status => Err(broken(format!("/healthz says {status}"))),
        }
    }

    pub fn usage(&self) -> Result<Usage, Failure> {
        self.server.usage().map_err(|error| broken(format!("{error:#}")))
    }

    /// It has given its descriptors back, but for files of its own.
    pub fn has_freed_descriptors(&self, before: Usage) -> Result<(), Failure> {
        let limit = before.fds + OWN_FILES;
        eventually(self.patience, LOOK, || match self.usage() {
            Ok(usage) if usage.fds > limit => {
                let (open, within) = (usage.fds, self.patience);
                let words = format!("{open} descriptors after {within:?}, {} before", before.fds);
                Err(Failure::Late(words))
            }
            Ok(_) => Ok(()),
            Err(failure) => Err(failure),
        })
    }

    /// The failure, or the end of the process if that is behind it.
    pub fn explain(&mut self, failure: Failure) -> Failure {
        // A process that crashes closes its sockets a moment before it is seen to have ended.
        let deadline = Instant::now() + LOOK * 10;
        loop {
            match self.server.ended() {
                Ok(Some(status)) => {
                    let stderr = self.server.stderr();
                    let last = stderr.lines().last().unwrap_or_default();
                    return broken(format!("the process ended: {status} {last}"));
                }
                _ if Instant::now() < deadline => std::thread::sleep(LOOK),
                _ => return failure,
            }
        }
    }
}

/// A promise is broken, in these words.
pub(super) fn broken(words: impl Into<String>) -> Failure {
    Failure::Broken(words.into())
}

impl Failure {
    /// The same with a beginning that says where.
    pub(super) fn at(self, place: &str) -> Failure {
        match self {
            Failure::Broken(words) => Failure::Broken(format!("{place}: {words}")),
            Failure::Late(words) => Failure::Late(format!("{place}: {words}")),
            Failure::NotJudged(words) => Failure::NotJudged(format!("{place}: {words}")),
        }
    }
}

impl From<wire::Error> for Failure {
    fn from(error: wire::Error) -> Failure {
        use std::io::ErrorKind::{ConnectionRefused, ConnectionReset, TimedOut};
        match &error {
            // No port or descriptor left on this side, for instance.
            wire::Error::Connect { reason, .. }
                if !matches!(reason.kind(), ConnectionRefused | ConnectionReset | TimedOut) =>
            {
                Failure::NotJudged(error.to_string())
            }
            wire::Error::Timeout { .. } => Failure::Late(error.to_string()),
            _ => Failure::Broken(error.to_string()),
        }
    }
}
