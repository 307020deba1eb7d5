//! Category 9: HTTP hygiene.

use crate::conformance::expect::{
    describe, ensure, fact, is_stream, miss, miss_should, pass, status_in,
};
use crate::conformance::{Case, Fault, Level, Outcome, Target};
use crate::wire::{Body, Error, Head};

/// A path that no server has.
const NO_SUCH_PATH: &str = "/conformance-no-such-path";
/// RFC 9112 section 3 recommends request lines of at least this length.
const REQUEST_LINE_BYTES: usize = 8000;
/// A target that is longer than any server should take.
const LONG_TARGET_BYTES: usize = 100 * 1024;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S9.01",
        slug: "head-no-body",
        level: Level::Must,
        source: "RFC 9110 9.3.2",
        needs: &[],
        claim: "HEAD of a stream is answered at once, without a body.",
        run: head_no_body,
    },
    Case {
        id: "S9.02",
        slug: "head-status",
        level: Level::Should,
        source: "RFC 9110 9.3.2",
        needs: &[],
        claim: "HEAD of a stream has the status and the Content-Type of GET.",
        run: |target| {
            let get = target.head(&target.get(target.path()))?;
            let request =
                target.request("HEAD", target.path()).header("Accept", "text/event-stream");
            let head = target.head(&request)?.summary();
            ensure(head == get.summary(), format!("as for GET: {}", get.summary()), head)?;
            pass()
        },
    },
    Case {
        id: "S9.04",
        slug: "post-405",
        level: Level::Should,
        source: "RFC 9110 15.5.6",
        needs: &[],
        claim: "POST to a stream is answered with 405, or with success where it is documented.",
        run: |target| {
            let head = target.head(&target.request("POST", target.path()).body(""))?;
            let holds = head.status == 405 || (200..300).contains(&head.status);
            ensure(holds, "status 405 (or 2xx)", head.summary())?;
            fact(head.summary())
        },
    },
    Case {
        id: "S9.05",
        slug: "allow",
        level: Level::Must,
        source: "RFC 9110 15.5.6",
        needs: &[],
        claim: "Every 405 carries Allow, and it lists GET.",
        run: allow,
    },
    Case {
        id: "S9.06",
        slug: "unknown-method",
        level: Level::Should,
        source: "RFC 9110 9.1",
        needs: &[],
        claim: "An unknown method is answered with 501 or 405.",
        run: |target| {
            status_in(&target.head(&target.request("FOO", target.path()))?, &[501, 405])?;
            pass()
        },
    },
    Case {
        id: "S9.08",
        slug: "options",
        level: Level::Info,
        source: "RFC 9110 9.3.7",
        needs: &[],
        claim: "What OPTIONS of a stream says.",
        run: |target| {
            let head = target.head(&target.request("OPTIONS", target.path()))?;
            let allow = head.value("allow").map(|it| format!(", Allow: {it}")).unwrap_or_default();
            fact(format!("status {}{allow}", head.status))
        },
    },
    Case {
        id: "S9.09",
        slug: "error-type",
        level: Level::Should,
        source: "RFC 9110 15.5.5; HTML 9.2.3",
        needs: &[],
        claim: "A path that does not exist is answered with 404, and not as an event stream.",
        run: |target| {
            let head = target.head(&target.get(NO_SUCH_PATH))?;
            let is_stream = head.essence().as_deref() == Some("text/event-stream");
            ensure(head.status == 404 && !is_stream, "404 of another type", head.summary())?;
            pass()
        },
    },
    Case {
        id: "S9.10",
        slug: "no-host",
        level: Level::Must,
        source: "RFC 9112 3.2",
        needs: &[],
        claim: "An HTTP/1.1 request without Host is answered with 400.",
        run: |target| {
            status_in(&target.head(&target.get(target.path()).without("Host"))?, &[400])?;
            pass()
        },
    },
    Case {
        id: "S9.11",
        slug: "two-hosts",
        level: Level::Must,
        source: "RFC 9112 3.2",
        needs: &[],
        claim: "A request with two Host lines is answered with 400.",
        run: |target| {
            let request = target.get(target.path()).header("Host", "other.example");
            status_in(&target.head(&request)?, &[400])?;
            pass()
        },
    },
    Case {
        id: "S9.12",
        slug: "cl-te",
        level: Level::Must,
        source: "RFC 9112 6.1",
        needs: &[],
        claim: "After Content-Length with Transfer-Encoding the connection closes, nothing smuggled.",
        run: |target| {
            let smuggled =
                format!("GET {NO_SUCH_PATH} HTTP/1.1\r\nHost: {}\r\n\r\n", target.host());
            let body = format!("0\r\n\r\n{smuggled}");
            let lines = format!("Content-Length: {}\r\nTransfer-Encoding: chunked", body.len());
            closes_after_faulty_framing(target, "HTTP/1.1", &lines, &body, |_| true)
        },
    },
    Case {
        id: "S9.13",
        slug: "cl-differ",
        level: Level::Must,
        source: "RFC 9112 6.3",
        needs: &[],
        claim: "Two different Content-Lengths are answered with 400, and the connection closes.",
        run: |target| {
            let lines = "Content-Length: 5\r\nContent-Length: 6";
            closes_after_faulty_framing(target, "HTTP/1.1", lines, "hello!", |it| it == 400)
        },
    },
    Case {
        id: "S9.14",
        slug: "te-http10",
        level: Level::Must,
        source: "RFC 9112 6.1",
        needs: &[],
        claim: "After Transfer-Encoding in an HTTP/1.0 request the connection closes.",
        run: |target| {
            let lines = "Connection: keep-alive\r\nTransfer-Encoding: chunked";
            closes_after_faulty_framing(target, "HTTP/1.0", lines, "0\r\n\r\n", |_| true)
        },
    },
    Case {
        id: "S9.16",
        slug: "obs-fold",
        level: Level::Must,
        source: "RFC 9112 5.2",
        needs: &[],
        claim: "A folded header line is refused with 400, or read as if it were not folded.",
        run: |target| {
            let head = target.head_of_raw(&with_line(target, b"X-Folded: a\r\n b"))?;
            status_in(&head, &[400, 200])?;
            fact(format!("status {}", head.status))
        },
    },
    Case {
        id: "S9.17",
        slug: "ctl-in-value",
        level: Level::Must,
        source: "RFC 9110 5.5, RFC 9112 2.2",
        needs: &[],
        claim: "A bare CR or a NUL in a header value is refused with 400, or replaced.",
        run: |target| {
            for line in [&b"X-Control: a\rb"[..], b"X-Control: a\0b"] {
                status_in(&target.head_of_raw(&with_line(target, line))?, &[400, 200])?;
            }
            pass()
        },
    },
    Case {
        id: "S9.18",
        slug: "space-colon",
        level: Level::Must,
        source: "RFC 9112 5.1",
        needs: &[],
        claim: "Whitespace between a header's name and its colon is answered with 400.",
        run: |target| {
            status_in(&target.head_of_raw(&with_line(target, b"X-Space : a"))?, &[400])?;
            pass()
        },
    },
    Case {
        id: "S9.20",
        slug: "leading-crlf",
        level: Level::Should,
        source: "RFC 9112 2.2",
        needs: &[],
        claim: "A blank line before the request line is ignored.",
        run: |target| {
            let request = target.get(target.path()).to_bytes();
            is_stream(&target.head_of_raw(&[b"\r\n", request.as_slice()].concat())?)?;
            pass()
        },
    },
    Case {
        id: "S9.22",
        slug: "long-uri",
        level: Level::Must,
        source: "RFC 9112 3",
        needs: &[],
        claim: "A target of 100 KiB gets 414; a request line of 8000 bytes is taken.",
        run: long_uri,
    },
    Case {
        id: "S9.23",
        slug: "absolute-form",
        level: Level::Must,
        source: "RFC 9112 3.2.2",
        needs: &[],
        claim: "A target in absolute form is answered as one in origin form.",
        run: |target| {
            let url = format!("http://{}{}", target.host(), target.path());
            is_stream(&target.head(&target.get(&url))?)?;
            pass()
        },
    },
];

