//! Category 9, second part: requests whose body has two ends, and requests within requests.

use wire::{Body, Error};

use super::CASE;
use super::s09_http::NO_SUCH_PATH;
use crate::expect::{ensure, fact, miss, pass};
use crate::server::{Case, Fault, Level, Outcome, Scope, Target};

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
];

/// Sends a request whose body has two ends, at least one of them wrong: the server may answer it
/// once, with a status that `allowed` knows, and must close.
pub(super) fn closes_after_faulty_framing(
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
    match connection.read_body_to_end(&mut body) {
        Ok(_) => {}
        // Cut off with the connection: it is closed.
        Err(error) if error.is_end() => return fact(head.summary()),
        Err(Error::Timeout { .. } | Error::TooLong { .. }) => {
            let words = format!("the answer has no end in sight: {}", head.summary());
            return Err(Fault::Skip(words));
        }
        Err(error) => return Err(error.into()),
    }
    match connection.read_to_close() {
        Ok(rest) => {
            let actual = format!("\"{}\" after the answer", wire::shown(&rest));
            ensure(rest.is_empty(), "one answer", actual)?;
        }
        Err(Error::Timeout { .. }) => {
            connection.set_patience(target.window());
            // Bytes of the body that were taken for a request are the news.
            let after = match connection.read_head() {
                Ok(second) => format!("a second answer ({})", second.summary()),
                Err(_) => "still open".to_owned(),
            };
            let actual = format!("{}, then {after}", head.summary());
            let fault = miss("one answer and a closed connection", actual);
            return Err(fault.too_slow(target.patience()));
        }
        Err(error) => return Err(error.into()),
    }
    fact(head.summary())
}
