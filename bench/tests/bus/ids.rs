//! The same ids at all nodes, and a client that moves between them.

use crate::broker;
use crate::node::{Node, take};
use crate::servers;

/// The places of all servers.
fn every() -> std::ops::Range<usize> {
    0..servers::packages().len()
}

/// One node of each framework.
fn all(bus: &str, more: &[&str]) -> Vec<Node> {
    let nodes: Vec<_> = every().map(|server| Node::start(server, bus, more)).collect();
    nodes.iter().for_each(Node::until_ready);
    nodes
}

#[test]
fn frameworks_share_topics_and_ids_and_a_client_moves_between_them() {
    let broker = broker::start("ids");
    // The stream is older than the nodes, and longer than their rings: none has counted its events.
    let retain = ["--retain", "20"];
    let first = Node::ready(0, &broker.url(), &retain);
    (0..30).for_each(|n| _ = first.publish(&format!("before-{}", n % 2), &n.to_string()));
    let nodes = all(&broker.url(), &retain);
    let nodes: Vec<_> = nodes.into_iter().chain([first]).collect();
    let mut live: Vec<_> = nodes.iter().map(|node| node.read("news", None)).collect();
    let mut published = Vec::new();
    for n in 0..2 * nodes.len() {
        let node = &nodes[n % nodes.len()];
        // Another topic between them: the numbers of one have holes.
        node.publish("other.topic", "x");
        published.push(format!("{} {n}", node.publish("news", &n.to_string())));
    }
    for reader in &mut live {
        assert_eq!(take(reader, published.len()), published);
    }

    // A client that takes one event at each node: none is lost, none comes twice.
    let mut seen = vec![published[0].clone()];
    for n in 1..published.len() {
        let last = seen[n - 1].split(' ').next().unwrap().to_owned();
        seen.extend(take(&mut nodes[n % nodes.len()].read("news", Some(&last)), 1));
    }
    assert_eq!(seen, published);

    // Publish at one, go on at the next at once, with an id that the next may not have seen yet.
    for n in 0..4 * nodes.len() {
        let (a, b) = (&nodes[n % nodes.len()], &nodes[(n + 1) % nodes.len()]);
        let id = a.publish("moves", "first");
        let mut reader = b.read("moves", Some(&id));
        let next = a.publish("moves", "second");
        assert_eq!(take(&mut reader, 1), [format!("{next} second")]);
    }
}

#[test]
fn a_repeated_message_gets_the_same_id_at_any_node() {
    let broker = broker::start("keys");
    let nodes = all(&broker.url(), &[]);
    let mut reader = nodes[0].read("t", None);
    let first = nodes[0].try_publish("t", "once", Some("key-1")).unwrap();
    for node in &nodes {
        assert_eq!(node.try_publish("t", "once", Some("key-1")).as_ref(), Ok(&first));
        assert_ne!(node.try_publish("u", "other topic", Some("key-1")).as_ref(), Ok(&first));
    }
    let second = nodes[1].try_publish("t", "twice", Some("key-2")).unwrap();
    assert_eq!(take(&mut reader, 2), [format!("{first} once"), format!("{second} twice")]);

    // The bus in memory keeps the same promise.
    for server in every() {
        let node = Node::ready(server, "memory", &[]);
        let publish = |topic: &str, key: &str| node.try_publish(topic, "x", Some(key));
        let id = publish("t", "key").unwrap();
        assert_eq!(publish("t", "key").as_ref(), Ok(&id));
        assert!(publish("t", "another").unwrap() != id && publish("u", "key").is_ok());
        assert_eq!(publish("t", &"k".repeat(129)), Err((400, None)));
        assert_eq!(publish("t", "with space"), Err((400, None)));
    }
}
