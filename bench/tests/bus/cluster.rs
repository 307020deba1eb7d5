//! Three brokers that keep three copies, one of which is killed, or loses its copy.

use std::thread;

use crate::broker::{self, Broker};
use crate::node::{Node, take};

#[test]
fn of_three_brokers_one_may_die() {
    let mut brokers = broker::three("three");
    let bus = brokers.each_ref().map(Broker::url).join(",");
    let copies = ["--bus-replicas", "3"];
    let nodes = [0, 2, 3].map(|name| Node::ready(name, &bus, &copies));
    let mut readers = nodes.each_ref().map(|node| node.read("t", None));
    let publish = |range: std::ops::Range<usize>| -> Vec<String> {
        let one = |n: usize| {
            let id = nodes[n % nodes.len()].publish_once("t", &n.to_string(), &n.to_string());
            format!("{id} {n}")
        };
        range.map(one).collect()
    };
    let mut published = publish(0..20);
    for broker in brokers.iter_mut().take(2) {
        let from = published.len();
        broker.kill().unwrap();
        published.extend(publish(from..from + 20));
        broker.start_again().unwrap();
        broker.until_whole(3).unwrap();
    }
    // Each acknowledged one is there once, in the order of the acknowledgements, at all nodes.
    thread::scope(|scope| {
        for reader in &mut readers {
            scope.spawn(|| assert_eq!(take(reader, published.len()), published));
        }
    });
    nodes.iter().for_each(Node::until_ready);
    let half = published[29].split(' ').next().unwrap();
    for node in &nodes {
        assert_eq!(take(&mut node.read("t", Some(half)), 30), published[30..]);
    }
}

#[test]
fn of_three_brokers_one_may_lose_its_store() {
    let mut brokers = broker::three("lost-store");
    let bus = brokers.each_ref().map(Broker::url).join(",");
    let copies = ["--bus-replicas", "3"];
    let node = Node::ready(0, &bus, &copies);
    let publish = |n: usize| {
        let text = n.to_string();
        format!("{} {n}", node.publish_once("t", &text, &text))
    };
    let mut published: Vec<String> = (0..20).map(publish).collect();
    brokers[0].kill().unwrap();
    brokers[0].lose_store().unwrap();
    published.extend((20..40).map(publish));
    brokers[0].start_again().unwrap();
    brokers[0].until_whole(3).unwrap();
    // From now on a majority has the broker with the new copy in it.
    brokers[1].kill().unwrap();
    published.extend((40..60).map(publish));
    // A node without a memory of them reads all from the stream.
    let late = Node::ready(3, &bus, &copies);
    let first = published[0].split(' ').next().unwrap();
    assert_eq!(take(&mut late.read("t", Some(first)), 59), published[1..]);
}
