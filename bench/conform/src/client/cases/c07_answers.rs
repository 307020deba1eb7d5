//! Category 7: what becomes of the answers that HTTP knows: statuses, types, redirections.

use std::time::{Duration, Instant};

use super::{CASE, OPENED};
use crate::client::context::{CaseContext, ClientSession, RETRY_MS};
use crate::client::driver::{Capability, Options};
use crate::client::scripted_server::PendingRequest;
use crate::client::{Case, Fault};
use crate::expect::{ensure, equal, fact, miss, pass};
use crate::{Level, Outcome};

use Capability::{Op, R};

/// As much of a body as a browser looks at to guess its type, bytes (MIME Sniffing: 1445).
const SNIFFED: usize = 2048;
/// Twice as many requests as any client is known to make before it stops; Fetch has 20 redirections.
const REDIRECTS: usize = 250;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "C7.01",
        slug: "s204",
        level: Level::Must,
        source: "HTML 9.2.1, 9.2.3",
        needs: &[R],
        after: &["C1.01", "C2.01", "C6.01", "C5.01"],
        claim: "204 ends it: an error is reported, and no second request made.",
        sends: "204, at once and when reconnecting.",
        fix: "Close for good on 204: it is how a server says so.",
        run: |context| {
            // At once, and where a stream was open before.
            fails(context, &["204 No Content"])?;
            let (mut session, mut stream) = context.asked()?;
            stream.stream(format!("retry: {RETRY_MS}\ndata: a\n\n").as_bytes());
            // Reported before the 204, it cannot be mistaken for a stream after it.
            session.until_data("a")?;
            let mut again = session.request()?;
            let answered = Instant::now();
            again.head_only("204 No Content");
            session.gives_up(answered)?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C7.02",
        slug: "s205-206-299",
        level: Level::Must,
        source: "HTML 9.2.3, WPT request-status-error",
        after: OPENED,
        claim: "Other statuses of success than 200 fail for good.",
        sends: "205, 206, 210 and 299.",
        fix: "Accept 200 only.",
        run: |context| {
            fails(
                context,
                &[
                    "205 Reset Content\r\nContent-Type: text/event-stream",
                    "206 Partial Content\r\nContent-Type: text/event-stream",
                    "210 Whatever\r\nContent-Type: text/event-stream",
                    "299 Whatever\r\nContent-Type: text/event-stream",
                ],
            )
        },
        ..CASE
    },
    Case {
        id: "C7.03",
        slug: "s4xx",
        level: Level::Must,
        source: "HTML 9.2.3, WPT request-status-error",
        after: OPENED,
        claim: "Errors of the client (4xx) fail for good.",
        sends: "400, 401, 403, 404 and 410.",
        fix: "Close for good; do not reconnect.",
        run: |context| {
            fails(
                context,
                &[
                    "400 Bad Request",
                    "401 Unauthorized\r\nWWW-Authenticate: Bearer",
                    "403 Forbidden",
                    "404 Not Found\r\nContent-Type: text/event-stream",
                    "410 Gone",
                ],
            )
        },
        ..CASE
    },
    Case {
        id: "C7.04",
        slug: "s5xx",
        level: Level::Should,
        source: "HTML 9.2.3, WPT request-status-error",
        after: OPENED,
        claim: "Errors of the server (5xx) fail for good, as in browsers.",
        sends: "500, 502 and 503.",
        fix: "Close for good as browsers do, or make trying again an option.",
        run: |context| {
            fails(
                context,
                &[
                    "500 Internal Server Error",
                    "502 Bad Gateway",
                    "503 Service Unavailable\r\nContent-Type: text/event-stream",
                ],
            )
        },
        ..CASE
    },
    Case {
        id: "C7.05",
        slug: "s429-retry-after",
        level: Level::Info,
        source: "RFC 9110 10.2.3",
        claim: "The reaction of a client to 429 with Retry-After: 1.",
        sends: "429 with Retry-After: 1.",
        fix: "Nothing has to change; the standard has it fail for good.",
        run: |context| {
            let (mut session, mut answer) = context.asked()?;
            answer.answer("429 Too Many Requests\r\nRetry-After: 1");
            let at = Instant::now();
            match session.request_within(context.ms(5000)) {
                Ok(again) => fact(format!(
                    "it asks again after {:.0} ms",
                    again.request.at.saturating_duration_since(at).as_secs_f64() * 1e3
                )),
                Err(_) => fact("it does not ask again within 5 s"),
            }
        },
        ..CASE
    },
    Case {
        id: "C7.06",
        slug: "wrong-type",
        level: Level::Must,
        source: "HTML 9.2.3, WPT format-mime-bogus",
        after: OPENED,
        claim: "Another Content-Type than text/event-stream fails for good.",
        sends: "Other types with a body that looks like events.",
        fix: "Compare the type before the body is read.",
        run: |context| {
            typed(
                context,
                &[
                    "text/plain",
                    "text/x-bogus",
                    "text/event-streams",
                    "application/json",
                    "text/event stream",
                ],
            )
        },
        ..CASE
    },
    Case {
        id: "C7.07",
        slug: "no-type",
        level: Level::Must,
        source: "HTML 9.2.3",
        after: OPENED,
        claim: "An answer without Content-Type fails for good.",
        sends: "No Content-Type, with a body that looks like events.",
        fix: "Take a missing type for a wrong one.",
        run: |context| typed(context, &[""]),
        ..CASE
    },
    Case {
        id: "C7.08",
        slug: "type-params",
        level: Level::Must,
        source: "HTML 9.2.3, WPT format-mime-trailing-semicolon",
        claim: "Parameters and upper case in Content-Type do not matter.",
        sends: "Parameters, an empty one, upper case.",
        fix: "Compare what stands before the semicolon, without spaces and case.",
        run: |context| {
            let types = [
                "text/event-stream;charset=utf-8",
                "text/event-stream;",
                "text/event-stream ; foo=bar",
                "Text/Event-Stream",
            ];
            context.each(&types, |kind| {
                let (mut session, mut stream) = context.asked()?;
                stream
                    .head(&format!("200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked"));
                stream.chunk(b"data: a\n\n");
                named(kind, session.until_data("a").map(|_| ()))
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C7.09",
        slug: "r301-302-303-307-308",
        level: Level::Must,
        source: "HTML 9.2.3, WPT request-redirect",
        claim: "Each status of redirection is followed.",
        sends: "301, 302, 303, 307 and 308.",
        fix: "Follow them; HTTP libraries have an option for it.",
        run: |context| {
            let all = [
                "301 Moved Permanently",
                "302 Found",
                "303 See Other",
                "307 Temporary Redirect",
                "308 Permanent Redirect",
            ];
            context.each(&all, |status| {
                let (mut session, mut answer) = context.asked()?;
                let there = session.server.url("/there?a=b");
                answer.answer(&format!("{status}\r\nLocation: {there}"));
                drop(answer);
                named(status, arrives(&mut session, "/there?a=b"))
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C7.10",
        slug: "redirect-no-location",
        level: Level::Must,
        source: "Fetch, RFC 9110 15.4",
        claim: "A redirection without a Location, or with an empty one, is an error and no loop.",
        sends: "301 and 307 without a Location, and with an empty one.",
        fix: "Take it for an error, and count redirections.",
        run: |context| {
            context.each(
                &[
                    "301 Moved\r\nX: y",
                    "307 Moved\r\nX: y",
                    "301 Moved\r\nLocation: ",
                    "307 Moved\r\nLocation: ",
                ],
                |status| {
                    let (mut session, answer) = context.asked()?;
                    named(status, bounded(&mut session, answer, |_| (*status).to_owned()))
                },
            )?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C7.11",
        slug: "redirect-loop",
        level: Level::Must,
        source: "Fetch, HTTP-redirect fetch",
        claim: "Redirections in a circle end with an error, after a bounded number.",
        sends: "A redirects to B, B to A.",
        fix: "Count redirections; browsers stop after twenty.",
        run: |context| {
            let (mut session, answer) = context.asked()?;
            bounded(&mut session, answer, |target| {
                let next = if target == "/a" { "/b" } else { "/a" };
                format!("302 Found\r\nLocation: {next}")
            })?;
            let requests = session.server.count();
            fact(format!("{requests} requests"))
        },
        ..CASE
    },
    Case {
        id: "C7.12",
        slug: "redirect-relative",
        level: Level::Must,
        source: "RFC 9110 10.2.2",
        claim: "A relative Location is resolved against the URL of the request.",
        sends: "Locations without scheme and host.",
        fix: "Resolve Location against the URL of the request.",
        run: |context| {
            context.each(
                &[
                    ("there", "/a/there"),
                    ("../there?x", "/there?x"),
                    ("/there", "/there"),
                    ("?q", "/a/b?q"),
                ],
                |(location, target)| {
                    let mut session = context.session_at("/a/b", &Options::default())?;
                    session.request()?.answer(&format!("302 Found\r\nLocation: {location}"));
                    named(location, arrives(&mut session, target))
                },
            )?;
            pass()
        },
        ..CASE
    },
];

/// Holds if the client gives up after each of these answers.
fn fails(context: &CaseContext, answers: &[&str]) -> Outcome {
    context.each(answers, |lines| {
        let (mut session, mut answer) = context.asked()?;
        let answered = Instant::now();
        refuse(&mut answer, lines);
        // Fetch repeats a request once after 401, with the credentials of the URL.
        if lines.starts_with("401")
            && let Some(mut again) = session.server.request(context.ms(300))
        {
            refuse(&mut again, lines);
        }
        named(lines.split('\r').next().unwrap_or(lines), session.gives_up(answered))
    })?;
    pass()
}

/// An answer that is no stream, with a body that events could be made of.
fn refuse(pending: &mut PendingRequest, lines: &str) {
    if lines.starts_with("204") {
        return pending.head_only(lines);
    }
    let body = "data: not an event\n\n";
    pending.head(&format!("{lines}\r\nContent-Length: {}", body.len()));
    pending.send(body.as_bytes());
    pending.answered();
}

/// Holds if the client gives up after a stream of each of these types.
fn typed(context: &CaseContext, types: &[&str]) -> Outcome {
    context.each(types, |kind| {
        let (mut session, mut stream) = context.asked()?;
        let answered = Instant::now();
        let (line, kind) = match *kind {
            "" => (String::new(), "no Content-Type"),
            kind => (format!("\r\nContent-Type: {kind}"), kind),
        };
        stream.head(&format!("200 OK{line}\r\nTransfer-Encoding: chunked"));
        // Enough for browsers that look at a body before they believe its type.
        stream.chunk(&b"data: not an event\n\n".repeat(SNIFFED / 20 + 1));
        named(kind, session.gives_up(answered))
    })?;
    pass()
}

/// The next request is for this target, and its stream is read.
fn arrives(session: &mut ClientSession<'_>, target: &str) -> Result<(), Fault> {
    let mut stream = session.request()?;
    equal("target", stream.request.target.as_str(), target)?;
    stream.open();
    stream.chunk(b"data: a\n\n");
    session.until_data("a").map(|_| ())
}

/// Answers every request this way until the client says that it is an error.
fn bounded(
    session: &mut ClientSession<'_>,
    first: PendingRequest,
    answer: impl Fn(&str) -> String,
) -> Result<(), Fault> {
    let deadline = Instant::now() + session.context.patience();
    let mut asked = Some(first);
    let mut requests = 0;
    while Instant::now() < deadline {
        if let Some(mut pending) = asked.take() {
            requests += 1;
            let lines = answer(&pending.request.target);
            pending.answer(&lines);
        }
        let words = format!("it goes on after {requests} requests");
        ensure(requests < REDIRECTS, format!("an error before {REDIRECTS} requests"), words)?;
        let timed = session.next_report(Instant::now() + Duration::from_millis(2))?;
        if timed.is_some_and(|it| ClientSession::is_over(&it.report)) {
            return Ok(());
        }
        asked = session.server.request(Duration::from_millis(2));
    }
    // A client behind the REST protocol may report nothing; it is enough that it has stopped.
    if !session.context.has(Op) {
        return Ok(());
    }
    let words = format!("{requests} requests; {}", session.reported());
    Err(miss("an error", words).too_slow(session.context.patience()))
}

/// A failure that says which of several it was.
pub(super) fn named<T>(what: &str, outcome: Result<T, Fault>) -> Result<T, Fault> {
    outcome.map_err(|fault| fault.within("", &format!("{what}: ")))
}
