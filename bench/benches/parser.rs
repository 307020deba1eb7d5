//! The parser on what servers really send, whole and in TCP segments.
//!
//! `cargo bench -p sse-bench --bench parser`

use std::hint::black_box;

use client::{Item, Parser};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// What one Ethernet segment carries: the pieces in which a stream arrives over a network.
const SEGMENT_BYTES: usize = 1460;

struct Fixture {
    name: &'static str,
    bytes: Vec<u8>,
    events: usize,
}

fn fixtures() -> Vec<Fixture> {
    let repeat = |name, events: usize, event: &dyn Fn(usize) -> String| Fixture {
        name,
        bytes: (1..=events).map(event).collect::<String>().into_bytes(),
        events,
    };
    vec![
        repeat("tick", 1000, &|n| format!("id: {n}\ndata: Hello! This is event {n}\n\n")),
        repeat("json_token", 1000, &|n| {
            format!(
                "data: {{\"id\":\"chatcmpl-8f2k\",\"object\":\"chat.completion.chunk\",\
                 \"created\":1763638496,\"choices\":[{{\"index\":{n},\
                 \"delta\":{{\"content\":\" été\"}}}}]}}\n\n"
            )
        }),
        repeat("multi_line", 100, &|n| {
            let line = format!("data: line of event {n}, as pretty-printed JSON has many of\n");
            format!("event: update\nid: {n}\n{}\n", line.repeat(20))
        }),
        // An unfinished line must not be searched again from its start with each piece.
        repeat("one_mebibyte_line", 1, &|_| format!("data: {}\n\n", "x".repeat(1 << 20))),
        Fixture { name: "keep_alive", bytes: b":\n\n".repeat(1000), events: 0 },
    ]
}

fn parse(parser: &mut Parser, pieces: &[&[u8]]) -> usize {
    let mut events = 0;
    for piece in pieces {
        parser.push(piece);
        while let Some(item) = parser.next_item().expect("no fixture is past a limit") {
            events += usize::from(matches!(black_box(item), Item::Event(_)));
        }
    }
    events
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parser");
    for fixture in fixtures() {
        group.throughput(Throughput::Bytes(fixture.bytes.len() as u64));
        let cuts = [("whole", fixture.bytes.len()), ("segments", SEGMENT_BYTES)];
        for (cut, size) in cuts {
            let pieces: Vec<&[u8]> = fixture.bytes.chunks(size).collect();
            // A fast wrong answer is no result.
            assert_eq!(parse(&mut Parser::new(), &pieces), fixture.events, "{}", fixture.name);
            let mut parser = Parser::new();
            group.bench_function(BenchmarkId::new(fixture.name, cut), |bencher| {
                bencher.iter(|| parse(&mut parser, &pieces));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
