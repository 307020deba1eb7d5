//! Losses of the stream are reported, and events older than a node's ring are read from the stream.

use serde_json::json;

use crate::broker::{self, succeeded};
use crate::node::{Node, take};

const POSSIBLE: &str = "gap {\"possible\":true}";
/// Three events of a topic, in the stream and in the rings.
const RETAIN: [&str; 2] = ["--retain", "3"];

#[test]
fn an_id_older_than_the_ring_is_served_from_the_stream() {
    let broker = broker::start("older");
    let writer = Node::ready(2, &broker.url(), &RETAIN);
    for server in [5, 0] {
        let topic = format!("t{server}");
        let ids = ["1", "2", "3"].map(|text| writer.publish(&topic, text));
        (0..5).for_each(|n| _ = writer.publish("busy", &n.to_string()));
        // A node that starts now reads the newest three events of the stream, all of the other topic.
        let late = Node::ready(server, &broker.url(), &RETAIN);
        let mut reader = late.read(&topic, Some(&ids[0]));
        assert_eq!(take(&mut reader, 2), [format!("{} 2", ids[1]), format!("{} 3", ids[2])]);
        assert_eq!(late.metric("sse_bus_resumed_total"), 1);
        let next = late.publish(&topic, "next");
        assert_eq!(take(&mut reader, 1), [format!("{next} next")], "no seam behind them");
    }
}

#[test]
fn what_was_evicted_or_purged_is_reported_as_possibly_missing() {
    let broker = broker::start("gone");
    let writer = Node::ready(1, &broker.url(), &RETAIN);
    let ids: Vec<_> = (0..6).map(|n| writer.publish("t", &n.to_string())).collect();
    let all = |from: usize| (from..6).map(|n| format!("{} {n}", ids[n])).collect::<Vec<_>>();
    for server in [3, 0] {
        let late = Node::ready(server, &broker.url(), &RETAIN);
        // The event of this id is there, so none behind it is gone.
        assert_eq!(take(&mut late.read("t", Some(&ids[3])), 2), all(4));
        // It is gone, and with it event 2.
        let mut evicted = late.read("t", Some(&ids[1]));
        assert_eq!(take(&mut evicted, 4), [vec![POSSIBLE.into()], all(3)].concat());
    }

    succeeded(&broker.ask("STREAM.PURGE.sse", &json!({})).unwrap());
    let late = Node::ready(4, &broker.url(), &RETAIN);
    let mut purged = late.read("t", Some(&ids[4]));
    assert_eq!(take(&mut purged, 1), [POSSIBLE]);
    let next = late.publish("t", "next");
    assert_eq!(take(&mut purged, 1), [format!("{next} next")]);
    // An id of the future is not ours.
    let (epoch, _) = next.rsplit_once('-').unwrap();
    let mut future = late.read("t", Some(&format!("{epoch}-1000000")));
    assert_eq!(take(&mut future, 2), ["gap {\"reset\":true}".into(), format!("{next} next")]);
}

#[test]
fn a_node_that_was_held_reports_what_it_never_saw() {
    let broker = broker::start("held");
    let writer = Node::ready(5, &broker.url(), &RETAIN);
    let held = Node::ready(2, &broker.url(), &RETAIN);
    let mut reader = held.read("t", None);
    let first = writer.publish("t", "first");
    assert_eq!(take(&mut reader, 1), [format!("{first} first")]);
    held.hang();
    // More than a node has on its way at once, so that it can never see them all.
    let ids: Vec<_> = (0..600).map(|n| writer.publish("t", &n.to_string())).collect();
    held.go_on();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last: &String| !last.ends_with(" 599")) {
        seen.extend(take(&mut reader, 1));
    }
    let gaps = seen.iter().filter(|line| *line == POSSIBLE).count();
    assert!(gaps >= 1, "600 were published and {} came, without a word", seen.len());
    let messages: Vec<_> = seen.iter().filter(|line| !line.starts_with("gap ")).collect();
    assert!(messages.len() < 600);
    let known = |line: &String| ids.iter().any(|id| line.starts_with(&format!("{id} ")));
    assert!(messages.into_iter().all(known));
    assert!(held.metric("sse_bus_holes_total") > 0);
}

#[test]
fn events_that_go_while_a_reader_catches_up_are_reported() {
    const COUNT: usize = 60;
    let retain = ["--retain", "60"];
    let broker = broker::start("chased");
    let writer = Node::ready(2, &broker.url(), &retain);
    // Events so large that most of them wait in the stream for a reader that does not read.
    let text = |n: usize| format!("{n} {}", "x".repeat(60_000));
    for server in [3, 0] {
        let topic = format!("t{server}");
        let publish = |n: usize| writer.publish(&topic, &text(n));
        let ids: Vec<_> = (0..COUNT).map(publish).collect();
        (0..COUNT).for_each(|n| _ = writer.publish("busy", &n.to_string()));
        // A node that starts now has the other topic in its rings.
        let late = Node::ready(server, &broker.url(), &retain);
        let mut reader = late.read(&topic, Some(&ids[0]));
        let mut seen = take(&mut reader, 1);
        let ids: Vec<_> = (COUNT..2 * COUNT).map(publish).collect();
        while !seen.last().unwrap().starts_with(&ids[COUNT - 1]) {
            seen.extend(take(&mut reader, 1));
        }
        let mut next = 1;
        for (before, line) in std::iter::once(&String::new()).chain(&seen).zip(&seen) {
            if line == POSSIBLE {
                continue;
            }
            let number: usize = line.split(' ').nth(1).unwrap().parse().unwrap();
            assert!(number == next || before == POSSIBLE, "{next} to {number}, without a word");
            next = number + 1;
        }
        assert!(seen.iter().any(|line| line == POSSIBLE), "all came: nothing was tried");
    }
}