fn head_no_body(target: &Target) -> Outcome {
    let mut connection = target.connect()?;
    let request = target.request("HEAD", target.path()).header("Accept", "text/event-stream");
    let (head, _): (Head, Body) = connection.ask(&request)?;
    // Whatever comes before the answer to a second request would be a body.
    match connection.ask(&target.get(NO_SUCH_PATH)) {
        Ok(_) => pass(),
        Err(error) if error.is_end() && head.has_token("connection", "close") => pass(),
        Err(error @ Error::Syntax(_)) => Err(miss("no body", error.to_string())),
        Err(error) => Err(miss("a connection that can be used again", error.to_string())),
    }
}

fn allow(target: &Target) -> Outcome {
    let mut seen = 0;
    for method in ["POST", "PUT", "DELETE", "FOO"] {
        let head = target.head(&target.request(method, target.path()).body(""))?;
        if head.status != 405 {
            continue;
        }
        seen += 1;
        let allow = head.value("allow");
        let actual = allow.map_or("no such header".to_owned(), |it| format!("Allow: {it}"));
        ensure(
            head.has_token("allow", "GET"),
            format!("405 for {method} with Allow: GET"),
            actual,
        )?;
    }
    if seen == 0 {
        return Err(Fault::Skip("no method was answered with 405".to_owned()));
    }
    pass()
}

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

/// The GET of the stream with one more header line, raw.
fn with_line(target: &Target, line: &[u8]) -> Vec<u8> {
    let mut request = target.get(target.path()).to_bytes();
    request.truncate(request.len() - 2);
    request.extend_from_slice(line);
    request.extend_from_slice(b"\r\n\r\n");
    request
}
