//! The place of a window: a broker with an empty store, one or two fresh nodes, and what they use.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Context, Result};
use fleet::{Server, Usage};

use super::{Setup, Subject};
use crate::broker::Broker;
use crate::chaos::node::Node;

/// Events of a topic that a node keeps: more than a window has, so that a missing one is lost.
const RETAIN: &str = "32768";

/// A broker and its nodes. Dropping it kills them.
#[derive(Debug)]
pub(super) struct Stage {
    // Dropped before the broker, so that no node complains.
    nodes: Vec<Node>,
    broker: Option<Broker>,
    folder: PathBuf,
}

/// CPU time since the start, nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cpu {
    pub(super) nodes_ns: u64,
    pub(super) broker_ns: u64,
}

impl Cpu {
    /// The time used since an earlier look. The time of a thread that has ended meanwhile is gone.
    pub(super) fn since(self, earlier: Cpu) -> Cpu {
        Cpu {
            nodes_ns: self.nodes_ns.saturating_sub(earlier.nodes_ns),
            broker_ns: self.broker_ns.saturating_sub(earlier.broker_ns),
        }
    }
}

/// Memory in no file, bytes: heap and stacks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    pub(super) node_bytes: u64,
    pub(super) broker_bytes: Option<u64>,
}

impl Stage {
    /// Starts all of it on this core, and waits until the nodes are up to date with the stream.
    pub(super) fn start(subject: &Subject, setup: Setup, core: Option<usize>) -> Result<Stage> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("bus-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let folder = fleet::target_directory()?.join("bus").join(name);
        let mut stage = Stage { nodes: Vec::new(), broker: None, folder };
        if setup.has_broker() {
            let start = || Broker::start(&subject.nats_server, &stage.folder, 1);
            stage.broker = fleet::on_core(core, start)?.pop();
        }
        let bus = stage.broker.as_ref().map_or("memory".to_owned(), Broker::url);
        for _ in 0..setup.nodes() {
            let mut launch = subject.launch.clone().with_args(["--bus", &bus, "--retain", RETAIN]);
            launch.core = core;
            stage.nodes.push(Node::start(&subject.name, launch)?);
        }
        stage.nodes.iter().try_for_each(Node::until_ready)?;
        Ok(stage)
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    fn servers(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().filter_map(Node::server)
    }

    pub(super) fn cpu(&self) -> Result<Cpu> {
        let nodes = self.servers().map(|it| fleet::cpu_of_all(&it.pids())).sum::<Result<u64>>()?;
        let broker = self.broker.as_ref().map(|it| fleet::cpu_of_all(&[it.pid()?]));
        Ok(Cpu { nodes_ns: nodes, broker_ns: broker.transpose()?.unwrap_or(0) })
    }

    /// That of the first node.
    pub(super) fn memory(&self) -> Result<Memory> {
        let bytes = |it: Usage| it.anonymous_bytes.unwrap_or(it.rss_bytes);
        let node = self.servers().next().context("there is a node")?.usage()?;
        let broker = self.broker.as_ref().map(|it| Usage::of(it.pid()?)).transpose()?;
        Ok(Memory { node_bytes: bytes(node), broker_bytes: broker.map(bytes) })
    }

    /// The panic of a node.
    pub(super) fn panic(&self) -> Option<String> {
        self.nodes.iter().find_map(Node::panic)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.nodes.clear();
        self.broker = None;
        // A folder that stays is in the way of no other window.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
