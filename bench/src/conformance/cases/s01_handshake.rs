//! Category 1: the handshake and the head of the response.

use jiff::civil::DateTime;
use jiff::fmt::strtime;

use crate::conformance::expect::{ensure, is_stream, miss, pass, status_in};
use crate::conformance::{Case, Level, Outcome, Target};

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S1.01",
        slug: "status-200",
        level: Level::Must,
        source: "HTML 9.2.3",
        needs: &[],
        claim: "A plain GET of a stream is answered with status 200.",
        run: |target| {
            status_in(&target.head(&target.get(target.path()))?, &[200])?;
            pass()
        },
    },
    Case {
        id: "S1.02",
        slug: "content-type",
        level: Level::Must,
        source: "HTML 9.2.3",
        needs: &[],
        claim: "One Content-Type line says text/event-stream; with any other type clients give up.",
        run: |target| {
            let head = target.head(&target.get(target.path()))?;
            let lines = head.values("content-type").count();
            ensure(lines == 1, "one Content-Type line", format!("{lines} lines"))?;
            is_stream(&head)?;
            pass()
        },
    },
    Case {
        id: "S1.03",
        slug: "charset",
        level: Level::Should,
        source: "HTML 9.2.5",
        needs: &[],
        claim: "The type has no charset parameter, or utf-8: no other encoding can be declared.",
        run: charset,
    },
    Case {
        id: "S1.04",
        slug: "any-accept",
        level: Level::Must,
        source: "RFC 9110 12.5.1, 5.1",
        needs: &[],
        claim: "The stream opens without Accept, with */*, and whatever the case of header names.",
        run: any_accept,
    },
    Case {
        id: "S1.06",
        slug: "cache-control",
        level: Level::Should,
        source: "RFC 9111 5.2",
        needs: &[],
        claim: "Cache-Control says no-cache or no-store, so that no cache replays the stream.",
        run: |target| {
            let head = target.head(&target.get(target.path()))?;
            let holds =
                ["no-cache", "no-store"].iter().any(|it| head.has_token("cache-control", it));
            let actual = head.value("cache-control").unwrap_or_else(|| "no such header".to_owned());
            ensure(holds, "Cache-Control: no-cache or no-store", actual)?;
            pass()
        },
    },
    Case {
        id: "S1.08",
        slug: "no-content-length",
        level: Level::Should,
        source: "RFC 9112 6.2; practice",
        needs: &[],
        claim: "A stream without a known end has no Content-Length.",
        run: |target| {
            let head = target.head(&target.get(target.path()))?;
            let length = head.value("content-length");
            let actual = format!("Content-Length: {}", length.as_deref().unwrap_or_default());
            ensure(length.is_none(), "no Content-Length", actual)?;
            pass()
        },
    },
    Case {
        id: "S1.10",
        slug: "date",
        level: Level::Must,
        source: "RFC 9110 6.6.1",
        needs: &[],
        claim: "The response has one Date line, an IMF-fixdate.",
        run: date,
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

fn any_accept(target: &Target) -> Outcome {
    let plain = target.request("GET", target.path());
    let odd_case = plain.clone().without("Host").header("hOsT", target.host());
    for (name, request) in [
        ("without Accept", plain.clone()),
        ("with Accept: */*", plain.header("Accept", "*/*")),
        ("with header names in odd case", odd_case.header("aCCEPT", "text/event-stream")),
    ] {
        let head = target.head(&request)?;
        let expected = format!("{name}: status 200 with Content-Type text/event-stream");
        ensure(head.is_event_stream(), expected, head.summary())?;
    }
    pass()
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
