//! Once its buffers have grown, the parser allocates nothing, whatever it reads.
//!
//! `unsafe`: counting allocations takes a global allocator, and `GlobalAlloc` is an unsafe trait.
//! This one passes each call on to the system's allocator, unchanged.
#![allow(clippy::unwrap_used)] // A test may panic, and its helpers with it.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

mod streams;

use client::Parser;

use self::streams::fixtures;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: all methods are the system allocator's own; the counter is a plain thread-local cell that
// neither allocates nor needs a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How the parser is given its bytes.
#[derive(Clone, Copy, Debug)]
enum By {
    Parse,
    Push,
}

/// Parses the stream in chunks of this size; returns how many items there were.
fn parse(by: By, parser: &mut Parser, stream: &[u8], chunk: usize) -> usize {
    let mut items = 0;
    for mut bytes in stream.chunks(chunk) {
        match by {
            By::Parse => {
                while parser.parse(&mut bytes).unwrap().is_some() {
                    items += 1;
                }
            }
            By::Push => {
                parser.push(bytes);
                while parser.next_item().unwrap().is_some() {
                    items += 1;
                }
            }
        }
    }
    items
}

/// Parses the stream until all buffers have grown, and then without one allocation.
fn check(by: By, stream: &[u8], chunk: usize, name: &str) -> usize {
    let mut parser = Parser::new();
    // Twice, as two buffers take turns.
    let warm_up = parse(by, &mut parser, stream, chunk);
    assert_eq!(parse(by, &mut parser, stream, chunk), warm_up);
    let before = ALLOCATIONS.get();
    let items = parse(by, &mut parser, stream, chunk);
    assert_eq!(ALLOCATIONS.get() - before, 0, "{name} in chunks of {chunk}, by {by:?}");
    assert_eq!(items, warm_up);
    assert!(ALLOCATIONS.get() > 0, "the counter counts");
    items
}

#[test]
fn no_fixture_makes_it_allocate() {
    for fixture in fixtures() {
        for (_, size) in fixture.cuts.iter().copied().chain([("", 1)]) {
            let chunk = size.min(fixture.stream.len());
            for by in [By::Parse, By::Push] {
                let items = check(by, &fixture.stream, chunk, fixture.name);
                assert!(items >= fixture.events);
            }
        }
    }
}

#[test]
fn steady_state_allocates_nothing() {
    let stream = "id: 1\ndata: Hello! This is event 1\n\n\
        event: lines\ndata: a\ndata: b\r\ndata: c\n\n\
        : keep-alive\n\nretry: 5\n\nid: \u{65e5}\u{672c}\nunknown: x\ndata: \u{1f600}\n\n"
        .repeat(20);
    let malformed = b"data: \xff\xf0\x9f\n\nid\n\ndata: \xe2\n\n".repeat(20);
    let stream = [stream.as_bytes(), &malformed].concat();
    for chunk in [1, 3, 64, 1460, stream.len()] {
        for by in [By::Parse, By::Push] {
            assert!(check(by, &stream, chunk, "everything") > 100);
        }
    }
}
