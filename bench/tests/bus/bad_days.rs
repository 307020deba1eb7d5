//! A broker that is away, hangs, crashes, or has lost its store; a node that is killed, or cut off.

use std::time::Instant;

use rustix::process::Signal;

use crate::broker::{self, HUNG};
use crate::link::Link;
use crate::node::{Node, epoch, shown, take, until_comment};

/// Publishing is refused with the time to come back.
fn refuses(node: &Node) {
    let (status, retry_after) = node.try_publish("t", "refused", None).unwrap_err();
    assert_eq!((status, retry_after.as_deref()), (503, Some("5")));
}

#[test]
fn a_node_starts_without_its_broker() {
    let mut broker = broker::prepare("away", &[]);
    let nodes = [2, 0].map(|name| Node::start(name, &broker.url(), &[]));
    let mut early = nodes.each_ref().map(|node| {
        assert_eq!(node.get("/healthz"), (200, "alive, not ready: the bus is away\n".into()));
        assert_eq!(node.get("/healthz?ready").0, 503);
        assert_eq!(node.metric("sse_bus_ready"), 0);
        refuses(node);
        let mut reader = node.read("t", None);
        until_comment(&mut reader);
        reader
    });
    broker.start_again().unwrap();
    nodes.iter().for_each(Node::until_ready);
    assert_eq!(nodes[0].get("/healthz"), (200, "ok\n".into()));
    assert_eq!(nodes[0].metric("sse_bus_ready"), 1);
    let id = nodes[0].publish("t", "hello");
    for reader in &mut early {
        // It was open before the node knew where "from now on" is.
        assert_eq!(take(reader, 2), ["gap {\"possible\":true}".into(), format!("{id} hello")]);
    }
}

#[test]
fn streams_stay_open_while_the_broker_is_away_and_lose_nothing() {
    let mut broker = broker::start("killed");
    let nodes = [5, 0].map(|name| Node::ready(name, &broker.url(), &[]));
    let mut readers = nodes.each_ref().map(|node| node.read("t", None));
    let first = nodes[0].publish("t", "before");
    for reader in &mut readers {
        assert_eq!(take(reader, 1), [format!("{first} before")]);
    }
    broker.kill().unwrap();
    for (node, reader) in nodes.iter().zip(&mut readers) {
        node.until("away", |node| node.get("/healthz?ready").0 == 503);
        refuses(node);
        until_comment(reader);
        // Events in the ring can be resumed meanwhile.
        let mut resumed = node.read("t", Some(&format!("{}-0", epoch(&first))));
        assert_eq!(take(&mut resumed, 1), [format!("{first} before")]);
    }
    broker.start_again().unwrap();
    nodes.iter().for_each(Node::until_ready);
    let second = nodes[1].publish("t", "after");
    assert_eq!(epoch(&first), epoch(&second));
    for reader in &mut readers {
        assert_eq!(take(reader, 1), [format!("{second} after")]);
    }
    assert!(nodes[0].metric("sse_bus_lost_links_total") > 0);
}

#[test]
fn a_stream_that_was_made_anew_resets_its_readers() {
    let mut broker = broker::start("lost");
    let nodes = [3, 4].map(|name| Node::ready(name, &broker.url(), &[]));
    let mut readers = nodes.each_ref().map(|node| node.read("t", None));
    let old = [nodes[0].publish("t", "1"), nodes[0].publish("t", "2")];
    readers.iter_mut().for_each(|reader| assert_eq!(take(reader, 2).len(), 2));
    broker.kill().unwrap();
    broker.lose_store().unwrap();
    broker.start_again().unwrap();
    let id = nodes[0].publish_once("t", "new", "key");
    nodes.iter().for_each(Node::until_ready);
    assert_ne!(epoch(&id), epoch(&old[0]), "an id is never given twice");
    for reader in &mut readers {
        assert_eq!(take(reader, 2), ["gap {\"reset\":true}".into(), format!("{id} new")]);
    }
    for (node, old) in nodes.iter().zip(&old) {
        let mut resumed = node.read("t", Some(old));
        assert_eq!(take(&mut resumed, 2), ["gap {\"reset\":true}".into(), format!("{id} new")]);
    }
}

