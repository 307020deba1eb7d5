//! Properties of the parser, on generated streams.
#![allow(clippy::unwrap_used)] // A test may panic, and its helpers with it.

mod oracle;

use proptest::prelude::*;

use self::oracle::{Seen, assert_same, ours};

fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Seen>, String) {
    ours(&pieces.into_iter().collect::<Vec<_>>()).unwrap()
}

/// The standard's algorithm, written down without a thought for speed or chunks.
fn model(stream: &[u8]) -> (Vec<Seen>, String) {
    let text = String::from_utf8_lossy(stream);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut seen, mut data, mut event, mut id, mut last_id) =
        (Vec::new(), String::new(), String::new(), String::new(), String::new());
    let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    for line in lines {
        if line.is_empty() {
            last_id.clone_from(&id);
            if let Some(data) = data.strip_suffix('\n') {
                let name = if event.is_empty() { "message" } else { &event };
                seen.push(Seen::Event(name.to_owned(), data.to_owned(), last_id.clone()));
            }
            data.clear();
            event.clear();
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" => seen.push(Seen::Comment(value.to_owned())),
            "data" => data += &(value.to_owned() + "\n"),
            "event" => value.clone_into(&mut event),
            "id" if !value.contains('\0') => value.clone_into(&mut id),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                seen.push(Seen::Retry(value.parse().unwrap_or(u128::from(u64::MAX))));
            }
            _ => {}
        }
    }
    (seen, last_id)
}

/// Bytes that look like a stream: whole fields, pieces of them, and what decoders stumble over.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        &b"data"[..],
        b"data: ",
        b"data:",
        b"event: ",
        b"event:",
        b"event",
        b"id: ",
        b"id:",
        b"id",
        b"retry: ",
        b"retry:",
        b":",
        b": ",
        b" ",
        b"da",
        b"even",
        b"retr",
        b"i",
        b"\n",
        b"\n",
        b"\n\n",
        b"\r",
        b"\r",
        b"\r\n",
        b"\r\n",
        b"\0",
        b"7",
        b"12",
        b"x",
        b"hello",
        b"\xef\xbb\xbf",
        b"\xef",
        b"\xbb",
        b"\xbf",
        b"\xff",
        b"\xc3",
        b"\xa9",
        b"\xe2\x82",
        b"\xac",
        b"\xf0\x9f\x98",
        b"\x80",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b":\n\n",
        b"data: a\n\n",
        b"id: 1\ndata: b\r\n\r\n",
    ]);
    prop::collection::vec(pieces, 0..60).prop_map(|pieces| pieces.concat())
}

fn chunks<'a>(mut stream: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for size in sizes {
        let (chunk, rest) = stream.split_at((*size).min(stream.len()));
        chunks.push(chunk);
        stream = rest;
    }
    chunks.push(stream);
    chunks
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_what_the_standard_says(
        stream in stream(),
        sizes in prop::collection::vec(0usize..9, 0..80),
    ) {
        let expected = model(&stream);
        prop_assert_eq!(parse([&stream[..]]), expected.clone());
        prop_assert_eq!(parse(stream.chunks(1)), expected.clone());
        prop_assert_eq!(parse(chunks(&stream, &sizes)), expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        stream in prop::collection::vec(any::<u8>(), 0..400),
        sizes in prop::collection::vec(0usize..40, 0..20),
    ) {
        let expected = model(&stream);
        prop_assert_eq!(parse(chunks(&stream, &sizes)), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn sse_core_sees_the_same(
        stream in stream(),
        sizes in prop::collection::vec(0usize..20, 0..40),
    ) {
        assert_same(&chunks(&stream, &sizes));
    }
}
