//! Cases about nodes: what servers that share their events should do together.
//!
//! A node is seen only through its URL, its way to publish, and the commands that kill it and start it
//! again. Each case compares nodes with each other, or a node with itself: what one node does alone is
//! the subject of `conform server`.

mod cases;
mod command;
mod explain;
mod node;
mod power;
mod reader;
mod run;
mod texts;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::{Budget, Log};

pub use cases::all as cases;
pub use command::{ClusterArgs, run_cluster};
pub use node::Node;
pub use power::{Power, Switch};
pub use run::{Choice, check};

use super::{Fault, Need, Outcome, Target};
use crate::judge::Subject;
use node::Killed;

/// One claim about nodes, with the dialogue that tests it.
pub type Case = crate::Case<Cluster, Means>;

/// How long a node that was killed may go on to answer: a command may return before it has done its work.
const DYING: Duration = Duration::from_secs(10);

/// A need of a case beyond the URLs of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// Texts can be published.
    Publish,
    /// They can be published at a node of the suite's choice.
    PublishAtNode,
    /// A node can be killed.
    Kill,
    /// And started again.
    Restart,
}

impl Means {
    /// Why a case is skipped for it, and how to offer it.
    fn advice(self) -> &'static str {
        match self {
            Means::Publish => "needs to publish: give --publish or --publish-cmd",
            Means::PublishAtNode => {
                "needs to publish at a node of its choice: give --publish PATH, or {node} in the URL or \
                 the command"
            }
            Means::Kill => {
                "needs to kill a node: give --kill-cmd, or --start-cmd and no nodes that run"
            }
            Means::Restart => "needs to start a killed node again: give --start-cmd",
        }
    }
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Means::Publish => "publish",
            Means::PublishAtNode => "publish-at-node",
            Means::Kill => "kill",
            Means::Restart => "restart",
        })
    }
}

/// Nodes that should behave like one server.
///
/// Clones share which of them live; that of a case has a log of its own.
#[derive(Clone, Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    /// Whether a text can be published at each node, not at one place for all.
    is_spoken_to_at_each: bool,
    /// Whether the first node goes on after an id of its own, once that was tried.
    resumes: Arc<OnceLock<Result<(), String>>>,
    /// A node was not there again after its start: the rest says nothing.
    is_broken: Arc<AtomicBool>,
    budget: Budget,
    log: Log,
}

impl Subject for Cluster {
    fn log(&self) -> &Log {
        &self.log
    }

    /// The nodes serve a topic of the contract.
    fn serves_contract(&self) -> bool {
        self.nodes.iter().all(|node| {
            let target = node.target();
            target.capabilities().contains(&Need::Topics) && target.path().starts_with("/messages/")
        })
    }
}

impl Cluster {
    /// Nodes, each with what kills it and starts it. Where a text is published at each of them, `is_spoken_to_at_each`.
    ///
    /// Looks at each of them, and how a text comes back.
    ///
    /// # Errors
    /// One line: a node is no event stream, publishing fails, or a text does not come back.
    pub fn new(
        nodes: Vec<(Target, Power)>,
        is_spoken_to_at_each: bool,
        budget: &Budget,
    ) -> Result<Cluster, String> {
        let looked_at = |(index, (target, power)): (usize, (Target, Power))| {
            let wanted = if target.asks_with_get() { &[Need::Topics][..] } else { &[] };
            let target = target.with_budget(budget.clone()).probe(wanted)?;
            if index == 0 || is_spoken_to_at_each {
                target.learn_room()?;
            }
            Ok(Node::new(index + 1, target, power))
        };
        let nodes: Result<Vec<_>, String> = nodes.into_iter().enumerate().map(looked_at).collect();
        Ok(Cluster {
            nodes: nodes?,
            is_spoken_to_at_each,
            resumes: Arc::default(),
            is_broken: Arc::default(),
            budget: budget.clone(),
            log: Log::within(budget.clone()),
        })
    }

    /// The same nodes with an empty log, for one case.
    fn for_case(&self) -> Cluster {
        let log = Log::within(self.budget.clone());
        let nodes = self.nodes.iter().map(|node| node.logging_to(&log)).collect();
        Cluster { nodes, log, ..self.clone() }
    }

    /// Its offers beyond the URLs.
    pub fn means(&self) -> Vec<Means> {
        let speaks = self.nodes[0].speaks();
        let is_killable = self.nodes.iter().all(|node| node.power().kill.is_some());
        let is_startable = self.nodes.iter().all(|node| node.power().start.is_some());
        let offers = |means: &Means| match means {
            Means::Publish => speaks,
            Means::PublishAtNode => speaks && self.is_spoken_to_at_each,
            Means::Kill => is_killable,
            Means::Restart => is_killable && is_startable,
        };
        let all = [Means::Publish, Means::PublishAtNode, Means::Kill, Means::Restart];
        all.into_iter().filter(offers).collect()
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes that were not killed.
    fn living(&self) -> Vec<&Node> {
        self.nodes.iter().filter(|node| node.lives()).collect()
    }

    /// Those of them at which texts are published.
    fn speakers(&self) -> Vec<&Node> {
        let count = if self.is_spoken_to_at_each { usize::MAX } else { 1 };
        self.living().into_iter().take(count).collect()
    }

    /// The node to kill, and one that stays, at which texts are published.
    fn victim_and_witness(&self) -> Result<(&Node, &Node), Fault> {
        match self.living().as_slice() {
            [witness, .., victim] => Ok((*victim, *witness)),
            _ => Err(Fault::Skip(
                "one node is left, the others were killed before: --start-cmd starts a node again"
                    .to_owned(),
            )),
        }
    }

    /// Kills a node. It is started again when the value goes, if that is possible.
    fn kill<'c>(&'c self, node: &'c Node) -> Result<Killed<'c>, Fault> {
        let within = node.target().scaled(DYING);
        Killed::kill(node, within, &self.is_broken)
    }

    /// How long a step may take.
    fn patience(&self) -> Duration {
        self.nodes[0].target().patience()
    }

    fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }
}
