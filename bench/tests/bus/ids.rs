//! The same ids at all nodes, and a client that moves between them.

use crate::broker::Broker;
use crate::node::{Node, epoch, take};
use crate::servers;

/// The places of all servers.
fn every() -> std::ops::Range<usize> {
    0..servers::packages().len()
}

/// One node of each framework.
fn all(bus: &str) -> Vec<Node> {
    let nodes: Vec<_> = every().map(|server| Node::start(server, bus, &[])).collect();
    nodes.iter().for_each(Node::until_ready);
    nodes
}

#[test]
fn frameworks_share_topics_and_ids_and_a_client_moves_between_them() {
    let broker = Broker::start("ids");
    let nodes = all(&broker.url());
    let mut live: Vec<_> = nodes.iter().map(|node| node.read("news", None)).collect();
    let mut published = Vec::new();
    for n in 0..3 * nodes.len() {
        let node = &nodes[n % nodes.len()];
        // Another topic in between: the numbers of one have holes.
        node.publish("other.topic", "x");
        published.push(format!("{} {n}", node.publish("news", &n.to_string())));
    }
    for reader in &mut live {
        assert_eq!(take(reader, published.len()), published);
    }

    // A client that takes two events at each node: none is lost, none comes twice.
    let mut seen =
        take(&mut nodes[0].read("news", Some(&format!("{}-0", epoch(&published[0])))), 2);
    for n in 1..published.len() / 2 {
        let last = seen.last().unwrap().split(' ').next().unwrap().to_owned();
        seen.extend(take(&mut nodes[n % nodes.len()].read("news", Some(&last)), 2));
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
    let broker = Broker::start("keys");
    let nodes = all(&broker.url());
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
