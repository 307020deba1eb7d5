//! Category 1: the handshake and the head of the response.

use jiff::civil::DateTime;
use jiff::fmt::strtime;

use wire::End;

use super::CASE;
use crate::expect::{ensure, fact, is_stream, miss, miss_should, pass, status_in};
use crate::server::{Case, Fault, Level, Outcome, Scope, Target};

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S1.01",
        slug: "status-200",
        level: Level::Must,
        source: "HTML 9.2.3",
        after: &[],
        claim: "A plain GET of a stream is answered with status 200.",
        sends: "GET of the stream, HTTP/1.1, Accept: text/event-stream.",
        fix: "Answer with 200 as soon as the request is understood; report problems of the producer as events later.",
        run: |target| {
            status_in(&target.head(&target.get(target.path()))?, &[200])?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S1.02",
        slug: "content-type",
        level: Level::Must,
        source: "HTML 9.2.3",
        after: &["S1.01"],
        claim: "One Content-Type line says text/event-stream; with any other type clients give up.",
        sends: "GET of the stream.",
        fix: "Set Content-Type: text/event-stream once; look for a middleware that adds or replaces it.",
        run: |target| {
            let head = target.head(&target.get(target.path()))?;
            let lines = head.values("content-type").count();
            ensure(lines == 1, "one Content-Type line", format!("{lines} lines"))?;
            is_stream(&head)?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S1.03",
        slug: "charset",
        level: Level::Should,
        source: "HTML 9.2.5",
        claim: "The type has no charset parameter, or utf-8: no other encoding can be declared.",
        sends: "GET of the stream.",
        fix: "Drop the charset parameter, or say utf-8: the body is UTF-8 by definition.",
        run: charset,
        ..CASE
    },
    Case {
        id: "S1.04",
        slug: "any-accept",
        level: Level::Must,
        source: "RFC 9110 12.5.1, 5.1",
        claim: "The stream opens whatever the case of header names; a client without Accept, or with */*, is not refused.",
        sends: "GET without Accept, with Accept: */*, and with header names in odd case.",
        fix: "Compare header names without regard to case, and answer a client that takes anything: with the stream, or with another type.",
        run: any_accept,
        ..CASE
    },
    Case {
        id: "S1.05",
        slug: "accept-other",
        level: Level::Info,
        source: "RFC 9110 12.5.1, 12.5.5",
        claim: "The answer to a client that accepts only JSON.",
        sends: "GET with Accept: application/json.",
        fix: "Nothing has to change; with content negotiation, answer 406 or add Vary: Accept.",
        run: |target| {
            let plain = target.request("GET", target.path());
            let head = target.head(&plain.header("Accept", "application/json"))?;
            let vary = head.value("vary").map(|it| format!(", Vary: {it}")).unwrap_or_default();
            fact(format!("{}{vary}", head.summary()))
        },
        ..CASE
    },
    Case {
        id: "S1.06",
        slug: "cache-control",
        level: Level::Should,
        source: "RFC 9111 5.2",
        claim: "Cache-Control says no-cache or no-store, so that no cache replays the stream.",
        sends: "GET of the stream.",
        fix: "Send Cache-Control: no-cache (or no-store), or a shared cache may replay an old stream.",
        run: |target| {
            let head = target.head(&target.get(target.path()))?;
            let holds =
                ["no-cache", "no-store"].iter().any(|it| head.has_token("cache-control", it));
            let actual = head.value("cache-control").unwrap_or_else(|| "no such header".to_owned());
            ensure(holds, "Cache-Control: no-cache or no-store", actual)?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S1.07",
        slug: "no-transform-hints",
        level: Level::Info,
        source: "practice: proxies that buffer, compress or guess types",
        claim: "Which hints for proxies and browsers the head carries.",
        sends: "GET of the stream.",
        fix: "Nothing has to change; X-Accel-Buffering: no keeps nginx from buffering the stream.",
        run: |target| {
            let head = target.head(&target.get(target.path()))?;
            let names = ["X-Accel-Buffering", "X-Content-Type-Options"];
            let mut hints: Vec<_> = names
                .iter()
                .filter_map(|name| Some(format!("{name}: {}", head.value(name)?)))
                .collect();
            if head.has_token("cache-control", "no-transform") {
                hints.push("Cache-Control: no-transform".to_owned());
            }
            fact(if hints.is_empty() { "none".to_owned() } else { hints.join("; ") })
        },
        ..CASE
    },
    Case {
        id: "S1.08",
        slug: "no-content-length",
        level: Level::Should,
        source: "RFC 9112 6.2; practice",
        claim: "A stream without a known end has no Content-Length.",
        sends: "GET of the stream.",
        fix: "Stream the body instead of a buffer; a Content-Length here means that something collects it first.",
        run: no_content_length,
        ..CASE
    },
    Case {
        id: "S1.09",
        slug: "identity",
        level: Level::Should,
        source: "RFC 9110 12.5.3",
        claim: "A client that accepts only identity is sent no other content coding.",
        sends: "GET with Accept-Encoding: identity.",
        fix: "Exclude text/event-stream from the compression middleware, or honour Accept-Encoding.",
        run: |target| {
            let request = target.get(target.path()).header("Accept-Encoding", "identity");
            let coding = target.head(&request)?.value("content-encoding");
            let holds = coding.as_deref().is_none_or(|it| it.eq_ignore_ascii_case("identity"));
            let actual = format!("Content-Encoding: {}", coding.unwrap_or_default());
            ensure(holds, "no Content-Encoding", actual)?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S1.10",
        slug: "date",
        level: Level::Must,
        source: "RFC 9110 6.6.1",
        scope: Scope::Http,
        claim: "The response has one Date line, an IMF-fixdate.",
        sends: "GET of the stream.",
        fix: "Send Date: a server with a clock must, and most HTTP libraries do unless it is switched off.",
        run: date,
        ..CASE
    },
    Case {
        id: "S1.11",
        slug: "cors-shape",
        level: Level::Should,
        source: "Fetch 3.3 (CORS protocol)",
        claim: "CORS headers, if any, fit together: no * with credentials, an echo with Vary: Origin.",
        sends: "GET with an Origin, with and without a Cookie.",
        fix: "Send * without credentials, or echo the origin together with Vary: Origin.",
        run: cors_shape,
        ..CASE
    },
];

fn charset(target: &Target) -> Outcome {
    let head = target.head(&target.get(target.path()))?;
    let value = head.value("content-type").unwrap_or_default().to_ascii_lowercase();
    let charset = value.split(';').skip(1).find_map(|parameter| {
        let charset = parameter.trim().strip_prefix("charset=")?;
        Some(charset.trim_matches('"').to_owned())
    });
    let holds = charset.as_deref().is_none_or(|charset| charset == "utf-8");
    ensure(holds, "no charset, or charset=utf-8", format!("Content-Type: {value}"))?;
    pass()
}

fn no_content_length(target: &Target) -> Outcome {
    let stream = target.stream()?;
    let Some(length) = stream.head().value("content-length") else { return pass() };
    if stream.head().value("transfer-encoding").is_some() {
        return Err(Fault::Skip("it stands beside Transfer-Encoding: see S2.01".to_owned()));
    }
    // An answer that is there already may say how long it is.
    if let End::Whole = stream.watch(target.window())?.end {
        return Err(Fault::Skip(format!("the stream has an end, after {length} bytes")));
    }
    Err(miss("no Content-Length", format!("Content-Length: {length}, and no end in sight")))
}

/// Header names have no case. A client without Accept takes anything, so a server may answer it with another
/// representation of the same resource; to refuse it is allowed too, and shuts out clients that send `*/*`.
fn any_accept(target: &Target) -> Outcome {
    let plain = target.request("GET", target.path());
    let odd_case = plain.clone().without("Host").header("hOsT", target.host());
    let head = target.head(&odd_case.header("aCCEPT", "text/event-stream"))?;
    let expected = |name| format!("{name}: status 200 with Content-Type text/event-stream");
    ensure(head.is_event_stream(), expected("with header names in odd case"), head.summary())?;
    let mut others = Vec::new();
    for (name, request) in
        [("without Accept", plain.clone()), ("with Accept: */*", plain.header("Accept", "*/*"))]
    {
        let head = target.head(&request)?;
        let is_other = (200..300).contains(&head.status);
        match head.is_event_stream() {
            true => {}
            false if is_other => others.push(format!("{name}: {}", head.summary())),
            false => return Err(miss_should(expected(name), head.summary())),
        }
    }
    if others.is_empty() { pass() } else { fact(others.join("; ")) }
}

fn cors_shape(target: &Target) -> Outcome {
    const ORIGIN: &str = "https://a.example";
    let plain = target.get(target.path()).header("Origin", ORIGIN);
    let mut seen = "no Access-Control-Allow-Origin".to_owned();
    for request in [plain.clone(), plain.header("Cookie", "a=b")] {
        let head = target.head(&request)?;
        let Some(allowed) = head.value("access-control-allow-origin") else { continue };
        // A server may name the one origin that it is for, in every answer.
        seen = format!("Access-Control-Allow-Origin: {allowed}");
        let with_credentials = head.has_token("access-control-allow-credentials", "true");
        let expected = "no * together with Access-Control-Allow-Credentials: true";
        ensure(!(allowed == "*" && with_credentials), expected, &seen)?;
        let varies = head.has_token("vary", "Origin") || head.has_token("vary", "*");
        // Without it a cache hands the answer for one origin to another.
        ensure(allowed != ORIGIN || varies, "Vary: Origin beside an echoed origin", &seen)?;
    }
    fact(seen)
}

fn date(target: &Target) -> Outcome {
    const IMF_FIXDATE: &str = "%a, %d %b %Y %H:%M:%S GMT";
    let head = target.head(&target.get(target.path()))?;
    let lines: Vec<_> = head.values("date").collect();
    let [value] = lines.as_slice() else {
        return Err(miss("one Date line", format!("{} lines", lines.len())));
    };
    let value = String::from_utf8_lossy(value);
    let parsed: Option<DateTime> =
        strtime::parse(IMF_FIXDATE, value.as_ref()).and_then(|time| time.to_datetime()).ok();
    // Written again it must be the same text: the right weekday, two digits everywhere.
    let again = parsed.map(|time| time.strftime(IMF_FIXDATE).to_string());
    let expected = "an IMF-fixdate such as Sun, 06 Nov 1994 08:49:37 GMT";
    ensure(again.as_deref() == Some(value.as_ref()), expected, format!("Date: {value}"))?;
    pass()
}
