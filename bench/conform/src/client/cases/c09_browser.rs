//! Category 9: what only browsers have: origins, credentials, event objects.

use std::time::Instant;

use super::{CASE, ID};
use crate::Level;
use crate::client::Case;
use crate::client::context::RETRY_MS;
use crate::client::driver::{Capability, Options};
use crate::client::reports::ClientReport;
use crate::client::scripted_server::PendingRequest;
use crate::expect::{ensure, equal, miss, pass};

use Capability::Br;

const STREAM: &str = "200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked";
/// The cookie that a first stream sets.
const COOKIE: &str = "sse-conformance=1";

pub(super) static CASES: &[Case] = &[
    Case {
        id: "C9.01",
        slug: "cors-ok",
        level: Level::Must,
        source: "HTML 9.2.2, Fetch, WPT eventsource-cross-origin",
        needs: &[Br],
        claim: "A stream of another origin that allows credentials opens, with them.",
        sends: "Access-Control-Allow-Origin and -Credentials for the page's origin.",
        fix: "Send credentials with withCredentials, and accept the stream.",
        run: |context| {
            let (mut session, mut stream) = context.asked_with(&elsewhere(Some(true)))?;
            gives_cookie(&mut stream);
            stream.end();
            let mut stream = session.request()?;
            let cookie = stream.request.shown("Cookie");
            ensure(cookie.contains(COOKIE), COOKIE, cookie)?;
            allowed(&mut stream);
            stream.chunk(b"data: a\n\n");
            session.until_data("a")?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C9.02",
        slug: "cors-deny",
        level: Level::Must,
        source: "Fetch, WPT eventsource-cross-origin",
        needs: &[Br],
        claim: "A stream of another origin that is not allowed fails for good.",
        sends: "No permission, wrong ones, and * with credentials.",
        fix: "Fail the connection as CORS says.",
        run: |context| {
            let denied: [(Option<bool>, &str); 4] = [
                (None, "X-Nothing: 1"),
                (None, "Access-Control-Allow-Origin: http://other.example"),
                (None, "Access-Control-Allow-Origin: "),
                (Some(true), "Access-Control-Allow-Origin: *"),
            ];
            context.each(&denied, |(with_credentials, line)| {
                let (mut session, mut stream) =
                    context.asked_with(&elsewhere(*with_credentials))?;
                ensure(stream.request.header("Origin").is_some(), "an Origin", "none")?;
                // The scripted server adds a permission where a head has no such line.
                let answered = Instant::now();
                stream.plain_lines(&format!("{STREAM}\r\n{line}"));
                stream.chunk(b"data: a\n\n");
                session.gives_up(answered)
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C9.03",
        slug: "credentials-default",
        level: Level::Must,
        source: "HTML 9.2.2, WPT request-credentials",
        needs: &[Br],
        claim: "Without withCredentials no cookie goes to another origin.",
        sends: "A cookie from before, and no withCredentials.",
        fix: "Send no credentials to other origins.",
        run: |context| {
            // A first client with credentials gets a cookie; a second one asks without.
            let (mut session, mut stream) = context.asked_with(&elsewhere(Some(true)))?;
            gives_cookie(&mut stream);
            session.until_data("first")?;
            let cookie = Some(COOKIE.to_owned());
            let second = context.asked_with(&Options { cookie, ..elsewhere(None) })?.1;
            let cookie = second.request.shown("Cookie");
            ensure(second.request.header("Cookie").is_none(), "no Cookie", cookie)?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C9.04",
        slug: "preflight",
        level: Level::Must,
        source: "Fetch: CORS-unsafe request headers, WPT eventsource-cross-origin-preflight",
        needs: &[Br],
        claim: "A Last-Event-ID that is not safe for other origins takes a preflight first.",
        sends: "Ids that are long, or hold unsafe bytes, and the end.",
        fix: "Ask with a preflight before such a header is sent.",
        run: |context| {
            let long = "a".repeat(140);
            context.each(&[long.as_str(), "a\"b", "a(b)"], |id| {
                let (session, mut stream) = context.asked_with(&elsewhere(None))?;
                stream.stream(format!("retry: {RETRY_MS}\nid: {id}\ndata: a\n\n").as_bytes());
                drop(stream);
                let Some(second) = session.server.any_request(context.patience()) else {
                    return Err(miss("a second request", session.reported()));
                };
                equal("method", second.request.method.as_str(), "OPTIONS")?;
                let names = second.request.shown("Access-Control-Request-Headers");
                ensure(names.to_ascii_lowercase().contains("last-event-id"), ID, names)
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C9.05",
        slug: "event-shape",
        level: Level::Must,
        source: "HTML 9.2.3, 9.2.6, WPT format-mime-bogus",
        needs: &[Br],
        claim: "open, error and message are trusted events that neither bubble nor can be cancelled.",
        sends: "A stream that ends, then 404.",
        fix: "Make events as the DOM's own: trusted, not bubbling, not cancelable.",
        run: |context| {
            let (mut session, mut stream) = context.asked()?;
            stream.stream(format!("retry: {RETRY_MS}\ndata: a\n\n").as_bytes());
            session.request()?.answer("404 Not Found");
            session.until("an error", |report| {
                matches!(report, ClientReport::Error { fatal: true })
            })?;
            for kind in ["open", "event", "error"] {
                let of_kind = session.reports.iter().filter_map(|it| match &it.report {
                    ClientReport::Shape(it, shape) if *it == kind => Some(*shape),
                    _ => None,
                });
                let shapes: Vec<_> = of_kind.collect();
                let is_fine =
                    !shapes.is_empty() && shapes.iter().all(|it| *it == [true, false, false]);
                let expected = format!("{kind}: isTrusted, not bubbles, not cancelable");
                ensure(is_fine, expected, format!("{shapes:?}"))?;
            }
            pass()
        },
        ..CASE
    },
];

/// A page on another origin than any scripted server's.
fn elsewhere(with_credentials: Option<bool>) -> Options {
    let page_origin = Some("http://127.0.0.1:64123".to_owned());
    Options { with_credentials, page_origin, ..Options::default() }
}

fn allowed(stream: &mut PendingRequest) {
    let origin = stream.request.header("Origin").unwrap_or(b"null");
    let origin = String::from_utf8_lossy(origin).into_owned();
    stream.head(&format!(
        "{STREAM}\r\nAccess-Control-Allow-Origin: {origin}\r\nAccess-Control-Allow-Credentials: true"
    ));
}

/// Opens a stream that sets a cookie, and asks for a short reconnection time.
fn gives_cookie(stream: &mut PendingRequest) {
    let origin = stream.request.header("Origin").unwrap_or(b"null");
    let origin = String::from_utf8_lossy(origin).into_owned();
    stream.head(&format!(
        "{STREAM}\r\nAccess-Control-Allow-Origin: {origin}\r\n\
         Access-Control-Allow-Credentials: true\r\nSet-Cookie: {COOKIE}; Path=/"
    ));
    stream.chunk(format!("retry: {RETRY_MS}\ndata: first\n\n").as_bytes());
}
