//! Three brokers that keep three copies, one of which is killed, or loses its copy.

use std::thread;

use fleet::eventually;

use crate::broker::{self, Broker};
use crate::lag::Lag;
use crate::node::{LOOK, Node, PATIENCE, epoch, take};

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

/// A leader that was just elected may lack the newest messages for a moment.
#[test]
fn a_reader_that_is_ahead_of_a_broker_waits_for_it() {
    let brokers = broker::three("behind");
    let copies = ["--bus-replicas", "3"];
    let ahead = Node::ready(3, &brokers[0].url(), &copies);
    for server in [2, 0] {
        let lag = Lag::before(brokers[1].port());
        let node = Node::ready(server, &lag.url(), &copies);
        let topic = format!("t{server}");
        let first = ahead.publish(&topic, "first");
        assert_eq!(
            take(&mut node.read(&topic, Some(&before(&first))), 1),
            [format!("{first} first")]
        );
        lag.begin(number(&first));
        let second = ahead.publish(&topic, "second");
        let mut moved = node.read(&topic, Some(&second));
        // The broker has told the node that there is no such message.
        eventually(PATIENCE, LOOK, || if lag.described() > 0 { Ok(()) } else { Err(()) }).unwrap();
        lag.end();
        let third = ahead.publish(&topic, "third");
        assert_eq!(take(&mut moved, 1), [format!("{third} third")], "no reset, and no event again");
    }
}

fn number(id: &str) -> u64 {
    id.rsplit_once('-').unwrap().1.parse().unwrap()
}

/// The id before this one.
fn before(id: &str) -> String {
    format!("{}-{}", epoch(id), number(id) - 1)
}
