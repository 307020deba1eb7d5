//! Category 9, first part: methods, statuses, `Host`.

use std::time::Duration;

use wire::{Body, Error, Head};

use super::CASE;
use super::s02_framing::will_close;
use crate::case::is_unanswered;
use crate::expect::{ensure, fact, miss, miss_of, pass, status_in};
use crate::server::dedicated_server::DedicatedServer;
use crate::server::metrics::Held;
use crate::server::{Case, Cost, Fault, Level, Need, Outcome, Scope, Target};

/// A path that no server has.
pub(super) const NO_SUCH_PATH: &str = "/conformance-no-such-path";
/// The HEAD requests of S9.03, one after the other.
const HEADS: usize = 50;
/// The time until none of them shows in the metrics.
const HEADS_OVER: Duration = Duration::from_secs(2);

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S9.01",
        slug: "head-no-body",
        level: Level::Must,
        source: "RFC 9110 9.3.2",
        scope: Scope::Http,
        after: &[],
        in_handler: true,
        claim: "HEAD of a stream has no body, and its connection takes the next request, or closes as it says.",
        sends: "HEAD, then a GET on the same connection.",
        fix: "Write no body after the head, and start no stream: an endless handler must not run for HEAD.",
        run: head_no_body,
        ..CASE
    },
    Case {
        id: "S9.02",
        slug: "head-status",
        level: Level::Should,
        source: "RFC 9110 9.3.2",
        scope: Scope::Http,
        in_handler: true,
        after: &[],
        claim: "HEAD of a stream has the status and the Content-Type of GET.",
        sends: "HEAD, compared with GET.",
        fix: "Route HEAD like GET, send the head, and end the answer: a handler that waits for its first write never sends one.",
        run: |target| {
            let get = target.head(&target.get(target.path()))?;
            let request =
                target.request("HEAD", target.path()).header("Accept", "text/event-stream");
            let head = target.head(&request)?.summary();
            ensure(head == get.summary(), format!("as for GET: {}", get.summary()), head)?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S9.03",
        slug: "head-no-producer",
        level: Level::Should,
        source: "RFC 9110 9.3.2; practice: kemal#798",
        needs: &[Need::Metrics],
        cost: &[Cost::Alone],
        scope: Scope::Http,
        in_handler: true,
        after: &[],
        claim: "HEAD of a stream starts nothing that goes on: 50 of them leave no stream and no producer.",
        sends: "50 times HEAD, then the metrics.",
        fix: "Answer HEAD before the producer is started.",
        run: |target| {
            let dedicated = DedicatedServer::or_shared(target)?;
            let base = Held::by(&dedicated.target)?;
            for _ in 0..HEADS {
                dedicated.target.head(&dedicated.target.request("HEAD", target.path()))?;
            }
            base.comes_back(&dedicated.target, target.scaled(HEADS_OVER))?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S9.04",
        slug: "post-405",
        level: Level::Should,
        source: "RFC 9110 9.1",
        scope: Scope::Http,
        in_handler: true,
        after: &[],
        claim: "POST to a stream that does not take it gets 405, or 501, not 404 and no server error.",
        sends: "POST to the stream.",
        fix: "Answer 405 for a known method that the path does not take, not 404.",
        run: |target| {
            let head = target.head(&target.request("POST", target.path()).body(""))?;
            // Where POST is taken, an empty body may be refused; where it is guarded, so is this one.
            let holds = head.status == 501 || (head.status < 500 && head.status != 404);
            ensure(holds, "status 405 or 501, or an answer of what takes it", head.summary())?;
            fact(head.summary())
        },
        ..CASE
    },
    Case {
        id: "S9.05",
        slug: "allow",
        level: Level::Must,
        source: "RFC 9110 15.5.6",
        scope: Scope::Http,
        in_handler: true,
        after: &[],
        claim: "Every 405 carries Allow, and it lists GET.",
        sends: "Methods that the path does not take.",
        fix: "Add Allow with the methods of the path to every 405.",
        run: allow,
        ..CASE
    },
    Case {
        id: "S9.06",
        slug: "unknown-method",
        level: Level::Should,
        source: "RFC 9110 9.1",
        scope: Scope::Http,
        after: &[],
        claim: "An unknown method is answered with 501 or 405.",
        sends: "The method FOO.",
        fix: "Answer 501, or 405 with Allow.",
        run: |target| {
            status_in(&target.head(&target.request("FOO", target.path()))?, &[501, 405])?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S9.07",
        slug: "method-case",
        level: Level::Must,
        source: "RFC 9110 9.1",
        scope: Scope::Http,
        after: &[],
        claim: "Methods are case-sensitive: get is not GET.",
        sends: "The method get, in lower case; where it opens the stream, the method FOO too.",
        fix: "Compare methods as they are: they are case-sensitive.",
        run: method_case,
        ..CASE
    },
    Case {
        id: "S9.08",
        slug: "options",
        level: Level::Info,
        source: "RFC 9110 9.3.7",
        scope: Scope::Http,
        after: &[],
        claim: "The answer to OPTIONS of a stream.",
        sends: "OPTIONS.",
        fix: "Nothing has to change; 204 with Allow, or CORS headers for a preflight, are usual.",
        run: |target| {
            let head = target.head(&target.request("OPTIONS", target.path()))?;
            let allow = head.value("allow").map(|it| format!(", Allow: {it}")).unwrap_or_default();
            fact(format!("status {}{allow}", head.status))
        },
        ..CASE
    },
    Case {
        id: "S9.09",
        slug: "error-type",
        level: Level::Should,
        source: "RFC 9110 15.5.5; HTML 9.2.3",
        scope: Scope::Http,
        in_handler: true,
        after: &[],
        claim: "A path that does not exist is refused, not by a server error, and not as an event stream.",
        sends: "A path that does not exist.",
        fix: "Answer 404, with a type that is not text/event-stream.",
        run: |target| {
            let head = target.head(&target.get(NO_SUCH_PATH))?;
            if head.status < 400 {
                // A page for every path, or a stream: then this one exists.
                return Err(Fault::Skip(format!("every path is answered: {}", head.summary())));
            }
            let is_stream = head.essence().as_deref() == Some("text/event-stream");
            let is_refusal = head.status < 500 || head.status == 501;
            ensure(is_refusal && !is_stream, "404 of another type", head.summary())?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S9.10",
        slug: "no-host",
        level: Level::Must,
        source: "RFC 9112 3.2",
        scope: Scope::Http,
        after: &[],
        claim: "An HTTP/1.1 request without Host is answered with 400.",
        sends: "HTTP/1.1 without Host.",
        fix: "Answer 400; where the library lets it pass, check in a layer before the routes.",
        run: |target| {
            status_in(&target.head(&target.get(target.path()).without("Host"))?, &[400])?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S9.11",
        slug: "two-hosts",
        level: Level::Must,
        source: "RFC 9112 3.2",
        scope: Scope::Http,
        hostile: true,
        after: &[],
        claim: "A request with two Host lines is answered with 400.",
        sends: "HTTP/1.1 with two Host lines.",
        fix: "Answer 400; where the library lets it pass, check in a layer before the routes.",
        run: |target| {
            let request = target.get(target.path()).header("Host", "other.example");
            status_in(&target.head(&request)?, &[400])?;
            pass()
        },
        ..CASE
    },
];

fn head_no_body(target: &Target) -> Outcome {
    let mut connection = target.connect()?;
    let request = target.request("HEAD", target.path()).header("Accept", "text/event-stream");
    let (head, _): (Head, Body) = match connection.ask(&request) {
        Ok(answer) => answer,
        // Without an answer there is no body either; that HEAD is answered like GET is recommended by S9.02.
        Err(error) if error.is_end() || is_unanswered(&error) => {
            return Err(Fault::Skip(format!("HEAD has no answer to judge (see S9.02): {error}")));
        }
        Err(error) => return Err(error.into()),
    };
    // Any bytes before the answer to a second request would be a body.
    match connection.ask(&target.get(NO_SUCH_PATH)) {
        Ok(_) => pass(),
        Err(error) if error.is_end() && will_close(&head) => pass(),
        Err(error @ Error::Syntax(_)) => Err(miss("no body", error.to_string())),
        // No body was seen; that the handler runs on is worth knowing, and no standard's demand.
        Err(error) => {
            let expected = "a connection that takes the next request, or an announced close";
            Err(miss_of(expected, &Err(error)).recommended())
        }
    }
}

fn allow(target: &Target) -> Outcome {
    let mut seen = 0;
    for method in ["POST", "PUT", "DELETE", "FOO"] {
        let head = match target.head(&target.request(method, target.path()).body("")) {
            Ok(head) if head.status == 405 => head,
            Ok(_) => continue,
            Err(error) if error.is_unreachable() => return Err(error.into()),
            // An answer that does not come is no 405; the next one would cost as much time.
            Err(Error::Timeout { .. }) => break,
            Err(_) => continue,
        };
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

fn method_case(target: &Target) -> Outcome {
    let opens = |method: &str| match target.head(&target.request(method, target.path())) {
        Err(error) if error.is_unreachable() => Err(error),
        // With any other answer, or none, the method was not taken for GET.
        answer => Ok(answer.is_ok_and(|head| head.is_event_stream())),
    };
    if !opens("get")? {
        return pass();
    }
    // Where any method opens the stream nothing is folded: that is the claim of S9.06.
    if opens("FOO")? {
        return Err(Fault::Skip("any method opens the stream, FOO too".to_owned()));
    }
    Err(miss("no stream for get", "it opens the stream, and FOO does not"))
}
