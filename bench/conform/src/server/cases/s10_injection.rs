//! Category 10: nothing from outside becomes a line of the head or of the stream.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wire::{Body, Error, Event, EventStream};

use super::{CASE, SIMPLE_EVENT, published_text};
use crate::expect::{ensure, equal, fact, pass};
use crate::judge::{each_holds, parallel_map};
use crate::server::dedicated_server::DedicatedServer;
use crate::server::script::data;
use crate::server::topic::Topic;
use crate::server::{Case, Cost, Fault, Level, Need, Outcome, Target, script};

/// The line ends of an event stream (HTML, 9.2.5).
const LINE_ENDS: [&str; 3] = ["\n", "\r", "\r\n"];
/// The streams of S10.09, and how many of them are asked for side by side.
const STREAMS: usize = 200;
const SIDE_BY_SIDE: usize = 40;
/// How long S10.07 and S10.08 wait for the first bytes of a stream.
const REFLECTED_AT_ONCE: Duration = Duration::from_secs(1);
/// How long bytes behind the first ones are looked at, and how many.
const REFLECTED_BEHIND: Duration = Duration::from_millis(100);
const REFLECTED_BYTES: usize = 64 * 1024;
/// S10.09 asks for no further stream after this time: heads that come late have shown enough.
const STREAMS_LIMIT: Duration = Duration::from_secs(8);

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S10.01",
        slug: "newline-in-event",
        level: Level::MustContract,
        source: "HTML 9.2.5; CWE-93",
        needs: &[Need::Script],
        after: SIMPLE_EVENT,
        claim: "A line end in an event type adds no field and no event: it is repaired or refused.",
        sends: "A script with line ends in the event type.",
        fix: "Refuse CR and LF in event, or replace them; else a client that chooses the type can write fields.",
        run: |target| {
            for line_end in LINE_ENDS {
                let event = format!("x{line_end}data: injected");
                let item = json!({ "event": event, "data": "real" });
                injects_nothing(target, &[item], |event| event.data == "real")?;
            }
            pass()
        },
        ..CASE
    },
    Case {
        id: "S10.02",
        slug: "newline-in-id",
        level: Level::MustContract,
        source: "HTML 9.2.5; CWE-93",
        needs: &[Need::Script],
        after: SIMPLE_EVENT,
        claim: "A line end in an id adds no field and no event: it is repaired or refused.",
        sends: "A script with line ends in the id.",
        fix: "Refuse CR and LF in id, or replace them.",
        run: |target| {
            for line_end in LINE_ENDS {
                for field in ["retry: 1", "data: injected"] {
                    let id = format!("1{line_end}{field}");
                    let item = json!({ "id": id, "data": "real" });
                    injects_nothing(target, &[item], |event| event.data == "real")?;
                }
            }
            pass()
        },
        ..CASE
    },
    Case {
        id: "S10.03",
        slug: "cr-field-in-data",
        level: Level::Must,
        source: "HTML 9.2.5; CWE-93",
        needs: &[Need::Text],
        after: SIMPLE_EVENT,
        claim: "A field name after a line end in data stays data.",
        sends: "A script, and a published text, with CR, LF and CRLF before field names in data.",
        fix: "Split data at each line end, CRLF, LF and CR, and write data: before every line (as S4.02 and S4.04).",
        run: |target| {
            if let Some(room) = target.room() {
                let outcome = published_text::injection(target, room);
                if outcome.is_err() || !target.capabilities().contains(&Need::Script) {
                    return outcome;
                }
            }
            for line_end in LINE_ENDS {
                let data = format!("a{line_end}event: injected{line_end}data: b");
                let item = json!({ "event": "plain", "data": data });
                injects_nothing(target, &[item], |event| event.event == "plain")?;
            }
            pass()
        },
        ..CASE
    },
    Case {
        id: "S10.04",
        slug: "newline-in-comment",
        level: Level::MustContract,
        source: "HTML 9.2.5; CWE-93",
        needs: &[Need::Script],
        after: SIMPLE_EVENT,
        claim: "A line end in a comment makes no event.",
        sends: "A script with line ends in a comment.",
        fix: "Write a comment line for each line of it.",
        run: |target| {
            for line_end in LINE_ENDS {
                let comment = format!("c{line_end}data: injected");
                let items = [json!({ "comment": comment }), data("real")];
                injects_nothing(target, &items, |event| event.data == "real")?;
            }
            pass()
        },
        ..CASE
    },
    Case {
        id: "S10.05",
        slug: "nul-in-id",
        level: Level::Should,
        source: "HTML 9.2.6",
        needs: &[Need::Script],
        after: SIMPLE_EVENT,
        claim: "An id with NUL, which every client ignores, is repaired or refused.",
        sends: "A script with NUL in the id.",
        fix: "Leave the id out, or refuse it: clients ignore it.",
        run: |target| {
            let item = json!({ "id": "1\u{0}2", "data": "real" });
            let Some((_, stream)) = played(target, &[item])? else { return pass() };
            let raw = stream.raw();
            let is_sent = memchr::memchr(0, raw).is_some();
            ensure(!is_sent, "no NUL in the stream", format!("\"{}\"", wire::shown(raw)))?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S10.06",
        slug: "hostile-no-crash",
        level: Level::Should,
        source: "RFC 9110 15.6; CWE-248",
        needs: &[Need::Text],
        hostile: true,
        after: SIMPLE_EVENT,
        claim: "Hostile events break no connection and no other stream: each answer is whole.",
        sends: "All hostile scripts, or published texts, in a row, beside an open stream.",
        fix: "Make the encoder return an error or clean its input; a panic cuts the connection.",
        run: hostile_no_crash,
        ..CASE
    },
    Case {
        id: "S10.07",
        slug: "reflected-last-id",
        level: Level::Must,
        source: "RFC 9112 11.1",
        claim: "Nothing in Last-Event-ID becomes a line of the head or of the stream.",
        sends: "Last-Event-ID with encoded and raw line ends.",
        fix: "Never write request data into a head or a stream without the encoder.",
        run: |target| {
            let values = [
                "1%0d%0aX-Injected: 1",
                "1%0adata: injected",
                "1\rX-Injected: 1",
                "1\rdata: injected",
                "1\tdata: injected",
                "1\\ndata: injected",
            ];
            each_holds(&values, target.parallel(), |value| {
                let request = target.get(target.path()).header("Last-Event-ID", value);
                reflects_nothing(target, &request.to_bytes())
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S10.08",
        slug: "reflected-query",
        level: Level::Must,
        source: "RFC 9112 11.1",
        claim: "Nothing in the query becomes a line of the head or of the stream.",
        sends: "Query parameters with line ends.",
        fix: "Never write request data into a head or a stream without the encoder.",
        run: |target| {
            let queries =
                ["x=%0d%0aX-Injected:1", "x=%0adata:%20injected", "x=%0ddata:%20injected"];
            each_holds(&queries, target.parallel(), |query| {
                let request = target.get(&target.path_with(query));
                reflects_nothing(target, &request.to_bytes())
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S10.09",
        slug: "connection-limit",
        level: Level::Info,
        source: "HTML 9.2.7; practice: a limit says 429 or 503 with Retry-After",
        cost: &[Cost::Flood, Cost::Alone],
        hostile: true,
        claim: "How many of 200 streams at a time from one address are served.",
        sends: "200 streams at the same time.",
        fix: "Nothing has to change; a limit should answer 429 or 503 with Retry-After.",
        run: connection_limit,
        ..CASE
    },
    // Beyond the first catalogue: a page of another site must not publish with a visitor's network.
    Case {
        id: "S10.10",
        slug: "cross-site-publish",
        level: Level::MustContract,
        source: "contract: a cross-site Origin is refused; Fetch 3.2 (Origin)",
        needs: &[Need::Topics],
        claim: "A message from a page of another site gets 403 and is not published.",
        sends: "POST with the Origin of another site.",
        fix: "Refuse a cross-site Origin with 403 unless it is allowed: any page could publish otherwise.",
        run: |target| {
            let topic = Topic::new(target, "cross-site");
            let mut stream = topic.subscribe(None)?;
            let request = target.request("POST", topic.path()).body("foreign");
            for origin in ["https://evil.example", "null"] {
                let head = target.head(&request.clone().header("Origin", origin))?;
                ensure(head.status == 403, format!("403 for Origin: {origin}"), head.summary())?;
            }
            topic.publish(["own"])?;
            equal("the first message", stream.take(1)?[0].data.as_str(), "own")?;
            pass()
        },
        ..CASE
    },
];

/// Plays a script to its end: the events and the stream; `None` if the server refused it.
fn played(target: &Target, items: &[Value]) -> Result<Option<(Vec<Event>, EventStream)>, Fault> {
    let mut stream = match target.script(items) {
        Ok(stream) => stream,
        Err(Error::NotAStream { status: 400..500, .. }) => return Ok(None),
        // Whether it may give up the connection is the claim of S10.06.
        Err(error) if error.is_end() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut events = Vec::new();
    loop {
        match stream.next_event() {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return Ok(Some((events, stream))),
            Err(error) if error.is_end() => return Ok(Some((events, stream))),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Plays a script whose one event must be as `intended`, or missing, and without any `retry`.
fn injects_nothing(target: &Target, items: &[Value], intended: fn(&Event) -> bool) -> Outcome {
    let Some((events, stream)) = played(target, items)? else { return pass() };
    let holds = events.len() <= 1 && events.iter().all(intended) && stream.retries().is_empty();
    let actual = format!("\"{}\"", wire::shown(stream.raw()));
    ensure(holds, "the scripted event alone, repaired or refused", actual)?;
    pass()
}

fn hostile_no_crash(target: &Target) -> Outcome {
    if let Some(room) = target.room() {
        let outcome = published_text::hostile(target, room);
        if outcome.is_err() || !target.capabilities().contains(&Need::Script) {
            return outcome;
        }
    }
    let mut bystander = target.stream()?;
    let hostile = LINE_ENDS.iter().chain(&["\0"]).flat_map(|it| {
        [
            json!({ "event": format!("x{it}data: injected"), "data": "real" }),
            json!({ "id": format!("1{it}retry: 1"), "data": "real" }),
            json!({ "comment": format!("c{it}data: injected"), "data": "real" }),
            json!({ "event": "plain", "data": format!("a{it}event: injected") }),
        ]
    });
    for item in hostile {
        let mut connection = target.connect()?;
        let request = target.get(&script::target(std::slice::from_ref(&item)));
        let answer = connection.ask(&request).and_then(|(head, mut body)| {
            connection.read_body_to_end(&mut body)?;
            Ok(head)
        });
        let head = answer
            .map_err(|error| Fault::instead_of(format!("a whole answer to {item}"), &error))?;
        ensure(head.status < 500, format!("no server error for {item}"), head.summary())?;
    }
    // A stream that speaks goes on to speak.
    if bystander.next_event()?.is_some() {
        bystander.next_event()?;
    }
    is_alive(target)
}

fn connection_limit(target: &Target) -> Outcome {
    if target.has_head_with_an_event() {
        return Err(Fault::Skip("the head of each stream waits for a text (S5.01)".to_owned()));
    }
    let dedicated = DedicatedServer::or_shared(target)?;
    let target = &dedicated.target;
    let until = Instant::now() + target.scaled(STREAMS_LIMIT);
    let open = |_: &()| {
        (Instant::now() < until).then(|| {
            let mut connection = target.connect()?;
            let (head, _) = connection.ask(&target.get(target.path()))?;
            // It stays open beside the others.
            Ok::<_, Error>((connection, head))
        })
    };
    let answers = parallel_map(&[(); STREAMS], SIDE_BY_SIDE, open);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for answer in &answers {
        let words = match answer {
            None => "not asked for: the others took all of the time".to_owned(),
            Some(Ok((_, head))) if head.is_event_stream() => "served".to_owned(),
            Some(Ok((_, head))) => {
                let retry = head.value("retry-after");
                let retry = retry.map(|it| format!(", Retry-After: {it}"));
                format!("status {}{}", head.status, retry.unwrap_or_default())
            }
            Some(Err(error)) => error.to_string(),
        };
        *seen.entry(words).or_default() += 1;
    }
    let words: Vec<_> = seen.iter().map(|(words, count)| format!("{count} {words}")).collect();
    fact(words.join("; "))
}

fn is_alive(target: &Target) -> Outcome {
    let events = target.script(&[data("alive")])?.take(1)?;
    equal("data", events[0].data.as_str(), "alive")?;
    pass()
}

/// Neither the head nor the body of the answer has a line that was sent in the request.
fn reflects_nothing(target: &Target, request: &[u8]) -> Result<(), Fault> {
    let ask = || {
        let mut connection = target.connect()?;
        // A server may refuse, with an answer or by closing: then nothing is reflected.
        let _ = connection.send(request);
        connection.read_head().map(|head| (connection, head))
    };
    let (mut connection, head) = match target.asking_raw(request, ask) {
        Err(error) if error.is_end() => return Ok(()),
        Err(error @ Error::Timeout { .. }) => return Err(Fault::Skip(error.to_string())),
        head => head?,
    };
    let injected = head.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-injected"));
    ensure(injected.is_none(), "no header line from the request", "a line X-Injected")?;
    let mut body = Body::new("GET", &head)?;
    // A server that reflects does so at once: the first bytes show it, or silence does.
    let mut due = Instant::now() + target.scaled(REFLECTED_AT_ONCE).min(target.window());
    let mut bytes = Vec::new();
    loop {
        match connection.read_body_until(&mut body, due) {
            Ok(Some(piece)) => {
                if bytes.is_empty() {
                    // Bytes that are written behind the first ones may come in the next packet.
                    due = Instant::now() + REFLECTED_BEHIND;
                }
                bytes.extend_from_slice(&piece);
            }
            Ok(None) | Err(Error::Timeout { .. }) => break,
            Err(error) if error.is_end() => break,
            // Wrong framing is the claim of S2.02; what came before it is looked at.
            Err(Error::Syntax(_)) => break,
            Err(error) => return Err(error.into()),
        }
        if bytes.len() > REFLECTED_BYTES {
            break;
        }
    }
    for line in bytes.split(|byte| matches!(byte, b'\r' | b'\n')) {
        let is_injected = line.starts_with(b"data: injected") || line.starts_with(b"X-Injected");
        let actual = format!("the line \"{}\"", wire::shown(line));
        ensure(!is_injected, "no line from the request", actual)?;
    }
    Ok(())
}
