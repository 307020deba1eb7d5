//! A node: a server's stream, its way to publish, and its death.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleet::{READY_DEADLINE, eventually};
use wire::{EventStream, Log, Side};

use super::Power;
use crate::server::room::{Publisher, refused};
use crate::server::{Fault, Target};

/// Between two looks whether a node is dead.
const LOOK: Duration = Duration::from_millis(20);
/// A node that lives answers within this part of the patience, mostly; one that is dead may not even refuse.
const SIGN_OF_LIFE: u32 = 10;

/// One node of a cluster.
#[derive(Clone, Debug)]
pub struct Node {
    number: usize,
    target: Target,
    power: Arc<Power>,
    lives: Arc<AtomicBool>,
}

/// A node that was killed. Dropped, it is started again, if that is possible.
#[derive(Debug)]
pub(super) struct Killed<'c> {
    node: &'c Node,
    is_back: bool,
    is_broken: &'c AtomicBool,
}

impl Node {
    pub(super) fn new(number: usize, target: Target, power: Power) -> Node {
        Node { number, target, power: Arc::new(power), lives: Arc::new(AtomicBool::new(true)) }
    }

    pub(super) fn logging_to(&self, log: &Log) -> Node {
        Node { target: self.target.logging_to(log), ..self.clone() }
    }

    /// The server.
    pub fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn power(&self) -> &Power {
        &self.power
    }

    pub(super) fn lives(&self) -> bool {
        self.lives.load(Ordering::Relaxed)
    }

    /// Its name in a report: the number counts the URLs of the command.
    pub(super) fn name(&self) -> String {
        format!("node {} ({})", self.number, self.target.host())
    }

    pub(super) fn is(&self, other: &Node) -> bool {
        self.number == other.number
    }

    /// Whether texts can be published.
    pub(super) fn speaks(&self) -> bool {
        self.target.room.is_some()
    }

    /// Publishes at this node, or at the one place that there is for all.
    pub(super) fn publisher(&self) -> Result<Publisher<'_>, Fault> {
        let room = self.target.room.as_deref();
        let room = room.ok_or_else(|| Fault::Harness("no way to publish".to_owned()))?;
        Ok(room.publisher(&self.target))
    }

    /// Whether texts go through a command, a process for each.
    pub(super) fn is_by_command(&self) -> bool {
        self.target.room.as_deref().is_some_and(crate::server::room::Room::is_by_command)
    }

    /// Opens its stream.
    pub(super) fn stream(&self) -> Result<EventStream, Fault> {
        self.target.stream().map_err(refused)
    }

    /// Opens its stream after this id.
    pub(super) fn resumed(&self, id: &str) -> wire::Result<EventStream> {
        let request = self.target.get(self.target.path()).header("Last-Event-ID", id);
        self.target.open(&request)
    }

    fn note(&self, words: &str) {
        let log = self.target.log();
        log.add(log.open(), Side::Note, format!("{}: {words}", self.name()).as_bytes());
    }

    fn is_dead(&self) -> Result<(), ()> {
        let patience = self.target.patience() / SIGN_OF_LIFE;
        // Not in the log of the case: its waits say nothing about the claim.
        let target = self.target.logging_to(&Log::new()).with_patience(patience);
        if target.answers_within(Duration::ZERO).is_err() { Ok(()) } else { Err(()) }
    }
}

impl<'c> Killed<'c> {
    pub(super) fn kill(
        node: &'c Node,
        within: Duration,
        is_broken: &'c AtomicBool,
    ) -> Result<Killed<'c>, Fault> {
        let kill = node.power.kill.as_ref();
        let kill = kill.ok_or_else(|| Fault::Skip("no way to kill it".to_owned()))?;
        node.note("it is killed");
        kill().map_err(|words| Fault::Harness(format!("cannot kill {}: {words}", node.name())))?;
        node.lives.store(false, Ordering::Relaxed);
        let killed = Killed { node, is_back: false, is_broken };
        eventually(within, LOOK, || node.is_dead()).map_err(|()| {
            Fault::Harness(format!(
                "{} was killed, and still answers; does --kill-cmd kill the node of that URL?",
                node.name()
            ))
        })?;
        Ok(killed)
    }

    /// Starts it again, and waits until it answers.
    pub(super) fn start(mut self) -> Result<(), Fault> {
        self.is_back = true;
        self.start_again()
    }

    fn start_again(&self) -> Result<(), Fault> {
        let Some(start) = self.node.power.start.as_ref() else { return Ok(()) };
        self.node.note("it is started");
        let answers = || self.node.target.answers_within(READY_DEADLINE);
        start().and_then(|()| answers()).map_err(|words| {
            self.is_broken.store(true, Ordering::Relaxed);
            Fault::Harness(format!("{} was started again, but: {words}", self.node.name()))
        })?;
        self.node.lives.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Killed<'_> {
    fn drop(&mut self) {
        if !self.is_back {
            // The cluster remembers if it does not come back, and the next case says it.
            let _ = self.start_again();
        }
    }
}
