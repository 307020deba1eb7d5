//! Category 1: the request.

use std::time::Duration;

use wire::server::ReceivedRequest;

use super::{CASE, ID};
use crate::client::Case;
use crate::client::context::{CaseContext, RETRY_MS, message, same_events};
use crate::client::driver::{Capability, Options};
use crate::expect::{ensure, equal, fact, miss_should, pass};
use crate::{Fault, Level, Outcome, Scope};

use Capability::{Bd, Hd, Id, R};

/// Two headers that no client sends by default.
const HEADERS: [(&str, &str); 2] = [("X-Conformance", "one, two"), ("Authorization", "Bearer abc")];
const BODY: &str = "{\"question\": \"é?\"}";
/// How long a repetition of a POST is waited for: ten times the reconnection time that was asked for.
const AFTER_POST: Duration = Duration::from_millis(10 * RETRY_MS);

pub(super) static CASES: &[Case] = &[
    Case {
        id: "C1.01",
        slug: "get",
        level: Level::Must,
        source: "HTML 9.2.3",
        after: &[],
        claim: "The request is a GET without a body.",
        sends: "Nothing before the request.",
        fix: "Send a plain GET; a body, its length or its coding has no place in it.",
        run: |context| {
            let request = first(context)?;
            equal("method", request.method.as_str(), "GET")?;
            ensure(request.body.is_empty(), "no body", format!("{} bytes", request.body.len()))?;
            for name in ["Transfer-Encoding", "Content-Length"] {
                let shown = request.shown(name);
                match request.header(name) {
                    None => {}
                    Some(b"0") => return Err(miss_should(format!("no {name}"), shown)),
                    Some(_) => {
                        return ensure(false, format!("no {name}"), shown).and_then(|()| pass());
                    }
                }
            }
            pass()
        },
        ..CASE
    },
    Case {
        id: "C1.02",
        slug: "accept",
        level: Level::Should,
        source: "HTML 9.2.3",
        claim: "Accept admits text/event-stream.",
        sends: "Nothing before the request.",
        fix: "Send Accept: text/event-stream, so that a server with several answers chooses the stream.",
        run: |context| {
            let request = first(context)?;
            let values = request.all("Accept").join(&b", "[..]).to_ascii_lowercase();
            let admits = values.split(|it| *it == b',').any(|range| {
                let range = range.split(|it| *it == b';').next().unwrap_or_default();
                matches!(range.trim_ascii(), b"text/event-stream" | b"text/*" | b"*/*")
            });
            ensure(admits, "Accept: text/event-stream", request.shown("Accept"))?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C1.03",
        slug: "no-cache",
        level: Level::Should,
        source: "HTML 9.2.3, Fetch",
        claim: "Cache-Control: no-cache is sent: no cache may answer.",
        sends: "Nothing before the request.",
        fix: "Send Cache-Control: no-cache, so that no cache answers with an old stream.",
        run: |context| {
            let request = first(context)?;
            let values = request.all("Cache-Control").join(&b", "[..]).to_ascii_lowercase();
            let is_there = values.split(|it| *it == b',').any(|it| it.trim_ascii() == b"no-cache");
            ensure(is_there, "Cache-Control: no-cache", request.shown("Cache-Control"))?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C1.04",
        slug: "pragma",
        level: Level::Info,
        source: "Fetch",
        claim: "Whether Pragma: no-cache is sent, as browsers do.",
        sends: "Nothing before the request.",
        fix: "Nothing has to change; browsers send it for caches of HTTP/1.0.",
        run: |context| fact(first(context)?.shown("Pragma")),
        ..CASE
    },
    Case {
        id: "C1.05",
        slug: "no-last-id",
        level: Level::Must,
        source: "HTML 9.2.3",
        claim: "The first request has no Last-Event-ID, not even an empty one.",
        sends: "Nothing before the request.",
        fix: "Add the header only where the last event id is not empty.",
        run: |context| {
            let request = first(context)?;
            ensure(request.all(ID).is_empty(), format!("no {ID}"), request.shown(ID))?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C1.06",
        slug: "target",
        level: Level::Must,
        source: "RFC 9110 4.2, HTML 9.2.2",
        claim: "Path and query are sent as they were given, the fragment is not.",
        sends: "A URL with escapes, a query and a fragment.",
        fix: "Hand path and query on as they were parsed; encode nothing twice, and leave the fragment out.",
        run: |context| {
            let target = "/a%20b/%C3%A9/c,d;e?x=1&y=%2F&z=a+b&q='~!$()*";
            let mut session =
                context.session_at(&format!("{target}#fragment"), &Options::default())?;
            let request = session.request()?.request.clone();
            // The URL standard escapes an apostrophe in a query; both mean the same.
            let seen = request.target.replace("%27", "'");
            equal("target", seen.as_str(), target)?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C1.07",
        slug: "host",
        level: Level::Must,
        source: "RFC 9112 3.2",
        scope: Scope::Http,
        claim: "There is one Host, with host and port of the URL.",
        sends: "A URL with a port.",
        fix: "Let the HTTP library write Host, with the port where it is not the scheme's.",
        run: |context| {
            let mut session = context.session(&Options::default())?;
            let request = session.request()?.request.clone();
            let expected = session.server.authority();
            let is_one = request.all("Host") == [expected.as_bytes()];
            ensure(is_one, format!("Host: {expected}"), request.shown("Host"))?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C1.08",
        slug: "version",
        level: Level::Info,
        source: "RFC 9112 2.5, 9.3",
        scope: Scope::Http,
        claim: "Which version of HTTP, and whether the connection may be kept.",
        sends: "Nothing before the request.",
        fix: "Nothing has to change.",
        run: |context| {
            let request = first(context)?;
            let connection = match request.header("Connection") {
                None => "no Connection".to_owned(),
                Some(_) => request.shown("Connection"),
            };
            fact(format!("{}, {connection}, {}", request.version, request.shown("User-Agent")))
        },
        ..CASE
    },
    Case {
        id: "C1.09",
        slug: "headers",
        level: Level::Should,
        source: "practice: credentials of APIs",
        needs: &[Hd],
        claim: "Headers of the caller's go with each request, reconnections too.",
        sends: "A stream that ends, after a request with headers of the caller's.",
        fix: "Keep the caller's headers with the event source, and add them to each request.",
        run: |context| {
            let headers = HEADERS.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            repeated(context, &Options { headers, ..Options::default() }, |request| {
                HEADERS.iter().try_for_each(|(name, value)| {
                    let is_there = request.all(name) == [value.as_bytes()];
                    ensure(is_there, format!("{name}: {value}"), request.shown(name))
                })
            })
        },
        ..CASE
    },
    Case {
        id: "C1.10",
        slug: "body",
        level: Level::Should,
        source: "practice: APIs that stream answers",
        needs: &[Bd],
        claim: "Method and body of the caller's go with the request, and with each repetition of it.",
        sends: "A stream that ends, after a POST with a body.",
        fix: "Send method and body; a request that is repeated is repeated whole, or not at all.",
        run: |context| {
            let (mut session, mut stream) = context.asked_with(&post())?;
            is_posted(&stream.request)?;
            stream.stream(format!("retry: {RETRY_MS}\ndata: a\n\n").as_bytes());
            match session.request_within(context.scaled(AFTER_POST)) {
                Ok(again) => is_posted(&again.request).and_then(|()| fact("it is repeated, whole")),
                Err(Fault::Miss { .. }) => fact("it is not repeated"),
                Err(fault) => Err(fault),
            }
        },
        ..CASE
    },
    Case {
        id: "C1.11",
        slug: "initial-id",
        level: Level::Should,
        source: "HTML 9.2.4, practice",
        needs: &[Id],
        after: &["C1.01", "C2.01", "C3.16"],
        claim: "An id to begin with is sent at once, and is the last event id until one comes.",
        sends: "A stream without ids, after a request with an id of the caller's.",
        fix: "Begin with that id as the last event id: send it, and report it until another comes.",
        run: |context| {
            let last_event_id = Some("begin-41".to_owned());
            let options = Options { last_event_id, ..Options::default() };
            repeated(context, &options, |request| {
                let is_there = request.all(ID) == [b"begin-41"];
                ensure(is_there, format!("{ID}: begin-41"), request.shown(ID))
            })?;
            let (mut session, mut stream) = context.asked_with(&options)?;
            stream.open();
            stream.chunk(b"data: a\n\n");
            let events = session.events_to_mark(&mut stream)?;
            same_events(&events, &[message("a", "begin-41")])?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C1.12",
        slug: "post-again",
        level: Level::Info,
        source: "RFC 9110 9.2.2, HTML 9.2.3",
        needs: &[Bd],
        since: "2026-11-29",
        claim: "Whether a POST is sent again when its stream has ended, without and with an id.",
        sends: "Streams that end, one without ids and one with an id, each after a POST.",
        fix: "Nothing has to change; a POST that asks for work should be repeated only where its caller \
              says so.",
        run: |context| {
            let repeats = |id: &str| -> Result<String, Fault> {
                let (mut session, mut stream) = context.asked_with(&post())?;
                stream.stream(format!("retry: {RETRY_MS}\n{id}data: a\n\n").as_bytes());
                match session.request_within(context.scaled(AFTER_POST)) {
                    Ok(again) => Ok(format!("{} follows", again.request.method)),
                    Err(Fault::Miss { .. }) => Ok("no request follows".to_owned()),
                    Err(fault) => Err(fault),
                }
            };
            fact(format!("without an id {}, with an id {}", repeats("")?, repeats("id: 1\n")?))
        },
        ..CASE
    },
];

/// A request that is not idempotent.
fn post() -> Options {
    let (method, body) = (Some("POST".to_owned()), Some(BODY.to_owned()));
    Options { method, body, ..Options::default() }
}

fn is_posted(request: &ReceivedRequest) -> Result<(), Fault> {
    equal("method", request.method.as_str(), "POST")?;
    equal("body", &*String::from_utf8_lossy(&request.body), BODY)
}

/// The first request of a client.
fn first(context: &CaseContext) -> Result<ReceivedRequest, Fault> {
    let (_, pending) = context.asked()?;
    Ok(pending.request.clone())
}

/// Looks at the first request and, if the client reconnects, at the second one.
fn repeated(
    context: &CaseContext,
    options: &Options,
    holds: impl Fn(&ReceivedRequest) -> Result<(), Fault>,
) -> Outcome {
    let (mut session, mut stream) = context.asked_with(options)?;
    holds(&stream.request)?;
    if context.has(R) {
        stream.stream(format!("retry: {RETRY_MS}\ndata: a\n\n").as_bytes());
        holds(&session.request()?.request)?;
    }
    pass()
}
