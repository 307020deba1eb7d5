//! Category 1: the request.

use super::{ID, case};
use crate::conformance::client::Case;
use crate::conformance::client::driver::{Capability, Options};
use crate::conformance::client::request::Request;
use crate::conformance::client::trial::{RETRY_MS, Trial, message, same_events};
use crate::conformance::expect::{ensure, equal, fact, miss_should, pass};
use crate::conformance::{Fault, Level, Outcome};

use Capability::{Bd, Hd, Id, R};

/// Two headers that nobody sends by himself.
const HEADERS: [(&str, &str); 2] = [("X-Conformance", "one, two"), ("Authorization", "Bearer abc")];
const BODY: &str = "{\"question\": \"é?\"}";

pub(super) static CASES: &[Case] = &[
    case(
        "C1.01",
        "get",
        Level::Must,
        &[],
        "HTML 9.2.3",
        "The request is a GET without a body.",
        |trial| {
            let request = first(trial)?;
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
    ),
    case(
        "C1.02",
        "accept",
        Level::Should,
        &[],
        "HTML 9.2.3",
        "Accept admits text/event-stream.",
        |trial| {
            let request = first(trial)?;
            let values = request.all("Accept").join(&b", "[..]).to_ascii_lowercase();
            let admits = values.split(|it| *it == b',').any(|range| {
                let range = range.split(|it| *it == b';').next().unwrap_or_default();
                matches!(range.trim_ascii(), b"text/event-stream" | b"text/*" | b"*/*")
            });
            ensure(admits, "Accept: text/event-stream", request.shown("Accept"))?;
            pass()
        },
    ),
    case(
        "C1.03",
        "no-cache",
        Level::Should,
        &[],
        "HTML 9.2.3, Fetch",
        "Cache-Control: no-cache is sent: no cache may answer.",
        |trial| {
            let request = first(trial)?;
            let values = request.all("Cache-Control").join(&b", "[..]).to_ascii_lowercase();
            let is_there = values.split(|it| *it == b',').any(|it| it.trim_ascii() == b"no-cache");
            ensure(is_there, "Cache-Control: no-cache", request.shown("Cache-Control"))?;
            pass()
        },
    ),
    case(
        "C1.04",
        "pragma",
        Level::Info,
        &[],
        "Fetch",
        "Whether Pragma: no-cache is sent, as browsers do.",
        |trial| fact(first(trial)?.shown("Pragma")),
    ),
    case(
        "C1.05",
        "no-last-id",
        Level::Must,
        &[],
        "HTML 9.2.3",
        "The first request has no Last-Event-ID, not even an empty one.",
        |trial| {
            let request = first(trial)?;
            ensure(request.all(ID).is_empty(), format!("no {ID}"), request.shown(ID))?;
            pass()
        },
    ),
    case(
        "C1.06",
        "target",
        Level::Must,
        &[],
        "RFC 9110 4.2, HTML 9.2.2",
        "Path and query are sent as they were given, the fragment is not.",
        |trial| {
            let target = "/a%20b/%C3%A9/c,d;e?x=1&y=%2F&z=a+b&q='~!$()*";
            let mut dialogue =
                trial.dialogue_at(&format!("{target}#fragment"), &Options::default())?;
            let request = dialogue.request()?.request.clone();
            // The URL standard escapes an apostrophe in a query; both mean the same.
            let seen = request.target.replace("%27", "'");
            equal("target", seen.as_str(), target)?;
            pass()
        },
    ),
    case(
        "C1.07",
        "host",
        Level::Must,
        &[],
        "RFC 9112 3.2",
        "There is one Host, with host and port of the URL.",
        |trial| {
            let mut dialogue = trial.dialogue(&Options::default())?;
            let request = dialogue.request()?.request.clone();
            let expected = dialogue.stage.authority();
            let is_one = request.all("Host") == [expected.as_bytes()];
            ensure(is_one, format!("Host: {expected}"), request.shown("Host"))?;
            pass()
        },
    ),
    case(
        "C1.08",
        "version",
        Level::Info,
        &[],
        "RFC 9112 2.5, 9.3",
        "Which version of HTTP, and whether the connection may be kept.",
        |trial| {
            let request = first(trial)?;
            let connection = match request.header("Connection") {
                None => "no Connection".to_owned(),
                Some(_) => request.shown("Connection"),
            };
            fact(format!("{}, {connection}, {}", request.version, request.shown("User-Agent")))
        },
    ),
    case(
        "C1.09",
        "headers",
        Level::Should,
        &[Hd],
        "practice: credentials of APIs",
        "Headers of the caller's go with each request, reconnections too.",
        |trial| {
            let headers = HEADERS.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            repeated(trial, &Options { headers, ..Options::default() }, |request| {
                HEADERS.iter().try_for_each(|(name, value)| {
                    let is_there = request.all(name) == [value.as_bytes()];
                    ensure(is_there, format!("{name}: {value}"), request.shown(name))
                })
            })
        },
    ),
    case(
        "C1.10",
        "body",
        Level::Should,
        &[Bd],
        "practice: APIs that stream answers",
        "Method and body of the caller's go with each request, reconnections too.",
        |trial| {
            let (method, body) = (Some("POST".to_owned()), Some(BODY.to_owned()));
            repeated(trial, &Options { method, body, ..Options::default() }, |request| {
                equal("method", request.method.as_str(), "POST")?;
                let body = String::from_utf8_lossy(&request.body);
                equal("body", &*body, BODY)
            })
        },
    ),
    case(
        "C1.11",
        "initial-id",
        Level::Should,
        &[Id],
        "HTML 9.2.4, practice",
        "An id to begin with is sent at once, and is the last event id until one comes.",
        |trial| {
            let last_event_id = Some("begin-41".to_owned());
            let options = Options { last_event_id, ..Options::default() };
            repeated(trial, &options, |request| {
                let is_there = request.all(ID) == [b"begin-41"];
                ensure(is_there, format!("{ID}: begin-41"), request.shown(ID))
            })?;
            let (mut dialogue, mut stream) = trial.asked_with(&options)?;
            stream.open();
            stream.chunk(b"data: a\n\n");
            let events = dialogue.events_to_mark(&mut stream)?;
            same_events(&events, &[message("a", "begin-41")])?;
            pass()
        },
    ),
];

/// The first request of a client.
fn first(trial: &Trial) -> Result<Request, Fault> {
    let (_, exchange) = trial.asked()?;
    Ok(exchange.request.clone())
}

/// Looks at the first request and, if the client reconnects, at the second one.
fn repeated(
    trial: &Trial,
    options: &Options,
    holds: impl Fn(&Request) -> Result<(), Fault>,
) -> Outcome {
    let (mut dialogue, mut stream) = trial.asked_with(options)?;
    holds(&stream.request)?;
    if trial.has(R) {
        stream.stream(format!("retry: {RETRY_MS}\ndata: a\n\n").as_bytes());
        holds(&dialogue.request()?.request)?;
    }
    pass()
}
