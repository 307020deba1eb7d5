use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;

use super::request::{MAX_FIELDS, MAX_HEAD_BYTES, head_end};
use super::*;

fn parse(head: &str) -> Result<Request, End> {
    assert_eq!(head_end(head.as_bytes(), 0), Some(head.len()), "the test's own head is whole");
    Request::parse(head.as_bytes())
}

fn good(head: &str) -> Request {
    parse(head).unwrap_or_else(|refusal| panic!("{head:?} is refused: {refusal:?}"))
}

fn text_of(end: End) -> String {
    let End::Refused(bytes) = end else { panic!("{end:?} is no refusal") };
    String::from_utf8(bytes).expect("ASCII")
}

fn status_of(end: End) -> u16 {
    let bytes = text_of(end);
    assert!(bytes.contains("\r\nConnection: close\r\n"), "{bytes}");
    bytes["HTTP/1.1 ".len()..][..3].parse().expect("a status")
}

#[test]
fn a_request_is_taken_apart() {
    let request = good(
        "GET /messages/a%2Db?last_event_id=7&x=? HTTP/1.1\r\nHost: h:1\r\n\
         LAST-event-id: \t 8 \t\r\nX-Empty:\r\nX: \u{e9}\r\n\r\n",
    );
    assert_eq!(request.method(), "GET");
    assert_eq!(request.path(), "/messages/a%2Db");
    assert_eq!(request.query(), "last_event_id=7&x=?");
    assert_eq!(request.segment_after("/messages/").as_deref(), Some("a-b"));
    assert_eq!(request.last_event_id(), Some(b"8".as_slice()));
    assert_eq!(request.field("x-empty"), Some(b"".as_slice()));
    assert_eq!(request.field("x"), Some("\u{e9}".as_bytes()));
    assert_eq!(request.field("absent"), None);
    assert!(request.keeps_alive() && !request.expects_continue());
    let facts = request.facts();
    assert_eq!((facts.target_bytes, facts.hosts, facts.http_1_1), (35, 1, true));
    assert_eq!(facts.header_bytes, 4 + 3 + 13 + 1 + 7 + 1 + 2);
}

#[test]
fn every_form_of_a_target_is_understood() {
    for (target, path, query, host) in [
        ("/", "/", "", "field"),
        ("/?", "/", "", "field"),
        ("/ticks?a=1", "/ticks", "a=1", "field"),
        ("//x", "//x", "", "field"),
        ("http://url:8/ticks?a=1", "/ticks", "a=1", "url:8"),
        ("HTTPS://url", "/", "", "url"),
        ("http://url?a=1", "/", "a=1", "url"),
        ("*", "*", "", "field"),
    ] {
        let request = good(&format!("GET {target} HTTP/1.1\r\nHost: field\r\n\r\n"));
        assert_eq!((request.path(), request.query()), (path, query), "{target}");
        assert_eq!(request.publisher().host, Some(host.as_bytes()), "{target}");
    }
}

