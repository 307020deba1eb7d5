//! Category 9, third part: requests at the edge of HTTP and beyond it.

use super::CASE;
use super::s09_framing::closes_after_faulty_framing;
use crate::case::is_unanswered;
use crate::expect::{describe, ensure, fact, is_stream, miss, miss_of, pass, status_in};
use crate::server::{Case, Fault, Level, Need, Outcome, Scope, Target};
use serde_json::Value;

/// RFC 9112 section 3 recommends request lines of at least this length.
const REQUEST_LINE_BYTES: usize = 8000;
/// A target that is longer than most servers take.
const LONG_TARGET_BYTES: usize = 100 * 1024;
/// More interim answers than any client has a use for.
const INTERIM_LIMIT: usize = 16;
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
                match target.head_of_raw(&with_line(target, line)) {
                    // Closing without an answer is a refusal too; no status is prescribed.
                    Err(error) if error.is_end() => {}
                    answer => ensure(answer?.status < 500, "a refusal, or the stream", "5XX")?,
                }
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
        source: "RFC 9110 5.4, RFC 6585 5",
        scope: Scope::Http,
        hostile: true,
        after: &[],
        claim: "A header of 1 MiB, or 500 of them, is taken, or refused by a 4xx that arrives.",
        sends: "A header of 1 MiB, and 500 headers.",
        fix: "Answer 431 and let the answer arrive: read on for a moment before closing.",
        run: |target| {
            let big = target.get(target.path()).header("X-Big", "x".repeat(HUGE_HEADER_BYTES));
            let many = (0..MANY_HEADERS).fold(target.get(target.path()), |request, n| {
                request.header(&format!("X-Many-{n}"), "x".repeat(100))
            });
            for (name, request) in [("one of 1 MiB", big), ("500 headers", many)] {
                let answer = target.head_of_raw(&request.to_bytes());
                let holds = matches!(&answer, Ok(head) if head.status < 500);
                let expected = format!("{name}: the stream, or 431 (or another 4xx)");
                if !holds {
                    return Err(miss_of(expected, &answer));
                }
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
        claim: "A target of 100 KiB is taken, or gets 414; a request line of 8000 bytes is taken.",
        sends: "A request line of 8000 bytes, and a target of 100 KiB.",
        fix: "Take a request line of 8000 bytes; take the far longer one too, or answer 414.",
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
            let url = target.absolute(target.path());
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
                // A server may speak HTTP/2 on request, which is an answer as good.
                let switches = target.head_of_raw(&request.to_bytes());
                if protocol == "h2c" && switches.is_ok_and(|head| head.status == 101) {
                    continue;
                }
                // Chunks that were announced and not written would break here.
                target.open(&request)?.watch(target.window())?;
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
        sends: "CONNECT with an authority, and with a path, as its target.",
        fix: "Route requests without a path to an error answer, not to a panic.",
        run: |target| {
            let host = target.host();
            for to in [host, "example.org:443", target.path()] {
                let text = format!("CONNECT {to} HTTP/1.1\r\nHost: {host}\r\n\r\n");
                let answer = target.head_of_raw(text.as_bytes());
                let is_refused = match &answer {
                    Ok(head) => (400..500).contains(&head.status) || head.status == 501,
                    // Closing without an answer is a refusal too.
                    Err(error) => error.is_end(),
                };
                let expected = format!("CONNECT {to}: 4xx, 501, or a close");
                if !is_refused {
                    return Err(miss_of(expected, &answer));
                }
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
        source: "RFC 9110 8.6, RFC 9112 6.3",
        scope: Scope::Http,
        hostile: true,
        after: &[],
        claim: "A Content-Length that is no number is answered with 400, and the connection closes.",
        sends: "Content-Length values that are no number.",
        fix: "Answer 400 and close; digits only, no sign, no list of different values.",
        run: |target| {
            for length in ["+5", "0x5", "5 5", "-1"] {
                let lines = format!("Content-Length: {length}");
                closes_after_faulty_framing(target, "HTTP/1.1", &lines, "hello", |it| it == 400)
                    .map_err(|fault| fault.within("", &format!("{lines}: ")))?;
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
        claim: "A request that waits for 100 Continue gets it (once or more), or a final answer, before its body.",
        sends: "A request with a body and Expect: 100-continue, which waits.",
        fix: "Send 100 Continue when the body is going to be read, or the final answer at once.",
        run: |target| {
            let request = target.request("POST", target.path());
            let request = request.header("Expect", "100-continue").header("Content-Length", "4");
            let mut connection = target.connect()?;
            connection.send(&request.to_bytes())?;
            let mut statuses = Vec::new();
            for _ in 0..=INTERIM_LIMIT {
                let head = match connection.read_head() {
                    // It did wait for the body, or it is slow to answer at all.
                    Err(error) if is_unanswered(&error) && statuses.is_empty() => {
                        connection.send(b"body")?;
                        let after = connection.read_head()?.summary();
                        let actual = format!("{error}, and {after} once the body was there");
                        let expected = "100 Continue, or a final answer, before the body";
                        return Err(miss(expected, actual).too_slow(target.patience()));
                    }
                    head => head?,
                };
                if head.status >= 200 {
                    statuses.push(head.summary());
                    return fact(statuses.join(", then "));
                }
                if head.status == 100 && !statuses.iter().any(|it| it == "100") {
                    // A server that has decided meanwhile may close; its answer is what counts.
                    let _ = connection.send(b"body");
                }
                statuses.push(head.status.to_string());
            }
            Err(miss("a final answer after the body", statuses.join(", then ")))
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

fn long_uri(target: &Target) -> Outcome {
    let padded = |length: usize| {
        let path = target.path_with("x=");
        let padding = "x".repeat(length.saturating_sub(path.len()));
        format!("{path}{padding}")
    };
    let short = target.head(&target.get(&padded(0)))?;
    if !short.is_event_stream() {
        let words = format!("one more parameter alone gets {}", short.summary());
        return Err(Fault::Skip(words));
    }
    let long = target.head(&target.get(&padded(LONG_TARGET_BYTES)));
    // RFC 9112 3 asks for 414 where a target is longer than the server wishes to parse.
    if !matches!(&long, Ok(head) if head.status == 414 || head.is_event_stream()) {
        return Err(miss_of("the stream, or status 414, for 100 KiB", &long));
    }
    let around_target = "GET  HTTP/1.1\r\n".len();
    let usual = target.head(&target.get(&padded(REQUEST_LINE_BYTES - around_target)));
    if matches!(&usual, Ok(head) if head.is_event_stream()) {
        return pass();
    }
    Err(miss_of("the stream for a request line of 8000 bytes", &usual).recommended())
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
    target.get(target.path()).raw_line(line).to_bytes()
}
