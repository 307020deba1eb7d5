//! Category 7: one message, many streams.

use std::thread;

use crate::conformance::expect::{ensure, equal, pass};
use crate::conformance::topic::Topic;
use crate::conformance::{Case, Level, Need, Outcome, Target};
use crate::wire::{self, Event};

/// The parallel publishers of S7.04.
const PUBLISHERS: usize = 4;
/// The messages of each.
const MESSAGES_EACH: usize = 25;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S7.01",
        slug: "two-equal",
        level: Level::MustContract,
        source: "contract: every open stream of a topic gets every message",
        needs: &[Need::Topics],
        claim: "Two streams of a topic get the same 100 events under the same ids.",
        run: |target| {
            let topic = Topic::new(target, "two-equal");
            let mut streams = [topic.subscribe(None)?, topic.subscribe(None)?];
            topic.publish((0..100).map(|n| format!("m{n}")))?;
            let [first, second] = &mut streams;
            let (first, second) = (first.take(100)?, second.take(100)?);
            equal("the other stream's events", &second, &first)?;
            let expected: Vec<_> = (0..100).map(|n| format!("m{n}")).collect();
            equal("data", &data_of(&first), &expected)?;
            pass()
        },
    },
    Case {
        id: "S7.02",
        slug: "late-joiner",
        level: Level::MustContract,
        source: "contract: without Last-Event-ID a stream is live only",
        needs: &[Need::Topics],
        claim: "A stream that joins late without Last-Event-ID gets later events only.",
        run: |target| {
            let topic = Topic::new(target, "late-joiner");
            topic.publish((0..50).map(|n| format!("m{n}")))?;
            let mut late = topic.subscribe(None)?;
            topic.publish(["m50", "m51"])?;
            equal("data", data_of(&late.take(2)?).as_slice(), &["m50".into(), "m51".into()])?;
            pass()
        },
    },
    Case {
        id: "S7.03",
        slug: "isolation",
        level: Level::MustContract,
        source: "contract: a topic is its name",
        needs: &[Need::Topics],
        claim: "A message reaches the streams of its own topic only.",
        run: |target| {
            let (one, other) = (Topic::new(target, "one"), Topic::new(target, "other"));
            let mut stream = one.subscribe(None)?;
            let mut other_stream = other.subscribe(None)?;
            other.publish(["for the other"])?;
            one.publish(["for one"])?;
            equal("the first message", stream.take(1)?[0].data.as_str(), "for one")?;
            let of_other = &other_stream.take(1)?[0].data;
            equal("the other's first message", of_other.as_str(), "for the other")?;
            pass()
        },
    },
    Case {
        id: "S7.04",
        slug: "publisher-order",
        level: Level::MustContract,
        source: "contract: one order for a topic",
        needs: &[Need::Topics],
        claim: "The messages of each of four parallel publishers arrive in the order it sent them.",
        run: publisher_order,
    },
];

fn publisher_order(target: &Target) -> Outcome {
    let topic = Topic::new(target, "publisher-order");
    let mut stream = topic.subscribe(None)?;
    thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|p| {
                let topic = &topic;
                scope.spawn(move || topic.publish((0..MESSAGES_EACH).map(|n| format!("{p} {n}"))))
            })
            .collect();
        let joined = publishers.into_iter().map(|it| it.join().expect("nothing here panics"));
        joined.collect::<wire::Result<Vec<_>>>()
    })?;
    let data = data_of(&stream.take(PUBLISHERS * MESSAGES_EACH)?);
    for p in 0..PUBLISHERS {
        let prefix = format!("{p} ");
        let received: Vec<_> = data.iter().filter_map(|it| it.strip_prefix(&prefix)).collect();
        let sent: Vec<_> = (0..MESSAGES_EACH).map(|n| n.to_string()).collect();
        ensure(
            received == sent,
            format!("the messages of publisher {p} in order: 0 to {}", MESSAGES_EACH - 1),
            format!("{received:?}"),
        )?;
    }
    pass()
}

fn data_of(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.data.clone()).collect()
}
