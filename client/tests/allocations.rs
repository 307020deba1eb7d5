//! Once its buffers have grown, the parser allocates nothing, whatever it reads.
//!
//! `unsafe`: counting allocations takes a global allocator, and `GlobalAlloc` is an unsafe trait.
//! This one passes each call on to the system's allocator, unchanged.
#![allow(clippy::unwrap_used)] // A test may panic, and its helpers with it.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use client::Parser;

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

/// Parses the stream in chunks of this size; returns how many items there were.
fn parse(parser: &mut Parser, stream: &[u8], chunk: usize) -> usize {
    let mut items = 0;
    for bytes in stream.chunks(chunk) {
        parser.push(bytes);
        while parser.next_item().unwrap().is_some() {
            items += 1;
        }
    }
    items
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
        let mut parser = Parser::new();
        let warm_up = parse(&mut parser, &stream, chunk);
        let before = ALLOCATIONS.get();
        let items = parse(&mut parser, &stream, chunk);
        assert_eq!(ALLOCATIONS.get() - before, 0, "chunks of {chunk}");
        assert_eq!((items, items > 100), (warm_up, true));
    }
    assert!(ALLOCATIONS.get() > 0, "the counter counts");
}
