//! Our parser against sse-core, on arbitrary bytes in arbitrary pieces.
//!
//! The input: a count, as many sizes of pieces, and the stream.
#![no_main]

#[path = "../../tests/oracle/mod.rs"]
mod oracle;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((count, rest)) = input.split_first() else { return };
    let (sizes, mut stream) = rest.split_at(rest.len().min(usize::from(count % 64)));
    let mut pieces = Vec::new();
    for size in sizes {
        let (piece, rest) = stream.split_at(stream.len().min(usize::from(*size)));
        pieces.push(piece);
        stream = rest;
    }
    pieces.push(stream);
    oracle::assert_same(&pieces);
});
