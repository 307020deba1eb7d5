//! The nodes of a run: servers on the bus that are killed, held, and started again at the same port.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fleet::{Launch, Server, eventually, free_port};
use rustix::process::Signal;
use wire::{Connection, Log, Request};

use super::{LOOK, PATIENCE};

/// A server of the workspace as a node.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    launch: Launch,
    address: SocketAddr,
    server: Option<Server>,
}

impl Node {
    /// Starts a node; it need not be ready.
    pub(crate) fn start(name: &str, launch: Launch) -> Result<Node> {
        // Below the ports that the system hands out by itself: else a connection of a client may have it while the
        // node is away.
        let port = free_port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut node = Node { name: name.to_owned(), launch, address, server: None };
        node.start_again()?;
        Ok(node)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process; none while it is killed.
    pub(crate) fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    fn start_again(&mut self) -> Result<()> {
        let server = Server::start_on(&self.launch, self.address.port());
        self.server = Some(server.with_context(|| format!("node {}", self.name))?);
        Ok(())
    }

    /// SIGKILL, this time without it, and another start.
    pub(crate) fn kill(&mut self, away: Duration) -> Result<()> {
        // It is killed and reaped as it is dropped.
        self.server = None;
        // The absence is the schedule's, not a wait for something.
        thread::sleep(away);
        self.start_again()
    }

    /// SIGSTOP, and SIGCONT after this time.
    pub(crate) fn hold(&mut self, time: Duration) -> Result<()> {
        let Some(server) = &self.server else { return Ok(()) };
        server.signal(Signal::STOP).with_context(|| format!("SIGSTOP for {}", self.name))?;
        thread::sleep(time);
        server.signal(Signal::CONT).with_context(|| format!("SIGCONT for {}", self.name))
    }

    /// Waits until it is up to date with the stream.
    pub(crate) fn until_ready(&self) -> Result<()> {
        let address = self.address.to_string();
        let look = || -> Result<()> {
            let mut connection = Connection::open(&address, PATIENCE, &Log::new())?;
            let request = Request::new("GET", "/healthz?ready").header("Host", &address);
            match connection.ask(&request)?.0.status {
                200 => Ok(()),
                status => bail!("/healthz?ready says {status}"),
            }
        };
        eventually(PATIENCE * 2, LOOK, look).with_context(|| {
            let words = self.server.as_ref().map(Server::stderr).unwrap_or_default();
            let last = words.lines().last().unwrap_or_default().to_owned();
            format!("node {} is not ready: {last}", self.name)
        })
    }

    /// A panic of the node, if it has had one since it was started.
    pub(crate) fn panic(&self) -> Option<String> {
        let words = self.server.as_ref().map(Server::stderr)?;
        let line = words.lines().find(|it| it.contains("panicked at"))?;
        Some(format!("{}: {line}", self.name))
    }
}
