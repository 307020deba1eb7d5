//! Category 7: what goes along, and when, where an answer makes a client ask again.

use std::time::{Duration, Instant};

use super::c07_answers::named;
use super::{CASE, ID, ID_SENT, RECONNECTED};
use crate::Level;
use crate::client::context::{CaseContext, ClientSession, RETRY_MS};
use crate::client::driver::{Capability, Options};
use crate::client::scripted_server::PendingRequest;
use crate::client::{Case, Fault};
use crate::expect::{ensure, equal, fact, pass};

use Capability::{Bd, Hd, R};

/// The redirections that keep the method.
const KEEPING: [&str; 2] = ["307 Temporary Redirect", "308 Permanent Redirect"];
/// Two headers that no client sends by default.
const HEADERS: [(&str, &str); 2] = [("X-Conformance", "one, two"), ("Authorization", "Bearer abc")];
/// How long a server asks a client to stay away, seconds, and how long that is watched.
const AWAY_S: i64 = 2;
const WATCHED: Duration = Duration::from_secs(4);

pub(super) static CASES: &[Case] = &[
    Case {
        id: "C7.20",
        slug: "redirect-keeps-headers",
        level: Level::Should,
        source: "Fetch, HTTP-redirect fetch",
        since: "2026-11-29",
        claim: "Headers of a request go along with a redirection within its origin.",
        sends: "307 and 308 to another path of the same origin.",
        fix: "Send the redirected request with the headers of the first one.",
        run: |context| {
            let headers = match context.has(Hd) {
                true => HEADERS.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
                false => Default::default(),
            };
            let options = Options { headers, ..Options::default() };
            context.each(&KEEPING, |status| {
                let (mut session, answer) = context.asked_with(&options)?;
                let first = answer.request.clone();
                let names = ["Accept", HEADERS[0].0, HEADERS[1].0];
                let sent: Vec<_> = names.iter().filter(|it| first.header(it).is_some()).collect();
                if sent.is_empty() {
                    return Err(Fault::Skip("the first request has no header to keep".to_owned()));
                }
                let second = redirected(&mut session, answer, status)?;
                sent.iter().try_for_each(|name| {
                    let is_kept = second.request.all(name) == first.all(name);
                    named(status, ensure(is_kept, first.shown(name), second.request.shown(name)))
                })
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C7.21",
        slug: "redirect-keeps-id",
        level: Level::Must,
        source: "HTML 9.2.3; Fetch, HTTP-redirect fetch",
        needs: &[R],
        since: "2026-11-29",
        after: ID_SENT,
        claim: "Last-Event-ID goes along with a redirection within its origin.",
        sends: "A stream with an id, its end, and 307 or 308 to another path of the same origin.",
        fix: "Send the redirected request with the headers of the first one.",
        run: |context| {
            context.each(&KEEPING, |status| {
                let (mut session, mut stream) = context.asked()?;
                stream.stream(format!("retry: {RETRY_MS}\nid: 7\ndata: a\n\n").as_bytes());
                drop(stream);
                let again = session.request()?;
                if again.request.header(ID) != Some(b"7") {
                    let shown = again.request.shown(ID);
                    return Err(Fault::Skip(format!("it was not sent before, see C6.14: {shown}")));
                }
                let second = redirected(&mut session, again, status)?;
                let is_kept = second.request.all(ID) == [b"7"];
                named(status, ensure(is_kept, format!("{ID}: 7"), second.request.shown(ID)))
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C7.22",
        slug: "redirect-keeps-body",
        level: Level::Must,
        source: "RFC 9110 15.4.8, 15.4.9",
        needs: &[Bd],
        since: "2026-11-29",
        claim: "A POST that 307 or 308 redirects within its origin stays a POST with its body.",
        sends: "307 and 308 to another path of the same origin, after a POST with a body.",
        fix: "Follow 307 and 308 with the same method and body, or do not follow them.",
        run: |context| {
            let (method, body) = (Some("POST".to_owned()), Some("question".to_owned()));
            let options = Options { method, body, ..Options::default() };
            context.each(&KEEPING, |status| {
                let (mut session, answer) = context.asked_with(&options)?;
                if answer.request.method != "POST" {
                    let words =
                        format!("the first request is a {}, see C1.10", answer.request.method);
                    return Err(Fault::Skip(words));
                }
                let first = answer.request.clone();
                let second = redirected(&mut session, answer, status)?;
                named(status, equal("method", second.request.method.as_str(), "POST"))?;
                let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
                named(status, equal("body", &text(&second.request.body), &text(&first.body)))
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C7.23",
        slug: "s503-retry-after",
        level: Level::Info,
        source: "RFC 9110 10.2.3, HTML 9.2.3",
        needs: &[R],
        since: "2026-11-29",
        after: RECONNECTED,
        claim: "The reaction of a client to 503 with Retry-After, in seconds and as a date.",
        sends: "At a reconnection 503 with Retry-After: 2, and with the date two seconds ahead.",
        fix: "Nothing has to change; the standard has it fail for good.",
        run: |context| {
            let seconds = after_503(context, &AWAY_S.to_string())?;
            let date = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(AWAY_S);
            let date = after_503(context, &date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())?;
            fact(format!("in seconds: {seconds}; as a date: {date}"))
        },
        ..CASE
    },
];

/// The request that follows a redirection to another path of the same origin.
fn redirected(
    session: &mut ClientSession<'_>,
    mut answer: PendingRequest,
    status: &str,
) -> Result<PendingRequest, Fault> {
    answer.answer(&format!("{status}\r\nLocation: {}", session.server.url("/there")));
    drop(answer);
    session.request().map_err(|fault| match fault {
        Fault::Miss { .. } => {
            Fault::Skip(format!("{status} was not followed; whether it should be is C7.09's claim"))
        }
        fault => fault,
    })
}

/// The reaction of a client to 503 with this `Retry-After` at a reconnection.
fn after_503(context: &CaseContext, retry_after: &str) -> Result<String, Fault> {
    let (mut session, mut stream) = context.asked()?;
    stream.stream(format!("retry: {RETRY_MS}\ndata: a\n\n").as_bytes());
    drop(stream);
    let mut again = session.request()?;
    let answered = Instant::now();
    again.answer(&format!("503 Service Unavailable\r\nRetry-After: {retry_after}"));
    drop(again);
    match session.request_within(context.scaled(WATCHED)) {
        Ok(next) => {
            let after = next.request.at.saturating_duration_since(answered);
            Ok(format!("it asks again after {:.0} ms", after.as_secs_f64() * 1e3))
        }
        Err(Fault::Miss { .. }) => Ok(format!("no request within {WATCHED:?}")),
        Err(fault) => Err(fault),
    }
}
