//! Category 9, second part: requests at the edge of HTTP and beyond it.

use serde_json::Value;
use wire::{Body, Error};

use super::CASE;
use super::s09_http::NO_SUCH_PATH;
use crate::expect::{describe, ensure, fact, is_stream, miss, miss_should, pass, status_in};
use crate::server::{Case, Level, Need, Outcome, Scope, Target};

/// RFC 9112 section 3 recommends request lines of at least this length.
const REQUEST_LINE_BYTES: usize = 8000;
/// A target that is longer than any server should take.
const LONG_TARGET_BYTES: usize = 100 * 1024;
/// S9.21: more than any server should take, in one header and in number.
const HUGE_HEADER_BYTES: usize = 1 << 20;
const MANY_HEADERS: usize = 500;
/// The endpoints of the contract, and a topic.
const ENDPOINTS: [&str; 8] = [
    "/",
    "/ticks",
    "/time",
    "/tasks",
    "/messages/conformance-head",
    "/simulation",
    "/healthz",
    "/metrics",
];

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S9.12",
        slug: "cl-te",
        level: Level::Must,
        source: "RFC 9112 6.1",
        scope: Scope::Http,
        hostile: true,
        after: &[],
        claim: "After Content-Length with Transfer-Encoding the connection closes, nothing smuggled.",
        sends: "Content-Length and Transfer-Encoding in one request, with a second request inside.",
        fix: "Refuse it, or use Transfer-Encoding, and close the connection after the answer: it is how requests are smuggled.",
        run: |target| {
            let smuggled =
                format!("GET {NO_SUCH_PATH} HTTP/1.1\r\nHost: {}\r\n\r\n", target.host());
            let body = format!("0\r\n\r\n{smuggled}");
            let lines = format!("Content-Length: {}\r\nTransfer-Encoding: chunked", body.len());
            closes_after_faulty_framing(target, "HTTP/1.1", &lines, &body, |_| true)
        },
        ..CASE
    },
    Case {
        id: "S9.13",
        slug: "cl-differ",
        level: Level::Must,
        source: "RFC 9112 6.3",
        scope: Scope::Http,
        hostile: true,
        after: &[],
        claim: "Two different Content-Lengths are answered with 400, and the connection closes.",
        sends: "Two different Content-Length lines.",
        fix: "Answer 400 and close.",
        run: |target| {
            let lines = "Content-Length: 5\r\nContent-Length: 6";
            closes_after_faulty_framing(target, "HTTP/1.1", lines, "hello!", |it| it == 400)
        },
        ..CASE
    },
    Case {
        id: "S9.14",
        slug: "te-http10",
        level: Level::Must,
        source: "RFC 9112 6.1",
        scope: Scope::Http,
        after: &[],
        claim: "After Transfer-Encoding in an HTTP/1.0 request the connection closes.",
        sends: "Transfer-Encoding in an HTTP/1.0 request.",
        fix: "Refuse it, or close the connection after the answer.",
        run: |target| {
            let lines = "Connection: keep-alive\r\nTransfer-Encoding: chunked";
            closes_after_faulty_framing(target, "HTTP/1.0", lines, "0\r\n\r\n", |_| true)
        },
        ..CASE
    },
    Case {
        id: "S9.15",
        slug: "te-unknown",
        level: Level::Must,
        source: "RFC 9112 6.1, 6.3",
        scope: Scope::Http,
        hostile: true,
        after: &[],
        claim: "A transfer coding that is not known gets 400 or 501, and the connection closes.",
        sends: "An unknown transfer coding.",
        fix: "Answer 501 or 400 and close: the end of the body is unknown.",
        run: |target| {
            for coding in ["xchunked", "chunked, identity"] {
                let lines = format!("Transfer-Encoding: {coding}");
                let allowed = |status| matches!(status, 400 | 501);
                closes_after_faulty_framing(target, "HTTP/1.1", &lines, "0\r\n\r\n", allowed)?;
            }
            pass()
        },
        ..CASE
    },
    Case {
        id: "S9.16",
        slug: "obs-fold",
        level: Level::Must,
        source: "RFC 9112 5.2",
        scope: Scope::Http,
        hostile: true,
        after: &[],
        claim: "A folded header line is refused with 400, or read as if it were not folded.",
        sends: "A folded header line.",
        fix: "Answer 400, or replace the fold by spaces.",
        run: |target| {
            let head = target.head_of_raw(&with_line(target, b"X-Folded: a\r\n b"))?;
            status_in(&head, &[400, 200])?;
            fact(format!("status {}", head.status))
        },
        ..CASE
    },
    Case {
        id: "S9.17",
        slug: "ctl-in-value",
        level: Level::Must,
        source: "RFC 9110 5.5, RFC 9112 2.2",
        scope: Scope::Http,
        hostile: true,
        after: &[],
        claim: "A bare CR or a NUL in a header value is refused with 400, or replaced.",
        sends: "A lone CR and a NUL in a header value.",
        fix: "Answer 400, or replace them.",
        run: |target| {
            for line in [&b"X-Control: a\rb"[..], b"X-Control: a\0b"] {
                status_in(&target.head_of_raw(&with_line(target, line))?, &[400, 200])?;
            }
            pass()
        },
        ..CASE
    },
    Case {
        id: "S9.18",
        slug: "space-colon",
        level: Level::Must,
        source: "RFC 9112 5.1",
        scope: Scope::Http,
        hostile: true,
        after: &[],
        claim: "Whitespace between a header's name and its colon is answered with 400.",
        sends: "A space before a header's colon.",
        fix: "Answer 400.",
        run: |target| {
            status_in(&target.head_of_raw(&with_line(target, b"X-Space : a"))?, &[400])?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S9.19",
        slug: "bare-lf",
        level: Level::Info,
        source: "RFC 9112 2.2",
        scope: Scope::Http,
        hostile: true,
        after: &[],
        claim: "The answer to a request whose lines end in LF alone; accepting it is allowed.",
        sends: "Lines that end in LF alone.",
        fix: "Nothing has to change: both are allowed.",
        run: |target| {
            let text = target.get(target.path()).to_bytes();
            let text: Vec<u8> = text.into_iter().filter(|byte| *byte != b'\r').collect();
            fact(describe(&target.head_of_raw(&text)))
        },
        ..CASE
    },
    Case {
        id: "S9.20",
        slug: "leading-crlf",
        level: Level::Should,
        source: "RFC 9112 2.2",
        scope: Scope::Http,
        after: &[],
        claim: "A blank line before the request line is ignored.",
        sends: "An empty line before the request line.",
        fix: "Skip it.",
        run: |target| {
            let request = target.get(target.path()).to_bytes();
            is_stream(&target.head_of_raw(&[b"\r\n", request.as_slice()].concat())?)?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S9.21",
        slug: "huge-header",
        level: Level::Should,
        source: "RFC 6585 5",
        scope: Scope::Http,
        hostile: true,
        after: &[],
        claim: "A header of 1 MiB, or 500 of them, gets 431 or 400, and the answer arrives.",
        sends: "A header of 1 MiB, and 500 headers.",
        fix: "Answer 431 and let the answer arrive: read on for a moment before closing.",
        run: |target| {
            let big = target.get(target.path()).header("X-Big", "x".repeat(HUGE_HEADER_BYTES));
            let many = (0..MANY_HEADERS).fold(target.get(target.path()), |request, n| {
                request.header(&format!("X-Many-{n}"), "x".repeat(100))
            });
            for (name, request) in [("one of 1 MiB", big), ("500 headers", many)] {
                let answer = target.head_of_raw(&request.to_bytes());
                let holds = matches!(&answer, Ok(head) if matches!(head.status, 431 | 400));
                ensure(holds, format!("{name}: status 431 or 400"), describe(&answer))?;
            }
            pass()
        },
        ..CASE
    },
    Case {
        id: "S9.22",
        slug: "long-uri",
        level: Level::Must,
        source: "RFC 9112 3",
        scope: Scope::Http,
        hostile: true,
        after: &[],
        claim: "A target of 100 KiB gets 414; a request line of 8000 bytes is taken.",
        sends: "A request line of 8000 bytes, and a target of 100 KiB.",
        fix: "Accept the first, answer 414 to the second.",
        run: long_uri,
        ..CASE
    },
    Case {
        id: "S9.23",
        slug: "absolute-form",
        level: Level::Must,
        source: "RFC 9112 3.2.2",
        scope: Scope::Http,
        after: &[],
        claim: "A target in absolute form is answered as one in origin form.",
        sends: "GET with the absolute form of the target.",
        fix: "Take the path from it.",
        run: |target| {
            let url = format!("http://{}{}", target.host(), target.path());
            is_stream(&target.head(&target.get(&url))?)?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S9.24",
        slug: "upgrade-ignored",
        level: Level::Must,
        source: "RFC 9110 7.8",
        scope: Scope::Http,
        after: &[],
        claim: "A request that offers an unwanted upgrade is answered with the stream as usual.",
        sends: "Upgrade: h2c and Upgrade: foo.",
        fix: "Ignore an Upgrade that is not wanted, and answer as usual.",
        run: |target| {
            for (protocol, more) in
                [("h2c", Some(("HTTP2-Settings", "AAMAAABkAAQAAP__"))), ("foo", None)]
            {
                let connection = if more.is_some() { "Upgrade, HTTP2-Settings" } else { "Upgrade" };
                let request = target.get(target.path()).header("Connection", connection);
                let request = request.header("Upgrade", protocol);
                let request = match more {
                    Some((name, value)) => request.header(name, value),
                    None => request,
                };
                let stream = target.open(&request)?;
                // Chunks that were announced and not written would break here.
                stream.watch(target.window())?;
            }
            pass()
        },
        ..CASE
    },
    // RFC 9110 lets a server answer 304 to If-None-Match; for a stream without an end that is a way
    // to lose it, so the catalogue's level stays a recommendation.
    Case {
        id: "S9.25",
        slug: "range",
        level: Level::Should,
        source: "RFC 9110 13.1.2, 14.2",
        scope: Scope::Http,
        after: &[],
        claim: "Range and If-None-Match do not apply to a stream: it comes whole, not as 206, 304 or 416.",
        sends: "Range and If-None-Match.",
        fix: "Ignore both for streams: 200 and the whole stream.",
        run: |target| {
            for (name, value) in [("Range", "bytes=0-9"), ("If-None-Match", "*")] {
                let head = target.head(&target.get(target.path()).header(name, value))?;
                let is_whole = head.is_event_stream() && head.value("content-range").is_none();
                ensure(is_whole, format!("{name}: the stream"), head.summary())?;
            }
            pass()
        },
        ..CASE
    },
    // From here beyond the first catalogue: what our servers, and tests of them, ran into.
    Case {
        id: "S9.26",
        slug: "connect-method",
        level: Level::Should,
        source: "RFC 9110 9.3.6, 15.6",
        scope: Scope::Http,
        hostile: true,
        after: &[],
        claim: "CONNECT, with a target as it has, is refused without a server error, and nothing crashes.",
        sends: "CONNECT with an authority as its target.",
        fix: "Route requests without a path to an error answer, not to a panic.",
        run: |target| {
            let host = target.host();
            for to in [host, "example.org:443", target.path()] {
                let text = format!("CONNECT {to} HTTP/1.1\r\nHost: {host}\r\n\r\n");
                let answer = target.head_of_raw(text.as_bytes());
                let is_refused = matches!(&answer, Ok(head) if (400..=501).contains(&head.status)
                    && head.status != 500)
                    || matches!(&answer, Err(error) if error.is_end() && to != target.path());
                ensure(is_refused, format!("CONNECT {to}: 4xx or 501"), describe(&answer))?;
            }
            is_stream(&target.head(&target.get(target.path()))?)?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S9.27",
        slug: "cl-invalid",
        level: Level::Must,
        source: "RFC 9112 6.3",
        scope: Scope::Http,
        hostile: true,
        after: &[],
        claim: "A Content-Length that is no number is answered with 400, and the connection closes.",
        sends: "Content-Length values that are no number.",
        fix: "Answer 400 and close; digits only, no sign, no list of different values.",
        run: |target| {
            for length in ["+5", "0x5", "5 5", "-1", "99999999999999999999999"] {
                let lines = format!("Content-Length: {length}");
                closes_after_faulty_framing(target, "HTTP/1.1", &lines, "hello", |it| {
                    matches!(it, 400 | 413)
                })?;
            }
            pass()
        },
        ..CASE
    },
    Case {
        id: "S9.28",
        slug: "expect-continue",
        level: Level::Must,
        source: "RFC 9110 10.1.1",
        scope: Scope::Http,
        after: &[],
        claim: "A request that waits for 100 Continue gets it, or a final answer, before its body.",
        sends: "A request with a body and Expect: 100-continue, which waits.",
        fix: "Send 100 Continue when the body is going to be read, or the final answer at once.",
        run: |target| {
            let request = target.request("POST", target.path());
            let request = request.header("Expect", "100-continue").header("Content-Length", "4");
            let mut connection = target.connect()?;
            connection.send(&request.to_bytes())?;
            let first = connection.read_head()?;
            if first.status == 100 {
                connection.send(b"body")?;
                let last = connection.read_head()?;
                ensure(last.status >= 200, "a final answer after the body", last.summary())?;
                return fact(format!("100, then {}", last.summary()));
            }
            ensure(first.status >= 200, "100 or a final answer", first.summary())?;
            fact(first.summary())
        },
        ..CASE
    },
    Case {
        id: "S9.29",
        slug: "head-everywhere",
        level: Level::MustContract,
        source: "RFC 9110 9.3.2; contract: HEAD on any GET endpoint",
        needs: &[Need::Endpoints],
        scope: Scope::Http,
        after: &[],
        claim: "HEAD of every endpoint has the status and the type of GET, and no body.",
        sends: "HEAD and GET of every endpoint.",
        fix: "Route HEAD like GET, everywhere.",
        run: head_everywhere,
        ..CASE
    },
    Case {
        id: "S9.30",
        slug: "problem-json",
        level: Level::MustContract,
        source: "RFC 9457; contract: parameter, value, bounds",
        needs: &[Need::Endpoints],
        scope: Scope::Http,
        after: &[],
        claim: "A parameter out of bounds gets 400 with a problem that names it, its value and the bounds.",
        sends: "Parameters out of bounds.",
        fix: "Answer application/problem+json (RFC 9457) with parameter, value and bounds.",
        run: |target| {
            let request = target.get("/ticks?interval_ms=60001");
            let (head, body) = target.answer(&request)?;
            status_in(&head, &[400])?;
            let essence = head.essence().unwrap_or_default();
            ensure(essence == "application/problem+json", "application/problem+json", essence)?;
            let problem: Option<Value> = serde_json::from_slice(&body).ok();
            let member = |name: &str| problem.as_ref()?.get(name)?.as_str().map(str::to_owned);
            let named = (member("parameter"), member("value"), member("bounds").is_some());
            let expected = (Some("interval_ms".to_owned()), Some("60001".to_owned()), true);
            ensure(
                named == expected,
                "parameter, value and bounds",
                String::from_utf8_lossy(&body),
            )?;
            pass()
        },
        ..CASE
    },
];

/// Sends a request whose body has two ends, at least one of them wrong: the server may answer it
/// once, with a status that `allowed` knows, and must close.
fn closes_after_faulty_framing(
    target: &Target,
    version: &str,
    lines: &str,
    body: &str,
    allowed: fn(u16) -> bool,
) -> Outcome {
    let host = target.host();
    let text = format!("POST {NO_SUCH_PATH} {version}\r\nHost: {host}\r\n{lines}\r\n\r\n{body}");
    let mut connection = target.connect()?;
    connection.send(text.as_bytes())?;
    let head = match connection.read_head() {
        Ok(head) => head,
        // Closing without an answer is a refusal too.
        Err(error) if error.is_end() && allowed(400) => return fact("closed without an answer"),
        Err(error) => return Err(error.into()),
    };
    ensure(allowed(head.status), "status 400", head.summary())?;
    let mut body = Body::new("POST", &head)?;
    connection.read_body_to_end(&mut body)?;
    match connection.read_to_close() {
        Ok(rest) => {
            let actual = format!("\"{}\" after the answer", rest.escape_ascii());
            ensure(rest.is_empty(), "one answer", actual)?;
        }
        Err(Error::Timeout { .. }) => {
            return Err(miss("a closed connection", format!("{}, still open", head.summary())));
        }
        Err(error) => return Err(error.into()),
    }
    fact(head.summary())
}

fn long_uri(target: &Target) -> Outcome {
    let padded = |length: usize| {
        let path = target.path_with("x=");
        let padding = "x".repeat(length.saturating_sub(path.len()));
        format!("{path}{padding}")
    };
    let long = target.head(&target.get(&padded(LONG_TARGET_BYTES)));
    if !matches!(&long, Ok(head) if head.status == 414) {
        return Err(miss("status 414 for a target of 100 KiB", describe(&long)));
    }
    let around_target = "GET  HTTP/1.1\r\n".len();
    let usual = target.head(&target.get(&padded(REQUEST_LINE_BYTES - around_target)));
    if matches!(&usual, Ok(head) if head.is_event_stream()) {
        return pass();
    }
    Err(miss_should("the stream for a request line of 8000 bytes", describe(&usual)))
}

fn head_everywhere(target: &Target) -> Outcome {
    for path in ENDPOINTS {
        let get = target.head(&target.get(path))?.summary();
        let mut connection = target.connect()?;
        let (head, _) = connection.ask(&target.request("HEAD", path))?;
        let expected = format!("HEAD {path} as GET: {get}");
        ensure(head.summary() == get, expected, head.summary())?;
        // Any bytes before the answer to the next request would be a body.
        let next = connection.ask(&target.request("HEAD", "/healthz"));
        let holds = next.as_ref().is_ok_and(|(head, _)| head.status == 200);
        let actual = describe(&next.map(|(head, _)| head));
        ensure(holds, format!("no body after HEAD {path}"), actual)?;
    }
    pass()
}

/// The GET of the stream with one more header line, raw.
fn with_line(target: &Target, line: &[u8]) -> Vec<u8> {
    let mut request = target.get(target.path()).to_bytes();
    request.truncate(request.len() - 2);
    request.extend_from_slice(line);
    request.extend_from_slice(b"\r\n\r\n");
    request
}
