//! Category 3: the grammar of the stream as the server writes it by itself.

use std::collections::HashMap;
use std::time::Duration;

use crate::conformance::expect::{ensure, fact, miss, pass};
use crate::conformance::{Case, Fault, Level, Outcome, Target};
use crate::wire::Window;

/// Silence shorter than this may be one event still on its way.
const QUIET: Duration = Duration::from_millis(20);

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S3.01",
        slug: "utf8",
        level: Level::Must,
        source: "HTML 9.2.5",
        needs: &[],
        claim: "All bytes of the stream are UTF-8.",
        run: |target| {
            let bytes = watch(target)?.bytes();
            match std::str::from_utf8(&bytes) {
                Ok(_) => pass(),
                // The window may end within a character.
                Err(error) if error.error_len().is_none() => pass(),
                Err(error) => {
                    let at = error.valid_up_to();
                    let excerpt = &bytes[at..bytes.len().min(at + 16)];
                    let actual = format!("\"{}\" at byte {at}", excerpt.escape_ascii());
                    Err(miss("valid UTF-8", actual))
                }
            }
        },
    },
    Case {
        id: "S3.03",
        slug: "terminated",
        level: Level::Should,
        source: "HTML 9.2.6",
        needs: &[],
        claim: "When the stream falls quiet, its last event has its blank line.",
        run: terminated,
    },
    Case {
        id: "S3.04",
        slug: "bom",
        level: Level::Should,
        source: "HTML 9.2.5; practice",
        needs: &[],
        claim: "The stream begins without a byte order mark: it is allowed, but crashes clients.",
        run: |target| {
            let holds = !watch(target)?.bytes().starts_with(b"\xef\xbb\xbf");
            ensure(holds, "no byte order mark", "EF BB BF first")?;
            pass()
        },
    },
    Case {
        id: "S3.05",
        slug: "known-fields",
        level: Level::Should,
        source: "HTML 9.2.6",
        needs: &[],
        claim: "Every line is a comment or one of the fields data, event, id, retry.",
        run: known_fields,
    },
    Case {
        id: "S3.10",
        slug: "id-distinct",
        level: Level::Should,
        source: "practice: an id names one point to resume from",
        needs: &[],
        claim: "No two different events carry the same id.",
        run: id_distinct,
    },
];

/// The stream's own words; a stream that says nothing tells nothing.
fn watch(target: &Target) -> Result<Window, Fault> {
    let window = target.watch()?;
    if window.pieces.is_empty() {
        let length = window.length.as_millis();
        return Err(Fault::Skip(format!("the stream said nothing for {length} ms")));
    }
    Ok(window)
}

fn terminated(target: &Target) -> Outcome {
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
    // What follows the last blank line; comments may stand alone.
    let pending = lines.rsplit(|line| line.is_empty()).next().unwrap_or_default();
    let pending = pending.iter().chain(std::iter::once(&rest));
    let pending: Vec<_> = pending.filter(|line| !line.is_empty() && line[0] != b':').collect();
    let text: Vec<_> = pending.iter().map(|line| line.escape_ascii().to_string()).collect();
    let actual = format!("{} ms of silence after {text:?}", silence.as_millis());
    ensure(pending.is_empty(), "a blank line before the silence", actual)?;
    pass()
}

fn known_fields(target: &Target) -> Outcome {
    let window = watch(target)?;
    let bytes = window.bytes();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    for line in lines(bytes).0 {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        let known = name.is_empty() || [&b"data"[..], b"event", b"id", b"retry"].contains(&name);
        let actual = format!("the line \"{}\"", line.escape_ascii());
        ensure(known, "only comments, data, event, id and retry", actual)?;
    }
    pass()
}

fn id_distinct(target: &Target) -> Outcome {
    let window = watch(target)?;
    let bytes = window.bytes();
    let (lines, _) = lines(&bytes);
    let mut seen: HashMap<Vec<u8>, Vec<&[u8]>> = HashMap::new();
    let mut events = 0;
    for block in lines.split(|line| line.is_empty()) {
        let has_data = block.iter().any(|line| line.starts_with(b"data"));
        let id = block.iter().rev().find_map(|line| line.strip_prefix(b"id:"));
        let (true, Some(id)) = (has_data, id) else { continue };
        events += 1;
        if let Some(earlier) = seen.insert(id.trim_ascii().to_vec(), block.to_vec()) {
            let text = |block: &[&[u8]]| block.join(&b"\n"[..]).escape_ascii().to_string();
            let actual = format!("\"{}\" and \"{}\"", text(&earlier), text(block));
            ensure(earlier == block, "an id of its own for each event", actual)?;
        }
    }
    if events < 2 {
        return Err(Fault::Skip(format!("{events} events with an id in the window")));
    }
    fact(format!("{events} events with an id"))
}

/// The whole lines of a stream, split at CRLF, LF and CR, and what follows the last line end.
fn lines(bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        lines.push(&rest[..end]);
        let length = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + length..];
    }
    (lines, rest)
}
