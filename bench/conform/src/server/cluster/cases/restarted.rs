//! Nodes that come back, and readers that live through it.

use std::collections::HashMap;
use std::thread;

use super::CASE;
use super::delivery::read_elsewhere;
use super::killed::others;
use crate::Level;
use crate::expect::{ensure, fact, miss, noted};
use crate::judge::Subject as _;
use crate::server::Fault;
use crate::server::cluster::reader::{Listeners, Reader, beside_publisher};
use crate::server::cluster::texts::{Heard, Texts};
use crate::server::cluster::{Case, Cluster, Means, Node, Outcome};

/// S13.16: the texts before the restart, and as many behind it.
const COMPARED: usize = 4;
/// S13.17: the texts that the reader has before the node dies, and those behind.
const BEFORE: usize = 5;
const BEHIND: usize = 10;
/// S13.18: the readers of the node that dies, and the texts that they lack.
const STORM: usize = 50;
const LACKING: usize = 5;
/// S13.19: the texts before, during and behind each restart.
const EACH_TIME: usize = 3;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S13.15",
        slug: "back-again",
        level: Level::Should,
        source: "practice: rolling restart",
        needs: &[Means::Publish, Means::Restart],
        claim: "A node that was killed and started again delivers as before, both ways.",
        sends: "Kills a node, starts it again; then as S13.01.",
        fix: "Subscribe to the log again at the start, and answer no request before that.",
        run: |cluster| {
            let (victim, _) = cluster.victim_and_witness()?;
            cluster.kill(victim)?.start()?;
            read_elsewhere(cluster)
        },
        ..CASE
    },
    Case {
        id: "S13.16",
        slug: "no-id-twice",
        source: "HTML 9.2.4; contract: nodes",
        needs: &[Means::Publish, Means::Restart],
        after: &["S13.01", "S13.05", "S13.15"],
        claim: "An id that was given before a restart names no other event after it.",
        sends: "Texts at all nodes, a restart of one node, texts again; their ids at all nodes.",
        fix: "Keep the number beyond the process, or make the start of the process a part of the id.",
        run: no_id_twice,
        ..CASE
    },
    Case {
        id: "S13.17",
        slug: "resume-during-kill",
        source: "HTML 9.2.4; contract: nodes",
        needs: &[Means::Publish, Means::Kill],
        after: &["S13.08", "S13.12", "S13.16"],
        claim: "A reader whose node dies under it goes on at another node: no gap, no repeat.",
        sends: "Texts at a steady pace at one node, a reader at another one, which is killed.",
        fix: "Wait for an id that this node does not have yet, and replay from a log that outlives the node.",
        run: resume_during_kill,
        ..CASE
    },
    Case {
        id: "S13.18",
        slug: "storm",
        source: "practice: reconnects come together",
        needs: &[Means::Publish, Means::Kill],
        after: &["S13.08", "S13.12", "S13.16"],
        claim: "All 50 readers of a node that dies go on at another node at once, and have what they lack.",
        sends: "50 streams at a node, which is killed; then all of them at another one, with their last ids.",
        fix: "Accept many connections at a time, and let a replay wait for none of the others.",
        run: storm,
        ..CASE
    },
    Case {
        id: "S13.19",
        slug: "rolling-restart",
        source: "HTML 9.2.4; contract: nodes",
        needs: &[Means::Publish, Means::Restart],
        after: &["S13.08", "S13.12", "S13.15", "S13.16"],
        claim: "A reader has each text once over a restart of all nodes in turn, or a node reports the gap.",
        sends: "Kills each node and starts it again, texts before, during and behind; a reader that moves.",
        fix: "Keep the events beyond the process; report a gap where they are not kept.",
        run: rolling_restart,
        ..CASE
    },
];

fn no_id_twice(cluster: &Cluster) -> Outcome {
    let (victim, witness) = cluster.victim_and_witness()?;
    let texts = Texts::new("numbered");
    let mut named: HashMap<String, usize> = HashMap::new();
    for first in [0, COMPARED] {
        let mut publisher = witness.publisher()?;
        let nodes = cluster.living();
        let mut listeners = Listeners::hearing(cluster, &nodes, &mut publisher)?;
        (first..first + COMPARED).try_for_each(|number| publisher.say(&texts.text(number)))?;
        let is_last = |it: &[Heard]| it.iter().any(|it| it.number == first + COMPARED - 1);
        for listener in &mut listeners.streams {
            let hearing = texts.hear(&mut listener.stream, cluster.patience(), is_last)?;
            for Heard { number, id } in hearing.texts.into_iter().filter(|it| !it.id.is_empty()) {
                // Within one life the subject of S13.05; an event of several texts has one id.
                let other = *named.entry(id.clone()).or_insert(number);
                ensure(
                    (other < COMPARED) == (number < COMPARED),
                    format!("{id:?} names text {other} for good"),
                    format!("it names text {number} at {}", listener.node.name()),
                )?;
            }
        }
        if first == 0 {
            cluster.kill(victim)?.start()?;
        }
    }
    if named.is_empty() {
        return Err(Fault::Skip("the events have no ids".to_owned()));
    }
    fact(format!("{} ids over a restart of {}", named.len(), victim.name()))
}

