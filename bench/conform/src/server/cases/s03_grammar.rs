//! Category 3: the grammar of the stream as the server writes it by itself.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use wire::{End, Window};

use super::CASE;
use crate::Finding;
use crate::expect::{ensure, fact, miss, pass};
use crate::server::grammar::{blocks, has, lines, name, show, value, without_own};
use crate::server::script::data;
use crate::server::{Case, Fault, Level, Need, Outcome, Target};

/// Silence shorter than this may be one event still on its way.
const QUIET: Duration = Duration::from_millis(20);
/// S3.03: the windows that follow one in which it failed.
const MORE_WINDOWS: usize = 3;
/// A line that comes in pieces may take so long between two of them: it is on its way.
const WITHIN_A_LINE: Duration = Duration::from_millis(500);
/// Lines beyond this meet limits of clients.
const LONG_LINE_BYTES: usize = 64 * 1024;
/// A client with a longer `retry` is not back when it is needed.
const RETRY_LIMIT_MS: u64 = 3_600_000;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S3.01",
        slug: "utf8",
        level: Level::Must,
        source: "HTML 9.2.5",
        claim: "All bytes of the stream are UTF-8.",
        sends: "GET of the stream; its bytes are watched.",
        fix: "Encode as UTF-8, and never cut a character in two between events.",
        run: |target| {
            let bytes = watch(target)?.bytes();
            match std::str::from_utf8(&bytes) {
                Ok(_) => pass(),
                // The window may end within a character.
                Err(error) if error.error_len().is_none() => pass(),
                Err(error) => {
                    let at = error.valid_up_to();
                    let excerpt = &bytes[at..bytes.len().min(at + 16)];
                    let actual = format!("\"{}\" at byte {at}", wire::shown(excerpt));
                    Err(miss("valid UTF-8", actual))
                }
            }
        },
        ..CASE
    },
    Case {
        id: "S3.02",
        slug: "line-endings",
        level: Level::Info,
        source: "HTML 9.2.5",
        claim: "Which line ends the server writes.",
        sends: "GET of the stream; its bytes are watched.",
        fix: "Nothing has to change; LF everywhere is what most servers send.",
        run: |target| {
            let bytes = watch(target)?.bytes();
            let crlf = memchr::memmem::find_iter(&bytes, b"\r\n").count();
            let lf = memchr::memchr_iter(b'\n', &bytes).count() - crlf;
            let cr = memchr::memchr_iter(b'\r', &bytes).count() - crlf;
            fact(format!("{lf} LF, {crlf} CRLF, {cr} CR"))
        },
        ..CASE
    },
    Case {
        id: "S3.03",
        slug: "terminated",
        level: Level::Should,
        source: "HTML 9.2.6",
        claim: "When the stream falls quiet, its last event has its blank line.",
        sends: "GET of the stream, until it is quiet.",
        fix: "End each event with its blank line in the same write: before it, a client has nothing.",
        run: terminated,
        ..CASE
    },
    Case {
        id: "S3.04",
        slug: "bom",
        level: Level::Should,
        source: "HTML 9.2.5; practice",
        claim: "The stream begins without a byte order mark: it is allowed, but crashes clients.",
        sends: "GET of the stream; its first bytes.",
        fix: "Write no byte order mark: it is allowed, but some clients crash on it.",
        run: |target| {
            let holds = !watch(target)?.bytes().starts_with(b"\xef\xbb\xbf");
            ensure(holds, "no byte order mark", "EF BB BF first")?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S3.05",
        slug: "known-fields",
        level: Level::Should,
        source: "HTML 9.2.6",
        claim: "Every line is a comment or one of the fields data, event, id, retry.",
        sends: "GET of the stream; its lines.",
        fix: "Use data, event, id and retry only; clients ignore every other name.",
        run: known_fields,
        ..CASE
    },
    Case {
        id: "S3.06",
        slug: "no-dead-blocks",
        level: Level::Should,
        source: "HTML 9.2.6",
        claim: "No block sets an event type without data: a client dispatches nothing for it.",
        sends: "GET of the stream; its blocks.",
        fix: "Add a data line, empty if need be: without one no event is dispatched.",
        run: |target| {
            // An id alone moves the resume point and a retry alone sets the delay: both have a use.
            let bytes = own_words(target)?;
            let blocks = blocks(&bytes);
            for block in &blocks {
                let is_dead = has(block, b"event") && !has(block, b"data");
                ensure(!is_dead, "a data line in each block with an event type", show(block))?;
            }
            fact(format!("{} blocks", blocks.len()))
        },
        ..CASE
    },
    Case {
        id: "S3.07",
        slug: "retry-digits",
        level: Level::Should,
        source: "HTML 9.2.6",
        claim: "Every retry is ASCII digits and at most an hour; clients ignore any other.",
        sends: "GET of the stream; its retry lines.",
        fix: "Write retry as digits, in milliseconds, below an hour.",
        run: retry_digits,
        ..CASE
    },
    Case {
        id: "S3.08",
        slug: "id-nul",
        level: Level::Should,
        source: "HTML 9.2.6",
        claim: "No id has a NUL: clients ignore such an id.",
        sends: "GET of the stream; its ids.",
        fix: "Keep U+0000 out of ids: clients ignore the field.",
        run: |target| {
            for id in ids(target)? {
                ensure(!id.contains(&0), "no NUL in an id", format!("\"{}\"", wire::shown(&id)))?;
            }
            pass()
        },
        ..CASE
    },
    Case {
        id: "S3.09",
        slug: "id-header-safe",
        level: Level::Should,
        source: "HTML 9.2.4; RFC 9110 5.5",
        claim: "Every id fits into a header: no control characters, no spaces at its ends.",
        sends: "GET of the stream; its ids.",
        fix: "Use ids without control characters: they come back as a header value.",
        run: |target| {
            let ids = ids(target)?;
            for id in &ids {
                // NUL is the claim of S3.08.
                let is_safe = id.iter().all(|byte| !byte.is_ascii_control() || *byte == 0);
                let actual = format!("the id \"{}\"", wire::shown(id));
                let expected = "ids without control characters and outer spaces";
                ensure(is_safe && id.trim_ascii() == id, expected, actual)?;
            }
            let beyond = ids.iter().filter(|id| !id.is_ascii()).count();
            fact(format!("{} ids, {beyond} beyond ASCII", ids.len()))
        },
        ..CASE
    },
    Case {
        id: "S3.10",
        slug: "id-distinct",
        level: Level::Should,
        source: "practice: an id names one point to resume from",
        claim: "No two different events carry the same id.",
        sends: "GET of the stream; its ids.",
        fix: "Give each event a different id, or none: resuming needs to know where.",
        run: id_distinct,
        ..CASE
    },
    Case {
        id: "S3.11",
        slug: "line-length",
        level: Level::Info,
        source: "practice: clients that limit lines, often to 64 KiB",
        claim: "How long lines and events are.",
        sends: "GET of the stream; its lines.",
        fix: "Nothing has to change; send several data lines, or several events, instead of very long ones.",
        run: |target| {
            let bytes = watch(target)?.bytes();
            let line = lines(&bytes).0.iter().map(|line| line.len()).max().unwrap_or(0);
            let size = |block: &Vec<&[u8]>| block.iter().map(|line| line.len() + 1).sum::<usize>();
            let block = blocks(&bytes).iter().map(size).max().unwrap_or(0);
            let warning = if line > LONG_LINE_BYTES { ", more than some clients take" } else { "" };
            fact(format!("lines up to {line} bytes{warning}, events up to {block} bytes"))
        },
        ..CASE
    },
];

