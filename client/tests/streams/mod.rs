//! The streams that the parser is measured on: by tests for allocations and for bytes examined, by
//! benchmarks for time and for instructions.
#![allow(dead_code)] // Each test that includes it uses a part.

/// Bytes in one Ethernet segment: the pieces in which a stream arrives over a network.
const SEGMENT_BYTES: usize = 1460;
/// Bytes that an HTTP client or a TLS record hands over at once.
const RECORD_BYTES: usize = 16 << 10;

/// How a stream is cut into pieces: a name for reports, and the size of a piece.
pub type Cut = (&'static str, usize);

const CUTS: &[Cut] = &[("whole", usize::MAX), ("1460 B", SEGMENT_BYTES), ("16 KiB", RECORD_BYTES)];

/// A stream, and its content.
pub struct Fixture {
    /// For reports, and to choose a benchmark by.
    pub name: &'static str,
    /// The bytes on the wire.
    pub stream: Vec<u8>,
    /// How many events are dispatched.
    pub events: usize,
    /// How many blocks it has: with those that dispatch nothing.
    pub blocks: usize,
    /// The cuts it is measured with.
    pub cuts: &'static [Cut],
}

/// All of them.
pub fn fixtures() -> Vec<Fixture> {
    let line = "data:   \"name\": \"a member of pretty-printed JSON\",\n".repeat(20);
    let large = "0123456789abcdef".repeat(40 << 10 >> 4);
    vec![
        events("tick", 1000, |n| format!("id: {0}\ndata: Hello! This is event {0}\n\n", n % 10)),
        events("token", 1000, |n| {
            format!(
                "data: {{\"id\":\"chatcmpl-8f2k\",\"object\":\"chat.completion.chunk\",\
                 \"created\":1763638496,\"model\":\"m-1\",\"choices\":[{{\"index\":0,\
                 \"delta\":{{\"content\":\" token\"}},\"n\":{n}}}]}}\n\n"
            )
        }),
        events("40 KiB", 16, |n| format!("id: {n}\ndata: {large}\n\n")),
        events("multi-line", 100, |n| format!("event: update\nid: {n}\n{line}\n")),
        Fixture { events: 0, ..events("keep-alive", 1000, |_| ":\n\n".into()) },
        ids(),
        events("multi-byte", 500, |n| {
            format!(
                "id: {n}\nevent: größe\ndata: 彼女は「はい」と言った。 Ça va très bien 😀 {n}\n\n"
            )
        }),
        Fixture { cuts: &[("4 B", 4)], ..long_line("256 KiB line", 256) },
        Fixture { cuts: &[("4 B", 4)], ..long_line("16 KiB line", 16) },
        Fixture {
            cuts: &[("whole", usize::MAX)],
            ..events("10 000 events", 10_000, |n| {
                format!("id: {n}\ndata: Hello! This is event {n}\n\n")
            })
        },
    ]
}

fn events(name: &'static str, count: usize, event: impl Fn(usize) -> String) -> Fixture {
    let stream = (0..count).map(event).collect::<String>().into_bytes();
    Fixture { name, stream, events: count, blocks: count, cuts: CUTS }
}

/// Blocks that set an id and dispatch nothing; the event at the end shows the last id.
fn ids() -> Fixture {
    let mut ids = events("ids only", 1000, |n| format!("id: {}\n\n", 100_000 + n));
    ids.stream.extend(b"data: end\n\n");
    Fixture { events: 1, blocks: ids.blocks + 1, ..ids }
}

/// A line that must not be searched again from its start with each piece.
fn long_line(name: &'static str, kib: usize) -> Fixture {
    events(name, 1, |_| format!("data: {}\n\n", "x".repeat(kib << 10)))
}