#[test]
fn only_one_segment_is_a_topic() {
    for (path, topic) in [
        ("/messages/news", Some("news")),
        ("/messages/", None),
        ("/messages", None),
        ("/messages/a/b", None),
        ("/messages/a%2fb", Some("a/b")),
        ("/messages/%zz%4", Some("%zz%4")),
        ("/messages/%e2%9c%93", Some("✓")),
    ] {
        let request = good(&format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert_eq!(request.segment_after("/messages/").as_deref(), topic, "{path}");
    }
}

#[test]
fn a_connection_is_kept_or_closed_as_asked() {
    for (version, connection, keeps) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Upgrade , CLOSE\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closet\r\n", true),
        ("1.2", "", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let request = good(&format!("GET / HTTP/{version}\r\nHost: h\r\n{connection}\r\n"));
        assert_eq!(request.keeps_alive(), keeps, "{version} {connection}");
    }
}

#[test]
fn only_a_1_1_client_waits_for_100_continue() {
    for (version, expects) in [("1.1", true), ("1.0", false)] {
        let request =
            good(&format!("POST / HTTP/{version}\r\nHost: h\r\nExpect: 100-Continue\r\n\r\n"));
        assert_eq!(request.expects_continue(), expects);
    }
}

#[test]
fn lines_may_end_in_lf_alone_and_the_end_is_found_across_reads() {
    assert_eq!(good("GET / HTTP/1.1\nHost: h\n\n").field("host"), Some(b"h".as_slice()));
    let head = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nrest";
    for searched in 0..head.len() - 5 {
        assert_eq!(head_end(head, searched), Some(head.len() - 4), "searched {searched} before");
        assert_eq!(head_end(&head[..head.len() - 5], searched), None);
    }
}

#[test]
fn what_the_grammar_does_not_allow_is_refused() {
    let line = |line: &str| format!("{line}\r\nHost: h\r\n\r\n");
    let field = |field: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
    let many = ["X: y"; MAX_FIELDS].join("\r\n");
    for (head, status) in [
        (line("GET /"), 400),
        (line("GET  / HTTP/1.1"), 400),
        (line("GET / HTTP/1.1 "), 400),
        (line(" GET / HTTP/1.1"), 400),
        (line("GET\t/\tHTTP/1.1"), 400),
        (line("G(T / HTTP/1.1"), 400),
        (line("GET / http/1.1"), 400),
        (line("GET / HTTP/1"), 400),
        (line("GET / HTTP/11"), 400),
        (line("GET / HTTP/2.0"), 505),
        (line("GET / HTTP/0.9"), 505),
        (line("GET ticks HTTP/1.1"), 400),
        (line("GET ftp://h/ HTTP/1.1"), 400),
        (line("GET http:///ticks HTTP/1.1"), 400),
        (line("GET http://user@h/ HTTP/1.1"), 400),
        (line("GET /#fragment HTTP/1.1"), 400),
        (line("GET /\u{e9} HTTP/1.1"), 400),
        (line("GET /\0 HTTP/1.1"), 400),
        (line("CONNECT h:80 HTTP/1.1"), 400),
        ("\r\n\r\n".into(), 400),
        (field("no colon"), 400),
        (field(": nameless"), 400),
        (field("X : space before the colon"), 400),
        (field("X: y\r\n folded"), 400),
        (field("X: y\r\n\tfolded"), 400),
        (field("X: a\rb"), 400),
        (field("X: a\0b"), 400),
        (field("X: a\u{7f}b"), 400),
        (field("X y: z"), 400),
        (field(&many), 431),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: http://h/\r\n\r\n".into(), 400),
        (field("Content-Length: "), 400),
        (field("Content-Length: -1"), 400),
        (field("Content-Length: +1"), 400),
        (field("Content-Length: 1x"), 400),
        (field("Content-Length: 1, 1"), 400),
        (field("Content-Length: 1\r\nContent-Length: 1"), 400),
        (field("Content-Length: 1\r\nContent-Length: 2"), 400),
        (field("Content-Length: 18446744073709551616"), 400),
        (field("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400),
        (field("Transfer-Encoding: chunked\r\nContent-Length: 0"), 400),
        (field("Transfer-Encoding: chunked, chunked"), 400),
        (field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400),
        (field("Transfer-Encoding: gzip, chunked"), 501),
        (field("Transfer-Encoding: chunked, identity"), 501),
        (field("Transfer-Encoding: xchunked"), 501),
        (field("Transfer-Encoding:"), 501),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), 400),
    ] {
        match parse(&head) {
            Err(refusal) => assert_eq!(status_of(refusal), status, "{head:?}"),
            Ok(_) => panic!("{head:?} is not refused"),
        }
    }
}

#[test]
fn the_framing_of_a_body_is_what_the_fields_say() {
    for (fields, framing) in [
        ("", Framing::None),
        ("Content-Length: 0\r\n", Framing::None),
        ("Content-Length: 007\r\n", Framing::Length(7)),
        ("Transfer-Encoding: Chunked\r\n", Framing::Chunked),
    ] {
        let request = good(&format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
        assert_eq!(request.framing, framing, "{fields}");
    }
}

/// Bytes that come in pieces, and then no more.
struct Pieces {
    received: RefCell<BytesMut>,
    pieces: RefCell<VecDeque<Vec<u8>>>,
}

impl Input for Pieces {
    fn received(&self) -> RefMut<'_, BytesMut> {
        self.received.borrow_mut()
    }

    async fn more(&self) -> Result<(), End> {
        let piece = self.pieces.borrow_mut().pop_front().ok_or(End::Gone)?;
        self.received().extend_from_slice(&piece);
        Ok(())
    }
}

/// Reads a body from `wire` in pieces of `step` bytes; returns it and how much was left over.
fn decode(framing: Framing, wire: &[u8], step: usize) -> (BodyResult, usize) {
    let pieces = RefCell::new(wire.chunks(step).map(<[u8]>::to_vec).collect());
    let input = Pieces { received: RefCell::default(), pieces };
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(body) = pin!(read_body(framing, &input)).poll(&mut context) else {
        panic!("it waits for nothing but its input");
    };
    let left = input.pieces.take().iter().map(Vec::len).sum::<usize>();
    (body, left + input.received().len())
}

type BodyResult = Result<Result<Vec<u8>, feed::Problem>, End>;

#[test]
fn a_body_is_the_same_however_its_bytes_come() {
    let chunked =
        b"3;name=\"value\"\r\nabc\r\n0A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nGET".as_slice();
    for step in 1..=chunked.len() {
        let whole = Ok(Ok(b"abc0123456789".to_vec()));
        assert_eq!(decode(Framing::Chunked, chunked, step), (whole, 3), "{step} bytes a time");
        let whole = Ok(Ok(b"3;n".to_vec()));
        assert_eq!(decode(Framing::Length(3), chunked, step), (whole, chunked.len() - 3));
        let nothing = Ok(Ok(Vec::new()));
        assert_eq!(decode(Framing::None, chunked, step), (nothing, chunked.len()));
    }
}

#[test]
fn broken_and_endless_chunks_are_refused() {
    let long = format!("1;{}\r\n", "x".repeat(300));
    let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(1000));
    for wire in [
        "x\r\n",
        "\r\n",
        " 1\r\na\r\n",
        "1 \r\na\r\n",
        "1\na\r\n",
        "-1\r\n",
        "+1\r\na\r\n",
        "0x1\r\na\r\n",
        "1\r\nab\r\n",
        "1\r\na\nb",
        "1;a\rb\r\na\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\n\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "11111111111111111\r\n",
        &long,
        &long[..290],
        &trailers,
    ] {
        for step in [1, wire.len()] {
            let (body, _) = decode(Framing::Chunked, wire.as_bytes(), step);
            assert!(matches!(body, Err(End::Refused(_))), "{wire:?}: {body:?}");
        }
    }
    assert_eq!(decode(Framing::Chunked, b"1\r\na\r\n0\r\n\r", 1).0, Err(End::Gone));
}

