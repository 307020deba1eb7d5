//! Which texts come out at which nodes, and in which order.

use std::thread;
use std::time::Duration;

use super::CASE;
use crate::expect::{fact, miss};
use crate::server::Fault;
use crate::server::cluster::reader::{Listener, Listeners};
use crate::server::cluster::texts::{Heard, Hearing, Texts, has_all};
use crate::server::cluster::{Case, Cluster, Means, Node, Outcome};

/// S13.01: the texts at each node, and how many may be lost before the rest is left out.
const TEXTS_EACH: usize = 5;
const MOST_LOST: usize = 2;
/// S13.02: the least number of publishers, and the texts of each.
const LEAST_PUBLISHERS: usize = 2;
const TEXTS_OF_ONE: usize = 10;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S13.01",
        slug: "read-elsewhere",
        source: "contract: nodes",
        after: &[],
        claim: "A text that is published at one node comes out of the streams of all nodes.",
        sends: "A stream at each node; texts, one after the other, at each node where that can be chosen.",
        fix: "Hand each message to the other nodes: by a broker, by a log that all read, by the nodes themselves.",
        run: read_elsewhere,
        ..CASE
    },
    Case {
        id: "S13.02",
        slug: "one-order",
        source: "contract: nodes",
        claim: "Texts of several publishers come out in the same order at all nodes.",
        sends: "Texts of several publishers at a time, at different nodes; a stream at each node.",
        fix: "Let one place number the messages, and deliver them by number, those of this node too.",
        run: one_order,
        ..CASE
    },
    Case {
        id: "S13.03",
        slug: "publisher-order",
        source: "practice: FIFO of one publisher",
        claim: "Texts of one publisher, each acknowledged before the next, come out in that order at all nodes.",
        sends: "Texts one after the other at one node; a stream at each node.",
        fix: "Use one connection to the broker for the messages of a topic, or number them.",
        run: |cluster| {
            let speakers = cluster.speakers();
            let orders = speakers.iter().map(|speaker| in_order(cluster, "own", &[speaker]));
            let orders: Result<Vec<_>, Fault> = orders.collect();
            fact(format!("{} texts in order at each node", orders?.into_iter().sum::<usize>()))
        },
        ..CASE
    },
    Case {
        id: "S13.04",
        slug: "publisher-moves",
        source: "contract: nodes; practice: causal order",
        needs: &[Means::Publish, Means::PublishAtNode],
        after: &["S13.01", "S13.03"],
        claim: "Texts of a publisher that changes nodes, each acknowledged before the next, keep their order.",
        sends: "Texts one after the other, each at the next node; a stream at each node.",
        fix: "Acknowledge a message when it has its place in the order of all nodes, not before.",
        run: |cluster| {
            let count = in_order(cluster, "moving", &cluster.speakers())?;
            fact(format!("{count} texts in order at each node"))
        },
        ..CASE
    },
];

/// Texts of each speaker on each stream. The next text is published when the one before has come, so that a
/// room that leaves out what is replaced has no reason to.
pub(super) fn read_elsewhere(cluster: &Cluster) -> Outcome {
    let nodes = cluster.living();
    let mut listeners = Listeners::open(cluster, &nodes)?;
    let speakers = cluster.speakers();
    for speaker in &speakers {
        let mut publisher = speaker.publisher()?;
        listeners.greet(&mut publisher)?;
        is_heard_elsewhere(cluster, speaker, &listeners.streams)?;
        let texts = Texts::new("each");
        let mut lost = Vec::new();
        for number in 0..TEXTS_EACH {
            publisher.say(&texts.text(number))?;
            lost.extend(lost_elsewhere(cluster, speaker, &mut listeners.streams, &texts, number)?);
            if lost.len() >= MOST_LOST {
                break;
            }
        }
        if !lost.is_empty() {
            let expected = format!("{TEXTS_EACH} texts of {} at each node", speaker.name());
            return Err(miss(expected, lost.join("; ")).too_slow(cluster.patience() / 2));
        }
    }
    fact(format!("{TEXTS_EACH} texts from each of {}, at {} nodes", speakers.len(), nodes.len()))
}

