//! The parser's time is in proportion to the bytes, at sizes where copying or searching again what
//! has come before would show.
#![allow(clippy::unwrap_used)] // A test may panic, and its helpers with it.

use std::time::Duration;

use client::{Item, Parser};
use rustix::time::{ClockId, clock_gettime};

/// As much as a TCP segment of an Ethernet carries.
const PIECE: usize = 1460;
const MIB: usize = 1 << 20;

/// The CPU time of this thread; other processes do not count.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// The least time of five for an event of these data lines, in pieces.
fn least(line: &str, lines: usize) -> Duration {
    let stream = format!("data: {line}\n").repeat(lines) + "\n";
    let took = || {
        let mut parser = Parser::new();
        let start = cpu_time();
        let mut sizes = Vec::new();
        for piece in stream.as_bytes().chunks(PIECE) {
            parser.push(piece);
            while let Some(Item::Event(event)) = parser.next_item().unwrap() {
                sizes.push(event.data.len());
            }
        }
        let took = cpu_time() - start;
        assert_eq!(sizes, [(line.len() + 1) * lines - 1]);
        took
    };
    (0..5).map(|_| took()).min().unwrap()
}

#[test]
fn twice_the_bytes_take_no_more_than_three_times_as_long() {
    let one_line = |mib: usize| least(&"x".repeat(mib * MIB), 1);
    let many_lines = |mib: usize| least(&"x".repeat(1023), mib * 1024);
    for (name, time) in [("one line", &one_line as &dyn Fn(usize) -> _), ("lines", &many_lines)] {
        let (short, long) = (time(4), time(8));
        assert!(long < 3 * short, "{name}: {short:?} for 4 MiB, {long:?} for 8 MiB");
    }
}