fn resume_during_kill(cluster: &Cluster) -> Outcome {
    cluster.resumes()?;
    let (victim, witness) = cluster.victim_and_witness()?;
    let texts = Texts::new("during");
    let mut publisher = witness.publisher()?;
    let mut listeners = Listeners::hearing(cluster, &[victim], &mut publisher)?;
    let reader = Reader::new(&texts, listeners.streams.remove(0), cluster.patience());
    let (done, count) = beside_publisher(publisher, 0, reader, |mut reader| {
        reader.read(BEFORE)?;
        let killed = cluster.kill(victim)?;
        // A proxy may hold the stream open for a while.
        reader.read_to_its_end(cluster.patience() / 4)?;
        reader.go_to(witness)?;
        reader.read(BEHIND)?;
        Ok((reader, killed))
    })?;
    let (mut reader, _killed) = done;
    reader.read_to(count - 1)?;
    reader.has_each_once(0, count)?;
    fact(format!("{count} texts, {} died among them", victim.name()))
}

fn storm(cluster: &Cluster) -> Outcome {
    cluster.resumes()?;
    let (victim, witness) = cluster.victim_and_witness()?;
    let _ = fleet::raise_fd_limit();
    let texts = Texts::new("storm");
    let mut publisher = witness.publisher()?;
    let nodes = vec![victim; STORM];
    let listeners = Listeners::hearing(cluster, &nodes, &mut publisher)?;
    publisher.say(&texts.text(0))?;
    let readers = listeners.streams.into_iter().map(|listener| {
        let mut reader = Reader::new(&texts, listener, cluster.patience());
        reader.read(1)?;
        Ok(reader)
    });
    let readers: Result<Vec<_>, Fault> = readers.collect();
    let readers = readers?;
    let _killed = cluster.kill(victim)?;
    (1..=LACKING).try_for_each(|number| publisher.say(&texts.text(number)))?;
    let come_back = |mut reader: Reader<'_>| {
        reader.go_to(witness)?;
        reader.read_to(LACKING)?;
        reader.has_each_once(0, LACKING + 1)
    };
    let held: Vec<Result<(), Fault>> = thread::scope(|scope| {
        let coming: Vec<_> =
            readers.into_iter().map(|reader| scope.spawn(move || come_back(reader))).collect();
        coming.into_iter().map(|it| it.join().expect("nothing here panics")).collect()
    });
    let failed: Vec<_> = held.into_iter().filter_map(Result::err).collect();
    let count = failed.len();
    let Some(first) = failed.into_iter().next() else {
        return fact(format!("{STORM} readers came from {} to {}", victim.name(), witness.name()));
    };
    let words = match first {
        Fault::Miss { actual, .. } | Fault::Follows { seen: actual, .. } => actual,
        Fault::Unreachable(words) => words,
        fault => return Err(fault),
    };
    let expected = format!("each of {STORM} readers goes on at {}", witness.name());
    Err(miss(expected, format!("{count} did not; the first: {words}")).too_slow(cluster.patience()))
}

fn rolling_restart(cluster: &Cluster) -> Outcome {
    cluster.resumes()?;
    let nodes = cluster.living();
    let texts = Texts::new("rolling");
    let mut count = 0;
    let mut say = |node: &Node| {
        let mut publisher = node.publisher()?;
        (0..EACH_TIME).try_for_each(|_| {
            publisher.say(&texts.text(count))?;
            count += 1;
            Ok::<_, Fault>(())
        })?;
        Ok::<_, Fault>(count)
    };
    let mut listeners = Listeners::hearing(cluster, &nodes[..1], &mut nodes[0].publisher()?)?;
    let mut reader = Reader::new(&texts, listeners.streams.remove(0), cluster.patience());
    let mut at = nodes[0];
    for victim in &nodes {
        let rest = others(cluster, victim);
        let next = *rest.first().ok_or_else(|| Fault::Skip("one node is left".to_owned()))?;
        let said = say(next)?;
        if at.is(victim) {
            reader.read_to(said - 1)?;
        }
        let killed = cluster.kill(victim)?;
        if at.is(victim) {
            reader.read_to_its_end(cluster.patience() / 4)?;
            reader.go_to(next)?;
            at = next;
        }
        say(next)?;
        killed.start()?;
        say(next)?;
    }
    reader.read_to(count - 1)?;
    match (reader.has_each_once(0, count), reader.gap()) {
        (Ok(()), _) => fact(format!("{count} texts over {} restarts", nodes.len())),
        (Err(_), Some(words)) if !cluster.serves_contract() => {
            noted(format!("texts are lost in a restart, and it is reported: {words}"))
        }
        (Err(fault), _) => Err(fault),
    }
}