/// A text on the stream of its own node and not on that of another one is a failure; one that is on neither is
/// lost for everyone, and another matter.
fn is_heard_elsewhere(
    cluster: &Cluster,
    speaker: &Node,
    streams: &[Listener<'_>],
) -> Result<(), Fault> {
    let deaf: Vec<_> = streams.iter().filter(|it| !it.hears).collect();
    let is_own_deaf = deaf.iter().any(|it| it.node.is(speaker));
    if deaf.len() == streams.len() || is_own_deaf {
        let words =
            format!("the texts published at {} do not come out there either", speaker.name());
        return Err(Fault::Skip(format!("{words}: sse-bench conform server judges that")));
    }
    let Some(deaf) = deaf.first() else { return Ok(()) };
    let expected = format!("a text published at {} on each stream", speaker.name());
    let actual = format!("none of 5 at {}, though they came out elsewhere", deaf.node.name());
    Err(miss(expected, actual).too_slow(cluster.patience()))
}

/// The words for each node that lacks this text, unless the speaker lacks it as well.
fn lost_elsewhere(
    cluster: &Cluster,
    speaker: &Node,
    streams: &mut [Listener<'_>],
    texts: &Texts,
    number: usize,
) -> Result<Vec<String>, Fault> {
    let within = cluster.patience() / 2;
    let (mut lost, mut is_lost_there) = (Vec::new(), false);
    for listener in streams {
        let has_it = |it: &[Heard]| it.iter().any(|it| it.number == number);
        let hearing = texts.hear(&mut listener.stream, within, has_it)?;
        if !has_it(&hearing.texts) {
            is_lost_there |= listener.node.is(speaker);
            lost.push(format!(
                "text {number} did not come at {}{}",
                listener.node.name(),
                hearing.end_words()
            ));
        }
    }
    Ok(if is_lost_there { Vec::new() } else { lost })
}

fn one_order(cluster: &Cluster) -> Outcome {
    let (nodes, speakers) = (cluster.living(), cluster.speakers());
    let mut listeners = Listeners::hearing(cluster, &nodes, &mut speakers[0].publisher()?)?;
    let publishers = speakers.len().max(LEAST_PUBLISHERS);
    let texts = Texts::new("order");
    thread::scope(|scope| {
        let publishing: Vec<_> = (0..publishers)
            .map(|publisher| {
                let (speaker, texts) = (speakers[publisher % speakers.len()], &texts);
                scope.spawn(move || {
                    let mut numbers = (0..TEXTS_OF_ONE).map(|n| publisher * TEXTS_OF_ONE + n);
                    let mut publisher = speaker.publisher()?;
                    numbers.try_for_each(|number| publisher.say(&texts.text(number)))
                })
            })
            .collect();
        publishing.into_iter().try_for_each(|it| it.join().expect("nothing here panics"))
    })?;
    let count = publishers * TEXTS_OF_ONE;
    let heard = listeners.hear_all(&texts, count)?;
    all_came(&heard, count, cluster.patience())?;
    let (first, rest) = heard.split_first().expect("there are nodes");
    let order = first.1.numbers();
    for (node, hearing) in rest {
        let other = hearing.numbers();
        let Some(at) = order.iter().zip(&other).position(|(one, other)| one != other) else {
            continue;
        };
        return Err(miss(
            format!(
                "one order; at {}, from text {at} on: {:?}",
                first.0.name(),
                excerpt(&order, at)
            ),
            format!("at {}: {:?}", node.name(), excerpt(&other, at)),
        ));
    }
    fact(format!("{count} texts of {publishers} publishers"))
}

/// Texts one after the other, at these nodes in turn, in this order at each node; how many.
fn in_order(cluster: &Cluster, kind: &str, speakers: &[&Node]) -> Result<usize, Fault> {
    let publishers: Result<Vec<_>, Fault> = speakers.iter().map(|it| it.publisher()).collect();
    let mut publishers = publishers?;
    let mut listeners = Listeners::hearing(cluster, &cluster.living(), &mut publishers[0])?;
    let (texts, turns) = (Texts::new(kind), publishers.len());
    for number in 0..TEXTS_OF_ONE {
        publishers[number % turns].say(&texts.text(number))?;
    }
    let heard = listeners.hear_all(&texts, TEXTS_OF_ONE)?;
    all_came(&heard, TEXTS_OF_ONE, cluster.patience())?;
    for (node, hearing) in &heard {
        let numbers = hearing.numbers();
        if !numbers.is_sorted() {
            let expected = format!("the texts 0 to {} in order", TEXTS_OF_ONE - 1);
            return Err(miss(expected, format!("at {}: {numbers:?}", node.name())));
        }
    }
    Ok(TEXTS_OF_ONE)
}

/// Texts that are lost at some nodes only are a failure; those that no node has are the room's own way.
fn all_came(heard: &[(&Node, Hearing)], count: usize, patience: Duration) -> Result<(), Fault> {
    let is_whole = |it: &&(&Node, Hearing)| has_all(&it.1.texts, count);
    let Some((node, hearing)) = heard.iter().find(|it| !is_whole(it)) else { return Ok(()) };
    let words =
        format!("{} of {count} at {}{}", hearing.texts.len(), node.name(), hearing.end_words());
    if !heard.iter().any(|it| is_whole(&it)) {
        return Err(Fault::Skip(format!("no node has all texts: {words}")));
    }
    Err(miss(format!("all of {count} texts at each node"), words).too_slow(patience))
}

fn excerpt(numbers: &[usize], at: usize) -> &[usize] {
    &numbers[at..numbers.len().min(at + 6)]
}
