//! Ids, and whether they mean the same at all nodes.

use std::collections::HashMap;

use super::CASE;
use crate::Level;
use crate::expect::{fact, miss, miss_of};
use crate::server::Fault;
use crate::server::cluster::reader::Listeners;
use crate::server::cluster::texts::{Heard, Texts};
use crate::server::cluster::{Case, Cluster, Node, Outcome};

/// The texts whose ids are compared.
const COMPARED: usize = 6;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S13.05",
        slug: "id-names-one-event",
        source: "HTML 9.2.4; contract: nodes",
        claim: "An id that one node gives names no other event at another node.",
        sends: "The same texts on a stream at each node.",
        fix: "Number messages in one place for all nodes, or make the node a part of the id.",
        run: |cluster| {
            let seen = Seen::of(cluster)?;
            match seen.other_event() {
                Some((expected, actual)) => Err(miss(expected, actual)),
                None => fact(format!("{} ids at {} nodes", COMPARED, seen.at_nodes.len())),
            }
        },
        ..CASE
    },
    Case {
        id: "S13.06",
        slug: "same-ids",
        source: "HTML 9.2.4; contract: nodes",
        after: &["S13.01", "S13.05"],
        claim: "An event has the same id at all nodes.",
        sends: "The same texts on a stream at each node.",
        fix: "Give an event its id once, where it is published, and send that to the nodes.",
        run: same_ids,
        ..CASE
    },
    Case {
        id: "S13.07",
        slug: "foreign-id",
        level: Level::Must,
        source: "HTML 9.2.3",
        claim: "A request with the id of another node is answered with a stream: other answers stop clients.",
        sends: "GET at each node with the last id that another node has given.",
        fix: "Answer 200 to any id; say in the stream that there is a gap.",
        run: foreign_id,
        ..CASE
    },
];

/// The ids of the same texts, at each node.
struct Seen<'c> {
    at_nodes: Vec<(&'c Node, Vec<Heard>)>,
}

impl<'c> Seen<'c> {
    fn of(cluster: &'c Cluster) -> Result<Seen<'c>, Fault> {
        // The first node twice: ids of a connection's own mean nothing elsewhere.
        let mut nodes = cluster.living();
        nodes.insert(0, nodes[0]);
        let publishers: Result<Vec<_>, Fault> =
            cluster.speakers().into_iter().map(Node::publisher).collect();
        let mut publishers = publishers?;
        let mut listeners = Listeners::hearing(cluster, &nodes, &mut publishers[0])?;
        let (texts, turns) = (Texts::new("id"), publishers.len());
        for number in 0..COMPARED {
            publishers[number % turns].say(&texts.text(number))?;
        }
        let heard = listeners.hear_all(&texts, COMPARED)?;
        let mut at_nodes: Vec<_> = heard.into_iter().map(|(node, it)| (node, it.texts)).collect();
        for (node, texts) in &mut at_nodes {
            texts.sort_by_key(|it| it.number);
            texts.dedup_by_key(|it| it.number);
            let mut ids: Vec<_> = texts.iter().map(|it| it.id.as_str()).collect();
            if ids.contains(&"") {
                return Err(Fault::Skip("the events have no ids".to_owned()));
            }
            ids.sort_unstable();
            ids.dedup();
            if ids.len() < texts.len() {
                let words = format!("one id for several texts at {} (S3.10)", node.name());
                return Err(Fault::Skip(words));
            }
        }
        let (_, again) = at_nodes.remove(0);
        if at_nodes[0].1 != again {
            return Err(Fault::Skip("each connection has ids of its own (S6.10)".to_owned()));
        }
        Ok(Seen { at_nodes })
    }

    /// An id that names one text at one node and another one at another node, in words.
    fn other_event(&self) -> Option<(String, String)> {
        let mut named: HashMap<&str, (&Node, usize)> = HashMap::new();
        for (node, texts) in &self.at_nodes {
            for heard in texts {
                let (first, number) = *named.entry(&heard.id).or_insert((node, heard.number));
                if number != heard.number {
                    let expected =
                        format!("{:?} names text {number} of {}", heard.id, first.name());
                    return Some((
                        format!("{expected} everywhere"),
                        format!("at {} it names text {}", node.name(), heard.number),
                    ));
                }
            }
        }
        None
    }
}

fn same_ids(cluster: &Cluster) -> Outcome {
    let seen = Seen::of(cluster)?;
    let (first, ids) = &seen.at_nodes[0];
    for (node, other) in &seen.at_nodes[1..] {
        let pair = ids.iter().find_map(|it| {
            let there = other.iter().find(|other| other.number == it.number)?;
            (there.id != it.id).then_some((it, there))
        });
        let Some((here, there)) = pair else { continue };
        let expected = format!("the id {:?}, as at {}", here.id, first.name());
        return Err(miss(expected, format!("{:?} at {}", there.id, node.name())));
    }
    fact(format!("{} ids, {:?} for instance", ids.len(), ids[0].id))
}

fn foreign_id(cluster: &Cluster) -> Outcome {
    let seen = Seen::of(cluster)?;
    let nodes = seen.at_nodes.iter().map(|it| it.0);
    for ((from, texts), to) in seen.at_nodes.iter().zip(nodes.cycle().skip(1)) {
        let id = &texts.last().ok_or_else(|| Fault::Skip("no text came".to_owned()))?.id;
        let target = to.target();
        let answer = target.head(&target.get(target.path()).header("Last-Event-ID", id));
        if !answer.as_ref().is_ok_and(wire::Head::is_event_stream) {
            let expected = format!("a stream at {} after {id:?} of {}", to.name(), from.name());
            return Err(miss_of(expected, &answer));
        }
    }
    fact(format!("{} nodes, each with an id of another one", seen.at_nodes.len()))
}
