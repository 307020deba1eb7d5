//! Readers that go on at another node, and streams at rest.

use std::thread;
use std::time::{Duration, Instant};

use super::{CASE, MOVED};
use crate::expect::{fact, miss};
use crate::host;
use crate::server::Fault;
use crate::server::cluster::reader::{Listener, Listeners, Reader, beside_publisher};
use crate::server::cluster::texts::{Heard, Texts, has_all};
use crate::server::cluster::{Case, Cluster, Node, Outcome};
use crate::{Cost, Level};

/// S13.08: the texts before the reader leaves, and those until it comes back.
const BEFORE: usize = 2;
const BEHIND: usize = 3;
/// S13.09: how often the reader moves.
const MOVES: usize = 12;
/// S13.10: more texts than the usual thousand that a topic retains.
const FLOOD: usize = 1100;
/// S13.11: as S5.05, the silence that proxies grant, and how long it is watched.
const SILENCE: Duration = Duration::from_secs(20);
const WATCHED: Duration = Duration::from_secs(35);
const SLACK: Duration = Duration::from_secs(2);

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S13.08",
        slug: "resume-elsewhere",
        source: "HTML 9.2.4; contract: nodes",
        after: &["S13.01", "S13.03", "S13.05", "S13.07"],
        claim: "After an id of one node another node goes on with the next event: no gap, no repeat.",
        sends: "Reads at a node, leaves, publishes, and opens the stream of another node with the last id.",
        fix: "Replay from a log that all nodes share, by ids that all nodes know.",
        run: resume_elsewhere,
        ..CASE
    },
    Case {
        id: "S13.09",
        slug: "moves-exactly-once",
        source: "HTML 9.2.4; contract: nodes",
        after: MOVED,
        claim: "A reader that moves back and forth while texts are published has each of them once.",
        sends: "Texts at a steady pace; a reader that connects to the next node again and again.",
        fix: "Take replay and live from one ordered log at each node; wait for an id that is not there yet.",
        run: moves,
        ..CASE
    },
    Case {
        id: "S13.10",
        slug: "gap-is-honest",
        source: "practice: whatwg/html#8297; contract: nodes",
        cost: &[Cost::Flood],
        after: MOVED,
        claim: "A reader that was away for long has all that it lacks, or another node reports the gap.",
        sends: "1100 texts while the reader is away; then the stream of another node with the last id.",
        fix: "Compare the id with the oldest event that is retained, and send an event that reports the gap.",
        run: gap_is_honest,
        ..CASE
    },
    Case {
        id: "S13.11",
        slug: "heartbeat-everywhere",
        level: Level::Should,
        source: "HTML 9.2.7",
        needs: &[],
        cost: &[Cost::Watch],
        after: &[],
        claim: "Each node keeps a stream at rest alive: it says something at least every 20 seconds.",
        sends: "GET of a stream at each node, for longer than a proxy would wait.",
        fix: "Write a comment every 15 seconds or so at each node, and exempt it from buffers of its proxy.",
        run: heartbeat,
        ..CASE
    },
];

impl Cluster {
    /// Goes on only if the first node resumes after an id of its own: without that no node can.
    pub(super) fn resumes(&self) -> Result<(), Fault> {
        let skip = |words: &str| Fault::Skip(format!("no node resumes by itself (S6.01): {words}"));
        if let Some(found) = self.resumes.get() {
            return found.as_ref().map(|_| ()).map_err(|words| skip(words));
        }
        let (first, begin) = (self.living()[0], Instant::now());
        let found = match resume(self, first, first) {
            Ok(()) => Ok(()),
            Err(Fault::Miss { actual: words, .. } | Fault::Follows { seen: words, .. }) => {
                Err(words)
            }
            Err(Fault::Skip(words)) => Err(words),
            Err(fault) => return Err(fault),
        };
        // The next case asks again if a busy host explains it.
        if found.is_ok() || host::worst_since(begin) < self.patience() / 4 {
            let _ = self.resumes.set(found.clone());
        }
        found.map_err(|words| skip(&words))
    }
}

fn resume_elsewhere(cluster: &Cluster) -> Outcome {
    cluster.resumes()?;
    let nodes = cluster.living();
    for (from, to) in nodes.iter().zip(nodes.iter().cycle().skip(1)) {
        resume(cluster, from, to).map_err(|fault| {
            let words = format!("after an id of {}, at {}: ", from.name(), to.name());
            fault.within("", &words)
        })?;
    }
    fact(format!("{} nodes, each after an id of another one", nodes.len()))
}

/// A reader of one node goes on at another one, whose own stream has shown the texts by then.
fn resume(cluster: &Cluster, from: &Node, to: &Node) -> Result<(), Fault> {
    let mut publisher = from.publisher()?;
    let mut listeners = Listeners::hearing(cluster, &[from, to], &mut publisher)?;
    let texts = Texts::new("resume");
    (0..BEFORE).try_for_each(|number| publisher.say(&texts.text(number)))?;
    let mut reader = Reader::new(&texts, listeners.streams.remove(0), cluster.patience());
    reader.read_to(BEFORE - 1)?;
    if !reader.read.ends_with(&[BEFORE - 1]) {
        return Err(Fault::Skip(format!("of {BEFORE} texts it had {:?}", reader.read)));
    }
    let count = BEFORE + BEHIND;
    (BEFORE..count).try_for_each(|number| publisher.say(&texts.text(number)))?;
    let stays = listeners.hear_all(&texts, count)?.remove(0).1;
    if !has_all(&stays.texts, count) {
        let words =
            format!("a stream that stays there has {:?}{}", stays.numbers(), stays.end_words());
        return Err(Fault::Skip(words));
    }
    let is_known = stays.texts.iter().any(|it| it.id == reader.last_id);
    reader.go_to(to)?;
    reader.read.clear();
    reader.read_to(count - 1)?;
    let held = reader.has_each_once(BEFORE, count);
    held.map_err(|fault| if is_known { fault } else { fault.follows("S13.06") })
}