#[test]
fn a_node_that_was_cut_off_catches_up_without_a_gap() {
    let broker = broker::start("cut");
    let link = Link::to(broker.port());
    let writer = Node::ready(4, &broker.url(), &[]);
    let nodes = [1, 0].map(|name| Node::ready(name, &link.url(), &[]));
    let mut readers = nodes.each_ref().map(|node| node.read("t", None));
    let first = writer.publish("t", "before");
    for reader in &mut readers {
        assert_eq!(take(reader, 1), [format!("{first} before")]);
    }
    link.cut();
    for node in &nodes {
        node.until("away", |node| node.get("/healthz?ready").0 == 503);
        refuses(node);
    }
    let missed = ["1", "2", "3"].map(|text| format!("{} {text}", writer.publish("t", text)));
    readers.iter_mut().for_each(until_comment);
    link.restore();
    nodes.iter().for_each(Node::until_ready);
    let after = nodes[0].publish("t", "after");
    for reader in &mut readers {
        assert_eq!(take(reader, 3), missed);
        assert_eq!(take(reader, 1), [format!("{after} after")]);
    }
}

#[test]
fn readers_of_a_node_that_is_killed_go_on_at_another() {
    const READERS: usize = 8;
    let broker = broker::start("dead-node");
    let other = Node::ready(5, &broker.url(), &[]);
    for server in [3, 0] {
        let dies = Node::ready(server, &broker.url(), &[]);
        let topic = format!("t{server}");
        let mut readers: Vec<_> = (0..READERS).map(|_| dies.read(&topic, None)).collect();
        let publish = |n: usize| format!("{} {n}", other.publish(&topic, &n.to_string()));
        let mut all: Vec<_> = (0..40).map(publish).collect();
        readers.iter_mut().for_each(|reader| assert_eq!(take(reader, 1), all[..1]));
        // Some of the others are still on their way.
        dies.server.signal(Signal::KILL).unwrap();
        all.extend((40..50).map(publish));
        for mut reader in readers {
            let mut seen = all[..1].to_vec();
            while let Ok(Some(event)) = reader.next_event() {
                seen.push(shown(&event));
            }
            let id = seen.last().and_then(|line| line.split(' ').next());
            let mut moved = other.read(&topic, id);
            seen.extend(take(&mut moved, all.len() - seen.len()));
            assert_eq!(seen, all);
        }
    }
}

#[test]
fn a_broker_that_hangs_accepts_nothing_silently() {
    let broker = broker::start("hung");
    let nodes = [1, 0].map(|name| Node::ready(name, &broker.url(), &[]));
    let mut readers = nodes.each_ref().map(|node| node.read("t", None));
    broker.hang().unwrap();
    let asked = Instant::now();
    for (n, node) in nodes.iter().enumerate() {
        // Perhaps it is stored later, so the client repeats it with the same key.
        let refused = node.try_publish("t", "held", Some(&n.to_string())).unwrap_err();
        assert_eq!(refused, (503, Some("5".into())));
    }
    assert!(asked.elapsed() < 2 * HUNG, "{:?}", asked.elapsed());
    readers.iter_mut().for_each(until_comment);
    nodes[0].until("away", |node| node.get("/healthz?ready").0 == 503);
    broker.go_on().unwrap();
    let ids: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(n, node)| node.publish_once("t", "held", &n.to_string()))
        .collect();
    nodes.iter().for_each(Node::until_ready);
    let last = nodes[0].publish("t", "last");
    let mut expected = vec![format!("{} held", ids[0]), format!("{} held", ids[1])];
    expected.sort_by_key(|line| number(line));
    expected.push(format!("{last} last"));
    for reader in &mut readers {
        assert_eq!(take(reader, 3), expected);
    }
}

fn number(line: &str) -> u64 {
    let id = line.split(' ').next().unwrap();
    id.rsplit_once('-').unwrap().1.parse().unwrap()
}
