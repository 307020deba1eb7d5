//! A topic: one message published, and taken by each of its cursors.
//!
//! `cargo bench -p sse-bench --bench fan_out`

use std::hint::black_box;
use std::sync::Arc;
use std::task::Waker;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use feed::clock::Now;
use feed::source::{Sleeper, Source, SourcePoll};
use feed::topic::{Retention, Subscription, Topic};

/// As a server has it by default.
const RETENTION: Retention = Retention { events: 1024, bytes: 8 << 20 };

/// Publishes one message to cursors that sleep; returns how many events they took.
fn fan_out(topic: &Topic, cursors: &mut [(Sleeper, Subscription)], data: &str) -> usize {
    topic.publish(data.to_owned());
    let mut taken = 0;
    for (sleeper, cursor) in cursors {
        sleeper.sleep();
        while let SourcePoll::Shared { encoded: event, .. } = black_box(cursor.poll(Now::default()))
        {
            black_box(event.frame());
            taken += 1;
        }
    }
    taken
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_out");
    for count in [1, 100, 1000] {
        let topic = Arc::new(Topic::new("0a1b2c3d".into(), RETENTION, Arc::default()));
        let cursor = |_| {
            let (sleeper, mut cursor) = (Sleeper::from(Waker::noop()), topic.subscribe(None));
            cursor.set_sleeper(&sleeper);
            (sleeper, cursor)
        };
        let mut cursors: Vec<_> = (0..count).map(cursor).collect();
        let data = "{\"n\":7,\"scheduled_ns\":1763638496000000000,\"pad\":\"\"}";
        assert_eq!(fan_out(&topic, &mut cursors, data), count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| fan_out(&topic, &mut cursors, data));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