fn moves(cluster: &Cluster) -> Outcome {
    cluster.resumes()?;
    let nodes = cluster.living();
    let texts = Texts::new("steady");
    let mut publisher = nodes[0].publisher()?;
    let mut listeners = Listeners::hearing(cluster, &nodes[..1], &mut publisher)?;
    publisher.say(&texts.text(0))?;
    let mut reader = Reader::new(&texts, listeners.streams.remove(0), cluster.patience());
    reader.read(1)?;
    let (mut reader, count) = beside_publisher(publisher, 1, reader, |mut reader| {
        for (number, node) in (0..MOVES).zip(nodes.iter().cycle().skip(1)) {
            reader.go_to(node)?;
            // A reader that comes back sooner and later.
            reader.read(1 + number % 7)?;
        }
        Ok(reader)
    })?;
    reader.read_to(count - 1)?;
    reader.has_each_once(0, count)?;
    fact(format!("{count} texts over {MOVES} moves"))
}

fn gap_is_honest(cluster: &Cluster) -> Outcome {
    cluster.resumes()?;
    let nodes = cluster.living();
    if nodes[0].is_by_command() {
        return Err(Fault::Skip(format!("{FLOOD} texts would be as many processes")));
    }
    for (from, to) in nodes.iter().zip(nodes.iter().cycle().skip(1)) {
        after_a_flood(cluster, from, to)?;
    }
    fact(format!("{FLOOD} texts later {} nodes had all, or reported the gap", nodes.len()))
}

fn after_a_flood(cluster: &Cluster, from: &Node, to: &Node) -> Result<(), Fault> {
    let mut publisher = from.publisher()?;
    let mut listeners = Listeners::hearing(cluster, &[from, to], &mut publisher)?;
    let (texts, patience) = (Texts::new("flood"), cluster.patience());
    publisher.say(&texts.text(0))?;
    let mut reader = Reader::new(&texts, listeners.streams.remove(0), patience);
    reader.read(1)?;
    (1..FLOOD).try_for_each(|number| publisher.say(&texts.text(number)))?;
    let is_last = |it: &[Heard]| it.iter().any(|it| it.number == FLOOD - 1);
    let Listener { mut stream, greetings, .. } = listeners.streams.remove(0);
    if !is_last(&texts.hear(&mut stream, patience, is_last)?.texts) {
        return Err(Fault::Skip(format!(
            "the last of {FLOOD} texts did not come at {}",
            to.name()
        )));
    }
    let mut stream = to.resumed(&reader.last_id)?;
    let hearing = texts.hear(&mut stream, patience, is_last)?;
    let lost = (1..FLOOD).filter(|number| !hearing.texts.iter().any(|it| it.number == *number));
    let lost = lost.count();
    if lost == 0 || hearing.word_of_a_gap(&greetings).is_some() {
        return Ok(());
    }
    let first = hearing.texts.first().map(|it| it.number);
    let expected = format!("text 1 next at {}, or an event that reports the gap", to.name());
    let actual = format!("first text {first:?}, {lost} are lost, and no event reports it");
    let fault = miss(expected, actual);
    Err(if hearing.is_late { fault.too_slow(patience) } else { fault })
}

fn heartbeat(cluster: &Cluster) -> Outcome {
    let nodes = cluster.living();
    let found: Vec<_> = thread::scope(|scope| {
        let watching: Vec<_> =
            nodes.iter().map(|node| scope.spawn(|| longest_silence(node))).collect();
        watching.into_iter().map(|it| it.join().expect("nothing here panics")).collect()
    });
    let longest: Result<Vec<_>, Fault> = found.into_iter().collect();
    let longest = longest?.into_iter().max().unwrap_or_default();
    fact(format!("silent for {} ms at most", longest.as_millis()))
}

fn longest_silence(node: &Node) -> Result<Duration, Fault> {
    let target = node.target();
    let (limit, watched) = match target.keep_alive() {
        Some(keep_alive) => (keep_alive + target.scaled(SLACK), keep_alive * 5 / 2),
        None => (target.scaled(SILENCE), target.scaled(WATCHED)),
    };
    let mut stream = node.stream()?;
    stream.set_patience(limit);
    let (start, mut longest) = (Instant::now(), Duration::ZERO);
    let at = format!("at {}: ", node.name());
    while start.elapsed() < watched {
        let before = Instant::now();
        let piece = stream.next_piece();
        let piece = piece.map_err(|error| Fault::from(error).within("", &at))?;
        if piece.is_none() {
            return Err(miss("a stream that stays open", format!("{at}it ended")));
        }
        longest = longest.max(before.elapsed());
    }
    Ok(longest)
}
