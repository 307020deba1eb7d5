//! Category 4: UTF-8, the byte order mark, content codings.

use std::io::Write as _;

use super::CASE;
use crate::client::context::{MARK, RETRY_MS, message, same_events};
use crate::client::vectors;
use crate::client::{Capability, Case};
use crate::expect::pass;
use crate::{Fault, Level};

pub(super) static CASES: &[Case] = &[
    Case {
        id: "C4.01",
        slug: "bom",
        level: Level::Must,
        source: "HTML 9.2.6",
        after: &["C1.01", "C2.01", "C4.05", "C4.06"],
        claim: "A byte order mark at the start is skipped, wherever it is cut.",
        sends: "A byte order mark at the start, cut at every place.",
        fix: "Skip EF BB BF once, when all three are there.",
        run: vectors::run_at_every_cut,
        ..CASE
    },
    Case {
        id: "C4.02",
        slug: "two-boms",
        level: Level::Must,
        source: "HTML 9.2.6",
        after: &["C1.01", "C2.01", "C3.07", "C4.04"],
        claim: "Of two byte order marks at the start only the first is skipped.",
        sends: "Two byte order marks.",
        fix: "Skip one; the second makes the first name unknown.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C4.03",
        slug: "late-bom",
        level: Level::Must,
        source: "HTML 9.2.6",
        after: &["C1.01", "C2.01", "C4.04"],
        claim: "A byte order mark later on belongs to the name it stands before.",
        sends: "A byte order mark before a later block.",
        fix: "Skip it at the start only, and do not fail over it later.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C4.04",
        slug: "bom-in-value",
        level: Level::Must,
        source: "HTML 9.2.6",
        after: &["C1.01", "C2.01", "C4.05"],
        claim: "A byte order mark in a value is kept.",
        sends: "U+FEFF in data.",
        fix: "Leave it; look for a decoder that swallows it.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C4.05",
        slug: "multibyte",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "Characters of two to four bytes survive any cut.",
        sends: "Characters of two to four bytes, cut at every place.",
        fix: "Decode lines, not chunks, or use a decoder that keeps state.",
        run: vectors::run_at_every_cut,
        ..CASE
    },
    Case {
        id: "C4.06",
        slug: "bad-utf8",
        level: Level::Must,
        source: "HTML 9.2.6",
        after: &["C1.01", "C2.01", "C4.05"],
        claim: "Malformed bytes become U+FFFD, and the stream goes on.",
        sends: "0xFF in data, then a good event.",
        fix: "Decode with replacement; malformed bytes are no error.",
        run: vectors::run_with_any_replacements,
        ..CASE
    },
    Case {
        id: "C4.07",
        slug: "cut-utf8",
        level: Level::Must,
        source: "HTML 9.2.6",
        after: &["C1.01", "C2.01", "C4.05", "C4.06"],
        claim: "A character cut short before LF becomes U+FFFD, and LF ends the line.",
        sends: "A character cut short before LF.",
        fix: "Look for line ends in bytes, before decoding.",
        run: vectors::run_with_any_replacements,
        ..CASE
    },
    Case {
        id: "C4.08",
        slug: "charset-param",
        level: Level::Must,
        source: "HTML 9.2.6, WPT format-utf-8",
        claim: "A charset parameter changes nothing: streams are UTF-8.",
        sends: "charset=windows-1252 and others.",
        fix: "Ignore the parameter.",
        run: |context| {
            context.each(&["windows-1252", "utf-16", "iso-8859-1"], |charset| {
                let (mut session, mut stream) = context.asked()?;
                stream.head(&format!(
                    "200 OK\r\nContent-Type: text/event-stream;charset={charset}\r\n\
                     Transfer-Encoding: chunked"
                ));
                stream.chunk("data: oké €\n\n".as_bytes());
                same_events(&session.events_to_mark(&mut stream)?, &[message("oké €", "")])
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C4.09",
        slug: "gzip",
        level: Level::Should,
        source: "RFC 9110 8.4",
        needs: &[Capability::Gz],
        claim: "Events of a stream that is compressed as the client asked are reported at once.",
        sends: "A gzip body, flushed behind each event.",
        fix: "Flush the decoder with each read, or do not ask for gzip.",
        run: |context| {
            let (mut session, mut stream) = context.asked()?;
            let asks = stream.request.all("Accept-Encoding").concat();
            let asks = String::from_utf8_lossy(&asks).to_ascii_lowercase();
            if !asks.contains("gzip") {
                let shown = stream.request.shown("Accept-Encoding");
                return Err(Fault::Skip(format!("the client did not ask for gzip: {shown}")));
            }
            stream.head(
                "200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\
                 Transfer-Encoding: chunked",
            );
            let mut gzip = Stored::new();
            for data in ["a", "b", MARK] {
                stream.chunk(&gzip.part(format!("data: {data}\n\n").as_bytes()));
                // Each one is there before the next is sent.
                session.until_data(data)?;
            }
            pass()
        },
        ..CASE
    },
    Case {
        id: "C4.10",
        slug: "nul-data",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "A NUL in data is kept.",
        sends: "NUL in data.",
        fix: "Keep it; only an id with NUL is special.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C4.11",
        slug: "maximal-parts",
        level: Level::Must,
        source: "HTML 9.2.6, Encoding: UTF-8 decoder",
        since: "2026-11-29",
        after: &["C1.01", "C2.01", "C4.05", "C4.06", "C4.07"],
        claim: "Each longest part of a malformed sequence becomes one U+FFFD.",
        sends: "Surrogates, an overlong form, a sequence cut short, a code point that is too large.",
        fix: "Use a decoder of the Encoding standard; one U+FFFD a byte, or one for all, is another text.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C4.12",
        slug: "bom-again",
        level: Level::Must,
        source: "HTML 9.2.6",
        needs: &[Capability::R],
        since: "2026-11-29",
        after: &["C1.01", "C2.01", "C6.01", "C4.01"],
        claim: "The byte order mark at the start of each connection is skipped.",
        sends: "A stream with a byte order mark, its end, and another stream with one.",
        fix: "Start each connection with a new decoder.",
        run: |context| {
            let (mut session, mut stream) = context.asked()?;
            stream.stream(format!("\u{feff}retry: {RETRY_MS}\ndata: a\n\n").as_bytes());
            let mut again = session.request()?;
            again.open();
            again.chunk("\u{feff}data: b\n\n".as_bytes());
            same_events(
                &session.events_to_mark(&mut again)?,
                &[message("a", ""), message("b", "")],
            )?;
            pass()
        },
        ..CASE
    },
];

/// A gzip stream of stored blocks (RFC 1951 3.2.4), each flushed as compressors do it: an empty block
/// follows. A decoder may hold back what stands before it.
struct Stored {
    head: Vec<u8>,
}

impl Stored {
    fn new() -> Stored {
        // RFC 1952 2.3: magic, deflate, no flags, no time, no extra flags, unknown system.
        Stored { head: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255] }
    }

    fn part(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut part = std::mem::take(&mut self.head);
        let length = u16::try_from(bytes.len()).expect("a short event");
        part.push(0);
        part.extend(length.to_le_bytes());
        part.extend((!length).to_le_bytes());
        part.write_all(bytes).expect("memory takes all");
        part.extend([0, 0, 0, 0xff, 0xff]);
        part
    }
}
