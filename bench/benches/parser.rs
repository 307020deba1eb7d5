//! The parser beside four others, on what servers really send.
//!
//! ```sh
//! cargo bench -p sse-bench --bench parser
//! cargo run --release -p sse-bench --example parser_table
//! ```
//!
//! The second command prints the last run as a table. A part of it: `cargo bench … -- 'tick/whole'`.

#[path = "../../client/tests/streams/mod.rs"]
mod streams;
#[path = "parser/subjects.rs"]
mod subjects;

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};

use self::streams::{Cut, Fixture, fixtures};
use self::subjects::{EventsourceStream, Ours, SseCore, SseStream, Sseer, Subject};

/// A round that takes longer is quadratic and sure of the last place: ten samples of it will do.
const SLOW_ROUND: Duration = Duration::from_millis(20);

/// An event's type, data and last event id.
type Seen = (String, String, String);

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for fixture in fixtures() {
        for cut in fixture.cuts {
            compare(&mut criterion, &fixture, *cut);
        }
    }
    criterion.final_summary();
}

fn compare(criterion: &mut Criterion, fixture: &Fixture, (cut, piece_bytes): Cut) {
    let stream = Bytes::copy_from_slice(&fixture.stream);
    let starts = (0..stream.len()).step_by(piece_bytes.min(stream.len()));
    let pieces: Vec<Bytes> = starts
        .map(|start| stream.slice(start..stream.len().min(start.saturating_add(piece_bytes))))
        .collect();
    let expected = seen::<Ours<'_>>(&pieces);
    assert_eq!(expected.len(), fixture.events, "{}", fixture.name);

    let mut group = criterion.benchmark_group(format!("parser/{}/{cut}", fixture.name));
    group.throughput(Throughput::ElementsAndBytes {
        elements: fixture.blocks as u64,
        bytes: stream.len() as u64,
    });
    measure::<Ours<'_>>(&mut group, &pieces, &expected);
    measure::<SseCore<'_>>(&mut group, &pieces, &expected);
    measure::<SseStream<'_>>(&mut group, &pieces, &expected);
    measure::<Sseer<'_>>(&mut group, &pieces, &expected);
    measure::<EventsourceStream<'_>>(&mut group, &pieces, &expected);
    group.finish();
}

fn seen<'a, S: Subject<'a>>(pieces: &'a [Bytes]) -> Vec<Seen> {
    let mut seen = Vec::new();
    S::new(pieces).round(|event, data, id| seen.push((event.into(), data.into(), id.into())));
    seen
}

fn measure<'a, S: Subject<'a>>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    pieces: &'a [Bytes],
    expected: &[Seen],
) {
    // A fast wrong answer is no result.
    let start = Instant::now();
    assert!(seen::<S>(pieces) == expected, "{} sees other events", S::NAME);
    group.sample_size(if start.elapsed() > SLOW_ROUND { 10 } else { 50 });
    let mut subject = S::new(pieces);
    group.bench_function(BenchmarkId::from_parameter(S::NAME), |bencher| {
        bencher.iter(|| {
            subject.round(|event, data, id| {
                black_box((event, data, id));
            });
        });
    });
}
