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

/// A round that takes longer is sure of the last place: ten samples of it will do.
const SLOW_ROUND: Duration = Duration::from_millis(20);

/// More pieces than this make a line that a parser which is not linear does not get: it takes more
/// than ten seconds for 256 KiB in fours. A shorter line of the same shape shows how it does.
const MOST_PIECES: usize = 10_000;

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

/// Reads all pieces once; notes the events if that is asked for.
///
/// It is compiled once for each parser, as in a program that reads its streams in one place. A
/// second copy would keep the compiler from inlining, and sse-stream would take a quarter longer.
#[inline(never)]
fn round<'a, S: Subject<'a>>(subject: &mut S, seen: &mut Option<Vec<Seen>>) {
    subject.round(|event, data, id| {
        if let Some(seen) = seen {
            seen.push((event.into(), data.into(), id.into()));
        }
        black_box((event, data, id));
    });
}

fn seen<'a, S: Subject<'a>>(pieces: &'a [Bytes]) -> Vec<Seen> {
    let mut seen = Some(Vec::new());
    round(&mut S::new(pieces), &mut seen);
    seen.unwrap_or_default()
}

fn measure<'a, S: Subject<'a>>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    pieces: &'a [Bytes],
    expected: &[Seen],
) {
    if !S::LINEAR && pieces.len() > MOST_PIECES {
        return;
    }
    // A fast wrong answer is no result.
    let start = Instant::now();
    assert!(seen::<S>(pieces) == expected, "{} sees other events", S::NAME);
    group.sample_size(if start.elapsed() > SLOW_ROUND { 10 } else { 50 });
    let mut subject = S::new(pieces);
    group.bench_function(BenchmarkId::from_parameter(S::NAME), |bencher| {
        bencher.iter(|| round(&mut subject, &mut None));
    });
}