/// The bytes that the stream says by itself, without texts of this suite.
fn own_words(target: &Target) -> Result<Vec<u8>, Fault> {
    let all = watch(target)?.bytes();
    let bytes = without_own(&all);
    if bytes.is_empty() && !all.is_empty() {
        return Err(Fault::Skip("the stream said only old texts of this suite".to_owned()));
    }
    Ok(bytes)
}

/// The stream's own bytes; a silent stream cannot be judged. A stream that is cut off is judged by what
/// came: the cut is the claim of S2.04.
fn watch(target: &Target) -> Result<Window, Fault> {
    let window = target.watch()?;
    if window.pieces.is_empty() {
        if let End::Cut(error) = window.end {
            return Err(Fault::from(error).follows("S2.04"));
        }
        let length = window.length.as_millis();
        return Err(Fault::Skip(format!("the stream said nothing for {length} ms")));
    }
    Ok(window)
}

/// A host that takes the core away between two writes of one event parts them, but not once more so soon. A fault
/// in every second window shows in one of those that follow.
fn terminated(target: &Target) -> Outcome {
    let first = terminated_in_a_window(target);
    if !matches!(first, Err(Fault::Miss { .. })) {
        return first;
    }
    (0..MORE_WINDOWS).try_fold(Finding::Pass, |_, _| terminated_in_a_window(target))
}

