#[path = "../../tests/streams/mod.rs"]
mod streams;

use super::*;

/// An [`Item`], owned.
#[derive(Debug, PartialEq)]
enum Seen {
    Event(String, String, String),
    Comment(String),
    Retry(u64),
}

fn event(event: &str, data: &str, id: &str) -> Seen {
    Seen::Event(event.to_owned(), data.to_owned(), id.to_owned())
}

fn drain(parser: &mut Parser) -> Result<Vec<Seen>, ParseError> {
    let mut seen = Vec::new();
    while let Some(item) = parser.next_item()? {
        seen.push(match item {
            Item::Event(e) => event(e.event, e.data, e.last_event_id),
            Item::Comment(text) => Seen::Comment(text.to_owned()),
            Item::Retry(delay) => Seen::Retry(delay.as_millis() as u64),
        });
    }
    Ok(seen)
}

fn parse(parser: &mut Parser, bytes: &[u8]) -> Vec<Seen> {
    parser.push(bytes);
    drain(parser).unwrap()
}

#[test]
fn items_come_in_the_order_of_the_stream() {
    let mut parser = Parser::new();
    let seen = parse(&mut parser, b":a\nretry: 5\nid: 1\ndata: x\n:b\n\nevent: e\ndata: y\n\n");
    let comment = |text: &str| Seen::Comment(text.to_owned());
    let expected = [
        comment("a"),
        Seen::Retry(5),
        comment("b"),
        event("message", "x", "1"),
        event("e", "y", "1"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(parser.retry(), Some(Duration::from_millis(5)));
}

#[test]
fn a_comment_between_the_lines_of_an_event_does_not_disturb_it() {
    let mut parser = Parser::new();
    for line in ["event: e\n", ":\n", "data: a\n", ":\n", "data: b\n", ":\n", "id: 1\n", ":\n"] {
        parse(&mut parser, line.as_bytes());
    }
    assert_eq!(parse(&mut parser, b"\n"), [event("e", "a\nb", "1")]);
}

#[test]
fn a_keep_alive_ends_a_block_even_if_comments_are_skipped() {
    let mut parser = Parser::new().skip_comments();
    let streams = [&["data: a\n:\n\n"][..], &["data: a\n", ":\n\n"], &[":\n\n:\n\ndata: a\n\n:"]];
    for pieces in streams {
        let seen: Vec<Seen> =
            pieces.iter().flat_map(|piece| parse(&mut parser, piece.as_bytes())).collect();
        assert_eq!(seen, [event("message", "a", "")], "{pieces:?}");
    }
}

#[test]
fn a_reset_drops_the_incomplete_block_and_keeps_the_last_event_id() {
    let mut parser = Parser::new();
    parse(&mut parser, b"retry: 9\nid: 1\ndata: a\n\nid: 2\nevent: e\ndata: lost\xe2");
    parser.reset();
    assert_eq!(parser.last_event_id(), "1");
    assert_eq!(parser.retry(), Some(Duration::from_millis(9)));
    // The mark is expected again, and neither the half character nor the CR rule carries over.
    assert_eq!(parse(&mut parser, b"\xef\xbb\xbfdata: b\n\n"), [event("message", "b", "1")]);
}

#[test]
fn a_reset_forgets_that_the_last_byte_was_cr() {
    let mut parser = Parser::new();
    parse(&mut parser, b"data: a\r");
    parser.reset();
    assert_eq!(parse(&mut parser, b"\ndata: b\n\n"), [event("message", "b", "")]);
}

#[test]
fn a_mark_in_pieces_does_not_hide_that_the_first_line_is_a_void_id() {
    let mut parser = Parser::new();
    for piece in ["\u{feff}".as_bytes().split_at(1).0, &b"\xbb\xbfid: a\0\n"[..]] {
        parse(&mut parser, piece);
    }
    assert_eq!(parse(&mut parser, b"data: b\n\n"), [event("message", "b", "")]);
}

#[test]
fn an_id_that_was_set_is_the_current_one() {
    let mut parser = Parser::new();
    parser.set_last_event_id("41");
    assert_eq!(parse(&mut parser, b"data: a\n\n"), [event("message", "a", "41")]);
}

#[test]
fn a_huge_retry_is_the_largest_number() {
    let mut parser = Parser::new();
    assert_eq!(
        parse(&mut parser, b"retry: 999999999999999999999999999999\n"),
        [Seen::Retry(u64::MAX)]
    );
}

fn limited(stream: &[u8], chunk: usize) -> Result<Vec<Seen>, ParseError> {
    let mut parser = Parser::with_limits(Limits { max_event_bytes: 10 });
    let mut seen = Vec::new();
    for bytes in stream.chunks(chunk) {
        parser.push(bytes);
        seen.extend(drain(&mut parser)?);
    }
    Ok(seen)
}

#[test]
fn the_limit_holds_at_its_very_byte() {
    let too_large = Err(ParseError::EventTooLarge { max_event_bytes: 10 });
    for chunk in [1, 2, 3, 1000] {
        assert_eq!(
            limited(b"data: 0123456789\n\n", chunk),
            Ok(vec![event("message", "0123456789", "")])
        );
        assert_eq!(limited(b"data: 0123456789a\n\n", chunk), too_large);
        assert_eq!(
            limited(b"data: 0123\ndata: 56789\n\n", chunk),
            Ok(vec![event("message", "0123\n56789", "")])
        );
        assert_eq!(limited(b"data: 0123\ndata: 56789a\n\n", chunk), too_large);
        for endless in ["data: ", ":", "id: ", "event:", "retry:", "other: ", "x"] {
            let stream = endless.to_owned() + &"1".repeat(1000);
            assert_eq!(limited(stream.as_bytes(), chunk), too_large, "{endless}");
        }
    }
}

#[test]
fn an_error_stays_until_the_reset_and_names_the_limit() {
    let mut parser = Parser::with_limits(Limits { max_event_bytes: 10 });
    parser.push(b"id: 1\ndata: a\n\ndata: 0123456789a\n\ndata: b\n\n");
    assert!(matches!(parser.next_item(), Ok(Some(Item::Event(_)))));
    let error = parser.next_item().unwrap_err();
    assert_eq!(error.to_string(), "an event is larger than max_event_bytes (10)");
    assert_eq!(parser.next_item(), Err(error));
    parser.reset();
    assert_eq!(parse(&mut parser, b"data: c\n\n"), [event("message", "c", "1")]);
}

#[test]
fn an_endless_block_without_data_takes_no_memory() {
    let mut parser = Parser::new();
    parse(&mut parser, b"id: 1\nevent: e\ndata: kept\n");
    let piece = ":x\nunknown\ndat: x\nretry: 1\n".repeat(100);
    for _ in 0..1000 {
        parse(&mut parser, piece.as_bytes());
    }
    assert!(parser.buffer.capacity() < 4 * piece.len(), "{}", parser.buffer.capacity());
    assert_eq!(parse(&mut parser, b"\n"), [event("e", "kept", "1")]);
}

/// The streams of the benchmarks, and shapes that a parser might look at too often.
fn all_fixtures() -> Vec<(&'static str, Vec<u8>)> {
    let shapes = [
        ("comments", ": keep-alive\n".repeat(1000)),
        ("bare names", "data\nid\nevent\n\n".repeat(500)),
        ("unknown", "field0: x\nidx: 1\nretr: 5\n".repeat(300)),
        ("blank", "\n".repeat(1000)),
        ("void ids", "id: a\0b\n\n".repeat(300)),
    ];
    let fixtures = streams::fixtures().into_iter().map(|fixture| (fixture.name, fixture.stream));
    fixtures.chain(shapes.map(|(name, stream)| (name, stream.into_bytes()))).collect()
}

#[test]
fn no_byte_is_examined_more_than_twice() {
    for (name, stream) in all_fixtures() {
        for line_end in [&b"\n"[..], b"\r\n", b"\r"] {
            let stream = stream.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(line_end);
            for chunk in [1, 4, 7, 1460, 1 << 14, stream.len()] {
                let mut parser = Parser::new();
                for bytes in stream.chunks(chunk) {
                    parse(&mut parser, bytes);
                }
                let examined = parser.interpreter.examined;
                let len = stream.len();
                let label = format!("{name} in pieces of {chunk}: {examined} for {len} bytes");
                assert!(examined <= 2 * len, "{label}");
                assert!(examined >= len, "the counter counts: {label}");
            }
        }
    }
}

#[test]
fn what_is_examined_a_third_time_stays_linear() {
    for stream in [&b"retry:1\n"[..], b"data:\xff\n\n", b"\x80\n", b"id:\0\xf0\n\n"] {
        let stream = stream.repeat(1000);
        for chunk in [1, 7, stream.len()] {
            let mut parser = Parser::new();
            for bytes in stream.chunks(chunk) {
                parse(&mut parser, bytes);
            }
            // U+FFFD takes three bytes in the buffer.
            assert!(
                parser.interpreter.examined <= 5 * stream.len(),
                "{}",
                parser.interpreter.examined
            );
        }
    }
}