#[test]
fn a_body_above_the_limit_is_refused_before_it_is_read() {
    use feed::contract::MAX_MESSAGE_BYTES;
    let too_large = |body: BodyResult| matches!(body, Ok(Err(p)) if p.status == 413);
    let max = MAX_MESSAGE_BYTES as u64;
    assert!(too_large(decode(Framing::Length(max + 1), b"", 1).0));
    assert!(too_large(decode(Framing::Length(u64::MAX), b"", 1).0));
    assert!(too_large(decode(Framing::Chunked, b"1\r\na\r\n10000\r\n", 1).0));
    assert!(too_large(decode(Framing::Chunked, b"ffffffffffffffff\r\n", 1).0));
    let most = vec![b'x'; MAX_MESSAGE_BYTES];
    let most_is_read = Ok(Ok(most.clone()));
    assert_eq!(decode(Framing::Length(max), &most, 1000), (most_is_read, 0));
}

#[test]
fn a_head_that_does_not_end_gets_414_or_431() {
    for (head, status) in [
        (vec![b'x'; MAX_HEAD_BYTES + 1], 414),
        ([b"GET / HTTP/1.1\r\nX: ".as_slice(), &vec![b'x'; MAX_HEAD_BYTES]].concat(), 431),
    ] {
        assert_eq!(status_of(End::head_too_large(&head)), status);
    }
}

#[test]
fn what_only_http_knows_looks_like_every_other_problem() {
    let bytes = text_of(End::timeout());
    let (head, body) = bytes.split_once("\r\n\r\n").expect("a blank line");
    assert!(head.contains(&format!("\r\nContent-Type: {}\r\n", feed::problem::CONTENT_TYPE)));
    assert!(body.contains(r#""title":"Request Timeout","status":408"#), "{body}");
}