fn terminated_in_a_window(target: &Target) -> Outcome {
    let window = watch(target)?;
    let ends = window.pieces.iter().map(|(at, _)| *at).skip(1).chain([window.length]);
    let silences = window.pieces.iter().zip(ends).map(|((at, _), end)| end.saturating_sub(*at));
    let longest = silences.enumerate().max_by_key(|(_, silence)| *silence);
    let Some((index, silence)) = longest.filter(|(_, silence)| *silence >= QUIET) else {
        return Err(Fault::Skip("the stream was never quiet".to_owned()));
    };
    let before: Vec<u8> =
        window.pieces[..=index].iter().flat_map(|(_, piece)| piece).copied().collect();
    let (lines, rest) = lines(&before);
    if !rest.is_empty() && silence < WITHIN_A_LINE {
        return Err(Fault::Skip("the stream was never quiet, but within a line".to_owned()));
    }
    // The lines after the last blank line; comments may stand alone.
    let pending = lines.rsplit(|line| line.is_empty()).next().unwrap_or_default();
    let pending = pending.iter().chain(std::iter::once(&rest));
    let pending: Vec<_> = pending.filter(|line| !line.is_empty() && line[0] != b':').collect();
    let text: Vec<_> = pending.iter().map(|it| format!("\"{}\"", wire::shown(it))).collect();
    let actual = format!("{} ms of silence after {}", silence.as_millis(), text.join(", "));
    ensure(pending.is_empty(), "a blank line before the silence", actual)?;
    pass()
}

fn known_fields(target: &Target) -> Outcome {
    let bytes = own_words(target)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    for line in lines(bytes).0 {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        let known = name.is_empty() || [&b"data"[..], b"event", b"id", b"retry"].contains(&name);
        let actual = format!("the line \"{}\"", wire::shown(line));
        ensure(known, "only comments, data, event, id and retry", actual)?;
    }
    pass()
}

fn retry_digits(target: &Target) -> Outcome {
    let mut bytes = without_own(&target.watch()?.bytes());
    if target.capabilities().contains(&Need::Script) {
        // Few streams say retry by themselves, so a script asks for it.
        let mut stream = target.script(&[json!({ "retry": 1500 }), data("x")])?;
        stream.read_to_end()?;
        let is_said = memchr::memmem::find(stream.raw(), b"retry").is_some();
        let actual = format!("\"{}\"", wire::shown(stream.raw()));
        ensure(is_said, "the retry of the script", actual)?;
        bytes.extend_from_slice(b"\n\n");
        bytes.extend_from_slice(stream.raw());
    }
    let (lines, _) = lines(&bytes);
    let retries: Vec<_> = lines.iter().filter(|line| name(line) == b"retry").collect();
    if retries.is_empty() {
        return Err(Fault::Skip("the stream said no retry".to_owned()));
    }
    for line in &retries {
        let digits = std::str::from_utf8(value(line)).ok();
        let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number: Option<u64> = digits.and_then(|text| text.parse().ok());
        let holds = number.is_some_and(|number| number <= RETRY_LIMIT_MS);
        let expected = format!("retry: digits, at most {RETRY_LIMIT_MS}");
        ensure(holds, expected, format!("\"{}\"", wire::shown(line)))?;
    }
    fact(format!("{} retry lines", retries.len()))
}

/// The ids in the window, each line's value as it stands.
fn ids(target: &Target) -> Result<Vec<Vec<u8>>, Fault> {
    let bytes = own_words(target)?;
    let (lines, _) = lines(&bytes);
    let ids = lines.iter().filter(|line| name(line) == b"id").map(|line| value(line).to_vec());
    let ids: Vec<_> = ids.collect();
    let none = || Fault::Skip("no event in the window has an id".to_owned());
    if ids.is_empty() { Err(none()) } else { Ok(ids) }
}

fn id_distinct(target: &Target) -> Outcome {
    let bytes = own_words(target)?;
    let mut seen: HashMap<&[u8], Vec<&[u8]>> = HashMap::new();
    let mut events = 0;
    for block in blocks(&bytes) {
        let id = block.iter().rev().find(|line| name(line) == b"id").map(|line| value(line));
        // An empty id names nothing: it takes back the one before.
        let Some(id) = id.filter(|id| !id.is_empty() && has(&block, b"data")) else { continue };
        events += 1;
        if let Some(earlier) = seen.insert(id, block.clone()) {
            let actual = format!("{} and {}", show(&earlier), show(&block));
            ensure(earlier == block, "a different id for each event", actual)?;
        }
    }
    if events < 2 {
        let reason =
            "fewer than two events with an id in the window; a longer --patience-ms may see more";
        return Err(Fault::Skip(reason.to_owned()));
    }
    fact(format!("{events} events with an id"))
}
