//! A node dies: what becomes of the others, of its publishers, and of what it has acknowledged.

use std::time::Instant;

use super::CASE;
use crate::Level;
use crate::expect::{fact, miss};
use crate::server::Fault;
use crate::server::cluster::reader::Listeners;
use crate::server::cluster::texts::{Heard, Texts, has_all};
use crate::server::cluster::{Case, Cluster, Means, Node, Outcome};
use crate::server::room::Answer;

/// The texts behind the death of a node, and those that it acknowledges before.
const BEHIND: usize = 5;
const ACKNOWLEDGED: usize = 20;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S13.12",
        slug: "death-spares-others",
        level: Level::Should,
        source: "practice: failure domains",
        needs: &[Means::Publish, Means::Kill],
        claim: "The death of a node ends no stream of another node, and delays no text there.",
        sends: "Streams at all nodes; kills one, and publishes at another one.",
        fix: "Let nodes share the log and nothing else; end no streams when the members of the cluster change.",
        run: spares_others,
        ..CASE
    },
    Case {
        id: "S13.13",
        slug: "dead-node-refuses",
        level: Level::Should,
        source: "practice: fail fast",
        needs: &[Means::PublishAtNode, Means::Kill],
        claim: "A publisher at a dead node gets an error, or another node takes its text: no silence.",
        sends: "Kills a node, and publishes there, on the connection from before and on a new one.",
        fix: "Let the load balancer answer 503 for a dead node, or choose another one; queue nothing for it.",
        run: refuses,
        ..CASE
    },
    Case {
        id: "S13.14",
        slug: "acknowledged-survives",
        source: "contract: nodes",
        needs: &[Means::PublishAtNode, Means::Kill],
        after: &["S13.01", "S13.12"],
        claim: "Each text that a node acknowledged before its death comes out at the other nodes.",
        sends: "Texts at a node, which is killed right behind the last acknowledgement.",
        fix: "Acknowledge a message after the broker, or enough other nodes, have acknowledged it.",
        run: acknowledged_survives,
        ..CASE
    },
];

/// The living nodes but this one.
pub(super) fn others<'c>(cluster: &'c Cluster, victim: &Node) -> Vec<&'c Node> {
    cluster.living().into_iter().filter(|node| !node.is(victim)).collect()
}

fn spares_others(cluster: &Cluster) -> Outcome {
    let (victim, witness) = cluster.victim_and_witness()?;
    let mut publisher = witness.publisher()?;
    let mut listeners = Listeners::hearing(cluster, &others(cluster, victim), &mut publisher)?;
    let _killed = cluster.kill(victim)?;
    let texts = Texts::new("spared");
    for number in 0..BEHIND {
        publisher.say(&texts.text(number))?;
        for listener in &mut listeners.streams {
            let has_it = |it: &[Heard]| it.iter().any(|it| it.number == number);
            let hearing = texts.hear(&mut listener.stream, cluster.patience(), has_it)?;
            if !has_it(&hearing.texts) {
                let expected = format!("text {number} at {}", listener.node.name());
                let actual =
                    format!("it did not come, since {} died{}", victim.name(), hearing.end_words());
                let fault = miss(expected, actual);
                let is_late = hearing.is_late;
                return Err(if is_late { fault.too_slow(cluster.patience()) } else { fault });
            }
        }
    }
    fact(format!("{BEHIND} texts at {} nodes, without a new connection", listeners.streams.len()))
}

fn refuses(cluster: &Cluster) -> Outcome {
    let (victim, witness) = cluster.victim_and_witness()?;
    let mut from_before = victim.publisher()?;
    let mut listeners = Listeners::hearing(cluster, &[witness], &mut from_before)?;
    let _killed = cluster.kill(victim)?;
    let texts = Texts::new("refused");
    let mut words = Vec::new();
    for (number, mut publisher) in [from_before, victim.publisher()?].into_iter().enumerate() {
        let start = Instant::now();
        let answer = publisher.publish(&texts.text(number));
        let is_vain = start.elapsed() >= cluster.patience();
        let expected = format!("an error for a text that is published at {}", victim.name());
        match answer {
            Ok(Answer::Taken) => {
                let has_it = |it: &[Heard]| it.iter().any(|it| it.number == number);
                let stream = &mut listeners.streams[0].stream;
                let hearing = texts.hear(stream, cluster.patience(), has_it)?;
                if !has_it(&hearing.texts) {
                    let actual = format!("it was accepted, and did not come at {}", witness.name());
                    return Err(miss(expected, actual).too_slow(cluster.patience()));
                }
                words.push("another node took it".to_owned());
            }
            Ok(Answer::Late(late)) => return Err(miss(expected, late).too_slow(cluster.patience())),
            Ok(Answer::Refused { words: late, .. }) if is_vain => {
                return Err(miss(expected, late).too_slow(cluster.patience()));
            }
            Ok(Answer::Refused { words: it, .. } | Answer::Gone(it)) | Err(Fault::Skip(it)) => {
                words.push(it);
            }
            Err(fault) => return Err(fault),
        }
    }
    fact(words.join("; "))
}

fn acknowledged_survives(cluster: &Cluster) -> Outcome {
    let (victim, witness) = cluster.victim_and_witness()?;
    let mut publisher = victim.publisher()?;
    let mut listeners = Listeners::hearing(cluster, &[witness], &mut publisher)?;
    // A room that leaves out what is replaced has no part in it.
    let usual = Texts::new("usual");
    (0..ACKNOWLEDGED).try_for_each(|number| publisher.say(&usual.text(number)))?;
    let hearing = listeners.hear_all(&usual, ACKNOWLEDGED)?.remove(0).1;
    if !has_all(&hearing.texts, ACKNOWLEDGED) {
        let words = format!("{} of {ACKNOWLEDGED} texts come while both live", hearing.texts.len());
        return Err(Fault::Skip(words));
    }
    let texts = Texts::new("acknowledged");
    (0..ACKNOWLEDGED).try_for_each(|number| publisher.say(&texts.text(number)))?;
    let _killed = cluster.kill(victim)?;
    let hearing = listeners.hear_all(&texts, ACKNOWLEDGED)?.remove(0).1;
    if !has_all(&hearing.texts, ACKNOWLEDGED) {
        let expected = format!("all of {ACKNOWLEDGED} texts that {} acknowledged", victim.name());
        let count = hearing.texts.len();
        let actual = format!("{count} at {}{}", witness.name(), hearing.end_words());
        return Err(miss(expected, actual).too_slow(cluster.patience()));
    }
    fact(format!("{ACKNOWLEDGED} texts, acknowledged by {}", victim.name()))
}
