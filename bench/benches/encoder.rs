//! The servers' encoder: one event to bytes.
//!
//! `cargo bench -p sse-bench --bench encoder`

use client::{Item, Parser};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use feed::Event;
use feed::wire::encode;

/// An event, and the data that a client must read back.
fn fixtures() -> Vec<(&'static str, Event, String)> {
    let tick = "Hello! This is event 7".to_owned();
    let token = "{\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":\
                 {\"content\":\" été\"}}]}"
        .to_owned();
    let lines = vec!["a line of pretty-printed JSON, of which there are many"; 20].join("\n");
    let large = "x".repeat(64 * 1024);
    let full =
        |data: &String| Event::data(data.as_str()).with_id("0a1b2c3d-7").with_event("message");
    vec![
        ("tick", Event::data(tick.as_str()).with_id(7), tick),
        ("json_token", full(&token), token),
        ("multi_line", full(&lines), lines.clone()),
        // The repair of line ends must not cost more than finding them.
        ("crlf", full(&lines.replace('\n', "\r\n")), lines),
        ("largest_message", full(&large), large),
    ]
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encoder");
    for (name, event, data) in fixtures() {
        let frame = encode(&event);
        let mut parser = Parser::new();
        parser.push(&frame);
        match parser.next_item() {
            Ok(Some(Item::Event(read))) => assert_eq!(read.data, data, "{name}"),
            other => panic!("{name} is read back as {other:?}"),
        }
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| encode(&event));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
